"""Every key has a description and is in exactly one module."""

from collections import Counter
from pathlib import Path

from kafka_cy.config import definitions, keys
from kafka_cy.config.types import CLUSTER_ONLY, ConfigKey


def every_key() -> list[ConfigKey]:
    found: list[ConfigKey | None] = [*definitions.every_broker_key()]
    found += [definitions.topic_key(name) for name in definitions.topic_key_names()]
    found += [definitions.group_key(name) for name in definitions.group_key_names()]
    found += [definitions.client_metrics_key(name) for name in definitions.client_metrics_key_names()]
    return [key for key in found if key is not None]


def test_every_key_has_a_sentence() -> None:
    for key in every_key():
        assert key.text.endswith(".") and len(key.text) > 10, key.name
        assert key.importance in ("HIGH", "MEDIUM", "LOW"), key.name


def test_every_key_has_an_effect_or_a_reason() -> None:
    packages = {path.name for path in Path(keys.__file__).parent.parent.parent.iterdir() if path.is_dir()}
    for key in every_key():
        reason = key.ignored_because or key.refused_because
        assert reason or key.effect.removeprefix(CLUSTER_ONLY) in packages, key.name
        assert reason == "" or not reason.endswith("."), key.name


def test_no_key_is_in_two_modules() -> None:
    names: Counter[str] = Counter()
    for path in Path(keys.__file__).parent.glob("*.py"):
        if path.stem not in ("__init__", "topic_resource", "group_resource", "client_metrics_resource"):
            module = __import__(f"kafka_cy.config.keys.{path.stem}", fromlist=["KEYS"])
            entries = getattr(module, "KEYS", ()) + getattr(module, "INTERNAL_KEYS", ())
            names.update(entry[0] for entry in entries)
            assert list(entries) == sorted(entries) or hasattr(module, "INTERNAL_KEYS"), path.name
    assert [name for name, count in names.items() if count > 1] == []
    assert names.keys() == {key.name for key in definitions.every_broker_key()}
