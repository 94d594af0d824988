"""The messages of SCRAM (RFC 5802) that a client sends. Every parser looks at each byte a fixed number of times.

As Kafka: only channel binding `n`; `m=` and unknown extensions are let through. Names may be any UTF-8; nothing is normalised.
"""

from __future__ import annotations

import base64
from typing import Final, NamedTuple

#: Kafka has no limit but that of all SASL messages; its parser ends in a stack overflow at such sizes.
MESSAGE_BYTES_MAX: Final = 4096
TOKEN_AUTH: Final = b"tokenauth"


class BadMessage(Exception):
    """A message that is not of SCRAM. The text does not show it."""


class ClientFirst(NamedTuple):
    """`n,[a=authzid],[m=..,]n=name,r=nonce[,extensions]`. `bare` is what follows the header, as it was sent."""

    header: bytes
    bare: bytes
    authorization_id: str
    name: str
    nonce: bytes
    is_token: bool


class ClientFinal(NamedTuple):
    """`c=channel,r=nonce[,extensions],p=proof`. `without_proof` is the message as it was sent, up to the proof."""

    without_proof: bytes
    channel_binding: bytes
    nonce: bytes
    proof: bytes


def parse_client_first(message: bytes) -> ClientFirst:
    """Raises BadMessage."""
    _check_size(message)
    parts = message.split(b",", 2)
    if len(parts) != 3 or parts[0] != b"n":
        raise BadMessage("the first message of the client is not one of SCRAM without channel binding")
    authorization_id = decoded_name(parts[1], b"a=") if parts[1] else ""
    header, bare = message[: len(parts[1]) + 3], parts[2]
    attributes = bare.split(b",")
    if _is_attribute(attributes[0], b"m"):
        del attributes[0]
    if len(attributes) < 2:
        raise BadMessage("the first message of the client has no nonce")
    name = decoded_name(attributes[0], b"n=")
    nonce = _nonce(attributes[1])
    _check_extensions(attributes[2:])
    is_token = any(part.lower() == TOKEN_AUTH + b"=true" and part.startswith(TOKEN_AUTH) for part in attributes[2:])
    return ClientFirst(header, bare, authorization_id, name, nonce, is_token)


def parse_client_final(message: bytes) -> ClientFinal:
    """Raises BadMessage."""
    _check_size(message)
    without_proof, comma, proof = message.rpartition(b",")
    attributes = without_proof.split(b",")
    if not comma or len(attributes) < 2 or not attributes[0].startswith(b"c=") or not proof.startswith(b"p="):
        raise BadMessage("the final message of the client is not one of SCRAM")
    _check_extensions(attributes[2:])
    return ClientFinal(without_proof, _base64(attributes[0][2:]), _nonce(attributes[1]), _base64(proof[2:]))


def _check_size(message: bytes) -> None:
    if len(message) > MESSAGE_BYTES_MAX:
        raise BadMessage(f"a message of more than {MESSAGE_BYTES_MAX} bytes")


def decoded_name(attribute: bytes, prefix: bytes) -> str:
    """The name in `n=` or `a=`: `=2C` is a comma, `=3D` is `=`, and no other `=` is allowed."""
    encoded = attribute.removeprefix(prefix)
    if not attribute.startswith(prefix) or not encoded or b"\0" in encoded:
        raise BadMessage("a name is missing")
    first, *others = encoded.split(b"=")
    decoded = [first]
    for part in others:
        if part[:2] not in (b"2C", b"3D"):
            raise BadMessage("a name has an escape that SCRAM does not have")
        decoded.append((b"," if part[:2] == b"2C" else b"=") + part[2:])
    try:
        return b"".join(decoded).decode()
    except UnicodeDecodeError:
        raise BadMessage("a name is not UTF-8") from None


def _nonce(attribute: bytes) -> bytes:
    """Printable characters without a comma."""
    nonce = attribute[2:]
    if not attribute.startswith(b"r=") or not nonce or not nonce.isascii() or min(nonce) < 0x21 or max(nonce) > 0x7E:
        raise BadMessage("a nonce is missing or has other characters than SCRAM allows")
    return nonce


def _check_extensions(attributes: list[bytes]) -> None:
    """`letters=value`, as Kafka: values are ASCII without NUL, and are not empty."""
    for attribute in attributes:
        name, _, value = attribute.partition(b"=")
        if not name.isalpha() or not value or not value.isascii() or b"\0" in value:
            raise BadMessage("an extension is malformed")


def _is_attribute(attribute: bytes, name: bytes) -> bool:
    return attribute.startswith(name + b"=") and len(attribute) > len(name) + 1


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadMessage("base64 is malformed") from None
