"""SCRAM on the side of the client (RFC 5802): for connections to other brokers, and for the tools."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Generator
from typing import Final

# Fewer make the proof easy to guess from; more would only keep this machine busy.
ITERATIONS_MIN: Final = 4096
ITERATIONS_MAX: Final = 1_000_000
SALTED_KEPT_MAX: Final = 16

Salted = Callable[[bytes, int], bytes]  # the password, salted: (salt, iterations)


class ScramRefused(ValueError):
    """The other side does not know the password either, or does not speak SCRAM. The text has no secret."""


def salted_password(hash_name: str, password: str) -> Salted:
    """Computes each salted password once: that takes milliseconds, and a broker logs in with every connection. Any thread."""
    kept: dict[tuple[bytes, int], bytes] = {}

    def salted(salt: bytes, iterations: int) -> bytes:
        found = kept.get((salt, iterations))
        if found is None:
            found = hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, iterations)
            if len(kept) >= SALTED_KEPT_MAX:
                kept.clear()
            kept[salt, iterations] = found
        return found

    return salted


def scram(hash_name: str, user: str, salted: Salted, _host: str = "") -> Generator[bytes, bytes, None]:
    """The client's messages; each is answered with the broker's. Raises ScramRefused."""
    nonce = secrets.token_urlsafe(24)
    name = user.replace("=", "=3D").replace(",", "=2C")
    first = f"n={name},r={nonce}"
    answer = yield f"n,,{first}".encode()
    fields = _fields(answer)
    try:
        salt, iterations, whole = base64.b64decode(fields["s"]), int(fields["i"]), fields["r"]
    except (KeyError, ValueError):
        raise ScramRefused("The broker's SCRAM message cannot be read.") from None
    if not whole.startswith(nonce) or len(whole) == len(nonce) or not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
        raise ScramRefused("The broker's SCRAM message is not an answer to this client's.")
    key = salted(salt, iterations)
    final = f"c=biws,r={whole}"
    signed = f"{first},{answer.decode()},{final}".encode()
    client_key = hmac.digest(key, b"Client Key", hash_name)
    signature = hmac.digest(hashlib.new(hash_name, client_key).digest(), signed, hash_name)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    answer = yield f"{final},p={base64.b64encode(proof).decode()}".encode()
    expected = hmac.digest(hmac.digest(key, b"Server Key", hash_name), signed, hash_name)
    if not hmac.compare_digest(_fields(answer).get("v", "").encode(), base64.b64encode(expected)):
        raise ScramRefused("The broker does not know this user's password: it is not the broker that it claims to be.")


def _fields(message: bytes) -> dict[str, str]:
    parts = (part.partition("=") for part in message.decode(errors="replace").split(","))
    return {key: value for key, _, value in parts}
