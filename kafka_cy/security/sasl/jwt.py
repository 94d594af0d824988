"""Signed tokens (KIP-768, BrokerJwtValidator): signature and claims.

What a token names decides nothing but which of the issuer's keys is tried: `kid` is looked up among keys that are known
already, and `jku`, `jwk` and `x5u` are never read. The signature is checked before the claims are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from kafka_cy.security.sasl.json_tokens import decoded_part, json_object, name_in, seconds
from kafka_cy.security.sasl.jwks import FAMILIES, KeySet
from kafka_cy.security.sasl.oauthbearer import AcceptedToken, TokenRejected

HEADER_CHARS_MAX: Final = 8 << 10  # it is read before the signature is known to be right; it may have some certificates
KEYS_TRIED_MAX: Final = 4  # for a token that does not name its key


class JwtSettings(NamedTuple):
    """Keys `sasl.oauthbearer.*`. No audience: a token that names one is refused, as RFC 7519 wants and Kafka does."""

    audiences: frozenset[str] = frozenset()
    issuer: str | None = None
    clock_skew_s: int = 30
    sub_claim: str = "sub"
    scope_claim: str = "scope"


class JwtValidator:
    """See TokenValidator."""

    def __init__(self, settings: JwtSettings, keys: KeySet, now_s: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._keys = keys
        self._now_s = now_s

    def validate(self, token: str) -> AcceptedToken:
        """Raises TokenRejected."""
        parts = token.split(".")
        if len(parts) != 3 or not all(parts):
            raise TokenRejected("the token does not have three parts")
        if len(parts[0]) > HEADER_CHARS_MAX:
            raise TokenRejected(f"the header has more than {HEADER_CHARS_MAX} characters")
        self._check_signature(parts, json_object(decoded_part(parts[0])))
        return self._checked(json_object(decoded_part(parts[1])))

    def _check_signature(self, parts: list[str], header: dict[str, Any]) -> None:
        algorithm, key_id = header.get("alg"), header.get("kid")
        family = FAMILIES.get(algorithm) if isinstance(algorithm, str) else None
        if family is None:
            raise TokenRejected("the algorithm is not one of RSA or of elliptic curves")
        if "crit" in header or "b64" in header:
            raise TokenRejected("the header has an extension")
        if key_id is not None and not isinstance(key_id, str):
            raise TokenRejected("the key id is not a text")
        signature, signed = decoded_part(parts[2]), f"{parts[0]}.{parts[1]}".encode()
        keys = self._keys.find(key_id, family)
        if not keys:
            if key_id is not None:
                self._keys.ask_for(key_id)
            raise TokenRejected("the key is not one of the issuer's that are known")
        assert isinstance(algorithm, str)
        if not any(key.verifies(algorithm, signature, signed) for key in keys[:KEYS_TRIED_MAX]):
            raise TokenRejected("the signature is wrong")

    def _checked(self, claims: dict[str, Any]) -> AcceptedToken:
        settings, expires = self._settings, self._checked_times(claims)
        if settings.issuer is not None and claims.get("iss") != settings.issuer:
            raise TokenRejected("the issuer is another one")
        self._check_audience(claims.get("aud"))
        self._check_scope(claims.get(settings.scope_claim))
        return AcceptedToken(name_in(claims, settings.sub_claim).strip(), expires * 1000)

    def _checked_times(self, claims: dict[str, Any]) -> int:
        """When the token expires. Fractions of a second do not count; a token from the future is accepted."""
        now, skew = int(self._now_s()), self._settings.clock_skew_s
        expires, issued, starts = (
            int(seconds(claims, name, required=name != "nbf") or 0) for name in ("exp", "iat", "nbf")
        )
        if now - skew >= expires:
            raise TokenRejected("the token has expired")
        if expires < max(issued, starts):
            raise TokenRejected("the token expires before it begins")
        if now + skew < starts:
            raise TokenRejected("the token is not valid yet")
        return expires

    def _check_audience(self, value: Any) -> None:
        audiences = [value] if isinstance(value, str) else value
        if audiences is None and not self._settings.audiences:
            return
        if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
            raise TokenRejected("the audience is neither a text nor a list of texts")
        if self._settings.audiences.isdisjoint(audiences):
            raise TokenRejected("the audience is another one (sasl.oauthbearer.expected.audience)")

    def _check_scope(self, value: Any) -> None:
        """A text, or a list of texts; none of them blank or there twice, as in Kafka."""
        scopes = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        found = {each.strip() for each in scopes if isinstance(each, str)}
        if len(found) != len(scopes) or "" in found:
            raise TokenRejected("the scope is malformed")
