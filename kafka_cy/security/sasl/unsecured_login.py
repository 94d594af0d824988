"""Tokens without a signature that a broker writes itself, for development (OAuthBearerUnsecuredLoginCallbackHandler)."""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Callable
from typing import Any, Final

from kafka_cy.security.jaas import LoginModule
from kafka_cy.security.sasl.json_tokens import name_in
from kafka_cy.security.sasl.oauth_client import check_extensions
from kafka_cy.security.sasl.oauthbearer import TokenRejected

PREFIX: Final = "unsecuredLogin"
_STRING, _NUMBER, _LIST = PREFIX + "StringClaim_", PREFIX + "NumberClaim_", PREFIX + "ListClaim_"
_EXTENSION: Final = PREFIX + "Extension_"
_LIFETIME: Final = re.compile(r"[0-9]{1,9}")
_RESERVED: Final = ("iat", "exp")


class UnsecuredTokens:
    """Makes the tokens of a login module. Immutable; any thread."""

    def __init__(self, module: LoginModule, now_s: Callable[[], float] = time.time) -> None:
        """Raises ValueError, without values of the module."""
        self._now_s = now_s
        options = {name: module.option(name) or "" for name in module.options}
        self.extensions = {name.removeprefix(_EXTENSION): value for name, value in options.items() if name.startswith(_EXTENSION)}
        check_extensions(self.extensions)
        lifetime = options.get(PREFIX + "LifetimeSeconds", "").strip() or "3600"
        if not _LIFETIME.fullmatch(lifetime):
            raise ValueError(f"{PREFIX}LifetimeSeconds is not a number of seconds")
        self._lifetime_s = int(lifetime)
        self._claims: dict[str, Any] = {}
        for name, value in options.items():
            kind = next((each for each in (_STRING, _NUMBER, _LIST) if name.startswith(each)), None)
            if kind is not None:
                self._claims[_claim_name(name, kind)] = _value(name, kind, value)
        try:
            name_in(self._claims, options.get(PREFIX + "PrincipalClaimName", "").strip() or "sub")
        except TokenRejected as error:
            raise ValueError(f"{error.reason}: {_STRING}sub, or {PREFIX}PrincipalClaimName and its claim, must be there") from None

    def token(self) -> str:
        """A token from now on."""
        now = math.floor(self._now_s() * 1000) / 1000  # as in Java; one that begins in the future is rejected
        claims = {"exp": now + self._lifetime_s, "iat": now, **self._claims}
        return f"{_encoded({'alg': 'none'})}.{_encoded(claims)}."


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _claim_name(option: str, kind: str) -> str:
    name = option.removeprefix(kind)
    if not name:
        raise ValueError(f"the option {option} names no claim")
    if name in _RESERVED:
        raise ValueError(f"Cannot explicitly set the '{name}' claim")
    return name


def _value(option: str, kind: str, text: str) -> Any:
    if kind == _STRING:
        return text
    if kind == _LIST:  # the first character separates the others
        return text[1:].split(text[0]) if len(text) > 1 else []
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"the option {option} is not a number")
    return number
