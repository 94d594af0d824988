"""Tokens without a signature (OAuthBearerUnsecuredValidatorCallbackHandler), Kafka's default. They are for development:
anybody can write one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from kafka_cy.security.jaas import LoginModule
from kafka_cy.security.sasl.json_tokens import decoded_part, json_object, name_in, seconds
from kafka_cy.security.sasl.oauthbearer import AcceptedToken, TokenRejected

_PREFIX: Final = "unsecuredValidator"


class UnsecuredSettings(NamedTuple):
    """Options of the login module."""

    principal_claim: str = "sub"
    scope_claim: str = "scope"
    required_scope: tuple[str, ...] = ()
    clock_skew_ms: int = 0


def unsecured_settings(module: LoginModule) -> UnsecuredSettings:
    """Raises ValueError, with Kafka's text, for a clock difference that is not one."""

    def option(name: str) -> str:
        return (module.option(_PREFIX + name) or "").strip()

    skew = option("AllowableClockSkewMs") or "0"
    digits = skew.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise ValueError(f'For input string: "{skew}"')
    if skew.startswith("-"):
        raise ValueError(f"Allowable clock skew millis must not be negative: {skew}")
    scope = tuple(option("RequiredScope").split())
    return UnsecuredSettings(option("PrincipalClaimName") or "sub", option("ScopeClaimName") or "scope", scope, int(skew))


class UnsecuredValidator:
    """See TokenValidator."""

    def __init__(self, settings: UnsecuredSettings, now_s: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now_s = now_s

    def validate(self, token: str) -> AcceptedToken:
        """Three parts, the last one empty, `alg` none; the name and the times among the claims."""
        parts = token.split(".")
        if len(parts) != 3 or not parts[0] or not parts[1]:
            raise TokenRejected("Unsecured JWS compact serializations must have 3 dot-separated Base64URL-encoded values")
        if json_object(decoded_part(parts[0])).get("alg") != "none":
            raise TokenRejected("Unsecured JWS must have 'none' for an algorithm")
        if parts[2]:
            raise TokenRejected("Unsecured JWS must not contain a digital signature")
        claims = json_object(decoded_part(parts[1]))
        name = name_in(claims, self._settings.principal_claim)
        expires = self._check_times(claims)
        self._check_scope(claims)
        return AcceptedToken(name, round(expires * 1000))

    def _check_times(self, claims: dict[str, Any]) -> float:
        now, skew = self._now_s(), self._settings.clock_skew_ms / 1000
        issued, expires = seconds(claims, "iat", required=False), seconds(claims, "exp", required=True)
        assert expires is not None
        if issued is not None and issued > now + skew:
            raise TokenRejected("the token was issued in the future")
        if now - skew >= expires:
            raise TokenRejected("the token has expired")
        if issued is not None and expires <= issued:
            raise TokenRejected("the token expired before it was issued")
        return expires

    def _check_scope(self, claims: dict[str, Any]) -> None:
        """A text is one scope, whatever blanks it has, as in Kafka."""
        value = claims.get(self._settings.scope_claim)
        if value is not None and not isinstance(value, (str, list)):
            raise TokenRejected("the scope is neither a text nor a list")
        values = [value] if isinstance(value, str) else value or []
        found = {each.strip() for each in values if isinstance(each, str)}
        if not found.issuperset(self._settings.required_scope):
            raise TokenRejected("a required scope is missing", f"[{', '.join(self._settings.required_scope)}]")
