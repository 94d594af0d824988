"""SASL of the raw client: PLAIN and SCRAM, on the side of the client (librdkafka does it for the other commands)."""

from __future__ import annotations

from collections.abc import Callable

from kafka_cy.security.sasl.scram_client import ScramRefused, salted_password, scram
from kafka_cy.tools.client import ToolError

SASL_HANDSHAKE, SASL_AUTHENTICATE = 17, 36
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}

Exchange = Callable[[bytes], bytes]  # sends a token, returns the broker's answer; raises ToolError


def settings_of(properties: dict[str, str]) -> dict[str, str]:
    """librdkafka's settings for a `sasl.jaas.config` of Kafka's clients. Raises ToolError, whose text has no secret."""
    from kafka_cy.security.jaas import JaasError, parse_entry

    try:
        module = parse_entry(properties["sasl.jaas.config"])
    except JaasError as error:
        raise ToolError(f"sasl.jaas.config cannot be read: {error}.") from None
    found = {"sasl.username": module.option("username"), "sasl.password": module.option("password")}
    return {name: value for name, value in found.items() if value is not None}


def log_in(settings: dict[str, str], exchange: Exchange) -> None:
    """Authenticate after the handshake. Raises ToolError."""
    mechanism = mechanism_of(settings)
    user, password = settings.get("sasl.username", ""), settings.get("sasl.password", "")
    if mechanism == "PLAIN":
        exchange(f"\0{user}\0{password}".encode())
        return
    steps = scram(HASHES[mechanism], user, salted_password(HASHES[mechanism], password))
    token = next(steps)
    try:
        while True:
            token = steps.send(exchange(token))
    except StopIteration:
        pass
    except ScramRefused as error:
        raise ToolError(str(error)) from None


def mechanism_of(settings: dict[str, str]) -> str:
    """The mechanism that the settings ask for. Raises ToolError if this client does not have it."""
    mechanism = settings.get("sasl.mechanism", settings.get("sasl.mechanisms", "GSSAPI"))
    if mechanism != "PLAIN" and mechanism not in HASHES:
        raise ToolError(f"This command supports the SASL mechanisms PLAIN and {' and '.join(HASHES)}, not {mechanism}.")
    return mechanism
