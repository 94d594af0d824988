"""Warnings about keys that are set and have no effect, or are not known."""

from __future__ import annotations

from typing import Any, Final

from kafka_cy.config import definitions
from kafka_cy.config.types import ConfigKey, parse_value

#: Why a key of members of a cluster has no effect.
SINGLE: Final = "kafka-cy runs as a single broker, because zookeeper.connect is not set"


def has_meaning(key: ConfigKey, value: Any) -> bool:
    """Whether a typed value asks for something: it is neither empty nor the key's default."""
    if value is None or value in ("", []):
        return False
    of_all_listeners = definitions.without_listener(key.name)
    default = definitions.broker_key(of_all_listeners) if of_all_listeners != key.name else key
    return default is None or value != parse_value(key, default.default)


def no_effect_warning(key: ConfigKey) -> str:
    """The warning about a key that is set and has no effect."""
    return f"configuration key {key.name} has no effect: {SINGLE if key.is_cluster_only else key.ignored_because}"


def not_of_listeners_warning(name: str) -> str:
    """The warning about a key of a single listener that only the whole broker has."""
    limits = " and ".join(definitions.LISTENER_LIMITS)
    return f"configuration key {name} has no effect: only ssl.*, sasl.*, {limits} apply to a single listener"


def unknown_key_warning(name: str) -> str:
    """The warning about a broker key that is not known; it suggests what may be meant."""
    for topic_name, broker_name in definitions.TOPIC_BROKER_SYNONYMS.items():
        if name == topic_name:
            return f"unknown configuration key {name}: it is a topic's; the broker's is {broker_name}"
    import difflib

    close = difflib.get_close_matches(name, definitions.broker_key_names(), n=1, cutoff=0.85)
    return f"unknown configuration key {name}" + (f": did you mean {close[0]}?" if close else "")
