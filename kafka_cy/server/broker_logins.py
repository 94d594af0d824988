"""How this broker logs in to the listeners of other brokers, and the tokens and tickets that it needs for that."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.network.broker_login import BrokerLogin
from kafka_cy.security.sasl.broker_login import Login, broker_login
from kafka_cy.security.sasl.renewal import RenewalFailed
from kafka_cy.server.arrangement import ClusterRefused

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer


class BrokerLogins:
    """Made and started by the main thread, before the broker is a member of the cluster. Limit: a thread for each listener."""

    def __init__(self, broker: KafkaServer) -> None:
        """Read what the configuration says. Raises ConfigError."""
        self._log = broker.log
        self._logins: dict[str, Login] = {}
        self._transports: dict[str, BrokerLogin] = {}
        config = broker.config
        protocols = {listener.name: listener.security_protocol for listener in config.listeners}
        for name in (config.inter_broker_listener_name, config.control_plane_listener_name):
            if name is not None and name not in self._logins and protocols[name].startswith("SASL_"):
                login = self._logins[name] = broker_login(config, name)
                encryption = broker.tls.transport_to(name) if broker.tls is not None else None
                self._transports[name] = BrokerLogin(login.mechanism, login.begin, encryption)

    def start(self) -> None:
        """Get the first tokens and tickets. Raises ClusterRefused: as in Kafka, who cannot log in to the others does not start."""
        for name, login in self._logins.items():
            if login.renewal is None:
                continue
            login.renewal.told = partial(self._tell, name, login.mechanism)
            try:
                login.renewal.start()
            except RenewalFailed as error:
                raise ClusterRefused(
                    f"{name}: this broker has nothing to log in to other brokers with by {login.mechanism}: {error}"
                ) from None

    def _tell(self, name: str, mechanism: str, problem: str) -> None:
        """On the thread of a renewal."""
        details = {"listener": name, "mechanism": mechanism}
        if problem:
            text = "there is no new credential for logins to other brokers; the one of before stays in use, and this is tried again"
            self._log.warning(text, **details, reason=problem)
        else:
            self._log.info("there is a new credential for logins to other brokers again", **details)

    def transport_to(self, listener: str) -> Any:
        """See KafkaServer.transport_to; None: connections to this listener do not log in."""
        found = self._transports.get(listener)
        return found.transport if found is not None else None

    @property
    def failures(self) -> int:
        """How often there was no new token or ticket. Any thread."""
        return sum(login.renewal.failures for login in self._logins.values() if login.renewal is not None)

    def stop(self) -> None:
        """End the threads, without waiting for them."""
        for login in self._logins.values():
            if login.renewal is not None:
                login.renewal.stop()
