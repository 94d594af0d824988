"""Dynamic settings: which broker keys can change while the broker runs, at which level, and which level wins.

Levels, the strongest first: topic (or group, client metrics) > this broker > all brokers (cluster default) > file and
command line > Kafka's default.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from kafka_cy.config import definitions
from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.checks import check_relations
from kafka_cy.config.types import ConfigError, RelationError, custom_key, parse_value

# Sources as DescribeConfigs numbers them.
DYNAMIC_TOPIC_CONFIG: Final = 1
DYNAMIC_BROKER_CONFIG: Final = 2
DYNAMIC_DEFAULT_BROKER_CONFIG: Final = 3
STATIC_BROKER_CONFIG: Final = 4
DEFAULT_CONFIG: Final = 5
DYNAMIC_BROKER_LOGGER_CONFIG: Final = 6
CLIENT_METRICS_CONFIG: Final = 7
GROUP_CONFIG: Final = 8

#: Name of the entity for all brokers in the metadata tree.
CLUSTER_DEFAULT: Final = "<default>"

#: Dynamic in Kafka, but fixed at the start here. A change is refused, because it would be shown without taking effect.
FIXED_AT_START: Final = frozenset({"config.providers", "listeners", "listener.security.protocol.map", "num.network.threads"})

#: Keys of certificates, which Kafka changes only for one listener at a time (`listener.name.<name>.ssl...`).
PER_LISTENER: Final = frozenset(
    f"ssl.{name}"
    for name in (
        "key.password",
        "keystore.certificate.chain",
        "keystore.key",
        "keystore.location",
        "keystore.password",
        "keystore.type",
        "truststore.certificates",
        "truststore.location",
        "truststore.password",
        "truststore.type",
    )
)

#: Keys of a single listener that can be changed.
OF_LISTENERS: Final = PER_LISTENER.union(definitions.LISTENER_LIMITS)


class Synonym(NamedTuple):
    """One level at which a setting has a value: the level's own key name, the value as text, the source."""

    name: str
    value: str | None
    source: int


class NotDynamicError(Exception):
    """Keys that cannot be altered at this level; the message is in Kafka's words."""


def synonyms(config: BrokerConfig, name: str) -> list[Synonym]:
    """Return every level that gives the broker key `name` a value, the effective one first.

    A setting that only a coarser key gives (`log.retention.hours` for `log.retention.ms`) is not listed under the finer
    name unless the finer key has a value too, because Kafka's clients expect their key as the first entry.
    """
    result: list[Synonym] = []
    names = definitions.broker_synonyms(name)
    levels: tuple[tuple[Mapping[str, str], int], ...] = (
        (config.dynamic_broker, DYNAMIC_BROKER_CONFIG),
        (config.dynamic_default, DYNAMIC_DEFAULT_BROKER_CONFIG),
        (config.static, STATIC_BROKER_CONFIG),
    )
    for settings, source in levels:
        result += [Synonym(key, settings[key], source) for key in names if key in settings]
    for key in names:
        definition = definitions.broker_key(key)
        if definition is not None and definition.default is not None:
            result.append(Synonym(key, definition.default, DEFAULT_CONFIG))
    while result and result[0].name != name:
        del result[0]
    if (definitions.broker_key(name) or custom_key(name)).sensitive:
        return [entry._replace(value=None) for entry in result]
    return result


def validate_broker_settings(config: BrokerConfig, settings: Mapping[str, str], *, cluster_default: bool) -> None:
    """Check a whole set of dynamic settings of one level.

    A key that is not known is accepted, as in Kafka, where plugins have keys of their own. Raises ConfigError for a bad
    value, NotDynamicError for keys of another level or of start-up.
    """
    fixed, per_broker, per_listener = [], [], []
    values: dict[str, Any] = {}
    for name, text in settings.items():
        key = definitions.broker_key(name)
        if name.startswith("config.providers."):  # else who may change settings could have any file of the broker read
            fixed.append(name)
        elif key is None:
            config.resolved(name, text)
        elif key.scope == "read-only" or name in FIXED_AT_START:
            fixed.append(name)
        elif name in PER_LISTENER:
            per_listener.append(name)
        elif name.startswith(definitions.LISTENER_PREFIX) and definitions.without_listener(name) not in OF_LISTENERS:
            fixed.append(name)
        elif key.scope == "per-broker" and cluster_default:
            per_broker.append(name)
        else:
            values[name] = parse_value(key, config.resolved(name, text))
    if fixed:
        raise NotDynamicError(f"Cannot update these configs dynamically: {_printed(fixed)}")
    if per_listener:
        raise NotDynamicError(
            "These security configs can be dynamically updated only per-listener using the listener prefix: "
            + _printed(per_listener)
        )
    if per_broker:
        raise NotDynamicError(
            f"Cannot update these configs at default cluster level, broker id must be specified: {_printed(per_broker)}"
        )
    _check_relations(values)
    _check_effective(config, settings, cluster_default)


def _check_relations(values: Mapping[str, Any]) -> None:
    if values.get("log.retention.ms") == 0:
        reason = "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1"
        raise RelationError("log.retention.ms", 0, "-1 (without limit), or at least 1", reason)
    if values.get("log.cleaner.threads") == 0:  # only the file may turn the cleaner off
        reason = "Log cleaner threads should be at least 1"
        raise RelationError("log.cleaner.threads", 0, "at least 1", reason)
    low, high = values.get("log.cleaner.min.compaction.lag.ms"), values.get("log.cleaner.max.compaction.lag.ms")
    if low is not None and high is not None and low > high:
        raise ConfigError(
            "log.cleaner.min.compaction.lag.ms", low, f"at most log.cleaner.max.compaction.lag.ms, {high}"
        )


def _check_effective(config: BrokerConfig, settings: Mapping[str, str], cluster_default: bool) -> None:
    """Check the settings together with those of the other levels, as Kafka does."""
    if cluster_default:
        candidate = config.candidate(broker=config.dynamic_broker, cluster_default=settings)
    else:
        candidate = config.candidate(broker=settings, cluster_default=config.dynamic_default)
    check_relations(candidate)


def _printed(names: list[str]) -> str:
    return f"[{', '.join(sorted(names))}]"
