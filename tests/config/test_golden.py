"""Every key, type, default, source and synonym, compared with the responses of a real Kafka."""

import pytest

from kafka_cy.config import BrokerConfig, describe
from tests.config import golden

BROKER_CHANGES = {"message.max.bytes": "3000000", "log.segment.bytes": "10485760"}
DEFAULT_CHANGES = {"log.retention.ms": "7200000", "message.max.bytes": "2000000", "min.insync.replicas": "1"}


@pytest.fixture
def config() -> BrokerConfig:
    static = {
        entry["name"]: entry["value"]
        for entry in golden.load("broker")["configs"]
        if entry["source"] == "STATIC_BROKER_CONFIG"
    }
    config = BrokerConfig(static)
    # A formatted KRaft cluster sets this key for all brokers.
    config.set_dynamic(broker={}, cluster_default={"min.insync.replicas": "1"})
    return config


def names(key: str) -> list[str]:
    return [entry["name"] for entry in golden.load("other")[key]["configs"]]


def by_name(entries: list[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(entries, key=lambda entry: str(entry["name"]))


def test_broker(config: BrokerConfig) -> None:
    assert config.warnings == []
    assert golden.plain(describe.describe_broker(config)) == golden.expected(golden.load("broker"))


def test_topic_in_kafkas_order(config: BrokerConfig) -> None:
    assert golden.plain(describe.describe_topic(config, {})) == golden.expected(golden.load("other")["topic"])


def test_group_in_kafkas_order(config: BrokerConfig) -> None:
    assert golden.plain(describe.describe_group(config, {})) == golden.expected(golden.load("other")["group"])


def test_client_metrics(config: BrokerConfig) -> None:
    other = golden.load("other")
    assert golden.plain(describe.describe_client_metrics({})) == golden.expected(other["client_metrics"])
    settings = {"interval.ms": "1000", "match": "client_id=a.*", "metrics": "org.apache.kafka.producer."}
    assert golden.plain(describe.describe_client_metrics(settings)) == golden.expected(other["client_metrics_set"])


def test_cluster_default(config: BrokerConfig) -> None:
    other = golden.load("other")
    assert golden.plain(describe.describe_cluster_default(config)) == golden.expected(other["cluster_default"])
    config.set_dynamic(broker=BROKER_CHANGES, cluster_default=DEFAULT_CHANGES)
    expected = golden.expected(other["cluster_default_set"])
    assert golden.plain(describe.describe_cluster_default(config)) == by_name(expected)


def test_changes_at_all_levels(config: BrokerConfig) -> None:
    config.set_dynamic(broker=BROKER_CHANGES, cluster_default=DEFAULT_CHANGES)
    other = golden.load("other")
    overrides = {"cleanup.policy": "compact,delete", "retention.ms": "1000"}
    entries = describe.describe_topic(config, overrides, names("topic_with_overrides"))
    assert golden.plain(entries) == golden.expected(other["topic_with_overrides"])
    entries = describe.describe_broker(config, names("broker_changed_entries_only"))
    assert golden.plain(entries) == by_name(golden.expected(other["broker_changed_entries_only"]))


def test_group_with_settings(config: BrokerConfig) -> None:
    settings = {
        "consumer.session.timeout.ms": "50000",
        "share.auto.offset.reset": "by_duration:PT1H",
        "streams.num.standby.replicas": "1",
    }
    entries = describe.describe_group(config, settings, names("group_with_overrides"))
    assert golden.plain(entries) == golden.expected(golden.load("other")["group_with_overrides"])


def test_secrets_never_show() -> None:
    config = BrokerConfig({"ssl.keystore.password": "s3cret", "node.id": "1"})
    config.set_dynamic(broker={"ssl.key.password": "s3cret"}, cluster_default={})
    entries = describe.describe_broker(config, ["ssl.keystore.password", "ssl.key.password"])
    assert len(entries) == 2
    assert all(entry.value is None and entry.synonyms[0].value is None for entry in entries)
    assert {entry.source for entry in entries} == {2, 4}
