"""SASL/SCRAM-SHA-256 and -512 (RFC 5802, RFC 7677) on the side of the server: HMACs only, no password is hashed here.

A user that does not exist looks like one that does until the proof is wrong: the salt is made of the name and a secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from typing import Final, NamedTuple

from kafka_cy.cluster.scram_credentials import ITERATIONS_MIN, MECHANISMS, TOKEN_SALT_BYTES, ScramCredential
from kafka_cy.security.sasl.scram_messages import BadMessage, ClientFirst, parse_client_final, parse_client_first
from kafka_cy.security.sasl.server import NotReady, SaslFailed, Step, Success, invalid_credentials

HASHES: Final = dict(MECHANISMS.values())
NONCE_BYTES: Final = 24

_SECRET: Final = os.urandom(32)
_FAKE_ITERATIONS: Final = 4096  # the default of Kafka's tools
_BASE_36: Final = b"0123456789abcdefghijklmnopqrstuvwxyz"


class TokenCredential(NamedTuple):
    """A delegation token: what its holder proves, whom it stands for, and when it expires (ms since the epoch)."""

    credential: ScramCredential
    owner: str
    expires_ms: int


def _no_token(name: str, mechanism: str) -> TokenCredential | None:
    return None


class ScramLookups(NamedTuple):
    """Where a mechanism finds credentials. The functions get name and mechanism, are called by any thread, and do not wait.

    `tokens` may raise NotReady.

    `secret` makes the salts of users that do not exist. A salt that changes with a restart, or from broker to broker, tells
    which they are; so the secret should be the cluster's.
    """

    credentials: Callable[[str, str], ScramCredential | None]
    tokens: Callable[[str, str], TokenCredential | None] = _no_token
    secret: bytes = _SECRET


class ScramServer:
    """See SaslServer."""

    def __init__(self, mechanism: str, lookups: ScramLookups, nonce: str | None = None) -> None:
        """`nonce`: for tests."""
        self._mechanism = mechanism
        self._hash = HASHES[mechanism]
        self._lookups = lookups
        self._own_nonce = (nonce or secrets.token_urlsafe(NONCE_BYTES)).encode()
        self._next: Callable[[bytes], Step] | None = self._first
        self._client_first: ClientFirst | None = None
        self._server_first = b""
        self._is_known = False

    def step(self, token: bytes) -> Step:
        """Take the first or the final message of the client."""
        now, self._next = self._next, None  # a message that fails ends the authentication
        if now is None:
            raise self._failed("a message after the end")
        try:
            return now(token)
        except NotReady:
            self._next = now
            raise
        except BadMessage as error:
            raise self._failed(str(error)) from None

    def _failed(self, reason: str) -> SaslFailed:
        return invalid_credentials(self._mechanism, reason)

    def _first(self, token: bytes) -> Step:
        first = self._client_first = parse_client_first(token)
        if first.authorization_id not in ("", first.name):
            raise SaslFailed("Authentication failed: Client requested an authorization id that is different from username")
        found, self._success = self._look_up(first)
        self._is_known = found is not None
        self._credential = found or self._fake(first)
        nonce, salt = first.nonce + self._own_nonce, base64.b64encode(self._credential.salt)
        self._server_first = b"r=%s,s=%s,i=%d" % (nonce, salt, self._credential.iterations)
        self._next = self._final
        return Step(self._server_first)

    def _look_up(self, first: ClientFirst) -> tuple[ScramCredential | None, Success]:
        if first.is_token:
            token = self._lookups.tokens(first.name, self._mechanism)
            if token is None:
                return None, Success(first.name, is_token=True)
            return self._usable(token.credential), Success(token.owner, token.expires_ms, is_token=True)
        return self._usable(self._lookups.credentials(first.name, self._mechanism)), Success(first.name)

    def _usable(self, found: ScramCredential | None) -> ScramCredential | None:
        """Kafka refuses fewer iterations. A key of another length is damaged."""
        size = hashlib.new(self._hash).digest_size
        if found is None or found.iterations < ITERATIONS_MIN or len(found.stored_key) != size or not found.salt:
            return None
        return found

    def _fake(self, first: ClientFirst) -> ScramCredential:
        """What the credential of a user or a token would look like. Nobody knows a proof for it, and none would be accepted."""
        digest = hmac.digest(self._lookups.secret, f"{self._mechanism}\0{first.name}".encode(), "sha512")
        salt = digest[:TOKEN_SALT_BYTES] if first.is_token else _salt(digest[:17])
        return ScramCredential(salt, digest, digest, _FAKE_ITERATIONS)

    def _final(self, token: bytes) -> Step:
        final, first, credential = parse_client_final(token), self._client_first, self._credential
        assert first is not None
        nonce = first.nonce + self._own_nonce
        # librdkafka before 2.6.1 puts its own nonce before the server's, which begins with it.
        is_ours = final.nonce in (nonce, first.nonce + nonce)
        message = b"%s,%s,%s" % (first.bare, self._server_first, final.without_proof)
        signature = hmac.digest(credential.stored_key, message, self._hash)
        is_proven = hmac.compare_digest(self._stored_key(signature, final.proof), credential.stored_key)
        if not is_ours:
            raise self._failed("the nonce is another one")
        if final.channel_binding != first.header:
            raise self._failed("the channel binding is another one")
        if not (is_proven and self._is_known):
            raise self._failed("wrong password or unknown user")
        verifier = base64.b64encode(hmac.digest(credential.server_key, message, self._hash))
        return Step(b"v=" + verifier, self._success)

    def _stored_key(self, signature: bytes, proof: bytes) -> bytes:
        """The stored key that a proof stands for; empty if it has the wrong length."""
        if len(proof) != len(signature):
            return b""
        client_key = (int.from_bytes(proof) ^ int.from_bytes(signature)).to_bytes(len(proof))
        return hashlib.new(self._hash, client_key).digest()


def _salt(random: bytes) -> bytes:
    """A salt as Kafka's tools make them: 130 random bits in base 36."""
    number = int.from_bytes(random) >> 6
    digits = bytearray()
    while number:
        number, digit = divmod(number, 36)
        digits.append(_BASE_36[digit])
    return bytes(reversed(digits)) or b"0"
