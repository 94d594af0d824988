"""Each key has the effect that its entry states: code outside the tables reads it, or it gets a warning, or it stops the start."""

import functools
import re
from pathlib import Path

import pytest

import kafka_cy
from kafka_cy.config import BrokerConfig, ConfigError, definitions
from kafka_cy.config.types import CLUSTER_ONLY, ConfigKey, to_text

ROOT = Path(kafka_cy.__file__).parent
#: Packages that are not part of a running broker, or that only describe keys.
NOT_THE_BROKER = ("bench", "sizing", "tools", "testing", "config")


@functools.cache
def source(package: str) -> str:
    paths = [path for path in sorted((ROOT / package).rglob("*")) if path.suffix in (".py", ".pyx")]
    return "\n".join(path.read_text() for path in paths if path.parent.name != "keys")


PACKAGES = ("config", "storage", "cluster", "coordinator", "share", "server", "api", "network", "security", "telemetry",
            "replication")  # fmt: skip


@functools.cache
def everything_else() -> str:
    packages = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in NOT_THE_BROKER]
    return "\n".join(source(package) for package in packages)


def reads(text: str, name: str) -> bool:
    """Whether `text` contains the key as a literal, either whole or split into a prefix and a suffix at one of its dots."""
    if f'"{name}"' in text:
        return True
    dots = [found.start() for found in re.finditer(r"\.", name)]
    return any(
        re.search(r'["}.]' + re.escape(name[dot + 1 :]) + '"', text) and re.search(f'"{re.escape(name[:dot])}["{{.]', text)
        for dot in dots
    )


def names_of(key: ConfigKey) -> set[str]:
    """The names under which the value of a broker key is read: its own name, and topic keys that have it as their default."""
    topic_keys = {
        topic for topic, broker in definitions.TOPIC_BROKER_SYNONYMS.items() if key.name in definitions.broker_synonyms(broker)
    }
    return {key.name} | topic_keys


@pytest.mark.parametrize("key", definitions.every_broker_key(), ids=lambda key: key.name)
def test_applied_keys_are_read_and_others_are_not(key: ConfigKey) -> None:
    effect = key.effect.removeprefix(CLUSTER_ONLY)
    if effect in PACKAGES:
        assert any(reads(source(effect), name) for name in names_of(key)), f"{effect} does not read {key.name}"
    else:
        assert not is_looked_up(key.name), f"{key.name} is read, but has the effect {key.effect!r}"


def is_looked_up(name: str) -> bool:
    """Whether code looks up the value under this name: `config["name"]`, `get("name")`."""
    return re.search(r"[\[(]" + f'"{re.escape(name)}"', everything_else()) is not None


@pytest.mark.parametrize("name", definitions.topic_key_names())
def test_applied_topic_keys_are_read_and_others_are_not(name: str) -> None:
    key = definitions.topic_key(name)
    assert key is not None
    assert (f'"{name}"' in source("storage") or reads(source("storage"), name)) == (key.effect == "storage")


def other_value(key: ConfigKey) -> str | None:
    """An allowed value other than the default; None where this test has none."""
    default = key.default
    kind, *arguments = key.validator or ("",)
    if kind in ("in", "in_any_case", "list_in", "list_in_or_empty"):
        return next(argument for argument in arguments if argument != default)
    if key.type == "BOOLEAN":
        return "false" if default == "true" else "true"
    if key.type in ("INT", "LONG", "SHORT"):
        low = arguments[0] if kind in ("at_least", "between") else 1
        return str(low if default != str(low) else low + 1)
    return "0.25" if key.type == "DOUBLE" else "other"


KEYS_WITHOUT_EFFECT = [key for key in definitions.every_broker_key() if key.ignored_because]
#: Kafka relates the limits of these keys to each other, so that one of them cannot be changed alone.
TIED = {key.name for key in KEYS_WITHOUT_EFFECT if key.name.startswith(("group.consumer.min.", "group.consumer.max."))}


@pytest.mark.parametrize("key", KEYS_WITHOUT_EFFECT, ids=lambda key: key.name)
def test_a_key_without_effect_gets_one_warning_when_it_is_set(key: ConfigKey) -> None:
    value = other_value(key)
    if key.name in TIED or value is None:
        return
    if key.name.startswith("group.consumer."):
        value = str(int(key.default) + 1) if key.type == "INT" and key.default else value
        value = "2147483646" if key.name == "group.consumer.max.size" else value
    warnings = BrokerConfig({key.name: value}).warnings
    assert warnings == [f"configuration key {key.name} has no effect: {key.ignored_because}"]


@pytest.mark.parametrize("key", KEYS_WITHOUT_EFFECT, ids=lambda key: key.name)
def test_a_key_without_effect_gets_no_warning_at_its_default(key: ConfigKey) -> None:
    if key.default is None and key.type == "STRING" and key.validator is None:
        assert BrokerConfig({key.name: ""}).warnings == []
    if key.default is not None:
        assert BrokerConfig({key.name: key.default}).warnings == []


@pytest.mark.parametrize(
    "key", [key for key in definitions.every_broker_key() if key.refused_because], ids=lambda key: key.name
)
def test_a_refused_key_stops_the_start_with_its_reason(key: ConfigKey) -> None:
    with pytest.raises(ConfigError) as raised:
        BrokerConfig({key.name: str(other_value(key))})
    assert key.refused_because in str(raised.value)
    assert BrokerConfig({key.name: to_text(key.default) or ""} if key.type != "BOOLEAN" else {}).warnings == []


def test_a_key_of_the_whole_broker_has_no_effect_on_one_listener() -> None:
    config = BrokerConfig({"listener.name.plaintext.num.partitions": "5"})
    assert len(config.warnings) == 1
    assert "listener.name.plaintext.num.partitions has no effect: only ssl.*, sasl.*, max.connections and" in config.warnings[0]


def test_a_broker_gives_its_logs_all_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults of the topic keys are in the configuration only; storage looks them up for tests and tools."""
    from kafka_cy.storage import log_settings
    from kafka_cy.storage.log import PartitionLog

    def refuse(name: str) -> None:
        raise AssertionError(name)

    asked = []
    monkeypatch.setattr(log_settings, "default_of", refuse)
    PartitionLog(str(tmp_path), BrokerConfig({}).log_defaults()).close()
    monkeypatch.setattr(log_settings, "default_of", lambda name: asked.append(name) or BrokerConfig({}).log_defaults()[name])
    PartitionLog(str(tmp_path), {}).close()
    assert {"segment.bytes", "retention.ms", "producer.id.expiration.ms"} <= {*asked}


def test_a_key_of_one_listener_without_effect_gets_a_warning() -> None:
    config = BrokerConfig({"listener.name.plaintext.ssl.protocol": "TLSv1.2"})
    assert len(config.warnings) == 1
    assert "listener.name.plaintext.ssl.protocol has no effect" in config.warnings[0]
    assert BrokerConfig({"listener.name.plaintext.ssl.protocol": "TLSv1.3"}).warnings == []
