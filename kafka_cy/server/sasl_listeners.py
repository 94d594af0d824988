"""The SASL listeners: what they offer, and the thread that renews keys of OAuth."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.cluster.scram_credentials import ScramCredential, credential_in
from kafka_cy.cluster.znodes import sanitize
from kafka_cy.security.sasl.listener import ListenerSasl, listener_sasl
from kafka_cy.security.sasl.scram import ScramLookups, TokenCredential
from kafka_cy.security.sasl.server import NotReady
from kafka_cy.server.authenticator import Authenticator

if TYPE_CHECKING:
    from kafka_cy.security.sasl.jwks import RefreshedKeySet
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.server.control_loop import ControlLoop

FRAME_BYTES_MAX = 98_304  # before authentication: the largest token of a mechanism is 64 KiB (PLAIN)
RENEWAL_PAUSE_S, RENEWAL_PAUSE_MAX_S = 0.05, 3600.0  # between two looks at what is due
FAULT_PAUSE_S = 10.0


class SaslListeners:
    """Made and started by the main thread. `authenticator` belongs to `loop`, the authentication loop."""

    def __init__(self, broker: KafkaServer, loop: ControlLoop) -> None:
        """Read what the configuration says, before anything is served. Raises ConfigError."""
        self._broker = broker
        lookups = ScramLookups(self._credential, self._token)
        self.listeners: dict[int, ListenerSasl] = {}
        for index, listener in enumerate(broker.config.listeners):
            if listener.security_protocol.startswith("SASL_"):
                sasl = self.listeners[index] = listener_sasl(broker.config, listener.name, lookups)
                broker.server.set_authentication(index, min(sasl.max_receive_bytes, FRAME_BYTES_MAX))
                for warning in sasl.warnings:
                    broker.log.warning(warning)
        timeout_ms = int(broker.config["kafkacy.authentication.timeout.ms"])
        broker.server.set_authentication_limits(timeout_ms, int(broker.config["kafkacy.unauthenticated.connections.max"]))
        self.authenticator = Authenticator(
            self.listeners, loop, broker.log,
            failure_delay_ms=int(broker.config["connection.failed.authentication.delay.ms"]), timeout_ms=timeout_ms,
        )  # fmt: skip
        self._key_sets = [each for sasl in self.listeners.values() for each in sasl.key_sets]
        self._is_stopping = False
        self._woken = threading.Event()
        for each in self._key_sets:
            each.on_due = self._woken.set
        self._renewal = NamedThread(target=self._renew, name="oauth-keys", daemon=True)
        self._problems: dict[int, str] = {}  # of key sets, by place

    def start(self) -> None:
        """Begin to renew keys."""
        if self._key_sets:
            self._renewal.start()

    def stop(self) -> None:
        """The thread may wait for a network; it ends with the process."""
        self._is_stopping = True
        self._woken.set()

    def _credential(self, user: str, mechanism: str) -> ScramCredential | None:
        cluster = self._broker.cluster
        return credential_in(cluster.config("users", sanitize(user)), mechanism) if cluster is not None else None

    def _token(self, token_id: str, mechanism: str) -> TokenCredential | None:
        """Called by the authentication loop. Raises NotReady at the first login with a token."""
        arrangement = self._broker.arrangement
        tokens = arrangement.tokens if arrangement is not None else None
        if tokens is None:
            return None
        work = tokens.cache.work_before_login(token_id, mechanism)
        if work is not None:
            raise NotReady(work)
        found = tokens.cache.login(token_id, mechanism)
        return TokenCredential(*found) if found is not None else None

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
