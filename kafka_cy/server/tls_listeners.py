"""The TLS listeners: their contexts at the start, and new ones after each change of this broker's settings."""

from typing import Any

from kafka_cy.cluster.metadata_cache import ConfigChanged
from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.types import ConfigError
from kafka_cy.network.tls import TlsContext
from kafka_cy.security.listener_tls import tls_context
from kafka_cy.server.log import BrokerLog


class TlsListeners:
    """Owner: the control thread. A change applies to new connections; each change reads the files again (KIP-226)."""

    def __init__(self, config: BrokerConfig, server: Any, log: BrokerLog) -> None:
        self.config = config
        self.server = server
        self.log = log
        self.names = {
            index: listener.name
            for index, listener in enumerate(config.listeners)
            if listener.security_protocol == "SSL"
        }
        self.contexts: dict[int, TlsContext] = {}

    def start(self, cluster: Any) -> None:
        """Encrypt the listeners' connections, and follow the settings in `cluster`. Raises ConfigError."""
        self._use(self._made(self.config))
        self.config.add_reconfiguration_check(self.check)
        cluster.add_listener(self._changed)

    def check(self, candidate: BrokerConfig) -> None:
        """Refuse settings whose certificates are unusable or belong to another broker. Raises ConfigError."""
        for index, made in self._made(candidate).items():
            before = self.contexts[index]
            key, _ = candidate.of_listener(self.names[index], "ssl.keystore.location")
            if made.subject != before.subject and not candidate["ssl.allow.dn.changes"]:
                self._refuse(key, "Keystore DistinguishedName does not match", "ssl.allow.dn.changes")
            if not made.alternative_names >= before.alternative_names and not candidate["ssl.allow.san.changes"]:
                self._refuse(key, "Keystore SubjectAltNames do not match", "ssl.allow.san.changes")

    def _refuse(self, key: str, reason: str, unless: str) -> None:
        raise ConfigError(key, "the new certificate", f"the name in the current certificate, unless {unless}=true", reason)

    def _changed(self, change: Any) -> None:
        if not isinstance(change, ConfigChanged) or change.entity_type != "brokers":
            return
        try:
            self._use(self._made(self.config))
        except ConfigError as error:  # the files changed after the check
            self.log.error("certificates cannot be reloaded: the current ones stay in use", reason=str(error))

    def _made(self, config: BrokerConfig) -> dict[int, TlsContext]:
        return {index: tls_context(config, name) for index, name in self.names.items()}

    def _use(self, contexts: dict[int, TlsContext]) -> None:
        for index, context in contexts.items():
            self.server.set_transport(index, context)
        self.contexts = contexts
