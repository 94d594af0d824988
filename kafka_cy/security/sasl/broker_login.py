"""What a broker logs in to other brokers with: username and password of the login module of the listener it connects to."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from kafka_cy.security.sasl.listener_keys import JAAS, MechanismKeys, login_modules
from kafka_cy.security.sasl.plain import MECHANISM as PLAIN
from kafka_cy.security.sasl.scram import HASHES
from kafka_cy.security.sasl.scram_client import salted_password, scram

if TYPE_CHECKING:
    from kafka_cy.config.broker_config import BrokerConfig

MECHANISM_KEY: Final = "sasl.mechanism.inter.broker.protocol"
Steps = Callable[[], Generator[bytes, bytes, None]]


def broker_login(
    config: BrokerConfig, listener: str, environment: Mapping[str, str] = os.environ
) -> tuple[str, Steps]:
    """The mechanism of connections to the listener `listener` of other brokers, and what makes the tokens of one.

    As in Kafka, the JAAS text is the one with which the listener itself serves. Raises ConfigError.
    """
    mechanism = str(config[MECHANISM_KEY])
    keys = MechanismKeys(config, listener, mechanism)
    if mechanism != PLAIN and mechanism not in HASHES:
        allowed = f"one of: {PLAIN}, {', '.join(HASHES)}"
        raise keys.error(MECHANISM_KEY, mechanism, allowed, f"brokers cannot log in to each other with {mechanism} yet")
    enabled_key, enabled = config.of_listener(listener, "sasl.enabled.mechanisms")
    if mechanism not in enabled:
        reason = f"{MECHANISM_KEY} must be included in sasl.enabled.mechanisms when SASL is used for inter-broker communication"
        raise keys.error(enabled_key, ",".join(enabled), f"a list with {mechanism}", reason)
    module = login_modules(keys, environment)[0]
    name, secret = module.option("username"), module.option("password")
    if name is None or secret is None:
        reason = "brokers log in to each other with the options username and password of this login module"
        raise keys.error(keys.own_name(JAAS), "[hidden]", 'username="..." password="..."', reason)
    if mechanism == PLAIN:
        return mechanism, partial(_plain, name, secret)
    return mechanism, partial(scram, HASHES[mechanism], name, salted_password(HASHES[mechanism], secret))


def _plain(user: str, password: str) -> Generator[bytes, bytes, None]:
    yield f"\0{user}\0{password}".encode()
