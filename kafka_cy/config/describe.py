"""What DescribeConfigs shows for each key of an entity: its value, its source, and all levels that give it a value."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from kafka_cy.config import definitions, dynamic
from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.dynamic import Synonym
from kafka_cy.config.types import TYPE_CODES, ConfigError, ConfigKey, custom_key, parse_value, to_text


class ConfigEntry(NamedTuple):
    """One key: value as text (None = unset or secret), source, the levels that give a value (effective first)."""

    key: ConfigKey
    value: str | None
    read_only: bool
    source: int
    synonyms: list[Synonym]

    @property
    def type_code(self) -> int:
        """Type as DescribeConfigs numbers it."""
        return TYPE_CODES[self.key.type]


def describe_topic(
    config: BrokerConfig, overrides: Mapping[str, str], wanted: Collection[str] | None = None
) -> list[ConfigEntry]:
    """Describe a topic with the settings `overrides`; `wanted` None = all keys."""
    effective = config.log_defaults()
    entries = []
    for name in _chosen(definitions.topic_key_names(), wanted):
        key = _known(definitions.topic_key, name)
        synonym = definitions.TOPIC_BROKER_SYNONYMS.get(name)
        levels = dynamic.synonyms(config, synonym) if synonym is not None else []
        value = to_text(effective[name])
        if name in overrides:
            value = _normal(key, overrides[name])
            levels.insert(0, Synonym(name, value, dynamic.DYNAMIC_TOPIC_CONFIG))
        entries.append(ConfigEntry(key, value, False, _source(levels), levels))
    for name in _chosen(sorted(set(overrides) - set(effective)), wanted):  # internal keys show when they are set
        key = _known(definitions.topic_key, name)
        value = _normal(key, overrides[name])
        levels = [Synonym(name, value, dynamic.DYNAMIC_TOPIC_CONFIG)]
        entries.append(ConfigEntry(key, value, False, dynamic.DYNAMIC_TOPIC_CONFIG, levels))
    return entries


def describe_broker(config: BrokerConfig, wanted: Collection[str] | None = None) -> list[ConfigEntry]:
    """Describe this broker: every key with its effective value, sorted by name."""
    entries = []
    set_names = {*config.dynamic_broker, *config.dynamic_default}
    set_names |= {name for name in config.static if name.startswith(definitions.LISTENER_PREFIX) or name not in config}
    for name in _chosen(sorted(set_names.union(definitions.broker_key_names())), wanted):
        key = definitions.broker_key(name) or custom_key(name)
        levels = dynamic.synonyms(config, name)
        value = None if key.sensitive else to_text(config[name])
        # Kafka describes every key of a single listener as read-only, even those that can be changed.
        read_only = key.scope == "read-only" or name.startswith(definitions.LISTENER_PREFIX)
        entries.append(ConfigEntry(key, value, read_only, _source(levels), levels))
    return entries


def describe_cluster_default(config: BrokerConfig, wanted: Collection[str] | None = None) -> list[ConfigEntry]:
    """Describe the settings of all brokers: only those that are set."""
    entries = []
    for name in _chosen(sorted(config.dynamic_default), wanted):
        key = definitions.broker_key(name) or custom_key(name)
        value = None if key.sensitive else _normal(key, config.dynamic_default[name])
        levels = [Synonym(name, value, dynamic.DYNAMIC_DEFAULT_BROKER_CONFIG)]
        entries.append(ConfigEntry(key, value, key.scope == "read-only", levels[0].source, levels))
    return entries


def describe_group(
    config: BrokerConfig, overrides: Mapping[str, str], wanted: Collection[str] | None = None
) -> list[ConfigEntry]:
    """Describe a group, whether it exists or not: its settings, and the broker's `group.*` keys as defaults."""
    effective = config.group_config(overrides)
    synonym_of = definitions.group_broker_synonyms()
    entries = []
    for name in _chosen(definitions.group_key_names(), wanted):
        key = _known(definitions.group_key, name)
        if name in synonym_of:
            levels = dynamic.synonyms(config, synonym_of[name])
        else:
            levels = [Synonym(name, key.default, dynamic.DEFAULT_CONFIG)]
        value = to_text(effective[name])
        if name in overrides:
            levels.insert(0, Synonym(name, value, dynamic.GROUP_CONFIG))
        entries.append(ConfigEntry(key, value, False, _source(levels), levels))
    return entries


def describe_client_metrics(overrides: Mapping[str, str], wanted: Collection[str] | None = None) -> list[ConfigEntry]:
    """Describe a client metrics subscription, whether it exists or not (KIP-714)."""
    entries = []
    for name in _chosen(definitions.client_metrics_key_names(), wanted):
        key = _known(definitions.client_metrics_key, name)
        levels = []
        if name in overrides:
            levels = [Synonym(name, _normal(key, overrides[name]), dynamic.CLIENT_METRICS_CONFIG)]
        value = levels[0].value if levels else key.default
        entries.append(ConfigEntry(key, value, False, _source(levels), levels))
    return entries


def _chosen(names: list[str], wanted: Collection[str] | None) -> list[str]:
    return names if wanted is None else [name for name in names if name in wanted]


def _known(find: Callable[[str], ConfigKey | None], name: str) -> ConfigKey:
    key = find(name)
    assert key is not None, name
    return key


def _normal(key: ConfigKey, text: str) -> str | None:
    try:
        return to_text(parse_value(key, text))
    except ConfigError:  # stored by another version: show the text
        return text


def _source(levels: list[Synonym]) -> int:
    return levels[0].source if levels else dynamic.DEFAULT_CONFIG
