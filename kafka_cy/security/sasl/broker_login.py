"""What a broker logs in to other brokers with: the login module of the listener that it connects to."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka_cy.security.jaas import LoginModule
from kafka_cy.security.sasl import kerberos_keys
from kafka_cy.security.sasl.listener_keys import JAAS, MechanismKeys, login_modules
from kafka_cy.security.sasl.oauthbearer import MECHANISM as OAUTHBEARER
from kafka_cy.security.sasl.plain import MECHANISM as PLAIN
from kafka_cy.security.sasl.renewal import Renewal
from kafka_cy.security.sasl.scram import HASHES
from kafka_cy.security.sasl.scram_client import salted_password, scram

if TYPE_CHECKING:
    from kafka_cy.config.broker_config import BrokerConfig

MECHANISM_KEY: Final = "sasl.mechanism.inter.broker.protocol"
MECHANISMS: Final = (PLAIN, *HASHES, OAUTHBEARER, kerberos_keys.MECHANISM)
Steps = Callable[[str], Generator[bytes | None, bytes, None]]


class Login(NamedTuple):
    """`begin(host)` makes the tokens of one connection; see BrokerLogin. `renewal`: to be started before, if there is one."""

    mechanism: str
    begin: Steps
    renewal: Renewal[Any] | None = None


def broker_login(config: BrokerConfig, listener: str, environment: Mapping[str, str] = os.environ) -> Login:
    """How to log in to the listener `listener` of other brokers. Neither the network nor a file is used, but the JAAS file.

    As in Kafka, the JAAS text is the one with which the listener itself serves. Raises ConfigError.
    """
    mechanism = str(config[MECHANISM_KEY])
    keys = MechanismKeys(config, listener, mechanism)
    if mechanism not in MECHANISMS:
        allowed = f"one of: {', '.join(MECHANISMS)}"
        raise keys.error(MECHANISM_KEY, mechanism, allowed, f"brokers cannot log in to each other with {mechanism}")
    enabled_key, enabled = config.of_listener(listener, "sasl.enabled.mechanisms")
    if mechanism not in enabled:
        reason = f"{MECHANISM_KEY} must be included in sasl.enabled.mechanisms when SASL is used for inter-broker communication"
        raise keys.error(enabled_key, ",".join(enabled), f"a list with {mechanism}", reason)
    modules = login_modules(keys, environment)
    if mechanism == OAUTHBEARER:
        from kafka_cy.security.sasl.oauth_login import oauth_login

        return Login(mechanism, *oauth_login(keys, modules))
    if mechanism == kerberos_keys.MECHANISM:
        return Login(mechanism, *kerberos_keys.kerberos_login(keys, modules, environment))
    return Login(mechanism, _with_password(keys, modules[0]))


def _with_password(keys: MechanismKeys, module: LoginModule) -> Steps:
    name, secret, mechanism = module.option("username"), module.option("password"), keys.mechanism
    if name is None or secret is None:
        reason = "brokers log in to each other with the options username and password of this login module"
        raise keys.error(keys.own_name(JAAS), "[hidden]", 'username="..." password="..."', reason)
    if mechanism == PLAIN:
        return partial(_plain, name, secret)
    return partial(scram, HASHES[mechanism], name, salted_password(HASHES[mechanism], secret))


def _plain(user: str, password: str, _host: str) -> Generator[bytes, bytes, None]:
    yield f"\0{user}\0{password}".encode()
