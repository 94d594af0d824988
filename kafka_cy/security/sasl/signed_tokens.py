"""Sets up the check of signed tokens from the keys `sasl.oauthbearer.*` of a listener's mechanism."""

from __future__ import annotations

from typing import Final

from kafka_cy.security.jaas import LoginModule
from kafka_cy.security.sasl.issuer_url import authorities_in, check_url
from kafka_cy.security.sasl.jwks import KeySetError, RefreshedKeySet, RefreshSettings
from kafka_cy.security.sasl.jwks_source import reader_of
from kafka_cy.security.sasl.jwt import JwtSettings, JwtValidator
from kafka_cy.security.sasl.listener_keys import MechanismKeys

_URL: Final = "sasl.oauthbearer.jwks.endpoint.url"
_VALIDATOR: Final = "sasl.oauthbearer.jwt.validator.class"
_VALIDATORS: Final = tuple(f"org.apache.kafka.common.security.oauthbearer.{name}JwtValidator" for name in ("Default", "Broker"))


def signed_validator(keys: MechanismKeys, module: LoginModule) -> tuple[JwtValidator, RefreshedKeySet]:
    """The validator and its keys, which are read already if they are in a file. Raises ConfigError."""
    name, value = keys.find(_VALIDATOR)
    if value not in _VALIDATORS:
        raise keys.error(name, value, f"one of: {', '.join(_VALIDATORS)}", "Java classes cannot be loaded")
    url_key, url = keys.find(_URL)
    try:
        url = check_url(_URL, url)
    except ValueError as error:
        raise keys.error(url_key, url, "the URL of a JWK set: file:, http: or https:", str(error)) from None
    key_set = RefreshedKeySet(reader_of(url, authorities_in(keys, module)), _refresh_settings(keys))
    if url.lower().startswith("file:"):
        try:
            key_set.refresh()
        except KeySetError as error:
            raise keys.error(url_key, url, "a file with a JWK set", str(error)) from None
    return JwtValidator(_settings(keys), key_set), key_set


def _settings(keys: MechanismKeys) -> JwtSettings:
    return JwtSettings(
        frozenset(keys["sasl.oauthbearer.expected.audience"] or ()),
        keys["sasl.oauthbearer.expected.issuer"] or None,
        _not_negative(keys, "sasl.oauthbearer.clock.skew.seconds"),
        _claim_name(keys, "sasl.oauthbearer.sub.claim.name"),
        _claim_name(keys, "sasl.oauthbearer.scope.claim.name"),
    )


def _refresh_settings(keys: MechanismKeys) -> RefreshSettings:
    return RefreshSettings(
        _not_negative(keys, "sasl.oauthbearer.jwks.endpoint.refresh.ms"),
        _not_negative(keys, "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms"),
        _not_negative(keys, "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms"),
    )


def _not_negative(keys: MechanismKeys, name: str) -> int:
    key, value = keys.find(name)
    if value < 0:
        raise keys.error(key, value, "at least 0", f"The OAuth configuration option {name} value must be non-negative")
    return int(value)


def _claim_name(keys: MechanismKeys, name: str) -> str:
    key, value = keys.find(name)
    text = (value or "").strip()
    if not text:
        reason = f"{name} value must be non-null, non-empty, and non-whitespace"
        raise keys.error(key, value, "the name of a claim", reason)
    return str(text)
