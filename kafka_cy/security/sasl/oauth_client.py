"""OAUTHBEARER on the side of the client (RFC 7628), for connections to other brokers, and the tokens that it sends."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from typing import Final, NamedTuple

from kafka_cy.security.sasl.json_tokens import decoded_part, json_object, name_in, seconds
from kafka_cy.security.sasl.oauthbearer import MESSAGE_BYTES_MAX, TokenRejected

EXTENSIONS_MAX: Final = 32
EXTENSIONS_BYTES_MAX: Final = 1000  # of all together, so that the message has room for them and the largest token
_TOKEN: Final = re.compile(r"[-_A-Za-z0-9]+\.[-_A-Za-z0-9]+\.[-_A-Za-z0-9]*")
_EXTENSION_KEY: Final = re.compile(r"[A-Za-z]+")
_EXTENSION_VALUE: Final = re.compile(r"[\x21-\x7e \t\r\n]+")


class LoginToken(NamedTuple):
    """A token, which is a secret, and its times in seconds since the epoch; without a start it began when it was got."""

    text: str
    starts_s: float | None
    expires_s: float

    def __repr__(self) -> str:
        return f"LoginToken(expires_s={self.expires_s})"


def read_token(text: str, subject_claim: str = "sub") -> LoginToken:
    """A token of an issuer; other brokers check its signature (LoginAccessTokenValidator). Raises ValueError, without the token."""
    text = text.strip()
    if len(text) > MESSAGE_BYTES_MAX - 1024 or not _TOKEN.fullmatch(text):
        raise ValueError("the access token is not a JSON web token of at most 31 KiB")
    try:
        claims = json_object(decoded_part(text.split(".")[1]))
        name_in(claims, subject_claim)
        starts, expires = seconds(claims, "iat", required=False), seconds(claims, "exp", required=True)
    except TokenRejected as error:
        raise ValueError(f"the access token cannot be used: {error.reason}") from None
    assert expires is not None
    return LoginToken(text, starts, expires)


def check_extensions(extensions: Mapping[str, str]) -> None:
    """Raises ValueError, without the values."""
    if len(extensions) > EXTENSIONS_MAX:
        raise ValueError(f"more than {EXTENSIONS_MAX} extensions")
    if len(_pairs(extensions).encode()) > EXTENSIONS_BYTES_MAX:
        raise ValueError(f"the extensions have more than {EXTENSIONS_BYTES_MAX} bytes")
    for key, value in extensions.items():
        if key == "auth" or not _EXTENSION_KEY.fullmatch(key):
            raise ValueError(f"Extension name {key} is invalid")
        if not _EXTENSION_VALUE.fullmatch(value):
            raise ValueError(f"the value of the extension {key} is invalid")


def _pairs(extensions: Mapping[str, str]) -> str:
    return "".join(f"\x01{key}={value}" for key, value in extensions.items())


def oauthbearer(token: Callable[[], str], extensions: Mapping[str, str], _host: str = "") -> Generator[bytes, bytes, None]:
    """The client's messages. A rejected token gets a JSON text, and its error with the next answer."""
    refusal = yield f"n,,\x01auth=Bearer {token()}{_pairs(extensions)}\x01\x01".encode()
    if refusal:
        yield b"\x01"
        raise ValueError("the broker has rejected the token, and accepts the login")
