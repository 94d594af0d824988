"""URLs of token issuers (`sasl.oauthbearer.*.url`), and whom connections to them trust."""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import urlsplit

from kafka_cy.config.types import ConfigError
from kafka_cy.security.jaas import LoginModule
from kafka_cy.security.sasl.listener_keys import JAAS, MechanismKeys

SCHEMES: Final = ("file", "http", "https")


def check_url(key: str, url: str | None) -> str:
    """The URL without blanks around it. Raises ValueError with Kafka's text."""
    url = (url or "").strip()
    if not url:
        raise ValueError(f"The OAuth configuration option {key} value is required")
    try:
        parts = urlsplit(url)
        scheme, has_host = parts.scheme.lower(), bool(parts.hostname)
    except ValueError as error:
        raise ValueError(f"The OAuth configuration option {key} contains a URL ({url}) that is malformed: {error}") from None
    if not scheme:
        raise ValueError(f"The OAuth configuration option {key} contains a URL ({url}) that is missing the protocol")
    if scheme not in SCHEMES:
        raise ValueError(
            f"The OAuth configuration option {key} contains a URL ({url}) that contains an invalid protocol ({scheme}); "
            'only "http", "https", and "file" protocol are supported'
        )
    if scheme != "file" and not has_host:
        raise ValueError(f"The OAuth configuration option {key} contains a URL ({url}) that is malformed: no host")
    return url


def authorities_in(keys: MechanismKeys, module: LoginModule) -> str | None:
    """The PEM file with the authorities of an https URL: options `ssl.truststore.*` of the login module, as in Kafka."""
    given = {name for name in module.options if name.startswith("ssl.")}
    path, kind = module.option("ssl.truststore.location"), module.option("ssl.truststore.type")
    if not given:
        return None
    allowed = "ssl.truststore.location and ssl.truststore.type=PEM, and no other option ssl.*"
    if given != {"ssl.truststore.location", "ssl.truststore.type"} or kind != "PEM":
        raise keys.error(keys.own_name(JAAS), "[hidden]", allowed, "options ssl.* of the login module")
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise _unusable(keys, path, error) from None
    return path


def _unusable(keys: MechanismKeys, path: str | None, error: OSError) -> ConfigError:
    reason = f"ssl.truststore.location {path}: {error.strerror or error}"
    return keys.error(keys.own_name(JAAS), "[hidden]", "a PEM file with certificates", reason)
