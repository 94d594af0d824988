"""The SASL listeners: what they offer, the loop on which their clients authenticate, and the thread that renews keys of OAuth."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.api.registry import AUTHENTICATION
from kafka_cy.base.named_thread import NamedThread
from kafka_cy.cluster.scram_credentials import ScramCredential, credential_in
from kafka_cy.cluster.znodes import sanitize
from kafka_cy.security.sasl.listener import ListenerSasl, listener_sasl
from kafka_cy.security.sasl.scram import ScramLookups
from kafka_cy.server.authenticator import Authenticator
from kafka_cy.server.control_loop import ControlLoop, NetworkQueue

if TYPE_CHECKING:
    from kafka_cy.security.sasl.jwks import RefreshedKeySet
    from kafka_cy.server.broker import KafkaServer

FRAME_BYTES_MAX = 98_304  # before authentication: the largest token of a mechanism is 64 KiB (PLAIN)
RENEWAL_PAUSE_S, RENEWAL_PAUSE_MAX_S = 0.05, 3600.0  # between two looks at what is due
FAULT_PAUSE_S = 10.0


class SaslListeners:
    """Made and started by the main thread; its two threads end with stop()."""

    def __init__(self, broker: KafkaServer) -> None:
        """Read what the configuration says, before anything is served. Raises ConfigError."""
        self._broker = broker
        lookups = ScramLookups(self._credential)
        self.listeners: dict[int, ListenerSasl] = {}
        for index, listener in enumerate(broker.config.listeners):
            if listener.security_protocol.startswith("SASL_"):
                sasl = self.listeners[index] = listener_sasl(broker.config, listener.name, lookups)
                broker.server.set_authentication(index, min(sasl.max_receive_bytes, FRAME_BYTES_MAX))
                for warning in sasl.warnings:
                    broker.log.warning(warning)
        timeout_ms = int(broker.config["kafkacy.authentication.timeout.ms"])
        broker.server.set_authentication_limits(timeout_ms, int(broker.config["kafkacy.unauthenticated.connections.max"]))
        self.loop = ControlLoop(partial(broker.on_error, "authentication"))
        self.authenticator = Authenticator(
            self.listeners, self.loop, broker.log,
            failure_delay_ms=int(broker.config["connection.failed.authentication.delay.ms"]), timeout_ms=timeout_ms,
        )  # fmt: skip
        self.loop.attach(NetworkQueue(broker.server, AUTHENTICATION), self.authenticator.dispatch, self._look)
        self._thread = NamedThread(target=self.loop.run, name="authentication", daemon=True)
        self._key_sets = [each for sasl in self.listeners.values() for each in sasl.key_sets]
        self._is_stopping = False
        self._woken = threading.Event()
        for each in self._key_sets:
            each.on_due = self._woken.set
        self._renewal = NamedThread(target=self._renew, name="oauth-keys", daemon=True)
        self._problems: dict[int, str] = {}  # of key sets, by place

    def start(self) -> None:
        """Begin to authenticate clients."""
        self._thread.start()
        if self._key_sets:
            self._renewal.start()

    def stop(self) -> None:
        """End the loop. The other thread may wait for a network; it ends with the process."""
        self._is_stopping = True
        self._woken.set()
        self.loop.stop()
        if self._thread.is_alive():
            self._thread.join()
        self.loop.close()

    def _look(self) -> None:
        for connection_id in self._broker.server.take_closed(AUTHENTICATION):
            self.authenticator.forget(connection_id)

    def _credential(self, user: str, mechanism: str) -> ScramCredential | None:
        cluster = self._broker.cluster
        return credential_in(cluster.config("users", sanitize(user)), mechanism) if cluster is not None else None

    def _renew(self) -> None:
        while not self._is_stopping:
            pause_s = RENEWAL_PAUSE_S
            for place, keys in enumerate(self._key_sets):
                if keys.due_in_ms() <= 0:
                    pause_s = max(pause_s, self._renew_one(place, keys))
            due_ms = min(keys.due_in_ms() for keys in self._key_sets)
            self._woken.wait(min(RENEWAL_PAUSE_MAX_S, max(pause_s, due_ms / 1000)))
            self._woken.clear()

    def _renew_one(self, place: int, keys: RefreshedKeySet) -> float:
        """Returns the shortest pause before the next look. Those keys of before stay in use, and it is tried again."""
        from kafka_cy.security.sasl.jwks import KeySetError

        problem, pause_s = "", RENEWAL_PAUSE_S
        try:
            keys.refresh()
        except KeySetError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 a fault of ours may cost the renewal, not the thread
            problem, pause_s = repr(error), FAULT_PAUSE_S
        if problem and problem != self._problems.get(place):
            self._broker.log.warning("keys of OAuth tokens cannot be read; those of before stay in use", reason=problem)
        self._problems[place] = problem
        return pause_s
