"""Look-up of configuration keys by entity: which keys exist, of what type, with what default, scope and effect."""

from functools import cache
from importlib import import_module
from typing import Final

from kafka_cy.config.keys import broker, kafkacy, log, socket, topic_management, topic_resource
from kafka_cy.config.keys.topic_resource import BROKER_SYNONYMS as TOPIC_BROKER_SYNONYMS
from kafka_cy.config.types import ConfigKey, Entry

#: Modules of `kafka_cy.config.keys` with broker keys that are imported only when a key is not found in those above.
_FURTHER_MODULES: Final = (
    "group",
    "kraft",
    "ssl",
    "transaction",
    "share",
    "replication",
    "sasl",
    "quota",
    "metrics",
    "tiered_storage",
    "zookeeper",
    "legacy",
    "password",
)

#: Broker entries of the modules that are imported so far.
_broker_entries: Final[dict[str, Entry]] = {
    entry[0]: entry
    for module in (broker, kafkacy, log, socket, topic_management)
    for entry in module.KEYS + getattr(module, "INTERNAL_KEYS", ())
}
_topic_entries: Final[dict[str, Entry]] = {entry[0]: entry for entry in topic_resource.KEYS}

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

#: Limits that a single listener can have beside those of the broker (KIP-402, KIP-612). They are no limits if they are unset.
LISTENER_LIMITS: Final = ("max.connections", "max.connection.creation.rate")

#: Other keys that a single listener can have begin so.
_OF_LISTENERS: Final = ("ssl.", "sasl.", "connections.max.reauth.ms")

__all__ = [
    "LISTENER_LIMITS",
    "LISTENER_PREFIX",
    "TOPIC_BROKER_SYNONYMS",
    "broker_key",
    "broker_key_names",
    "broker_synonyms",
    "client_metrics_key",
    "client_metrics_key_names",
    "every_broker_key",
    "group_broker_synonyms",
    "group_key",
    "group_key_names",
    "is_of_listeners",
    "topic_key",
    "topic_key_names",
    "unit_ms",
    "without_listener",
]


def broker_key(name: str) -> ConfigKey | None:
    """Return the broker key of that name; this includes our own, internal and removed keys, and keys of single listeners.

    A listener's own key (`listener.name.<listener>.<key>`) has no default: if it is unset, the key without the prefix
    counts.
    """
    entry = _broker_entry(name)
    if entry is not None:
        return ConfigKey(*entry)
    if name.startswith(LISTENER_PREFIX):
        entry = _broker_entry(without_listener(name))
        if entry is not None:
            return ConfigKey(*entry)._replace(name=name, default=None)
    return None


def _broker_entry(name: str) -> Entry | None:
    entry = _broker_entries.get(name)
    if entry is None and _prefix(name) not in _EAGER_PREFIXES:
        prefix = _prefix(name)
        for module in sorted(_FURTHER_MODULES, key=lambda module: module != prefix):  # its own module first: others cost time
            _import_entries(module)
            entry = _broker_entries.get(name)
            if entry is not None:
                break
    return entry


def _prefix(name: str) -> str:
    return name.partition(".")[0]


#: Keys that begin so are all in the modules that are always imported.
_EAGER_PREFIXES: Final = frozenset(("kafkacy", "listener"))


@cache
def _import_entries(module_name: str) -> tuple[Entry, ...]:
    """Import a module of keys, add its entries to the table, and return those that clients see."""
    module = import_module(f"kafka_cy.config.keys.{module_name}")
    shown: tuple[Entry, ...] = getattr(module, "KEYS", ())
    for entry in shown + getattr(module, "INTERNAL_KEYS", ()):
        _broker_entries[entry[0]] = entry
    return shown


def without_listener(name: str) -> str:
    """Return the key that a single listener's key overrides: `listener.name.<listener>.<key>` -> `<key>`; others as they are."""
    return name[len(LISTENER_PREFIX) :].partition(".")[2] if name.startswith(LISTENER_PREFIX) else name


def is_of_listeners(name: str) -> bool:
    """Whether a single listener can have this key; without the listener's prefix."""
    return name in LISTENER_LIMITS or name.startswith(_OF_LISTENERS)


@cache
def broker_key_names() -> list[str]:
    """Names of the keys that are described to clients, sorted."""
    entries = broker.KEYS + kafkacy.KEYS + log.KEYS + socket.KEYS + topic_management.KEYS
    for module in _FURTHER_MODULES:
        entries += _import_entries(module)
    return sorted(entry[0] for entry in entries)


def every_broker_key() -> list[ConfigKey]:
    """All broker keys, sorted by name: those that clients see, internal ones and those that Kafka has removed."""
    for module in _FURTHER_MODULES:
        _import_entries(module)
    return [ConfigKey(*entry) for _, entry in sorted(_broker_entries.items())]


def broker_synonyms(name: str) -> tuple[str, ...]:
    """Names under which the same broker setting may be given, in order of precedence, `name` included."""
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
    entry = _topic_entries.get(name)
    if entry is None:
        entry = next((each for each in topic_resource.INTERNAL_KEYS if each[0] == name), None)
    return ConfigKey(*entry) if entry is not None else None


def topic_key_names() -> list[str]:
    """Names of the topic keys that are described to clients, in Kafka's order."""
    return list(_topic_entries)


@cache
def _group_entries() -> dict[str, Entry]:
    from kafka_cy.config.keys import group_resource

    return {entry[0]: entry for entry in group_resource.KEYS}


def group_key(name: str) -> ConfigKey | None:
    """Return the group key of that name."""
    entry = _group_entries().get(name)
    return ConfigKey(*entry) if entry is not None else None


def group_key_names() -> list[str]:
    """Names of the group keys in Kafka's order."""
    return list(_group_entries())


def group_broker_synonyms() -> dict[str, str]:
    """Group key -> broker key that gives its default."""
    from kafka_cy.config.keys.group_resource import BROKER_SYNONYMS

    return BROKER_SYNONYMS


@cache
def _client_metrics_entries() -> dict[str, Entry]:
    from kafka_cy.config.keys import client_metrics_resource

    return {entry[0]: entry for entry in client_metrics_resource.KEYS}


def client_metrics_key(name: str) -> ConfigKey | None:
    """Return the client metrics key of that name."""
    entry = _client_metrics_entries().get(name)
    return ConfigKey(*entry) if entry is not None else None


def client_metrics_key_names() -> list[str]:
    """Names of the client metrics keys in Kafka's order."""
    return list(_client_metrics_entries())
