"""What a SASL listener offers: its mechanisms with their users and keys, from the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.security.jaas import LoginModule
from kafka_cy.security.sasl import kerberos_keys, oauthbearer, plain
from kafka_cy.security.sasl.listener_keys import JAAS, MechanismKeys, login_modules
from kafka_cy.security.sasl.oauthbearer import OAuthBearerServer, TokenValidator
from kafka_cy.security.sasl.plain import PlainServer, PlainUsers, users_in
from kafka_cy.security.sasl.scram import HASHES, ScramLookups, ScramServer
from kafka_cy.security.sasl.server import SaslServer

if TYPE_CHECKING:
    from kafka_cy.security.sasl.jwks import RefreshedKeySet

MECHANISMS: Final = (plain.MECHANISM, *HASHES, kerberos_keys.MECHANISM, oauthbearer.MECHANISM)

_PACKAGE: Final = "org.apache.kafka.common.security."
_PLAIN_MODULE: Final = _PACKAGE + "plain.PlainLoginModule"
_SCRAM_MODULE: Final = _PACKAGE + "scram.ScramLoginModule"
_OAUTH_MODULE: Final = _PACKAGE + "oauthbearer.OAuthBearerLoginModule"
_MODULES: Final = (_PLAIN_MODULE, _SCRAM_MODULE, _OAUTH_MODULE, kerberos_keys.MODULE)

_HANDLER: Final = "sasl.server.callback.handler.class"
_OAUTH: Final = _PACKAGE + "oauthbearer."
_SIGNED: Final = tuple(
    f"{_OAUTH}{package}OAuthBearerValidatorCallbackHandler" for package in ("", "secured.", "internals.secured.")
)
_UNSECURED: Final = tuple(
    f"{_OAUTH}{package}OAuthBearerUnsecuredValidatorCallbackHandler" for package in ("", "internals.unsecured.")
)


class ListenerSasl:
    """The mechanisms of a listener. Any thread may call begin() and what it returns.

    `modules`: the login modules of each mechanism; some have what the broker needs to log in to others. `key_sets`: keys of
    token issuers, which a thread of the caller refreshes. `warnings`: for the log.
    """

    def __init__(self, mechanisms: tuple[str, ...], max_receive_bytes: int) -> None:
        self.mechanisms = mechanisms
        self.max_receive_bytes = max_receive_bytes  # of a token; also sasl.server.max.receive.size
        self.modules: dict[str, list[LoginModule]] = {}
        self.key_sets: tuple[RefreshedKeySet, ...] = ()
        self.warnings: list[str] = []
        self._begin: dict[str, Callable[[], SaslServer]] = {}
        self._max_reauth_ms: dict[str, int] = {}

    def begin(self, mechanism: str) -> SaslServer:
        """A new authentication. KeyError for a mechanism that is not among `mechanisms`."""
        return self._begin[mechanism]()

    def max_reauth_ms(self, mechanism: str) -> int:
        """After what time a client must authenticate again; 0: it need not."""
        return self._max_reauth_ms[mechanism]


def listener_sasl(
    config: BrokerConfig, listener: str, lookups: ScramLookups, environment: Mapping[str, str] = os.environ
) -> ListenerSasl:
    """What the listener `listener` offers. Files are read, the network is not used. Raises ConfigError that names the key."""
    key, mechanisms = config.of_listener(listener, "sasl.enabled.mechanisms")
    result = ListenerSasl(tuple(mechanisms), config.of_listener(listener, "sasl.server.max.receive.size")[1])
    general_key, general = config.of_listener(listener, JAAS)
    if general is not None:
        text = f"Server config {general_key} should be prefixed with SASL mechanism name, ignoring config"
        result.warnings.append(text)
    for mechanism in mechanisms:
        keys = MechanismKeys(config, listener, mechanism)
        if mechanism not in MECHANISMS:
            reason = f"the SASL mechanism {mechanism} does not exist (names are case-sensitive)"
            raise keys.error(key, mechanism, f"a list of: {', '.join(MECHANISMS)}", reason)
        result.modules[mechanism] = _known_modules(keys, environment)
        result._max_reauth_ms[mechanism] = max(0, keys["connections.max.reauth.ms"])
        result._begin[mechanism] = _beginner(keys, result, lookups, environment)
    return result


def _known_modules(keys: MechanismKeys, environment: Mapping[str, str]) -> list[LoginModule]:
    modules = login_modules(keys, environment)
    unknown = next((module.name for module in modules if module.name not in _MODULES), None)
    if unknown is not None:
        raise keys.error(keys.own_name(JAAS), unknown, f"one of: {', '.join(_MODULES)}", "Java classes cannot be loaded")
    return modules


def _beginner(
    keys: MechanismKeys, result: ListenerSasl, lookups: ScramLookups, environment: Mapping[str, str]
) -> Callable[[], SaslServer]:
    mechanism, modules = keys.mechanism, result.modules[keys.mechanism]
    if mechanism == oauthbearer.MECHANISM:
        validator = _validator(keys, result, modules)
        return lambda: OAuthBearerServer(validator)
    handler = keys.own(_HANDLER)
    if handler:
        raise keys.error(keys.own_name(_HANDLER), handler, "unset", "Java classes cannot be loaded")
    if mechanism == kerberos_keys.MECHANISM:
        return kerberos_keys.kerberos_beginner(keys, modules, result.warnings, environment)
    if mechanism in HASHES:
        return lambda: ScramServer(mechanism, lookups)
    found = [users_in(module.options) for module in modules if module.name == _PLAIN_MODULE]
    users = PlainUsers({name: secret for each in reversed(found) for name, secret in each.items()})
    if not len(users):
        result.warnings.append(f"{keys.listener}: no user can log in with PLAIN: {_PLAIN_MODULE} has no option user_<name>")
    return lambda: PlainServer(users)


def _validator(keys: MechanismKeys, result: ListenerSasl, modules: list[LoginModule]) -> TokenValidator:
    if len(modules) != 1:
        reason = f"Must supply exactly 1 non-null JAAS mechanism configuration (size was {len(modules)})"
        raise keys.error(keys.own_name(JAAS), "[hidden]", "one login module", reason)
    name, handler = keys.own_name(_HANDLER), keys.own(_HANDLER)
    if handler in _SIGNED:
        return _signed(keys, result, modules[0])
    if handler is not None and handler not in _UNSECURED:
        raise keys.error(name, handler, f"one of: {_SIGNED[0]}, {_UNSECURED[1]}", "Java classes cannot be loaded")
    general_key, general = keys.find(_HANDLER)
    if handler is None and general is not None:  # Kafka ignores it, and accepts tokens that anybody can write
        raise keys.error(general_key, general, "unset", f"the key must be {name}")
    from kafka_cy.security.sasl.unsecured_jws import UnsecuredValidator, unsecured_settings

    try:
        settings = unsecured_settings(modules[0])
    except ValueError as error:
        raise keys.error(keys.own_name(JAAS), "[hidden]", "unsecuredValidatorAllowableClockSkewMs in ms", str(error)) from None
    result.warnings.append(
        f"{keys.listener}: OAUTHBEARER accepts tokens without a signature, which anybody can write; {name}={_SIGNED[0]} checks them"
    )
    return UnsecuredValidator(settings)


def _signed(keys: MechanismKeys, result: ListenerSasl, module: LoginModule) -> TokenValidator:
    try:
        from kafka_cy.security.sasl.signed_tokens import signed_validator
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "cryptography":
            raise
        reason = "this needs cryptography, which is not installed: pip install 'kafka-cy[oauth]'"
        raise keys.error(keys.own_name(_HANDLER), keys.own(_HANDLER), "unset without cryptography", reason) from None
    validator, key_set = signed_validator(keys, module)
    result.key_sets += (key_set,)
    return validator
