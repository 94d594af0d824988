"""What the configuration says about OAUTHBEARER to other brokers: tokens are written here, come from an issuer, or from a file.

See OAuthBearerLoginModule, `sasl.login.*` and `sasl.oauthbearer.*`.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from kafka_cy.security.jaas import LoginModule
from kafka_cy.security.sasl.issuer_url import authorities_in, check_url
from kafka_cy.security.sasl.listener_keys import JAAS, MechanismKeys
from kafka_cy.security.sasl.oauth_client import LoginToken, check_extensions, oauthbearer, read_token
from kafka_cy.security.sasl.renewal import Renewal, RenewalFailed
from kafka_cy.security.sasl.token_endpoint import TIMEOUT_MS, Credentials, EndpointSettings, TokenEndpoint
from kafka_cy.security.sasl.unsecured_login import PREFIX, UnsecuredTokens
from kafka_cy.security.secret import HIDDEN, Secret

FILE_BYTES_MAX: Final = 64 << 10
PAUSE_S_MIN: Final = 1.0  # between two tokens
HANDLER: Final = "sasl.login.callback.handler.class"
URL: Final = "sasl.oauthbearer.token.endpoint.url"
_PACKAGE: Final = "org.apache.kafka.common.security.oauthbearer."
MODULE: Final = _PACKAGE + "OAuthBearerLoginModule"
ISSUED: Final = tuple(f"{_PACKAGE}{each}OAuthBearerLoginCallbackHandler" for each in ("", "secured.", "internals.secured."))
UNSECURED: Final = tuple(f"{_PACKAGE}{each}OAuthBearerUnsecuredLoginCallbackHandler" for each in ("", "internals.unsecured."))
_EXTENSION: Final = "extension_"


class RefreshSettings(NamedTuple):
    """Keys `sasl.login.refresh.*`."""

    window_factor: float = 0.8
    window_jitter: float = 0.05
    min_period_s: float = 60
    buffer_s: float = 300


def refresh_in_s(token: LoginToken, now_s: float, settings: RefreshSettings, chance: float) -> float:
    """In how many seconds a token is to be replaced (ExpiringCredentialRefreshingLogin). `chance`: 0 to 1.

    If the token does not last for the smallest period and the buffer before its end, neither holds.
    """
    share = settings.window_factor + settings.window_jitter * chance
    if token.expires_s - now_s < settings.min_period_s + settings.buffer_s:
        return (token.expires_s - now_s) * share
    starts_s = token.starts_s if token.starts_s is not None else now_s
    at_s = starts_s + (token.expires_s - starts_s) * share
    return max(min(at_s, token.expires_s - settings.buffer_s) - now_s, settings.min_period_s)


def oauth_login(keys: MechanismKeys, modules: list[LoginModule]) -> tuple[Callable[[str], Any], Renewal[LoginToken] | None]:
    """What makes the messages of a login, and what renews the token, if not each login has one of its own. Raises ConfigError."""
    if len(modules) != 1 or modules[0].name != MODULE:
        raise _jaas_error(keys, f"OAUTHBEARER needs one login module, {MODULE}")
    module, name, handler = modules[0], keys.own_name(HANDLER), keys.own(HANDLER)
    if handler in ISSUED:
        return _issued(keys, module)
    if handler is not None and handler not in UNSECURED:
        raise keys.error(name, handler, f"one of: {ISSUED[0]}, {UNSECURED[1]}", "Java classes cannot be loaded")
    general_key, general = keys.find(HANDLER)
    if handler is None and general is not None:  # Kafka ignores it, and writes tokens without a signature
        raise keys.error(general_key, general, "unset", f"the key must be {name}")
    try:
        tokens = UnsecuredTokens(module)
    except ValueError as error:
        raise _jaas_error(keys, f"tokens without a signature are made of the options {PREFIX}*: {error}") from None
    return partial(oauthbearer, tokens.token, tokens.extensions), None


def _issued(keys: MechanismKeys, module: LoginModule) -> tuple[Callable[[str], Any], Renewal[LoginToken]]:
    extensions = {
        name.removeprefix(_EXTENSION): module.option(name) or "" for name in module.options if name.startswith(_EXTENSION)
    }
    try:
        check_extensions(extensions)
    except ValueError as error:
        raise _jaas_error(keys, str(error)) from None
    subject = str(keys["sasl.oauthbearer.sub.claim.name"]).strip() or "sub"
    renewal = Renewal("oauth-token", partial(_token, _retriever(keys, module), subject, _refresh_settings(keys)))
    return partial(oauthbearer, lambda: renewal.value.text, extensions), renewal


def _token(retrieve: Callable[[], str], subject: str, settings: RefreshSettings) -> tuple[LoginToken, float]:
    text = retrieve()
    try:
        token = read_token(text, subject)
    except ValueError as error:
        raise RenewalFailed(str(error)) from None
    now_s = time.time()
    if token.expires_s <= now_s:
        raise RenewalFailed("the access token has expired")
    # A file, or an issuer, may give the old token again, until its end.
    return token, max(PAUSE_S_MIN, refresh_in_s(token, now_s, settings, random.random()))


def _retriever(keys: MechanismKeys, module: LoginModule) -> Callable[[], str]:
    url_key, url = keys.find(URL)
    try:
        url = check_url(URL, url)
    except ValueError as error:
        raise keys.error(url_key, url, "the URL of a token endpoint: file:, http: or https:", str(error)) from None
    scheme = urlsplit(url).scheme.lower()
    if scheme == "file":
        return partial(_read_file, unquote(urlsplit(url).path))
    try:
        urlsplit(url).port  # noqa: B018
    except ValueError as error:
        raise keys.error(url_key, url, "a URL with a port from 1 to 65535", str(error)) from None
    client_id, secret = module.option("clientId"), module.option("clientSecret")
    if not client_id or not secret:
        raise _jaas_error(keys, "the client credentials grant needs the options clientId and clientSecret of the login module")
    context = None
    if scheme == "https":
        context = ssl.create_default_context(cafile=authorities_in(keys, module))
    credentials = Credentials(client_id, Secret(secret), module.option("scope"))
    encode = (keys.own("sasl.oauthbearer.header.urlencode") or "").lower() == "true"
    return TokenEndpoint(url, credentials, _endpoint_settings(keys), context, url_encode=encode).retrieve


def _read_file(path: str) -> str:
    """Unlike Kafka 3.9, which reads the file at its start only."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(FILE_BYTES_MAX)
    except UnicodeDecodeError:
        raise RenewalFailed(f"{path} is not a token") from None
    except OSError as error:
        raise RenewalFailed(f"{path}: {error.strerror or error}") from None


def _endpoint_settings(keys: MechanismKeys) -> EndpointSettings:
    return EndpointSettings(
        _not_negative(keys, "sasl.login.connect.timeout.ms") or TIMEOUT_MS,
        _not_negative(keys, "sasl.login.read.timeout.ms") or TIMEOUT_MS,
        _not_negative(keys, "sasl.login.retry.backoff.ms"),
        _not_negative(keys, "sasl.login.retry.backoff.max.ms"),
    )


def _refresh_settings(keys: MechanismKeys) -> RefreshSettings:
    prefix = "sasl.login.refresh."
    names = ("window.factor", "window.jitter", "min.period.seconds", "buffer.seconds")
    return RefreshSettings(*(keys[prefix + name] for name in names))


def _not_negative(keys: MechanismKeys, name: str) -> int:
    key, value = keys.find(name)
    if value is not None and value < 0:
        raise keys.error(key, value, "at least 0", f"The OAuth configuration option {name} value must be non-negative")
    return int(value or 0)


def _jaas_error(keys: MechanismKeys, reason: str) -> Exception:
    return keys.error(keys.own_name(JAAS), HIDDEN, f"{MODULE} required ...;", reason)
