"""The loop on which clients authenticate: with SASL, or with a certificate that names a user."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.api.registry import AUTHENTICATION
from kafka_cy.base.named_thread import NamedThread
from kafka_cy.server.control_loop import ControlLoop, NetworkQueue

if TYPE_CHECKING:
    from kafka_cy.network.control_request import ControlRequest
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.server.certificate_principals import CertificatePrincipals
    from kafka_cy.server.sasl_listeners import SaslListeners


class AuthenticationLoop:
    """Made and started by the main thread; it ends with stop(). A broker with plaintext listeners only has none."""

    def __init__(self, broker: KafkaServer) -> None:
        """Read what the configuration says, before anything is served. Raises ConfigError."""
        self.loop = ControlLoop(partial(broker.on_error, "authentication"))
        self._server = broker.server
        self._sasl: SaslListeners | None = None
        self._certificates: CertificatePrincipals | None = None
        protocols = {listener.security_protocol for listener in broker.config.listeners}
        if protocols & {"SASL_PLAINTEXT", "SASL_SSL"}:
            from kafka_cy.server.sasl_listeners import SaslListeners

            self._sasl = SaslListeners(broker, self.loop)
        if "SSL" in protocols:
            from kafka_cy.server.certificate_principals import CertificatePrincipals

            self._certificates = CertificatePrincipals(broker.config, broker.server, broker.log)
        self.loop.attach(NetworkQueue(broker.server, AUTHENTICATION), self._dispatch, self._look)
        self._thread = NamedThread(target=self.loop.run, name="authentication", daemon=True)

    def start(self) -> None:
        """Begin to authenticate clients."""
        self._thread.start()
        if self._sasl is not None:
            self._sasl.start()

    def stop(self) -> None:
        """End the loop."""
        if self._sasl is not None:
            self._sasl.stop()
        self.loop.stop()
        if self._thread.is_alive():
            self._thread.join()
        self.loop.join_workers()
        self.loop.close()

    def _dispatch(self, control: ControlRequest) -> None:
        if control.is_question:
            assert self._certificates is not None
            self._certificates.answer(control)
        else:
            assert self._sasl is not None
            self._sasl.authenticator.dispatch(control)

    def _look(self) -> None:
        if self._sasl is not None:
            for connection_id in self._server.take_closed(AUTHENTICATION):
                self._sasl.authenticator.forget(connection_id)
