"""Configuration keys of one mechanism on one listener, and its JAAS configuration, found as Kafka finds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kafka_cy.config import definitions
from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.java_properties import JAAS_FILE, jaas_file
from kafka_cy.config.types import ConfigError, ConfigKey, parse_value
from kafka_cy.security.jaas import JaasError, LoginModule, parse_entry, read_file
from kafka_cy.security.secret import HIDDEN

JAAS: Final = "sasl.jaas.config"
CONTEXT: Final = "KafkaServer"


class MechanismKeys:
    """The keys of a mechanism: `listener.name.<listener>.<mechanism>.<key>`, `listener.name.<listener>.<key>`, `<key>`."""

    def __init__(self, config: BrokerConfig, listener: str, mechanism: str) -> None:
        self.config, self.listener, self.mechanism = config, listener, mechanism
        self._prefix = f"{definitions.LISTENER_PREFIX}{listener.lower()}."

    def own_name(self, name: str) -> str:
        """The full name of a key of the mechanism on the listener."""
        return f"{self._prefix}{self.mechanism.lower()}.{name}"

    def own(self, name: str) -> str | None:
        """The value of the mechanism's own key on the listener: the only one that Kafka reads of some keys."""
        return self.config.text(self.own_name(name))

    def find(self, name: str) -> tuple[str, Any]:
        """The key that gives `name` its value, and the typed value. Raises ConfigError."""
        for full in (self.own_name(name), self._prefix + name):
            text = self.config.text(full)
            if text is not None:
                return full, parse_value(_key(name)._replace(name=full), text)
        return name, self.config[name]

    def __getitem__(self, name: str) -> Any:
        return self.find(name)[1]

    def error(self, key: str, value: object, allowed: str, reason: str) -> ConfigError:
        """An error about a key; the value must not be a secret."""
        return ConfigError(key, value, allowed, f"{self.listener}: {reason}")


def _key(name: str) -> ConfigKey:
    key = definitions.broker_key(name)
    assert key is not None, name
    return key


def login_modules(keys: MechanismKeys, environment: Mapping[str, str]) -> list[LoginModule]:
    """The login modules of a mechanism: of its own key, or of the JAAS file. Raises ConfigError."""
    text = keys.own(JAAS)
    if text is not None:
        try:
            return [parse_entry(text)]
        except JaasError as error:
            allowed = "one login module: class, flag, options and a semicolon"
            raise keys.error(keys.own_name(JAAS), HIDDEN, allowed, str(error)) from None
    path = jaas_file(environment)
    contexts = {} if path is None else _read(keys, path)
    own = f"{keys.listener.lower()}.{CONTEXT}"
    found = contexts.get(own, contexts.get(CONTEXT))
    if found:
        return found
    reason = (
        f"Could not find a '{CONTEXT}' or '{own}' entry in the JAAS configuration. "
        f"System property '{JAAS_FILE}' is {'not set' if path is None else path}"
    )
    raise keys.error(keys.own_name(JAAS), None, f"a login module, or -D{JAAS_FILE}=FILE in KAFKA_OPTS", reason)


def _read(keys: MechanismKeys, path: str) -> dict[str, list[LoginModule]]:
    try:
        return read_file(path)
    except JaasError as error:
        raise keys.error(JAAS_FILE, path, "a JAAS file", str(error)) from None
