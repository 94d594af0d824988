"""Users of client certificates: answers the reactors' questions (network/certificate) on the authentication loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka_cy.config.types import ConfigError
from kafka_cy.security.distinguished_name import java_name
from kafka_cy.security.ssl_principal_mapper import NAME_CHARS_MAX, NoMatchingRule, SslPrincipalMapper

if TYPE_CHECKING:
    from kafka_cy.config.broker_config import BrokerConfig
    from kafka_cy.network.control_request import ControlRequest
    from kafka_cy.server.log import BrokerLog

RULES: Final = "ssl.principal.mapping.rules"
SHOWN_CHARS_MAX: Final = 200  # of a distinguished name, in the log


class CertificatePrincipals:
    """Owner: the authentication loop. On listeners with SASL, what SASL says counts, and nothing is asked here."""

    def __init__(self, config: BrokerConfig, server: Any, log: BrokerLog) -> None:
        """Read the rules of each listener with the security protocol SSL. Raises ConfigError."""
        self._log = log
        self._mappers: dict[int, SslPrincipalMapper] = {}
        for index, listener in enumerate(config.listeners):
            if listener.security_protocol == "SSL":
                key, rules = config.of_listener(listener.name, RULES)
                try:
                    self._mappers[index] = SslPrincipalMapper(rules)
                except ValueError as error:
                    raise ConfigError(key, rules, "DEFAULT, RULE:pattern/replacement/[LU]", str(error)) from None
                server.set_certificate_principals(index)

    def answer(self, question: ControlRequest) -> None:
        """Answer with the user's name, or end the connection: a client whose name has no rule is never User:ANONYMOUS."""
        question.begin()
        try:
            self._answer(question)
        except Exception as error:  # noqa: BLE001 a fault costs this connection only
            self._log.repeated("error", "a client certificate failed because of an error in the broker", {"error": repr(error)})
            if not question.answered:
                question.close("the broker failed to name the user")
        finally:
            question.handled()

    def _answer(self, question: ControlRequest) -> None:
        shown = ""
        try:
            distinguished_name = java_name(question.body)
            shown = distinguished_name[:SHOWN_CHARS_MAX]
            if len(distinguished_name) > NAME_CHARS_MAX:
                raise ValueError(f"its name has more than {NAME_CHARS_MAX} characters")
            name = self._mappers[question.listener_index].name(distinguished_name)
            if len(name) > NAME_CHARS_MAX:
                raise ValueError(f"the name of its user has more than {NAME_CHARS_MAX} characters")
        except NoMatchingRule:
            reason = f"Failed to map name for '{shown}' based on SSL principal mapping rules."
        except ValueError as error:
            reason = f"its certificate cannot be used: {error}"
        else:
            question.respond(name.encode())
            return
        self._log.repeated(
            "warning", "authentication failed", {"client": question.client_host, "reason": reason}, question.client_host
        )
        question.close(reason)
