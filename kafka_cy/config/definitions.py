"""Look-up of configuration keys by entity: which keys exist, of what type, with what default and scope."""

from typing import Any, Final

from kafka_cy.config.broker_keys import BROKER_KEYS, INTERNAL_KEYS
from kafka_cy.config.kafkacy_keys import DYNAMIC_ONLY_KEYS, KAFKACY_KEYS
from kafka_cy.config.topic_keys import BROKER_SYNONYMS as TOPIC_BROKER_SYNONYMS
from kafka_cy.config.topic_keys import TOPIC_KEYS
from kafka_cy.config.types import ConfigKey, Row

_BROKER_ROWS: Final[dict[str, Row]] = {
    row[0]: row for row in BROKER_KEYS + KAFKACY_KEYS + DYNAMIC_ONLY_KEYS + INTERNAL_KEYS
}
_TOPIC_ROWS: Final[dict[str, Row]] = {row[0]: row for row in TOPIC_KEYS}

#: Keys of the same setting in different units, the finest first: the first one that is set counts.
_UNIT_GROUPS: Final[tuple[tuple[str, ...], ...]] = (
    ("log.retention.ms", "log.retention.minutes", "log.retention.hours"),
    ("log.roll.ms", "log.roll.hours"),
    ("log.roll.jitter.ms", "log.roll.jitter.hours"),
)

#: Milliseconds in one unit of a key that does not count in milliseconds.
_UNIT_MS: Final = {
    "log.retention.minutes": 60_000,
    "log.retention.hours": 3_600_000,
    "log.roll.hours": 3_600_000,
    "log.roll.jitter.hours": 3_600_000,
}

#: Keys of a single listener: `listener.name.<listener in lower case>.<key>`.
LISTENER_PREFIX: Final = "listener.name."

__all__ = [
    "LISTENER_PREFIX",
    "TOPIC_BROKER_SYNONYMS",
    "broker_key",
    "broker_key_names",
    "broker_synonyms",
    "client_metrics_key",
    "client_metrics_key_names",
    "group_broker_synonyms",
    "group_key",
    "group_key_names",
    "topic_key",
    "topic_key_names",
    "unit_ms",
    "without_listener",
]


def broker_key(name: str) -> ConfigKey | None:
    """Return the broker key of that name; ours, the dynamic-only and the internal ones, and single listeners' included.

    A listener's own key (`listener.name.<listener>.<key>`) has no default: unset, the key without the prefix counts.
    """
    row = _BROKER_ROWS.get(name)
    if row is None and name.startswith(LISTENER_PREFIX):
        key = _BROKER_ROWS.get(without_listener(name))
        row = (name, key[1], None, *key[3:]) if key is not None else None
    return ConfigKey(*row) if row is not None else None


def without_listener(name: str) -> str:
    """Return the key that a single listener's key overrides: `listener.name.<listener>.<key>` -> `<key>`; others as they are."""
    return name[len(LISTENER_PREFIX) :].partition(".")[2] if name.startswith(LISTENER_PREFIX) else name


def broker_key_names() -> list[str]:
    """Names of the keys that are described, sorted."""
    return sorted(row[0] for row in BROKER_KEYS + KAFKACY_KEYS)


def broker_synonyms(name: str) -> tuple[str, ...]:
    """Names under which the same broker setting may stand, in order of precedence, `name` included."""
    for group in _UNIT_GROUPS:
        if name in group:
            return group
    if name.startswith(LISTENER_PREFIX):
        return (name, without_listener(name))
    if name == "log.flush.interval.ms":
        return ("log.flush.interval.ms", "log.flush.scheduler.interval.ms")
    return (name,)


def unit_ms(name: str) -> int:
    """Milliseconds that one unit of the key `name` stands for."""
    return _UNIT_MS.get(name, 1)


def topic_key(name: str) -> ConfigKey | None:
    """Return the topic key of that name."""
    row = _TOPIC_ROWS.get(name)
    return ConfigKey(*row) if row is not None else None


def topic_key_names() -> list[str]:
    """Names of the topic keys in Kafka's order."""
    return list(_TOPIC_ROWS)


def _group_rows() -> dict[str, Row]:
    from kafka_cy.config.group_keys import GROUP_KEYS

    return {row[0]: row for row in GROUP_KEYS}


def group_key(name: str) -> ConfigKey | None:
    """Return the group key of that name."""
    row = _group_rows().get(name)
    return ConfigKey(*row) if row is not None else None


def group_key_names() -> list[str]:
    """Names of the group keys in Kafka's order."""
    return list(_group_rows())


def group_broker_synonyms() -> dict[str, str]:
    """Group key -> broker key that gives its default."""
    from kafka_cy.config.group_keys import BROKER_SYNONYMS

    return BROKER_SYNONYMS


def client_metrics_key(name: str) -> ConfigKey | None:
    """Return the client metrics key of that name."""
    from kafka_cy.config.client_metrics_keys import CLIENT_METRICS_KEYS

    rows: dict[str, Any] = {row[0]: row for row in CLIENT_METRICS_KEYS}
    row = rows.get(name)
    return ConfigKey(*row) if row is not None else None


def client_metrics_key_names() -> list[str]:
    """Names of the client metrics keys in Kafka's order."""
    from kafka_cy.config.client_metrics_keys import CLIENT_METRICS_KEYS

    return [row[0] for row in CLIENT_METRICS_KEYS]
