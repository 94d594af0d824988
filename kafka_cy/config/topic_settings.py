"""The settings that a client gives a topic."""

from collections.abc import Mapping
from typing import Any

from kafka_cy.config import definitions
from kafka_cy.config.types import ConfigError, RelationError, UnknownKeyError, parse_value


def validate_topic_configs(configs: Mapping[str, str | None]) -> dict[str, Any]:
    """Parse and check a topic's settings; return the typed values. Raises ConfigError for the first that is not allowed."""
    typed: dict[str, Any] = {}
    for name, text in configs.items():
        key = definitions.topic_key(name)
        if key is None:
            raise UnknownKeyError("topic", name, text)
        if text is None:
            raise ConfigError(name, None, key.allowed, "Null value not supported for topic configs")
        typed[name] = parse_value(key, text)
    low = typed.get("min.compaction.lag.ms", 0)
    high = typed.get("max.compaction.lag.ms", (1 << 63) - 1)
    if low > high:
        reason = f"conflict topic config setting min.compaction.lag.ms ({low}) > max.compaction.lag.ms ({high})"
        raise RelationError("min.compaction.lag.ms", low, f"at most max.compaction.lag.ms, {high}", reason)
    if typed.get("remote.storage.enable"):
        reason = (
            "Tiered Storage functionality is disabled in the broker. "
            "Topic cannot be configured with remote log storage."
        )
        raise RelationError("remote.storage.enable", "true", "false", reason)
    return typed
