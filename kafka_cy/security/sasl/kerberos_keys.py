"""What the configuration says about GSSAPI: the login module with the key tab (Krb5LoginModule), and `sasl.kerberos.*`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from kafka_cy.config.java_properties import java_property
from kafka_cy.config.types import ConfigError
from kafka_cy.security.jaas import LoginModule, option_of
from kafka_cy.security.sasl.listener_keys import JAAS, MechanismKeys
from kafka_cy.security.sasl.server import SaslServer
from kafka_cy.security.secret import HIDDEN
from kafka_cy.security.world_readable import is_world_readable

MECHANISM: Final = "GSSAPI"
MODULE: Final = "com.sun.security.auth.module.Krb5LoginModule"
KRB5_CONF: Final = "java.security.krb5.conf"
RULES: Final = "sasl.kerberos.principal.to.local.rules"
SERVICE_NAME: Final = "sasl.kerberos.service.name"

_LIBRARIES: Final = ("gssapi", "decorator")
_MISSING: Final = (
    "this needs python-gssapi, which is not installed or does not find libgssapi_krb5: pip install 'kafka-cy[kerberos]' "
    "(before, on Debian: apt-get install gcc python3-dev libkrb5-dev)"
)


def kerberos_beginner(
    keys: MechanismKeys, modules: Iterable[LoginModule], warnings: list[str], environment: Mapping[str, str]
) -> Callable[[], SaslServer]:
    """Makes authentications. Reads the key tab and krb5.conf; the network is not used. Raises ConfigError that names the key."""
    found = next((module for module in modules if module.name == MODULE), None)
    if found is None:
        raise _jaas_error(keys, f"GSSAPI needs {MODULE}")
    _check_service_name(keys, found)
    principal = _principal(keys, found)
    key_tab = (found.option("keyTab") or "").removeprefix("FILE:") or None
    _use_krb5_conf(keys, environment)
    try:
        from kafka_cy.security.sasl.kerberos import KerberosAcceptor, KerberosServer
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _LIBRARIES and "krb5" not in str(error):
            raise
        raise keys.error("sasl.enabled.mechanisms", MECHANISM, "other mechanisms without python-gssapi", _MISSING) from None
    if key_tab is not None and is_world_readable(key_tab):
        warnings.append(f"{keys.listener}: the key tab {key_tab} can be read by every user of this machine")
    rules_key, rules = keys.find(RULES)
    try:
        acceptor = KerberosAcceptor(principal, key_tab, rules)
    except LookupError as error:
        raise _jaas_error(keys, f"no key of {principal}: {error}") from None
    except ValueError as error:
        allowed = "DEFAULT or RULE:[n:string](regexp)s/pattern/replacement/g/L"
        raise keys.error(rules_key, ",".join(rules), allowed, str(error)) from None
    return lambda: KerberosServer(acceptor)


def _jaas_error(keys: MechanismKeys, reason: str) -> ConfigError:
    allowed = f'{MODULE} required useKeyTab=true storeKey=true keyTab="..." principal="...";'
    return keys.error(keys.own_name(JAAS), HIDDEN, allowed, reason)


def _principal(keys: MechanismKeys, module: LoginModule) -> str:
    """Java needs `storeKey` to accept clients, too."""
    for option in ("useKeyTab", "storeKey"):
        if (module.option(option) or "").lower() != "true":
            raise _jaas_error(keys, f"the key of the broker is in a key tab: {option} must be true")
    principal = module.option("principal")
    if not principal:
        raise _jaas_error(keys, "principal is missing: kafka/host@REALM")
    return principal


def _check_service_name(keys: MechanismKeys, module: LoginModule) -> None:
    """KerberosLogin.getServiceName: the name is part of the configuration, though only clients use it."""
    in_jaas, (key, in_config) = option_of([module], MODULE, "serviceName"), keys.find(SERVICE_NAME)
    if in_jaas is not None and in_config is not None and in_jaas != in_config:
        reason = (
            "Conflicting serviceName values found in JAAS and Kafka configs value in JAAS file "
            f"{in_jaas}, value in Kafka config {in_config}"
        )
        raise keys.error(key, in_config, "the same name in both places", reason)
    if in_jaas is None and in_config is None:
        reason = "No serviceName defined in either JAAS or Kafka config"
        raise keys.error(key, None, "the first part of the broker's principal", reason)


def _use_krb5_conf(keys: MechanismKeys, environment: Mapping[str, str]) -> None:
    """MIT's library looks for the variable in the process's environment. The properties of a JVM are stronger."""
    path = java_property(environment, KRB5_CONF)
    if path is None:
        return
    if not Path(path).is_file():
        raise keys.error(KRB5_CONF, path, "a file", "the file of Kerberos does not exist")
    os.environ["KRB5_CONFIG"] = path
