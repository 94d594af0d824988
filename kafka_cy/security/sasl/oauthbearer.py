"""SASL/OAUTHBEARER (RFC 7628, KIP-255): the messages. `unsecured_jws` and `jwt` check the tokens.

A rejected token gets the client a JSON text with error 0; the client answers with one byte and only then gets the error.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from kafka_cy.security.sasl.scram_messages import BadMessage, decoded_name
from kafka_cy.security.sasl.server import SaslFailed, Step, Success, invalid_credentials

MECHANISM: Final = "OAUTHBEARER"
MESSAGE_BYTES_MAX: Final = 32 << 10  # more would take more than a millisecond; most HTTP servers take tokens of 8 KiB
PAIRS_MAX: Final = 64  # of keys and values, the token included

_SEPARATOR: Final = b"\x01"
_TOKEN_BYTES: Final = b"-_.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_VALUE_BYTES: Final = bytes((*range(0x20, 0x7F), *b"\t\r\n"))


class AcceptedToken(NamedTuple):
    """Whom a token stands for, and when it expires, in ms since the epoch."""

    name: str
    expires_ms: int


class TokenRejected(Exception):
    """A token is not accepted. `reason` is for the log and never has the token; `scope` is what the token lacks, if that is why."""

    def __init__(self, reason: str, scope: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.scope = scope


class TokenValidator(Protocol):
    """Checks tokens. Any thread; in a fraction of a millisecond, without waiting."""

    def validate(self, token: str) -> AcceptedToken:
        """Raises TokenRejected."""


class _First(NamedTuple):
    authorization_id: str
    token: str


class OAuthBearerServer:
    """See SaslServer. A client has one token: unlike Kafka, which lets it try another one after the first was rejected."""

    def __init__(self, validator: TokenValidator) -> None:
        self._validator = validator
        self._is_over = False
        self._error: SaslFailed | None = None

    def step(self, token: bytes) -> Step:
        """Take the token, or the client's answer to its rejection."""
        if self._error is not None and token == _SEPARATOR:
            raise self._error
        if self._is_over:
            raise invalid_credentials(MECHANISM, "a message after the end")
        self._is_over = True
        try:
            first = _parse(token)
        except BadMessage as error:
            raise invalid_credentials(MECHANISM, str(error)) from None
        try:
            accepted = self._validator.validate(first.token)
        except TokenRejected as rejected:
            status = "invalid_token" if rejected.scope is None else "insufficient_scope"
            scope = "" if rejected.scope is None else f', "scope":"{rejected.scope}"'
            self._error = SaslFailed(f'{{"status":"{status}"{scope}}}', rejected.reason)
            return Step(self._error.message.encode())
        if first.authorization_id not in ("", accepted.name):
            raise SaslFailed(
                f"Authentication failed: Client requested an authorization id ({first.authorization_id[:100]}) that is different "
                f"from the token's principal name ({accepted.name})"
            )
        return Step(b"", Success(accepted.name, accepted.expires_ms))


def _parse(message: bytes) -> _First:
    """`n,[a=name],` then `key=value` pairs, one of them `auth=Bearer token`, between separators. Raises BadMessage."""
    if len(message) > MESSAGE_BYTES_MAX:
        raise BadMessage(f"a message of more than {MESSAGE_BYTES_MAX} bytes")
    header, separator, rest = message.partition(_SEPARATOR)
    parts = header.split(b",")
    if len(parts) != 3 or parts[0] != b"n" or parts[2] or not separator or not rest.endswith(_SEPARATOR * 2):
        raise BadMessage("the first message is not one of OAUTHBEARER")
    authorization_id = decoded_name(parts[1], b"a=") if parts[1] else ""
    auth: bytes | None = None
    pairs = rest[:-2].split(_SEPARATOR, PAIRS_MAX - 1)  # with more, the last one has a separator and is refused
    for pair in pairs:
        key, _, value = pair.partition(b"=")
        if not key.isalpha() or not value or value.translate(None, _VALUE_BYTES):
            raise BadMessage("a pair of key and value is malformed")
        if key == b"auth":
            if auth is not None:
                raise BadMessage("two tokens")
            auth = value
    if auth is None:
        raise BadMessage("there is no token")
    scheme, _, token = auth.partition(b" ")
    token = token.lstrip(b" ")
    if scheme.lower() != b"bearer" or not token or token.translate(None, _TOKEN_BYTES):
        raise BadMessage("the token is not a bearer token")
    return _First(authorization_id, token.decode())
