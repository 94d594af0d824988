"""What the configuration says about GSSAPI: the login module with the key tab (Krb5LoginModule), and `sasl.kerberos.*`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from kafka_cy.config.java_properties import java_property
from kafka_cy.config.types import ConfigError
from kafka_cy.security.jaas import LoginModule, option_of
from kafka_cy.security.sasl.listener_keys import JAAS, MechanismKeys
from kafka_cy.security.sasl.renewal import Renewal
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
    found = _module(keys, modules)
    _service_name(keys, found)
    principal, key_tab = _principal(keys, found), _key_tab(found)
    _use_krb5_conf(keys, environment)
    try:
        from kafka_cy.security.sasl.kerberos import KerberosAcceptor, KerberosServer
    except ImportError as error:
        raise _missing(keys, error) from None
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


def kerberos_login(
    keys: MechanismKeys, modules: Iterable[LoginModule], environment: Mapping[str, str]
) -> tuple[Callable[[str], Any], Renewal[Any]]:
    """What makes the messages of logins to other brokers, and what gets the tickets. Raises ConfigError that names the key."""
    found = _module(keys, modules)
    service, principal, key_tab = _service_name(keys, found), _principal(keys, found), _key_tab(found)
    if key_tab is None:
        raise _jaas_error(keys, "brokers log in to each other with the option keyTab of this login module")
    if (found.option("isInitiator") or "true").lower() == "false":
        raise _jaas_error(keys, "brokers that log in to each other need tickets: isInitiator must not be false")
    prefix = "sasl.kerberos."
    factor, jitter = keys[prefix + "ticket.renew.window.factor"], keys[prefix + "ticket.renew.jitter"]
    least_s = keys[prefix + "min.time.before.relogin"] / 1000
    _use_krb5_conf(keys, environment)
    try:
        from kafka_cy.security.sasl.kerberos_login import KerberosLogin, TicketSettings
    except ImportError as error:
        raise _missing(keys, error) from None
    login = KerberosLogin(principal, key_tab, service, TicketSettings(factor, jitter, least_s))
    return login.begin, login.renewal


def _missing(keys: MechanismKeys, error: ImportError) -> Exception:
    if (error.name or "").partition(".")[0] not in _LIBRARIES and "krb5" not in str(error):
        return error
    return keys.error("sasl.enabled.mechanisms", MECHANISM, "other mechanisms without python-gssapi", _MISSING)


def _module(keys: MechanismKeys, modules: Iterable[LoginModule]) -> LoginModule:
    found = next((module for module in modules if module.name == MODULE), None)
    if found is None:
        raise _jaas_error(keys, f"GSSAPI needs {MODULE}")
    return found


def _key_tab(module: LoginModule) -> str | None:
    return (module.option("keyTab") or "").removeprefix("FILE:") or None


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


def _service_name(keys: MechanismKeys, module: LoginModule) -> str:
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
    return str(in_jaas if in_jaas is not None else in_config)


def _use_krb5_conf(keys: MechanismKeys, environment: Mapping[str, str]) -> None:
    """MIT's library looks for the variable in the process's environment. The properties of a JVM are stronger."""
    path = java_property(environment, KRB5_CONF)
    if path is None:
        return
    if not Path(path).is_file():
        raise keys.error(KRB5_CONF, path, "a file", "the file of Kerberos does not exist")
    os.environ["KRB5_CONFIG"] = path
