"""SASL of the raw client: PLAIN and SCRAM, on the side of the client (librdkafka does it for the other commands)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Generator

from kafka_cy.tools.client import ToolError

SASL_HANDSHAKE, SASL_AUTHENTICATE = 17, 36
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
# Fewer make the proof easy to guess from; more would only keep this machine busy.
ITERATIONS_MIN, ITERATIONS_MAX = 4096, 1_000_000

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
    steps = scram(HASHES[mechanism], user, password)
    token = next(steps)
    try:
        while True:
            token = steps.send(exchange(token))
    except StopIteration:
        pass


def mechanism_of(settings: dict[str, str]) -> str:
    """The mechanism that the settings ask for. Raises ToolError if this client does not have it."""
    mechanism = settings.get("sasl.mechanism", settings.get("sasl.mechanisms", "GSSAPI"))
    if mechanism != "PLAIN" and mechanism not in HASHES:
        raise ToolError(f"This command supports the SASL mechanisms PLAIN and {' and '.join(HASHES)}, not {mechanism}.")
    return mechanism


def scram(hash_name: str, user: str, password: str) -> Generator[bytes, bytes, None]:
    """The client's messages; each is answered with the broker's (RFC 5802). Raises ToolError if the broker does not know the
    password either, or answers something else."""
    nonce = secrets.token_urlsafe(24)
    name = user.replace("=", "=3D").replace(",", "=2C")
    first = f"n={name},r={nonce}"
    answer = yield f"n,,{first}".encode()
    fields = _fields(answer)
    try:
        salt, iterations, whole = base64.b64decode(fields["s"]), int(fields["i"]), fields["r"]
    except (KeyError, ValueError):
        raise ToolError("The broker's SCRAM message cannot be read.") from None
    if not whole.startswith(nonce) or len(whole) == len(nonce) or not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
        raise ToolError("The broker's SCRAM message is not an answer to this client's.")
    salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, iterations)
    final = f"c=biws,r={whole}"
    signed = f"{first},{answer.decode()},{final}".encode()
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    signature = hmac.digest(hashlib.new(hash_name, client_key).digest(), signed, hash_name)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    answer = yield f"{final},p={base64.b64encode(proof).decode()}".encode()
    expected = hmac.digest(hmac.digest(salted, b"Server Key", hash_name), signed, hash_name)
    if not hmac.compare_digest(_fields(answer).get("v", ""), base64.b64encode(expected).decode()):
        raise ToolError("The broker does not know this user's password: it is not the broker that it claims to be.")


def _fields(message: bytes) -> dict[str, str]:
    parts = (part.partition("=") for part in message.decode(errors="replace").split(","))
    return {key: value for key, _, value in parts}
