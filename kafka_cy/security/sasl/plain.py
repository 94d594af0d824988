"""SASL/PLAIN (RFC 4616) with Kafka's users: options `user_<name>="<password>"` of its login module."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import Final

from kafka_cy.security.sasl.server import SaslFailed, Step, Success
from kafka_cy.security.secret import Secret

MECHANISM: Final = "PLAIN"
USER_PREFIX: Final = "user_"
TOKEN_BYTES_MAX: Final = 64 << 10  # more would take more than a millisecond; a user's name and password have far less

_INVALID: Final = "Authentication failed: Invalid username or password"


class PlainUsers:
    """Names and passwords, the latter only as keyed hashes: a comparison takes the same time for all of them."""

    def __init__(self, passwords: Mapping[str, Secret]) -> None:
        self._key = os.urandom(32)
        self._nobody = os.urandom(32)
        self._hashes = {name: self._hash(secret.reveal()) for name, secret in passwords.items()}

    def _hash(self, password: str) -> bytes:
        return hmac.digest(self._key, password.encode("utf-8", "surrogatepass"), "sha256")

    def accepts(self, name: str, password: str) -> bool:
        """Whether the user exists and has this password."""
        return hmac.compare_digest(self._hashes.get(name, self._nobody), self._hash(password))

    def __len__(self) -> int:
        return len(self._hashes)


def users_in(options: Mapping[str, Secret]) -> dict[str, Secret]:
    """The users among the options of a login module."""
    return {key.removeprefix(USER_PREFIX): value for key, value in options.items() if key.startswith(USER_PREFIX)}


class PlainServer:
    """See SaslServer. A client has one attempt."""

    def __init__(self, users: PlainUsers) -> None:
        self._users = users
        self._is_over = False

    def step(self, token: bytes) -> Step:
        """Check `authzid NUL name NUL password`. Nothing is normalised."""
        if self._is_over:
            raise SaslFailed(_INVALID, "a second token")
        self._is_over = True
        if len(token) > TOKEN_BYTES_MAX:
            raise SaslFailed(_INVALID, f"a token of more than {TOKEN_BYTES_MAX} bytes")
        try:
            parts = token.decode().split("\0", 3)
        except UnicodeDecodeError:
            raise SaslFailed(_INVALID, "the token is not UTF-8") from None
        if len(parts) != 3:
            raise SaslFailed(f"Invalid SASL/PLAIN response: expected 3 tokens, got {len(parts)}")
        identity, name, password = parts
        if not name:
            raise SaslFailed("Authentication failed: username not specified")
        if not password:
            raise SaslFailed("Authentication failed: password not specified")
        if not self._users.accepts(name, password):
            raise SaslFailed(_INVALID)
        if identity not in ("", name):
            raise SaslFailed("Authentication failed: Client requested an authorization id that is different from username")
        return Step(b"", Success(name))
