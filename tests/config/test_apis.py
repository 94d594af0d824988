"""The configuration APIs over a real metadata store, in the encoding of every version."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import registry
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.config import BrokerConfig
from kafka_cy.protocol.bridge import encode_response, unknown_fields
from kafka_cy.server.applied_config import AppliedConfig
from kafka_cy.server.log import BrokerLog

DESCRIBE, ALTER, INCREMENTAL, LIST = 32, 33, 44, 74
TOPIC, BROKER, LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3


class Logs:
    """Records the settings that were applied."""

    def __init__(self) -> None:
        self.partitions: dict[tuple[str, int], Any] = {}
        self.applied: dict[str, dict[str, Any]] = {}
        self.cleaner: dict[str, Any] = {}

    def configure_cleaner(self, config: dict[str, Any]) -> None:
        self.cleaner = config

    def take_config(self, topic: str, config: dict[str, Any]) -> bool:
        self.applied[topic] = config
        return False

    def set_config_in_steps(self, topic: str, config: dict[str, Any], partition_count: int) -> Iterator[None]:
        self.applied[topic] = config
        yield


class Broker:
    """Metadata, configuration and handlers, without a network."""

    def __init__(self, path: Path, **settings: str) -> None:
        self.store = EmbeddedStore(str(path / "metadata.sqlite"))
        metadata = ClusterMetadata(self.store, 1, lambda: 0)
        metadata.load(metadata.controller.stored_cluster_id() or "AAAAAAAAAAAAAAAAAAAAAA")
        cluster = metadata.cache
        more = {key.replace("_", "."): value for key, value in settings.items()}
        config = BrokerConfig({"node.id": "1", "log.dirs": "data"} | more)
        self.logs = Logs()
        log = BrokerLog()
        AppliedConfig(config, cluster, self.logs, log).start()
        self.context: Any = SimpleNamespace(
            config=config, cluster=cluster, logs=self.logs, broker_id=1, log=log,
            topic_changes=metadata.topic_changes, config_changes=metadata.config_changes,
        )  # fmt: skip

    def call(self, api_key: int, version: int, **body: Any) -> dict[str, Any]:
        handle = registry.cold_handler(api_key)
        assert handle is not None
        sender = {"client_id": "admin", "client": "127.0.0.1"}
        request: Any = SimpleNamespace(
            api_key=api_key, api_version=version, authorizer=None, body=SimpleNamespace(**body), sender=sender
        )  # fmt: skip
        later: list[Any] = []
        request.respond = later.append
        request.respond_long = lambda prepare: prepare(lambda make: later.append(make()))
        answer = handle(request, self.context) or later[0]
        assert unknown_fields(api_key, answer) == []
        assert encode_response(api_key, version, answer)
        return dict(answer)

    def describe(self, kind: int, name: str, *keys: str, **options: Any) -> dict[str, Any]:
        resource = SimpleNamespace(resource_type=kind, resource_name=name, configuration_keys=keys or None)
        options = {"include_synonyms": False, "include_documentation": False} | options
        result: dict[str, Any] = self.call(DESCRIBE, 4, resources=(resource,), **options)["results"][0]
        return result

    def value(self, kind: int, name: str, key: str) -> tuple[str | None, int]:
        (entry,) = self.describe(kind, name, key)["configs"]
        return entry["value"], entry["config_source"]

    def alter(
        self, resource_type: int, name: str, *changes: tuple[str, int, str | None], validate_only: bool = False
    ) -> tuple[int, str | None]:
        configs = [
            SimpleNamespace(name=key, config_operation=operation, value=value) for key, operation, value in changes
        ]
        resource = SimpleNamespace(resource_type=resource_type, resource_name=name, configs=configs)
        answer = self.call(INCREMENTAL, 1, resources=(resource,), validate_only=validate_only)["responses"][0]
        return answer["error_code"], answer["error_message"]

    def replace(self, kind: int, name: str, **settings: str | None) -> tuple[int, str | None]:
        configs = [SimpleNamespace(name=key.replace("_", "."), value=value) for key, value in settings.items()]
        resource = SimpleNamespace(resource_type=kind, resource_name=name, configs=configs)
        answer = self.call(ALTER, 2, resources=(resource,), validate_only=False)["responses"][0]
        return answer["error_code"], answer["error_message"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.context.topic_changes.create_topic("t", [[1]], {})
    yield broker
    broker.store.close()


def test_the_cleaner_is_not_turned_off_while_the_broker_runs(broker: Broker) -> None:
    for resource in ("1", ""):
        code, message = broker.alter(BROKER, resource, ("log.cleaner.threads", SET, "0"))
        assert (code, message) == (42, "Log cleaner threads should be at least 1")
    assert broker.value(BROKER, "1", "log.cleaner.threads") == ("1", 5)


def test_set_takes_effect_at_once_and_survives_a_restart(broker: Broker, tmp_path: Path) -> None:
    assert broker.alter(TOPIC, "t", ("retention.ms", SET, "1000")) == (0, None)
    assert broker.logs.applied["t"]["retention.ms"] == 1000
    assert broker.value(TOPIC, "t", "retention.ms") == ("1000", 1)
    assert broker.alter(BROKER, "1", ("log.cleaner.threads", SET, "2")) == (0, None)
    assert broker.logs.cleaner["log.cleaner.threads"] == 2
    assert broker.alter(BROKER, "", ("message.max.bytes", SET, "5000")) == (0, None)
    assert broker.alter(GROUP, "g", ("consumer.session.timeout.ms", SET, "50000")) == (0, None)
    assert broker.alter(CLIENT_METRICS, "m", ("interval.ms", SET, "1000")) == (0, None)
    broker.store.close()
    again = Broker(tmp_path)
    assert again.value(TOPIC, "t", "retention.ms") == ("1000", 1)
    assert again.value(TOPIC, "t", "max.message.bytes") == ("5000", 3)
    assert again.value(BROKER, "1", "log.cleaner.threads") == ("2", 2)
    assert again.value(BROKER, "", "message.max.bytes") == ("5000", 3)
    assert again.value(GROUP, "g", "consumer.session.timeout.ms") == ("50000", 8)
    assert again.value(CLIENT_METRICS, "m", "interval.ms") == ("1000", 7)
    again.store.close()


def test_passwords_are_stored_encoded(tmp_path: Path) -> None:
    key, jaas = "listener.name.x.ssl.keystore.password", "listener.name.x.plain.sasl.jaas.config"
    broker = Broker(tmp_path, password_encoder_secret="secret")
    cluster, config = broker.context.cluster, broker.context.config
    assert broker.alter(BROKER, "1", (key, SET, "hunter2"), (jaas, SET, "a b;")) == (0, None)
    first = cluster.config("brokers", "1")
    assert config[key] == "hunter2" and config.text(jaas) == "a b;"
    assert "hunter2" not in str(first) and all("encryptedPassword:" in text for text in first.values())
    assert broker.value(BROKER, "1", key) == (None, 2)
    assert broker.alter(BROKER, "1", (jaas, DELETE, None), ("log.cleaner.threads", SET, "2")) == (0, None)
    assert cluster.config("brokers", "1") == {key: first[key], "log.cleaner.threads": "2"}  # the others keep their text
    assert broker.alter(BROKER, "1", (key, SET, "other"), validate_only=True) == (0, None)
    assert config[key] == "hunter2"
    resource = "ConfigResource(type=BROKER, name='')"
    message = f"Invalid config value for resource {resource}: Password config can be defined only at broker level"
    assert broker.alter(BROKER, "", (jaas, SET, "a b;")) == (40, message)
    assert cluster.config("brokers", "<default>") == {}
    broker.store.close()
    again = Broker(tmp_path, password_encoder_secret="secret")
    assert again.context.config[key] == "hunter2"
    again.store.close()
    other = Broker(tmp_path, password_encoder_secret="another")
    assert other.context.config[key] is None
    assert other.alter(BROKER, "1", ("log.cleaner.threads", SET, "1")) == (0, None)
    assert other.context.cluster.config("brokers", "1") == {key: first[key], "log.cleaner.threads": "1"}  # it is not lost
    other.store.close()


def test_broker_keys_of_logs_reach_them_at_once(broker: Broker) -> None:
    assert broker.alter(BROKER, "", ("producer.id.expiration.ms", SET, "5000")) == (0, None)
    assert broker.logs.applied["t"]["producer.id.expiration.ms"] == 5000
    assert broker.alter(TOPIC, "t", ("retention.ms", SET, "1000")) == (0, None)
    assert broker.logs.applied["t"]["producer.id.expiration.ms"] == 5000


def test_a_changed_key_without_effect_gets_one_warning(broker: Broker) -> None:
    warnings: list[tuple[str, str]] = []
    def listen(_: int, level: str, what: str, details: dict[str, Any]) -> None:
        if level == "warning":
            warnings.append((what, details["resource"]))

    broker.context.log.listen(listen)
    tiered = ("remote.log.copy.disable", SET, "true")
    assert broker.alter(TOPIC, "t", tiered, validate_only=True) == (0, None)
    assert broker.alter(TOPIC, "t", ("unclean.leader.election.enable", SET, "false")) == (0, None)
    assert warnings == []
    assert broker.alter(TOPIC, "t", tiered, ("retention.ms", SET, "1000")) == (0, None)
    assert broker.alter(TOPIC, "t", ("retention.ms", SET, "2000")) == (0, None)
    assert broker.alter(BROKER, "", ("num.replica.fetchers", SET, "9")) == (0, None)
    assert [(what.split()[2], resource) for what, resource in warnings] == [
        ("remote.log.copy.disable", "topics t"),
        ("num.replica.fetchers", "brokers default"),
    ]


def test_values_that_do_not_go_with_those_of_another_level(broker: Broker) -> None:
    threads = ("log.cleaner.threads", SET, "128")  # each thread needs 1 MiB of log.cleaner.dedupe.buffer.size
    assert broker.alter(BROKER, "", threads)[0] == broker.alter(BROKER, "1", threads)[0] == 42
    refused = broker.alter(BROKER, "", ("max.connections.per.ip", SET, "0"))
    assert refused[0] == 42 and "max.connections.per.ip" in str(refused[1])
    assert broker.alter(BROKER, "", ("max.connections.per.ip.overrides", SET, "127.0.0.1"))[0] == 42
    overrides = ("max.connections.per.ip.overrides", SET, "127.0.0.1:5,[::1]:6,fe80::1:7,backup.example:0")
    assert broker.alter(BROKER, "", ("max.connections.per.ip", SET, "0"), overrides) == (0, None)
    expected = {"127.0.0.1": 5, "::1": 6, "fe80::1": 7, "backup.example": 0}
    assert broker.context.config.connections_per_ip_overrides == expected


def test_min_insync_replicas_of_the_cluster_stays_while_replicas_are_eligible_by_it(broker: Broker) -> None:
    """The answers of Kafka 4.3.1."""
    no_removal = (40, "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.")
    not_of_a_broker = (40, "Broker-level min.insync.replicas cannot be altered while ELR is enabled.")
    name = "min.insync.replicas"
    assert broker.alter(BROKER, "", (name, SET, "2")) == (0, None)
    for validate_only in (True, False):
        assert broker.alter(BROKER, "", (name, DELETE, None), validate_only=validate_only) == no_removal
        assert broker.alter(BROKER, "1", (name, SET, "2"), validate_only=validate_only) == not_of_a_broker
    assert broker.alter(BROKER, "1", (name, DELETE, None)) == not_of_a_broker
    assert broker.alter(BROKER, "1", ("log.retention.ms", SET, "7000"), (name, SET, "2")) == not_of_a_broker
    assert broker.replace(BROKER, "") == broker.replace(BROKER, "", log_retention_ms="7000") == no_removal
    assert broker.replace(BROKER, "1", min_insync_replicas="2") == not_of_a_broker
    assert broker.value(BROKER, "", name) == ("2", 3)

    assert broker.replace(BROKER, "", min_insync_replicas="1", log_retention_ms="7000") == (0, None)
    assert broker.alter(BROKER, "", ("log.retention.ms", DELETE, None)) == broker.replace(BROKER, "1") == (0, None)
    assert broker.replace(TOPIC, "t", min_insync_replicas="1") == broker.replace(TOPIC, "t") == (0, None)
    assert broker.alter(TOPIC, "t", (name, SET, "1")) == broker.alter(TOPIC, "t", (name, DELETE, None)) == (0, None)

    features = broker.context.cluster.features
    levels = {**features.levels, "eligible.leader.replicas.version": 0}
    broker.context.cluster.features = features._replace(levels=levels)
    assert broker.alter(BROKER, "", (name, DELETE, None)) == broker.alter(BROKER, "1", (name, SET, "2")) == (0, None)
    assert broker.replace(BROKER, "1") == (0, None)


def test_delete_goes_back_to_the_level_below(broker: Broker) -> None:
    broker.alter(BROKER, "", ("log.retention.ms", SET, "7000"))
    broker.alter(TOPIC, "t", ("retention.ms", SET, "1000"))
    assert broker.alter(TOPIC, "t", ("retention.ms", DELETE, None)) == (0, None)
    assert broker.value(TOPIC, "t", "retention.ms") == ("7000", 3)
    assert broker.logs.applied["t"]["retention.ms"] == 7000
    assert broker.alter(BROKER, "", ("log.retention.ms", DELETE, None)) == (0, None)
    assert broker.value(TOPIC, "t", "retention.ms") == ("604800000", 5)
    assert broker.logs.applied["t"]["retention.ms"] == 604800000


def test_append_and_subtract_are_list_operations(broker: Broker) -> None:
    assert broker.alter(TOPIC, "t", ("cleanup.policy", APPEND, "compact")) == (0, None)
    assert broker.value(TOPIC, "t", "cleanup.policy") == ("delete,compact", 1)
    assert broker.alter(TOPIC, "t", ("cleanup.policy", APPEND, "compact,delete")) == (0, None)
    assert broker.value(TOPIC, "t", "cleanup.policy") == ("delete,compact", 1)
    assert broker.alter(TOPIC, "t", ("cleanup.policy", SUBTRACT, "delete")) == (0, None)
    assert broker.value(TOPIC, "t", "cleanup.policy") == ("compact", 1)
    assert broker.logs.applied["t"]["cleanup.policy"] == ["compact"]
    code, message = broker.alter(TOPIC, "t", ("retention.ms", APPEND, "1"))
    assert (code, message) == (40, "Can't APPEND to key retention.ms because its type is not LIST.")


def test_a_resource_changes_wholly_or_not_at_all(broker: Broker) -> None:
    code, _ = broker.alter(TOPIC, "t", ("retention.ms", SET, "1000"), ("segment.bytes", SET, "1"))
    assert code == 40
    assert broker.value(TOPIC, "t", "retention.ms") == ("604800000", 5)


def test_validate_only_changes_nothing(broker: Broker) -> None:
    assert broker.alter(TOPIC, "t", ("retention.ms", SET, "1000"), validate_only=True) == (0, None)
    assert broker.alter(TOPIC, "t", ("retention.ms", SET, "x"), validate_only=True)[0] == 40
    assert broker.value(TOPIC, "t", "retention.ms") == ("604800000", 5)


def test_alter_replaces_all_settings(broker: Broker) -> None:
    broker.alter(TOPIC, "t", ("retention.ms", SET, "1000"), ("segment.ms", SET, "9"))
    assert broker.replace(TOPIC, "t", segment_ms="10") == (0, None)
    assert broker.context.cluster.topic_config("t") == {"segment.ms": "10"}
    assert broker.replace(TOPIC, "t", segment_ms=None)[0] == 42
    assert broker.replace(TOPIC, "nope", segment_ms="1")[0] == 3
    assert broker.replace(TOPIC, "t", segment_ms="x")[0] == 40
    assert broker.context.cluster.topic_config("t") == {"segment.ms": "10"}


@pytest.mark.parametrize(
    ("kind", "name", "change", "code", "message"),
    [
        (TOPIC, "nope", ("retention.ms", SET, "1"), 3, "The topic 'nope' does not exist."),
        (TOPIC, "t", ("nonsense", SET, "1"), 40, "Unknown topic config name: nonsense"),
        (TOPIC, "t", ("retention.ms", SET, None), 42, "Null value not supported for : retention.ms"),
        (TOPIC, "t", ("retention.ms", 9, "1"), 42, "Unknown operation type id 9."),
        (BROKER, "1", ("num.partitions", SET, "1"), 42, "Cannot update these configs dynamically: [num.partitions]"),
        (BROKER, "1", ("listeners", SET, "A://:1"), 42, "Cannot update these configs dynamically: [listeners]"),
        (BROKER, "", ("ssl.keystore.type", SET, "PEM"), 42, "only per-listener"),
        (BROKER, "", ("listener.name.a.ssl.keystore.type", SET, "PEM"), 42, "at default cluster level"),
        (BROKER, "1", ("listener.name.a.max.connections", SET, "-1"), 42, "Value must be at least 0"),
        (BROKER, "1", ("listener.name.a.num.partitions", SET, "1"), 42, "Cannot update these configs dynamically"),
        (BROKER, "1", ("listener.name.a.ssl.client.auth", SET, "none"), 42, "Cannot update these configs dynamically"),
        (BROKER, "1", ("log.segment.bytes", SET, "1"), 42, "Value must be at least 1048576"),
        (BROKER, "2", ("log.segment.bytes", SET, "1"), 42, "Unexpected broker id, expected 1, but received 2"),
        (BROKER, "x", ("log.segment.bytes", SET, "1"), 42, "Node id must be an integer, but it is: x"),
        (GROUP, "", ("consumer.session.timeout.ms", SET, "1"), 42, "not allowed"),
        (GROUP, "g", ("nonsense", SET, "1"), 40, "Unknown group config name: nonsense"),
        (GROUP, "g", ("consumer.session.timeout.ms", SET, "44999"), 40, "group.consumer.min.session.timeout.ms"),
        (GROUP, "g", ("consumer.session.timeout.ms", SET, "60001"), 40, "group.consumer.max.session.timeout.ms"),
        (GROUP, "g", ("streams.num.standby.replicas", SET, "3"), 40, "group.streams.max.standby.replicas"),
        (CLIENT_METRICS, "", ("interval.ms", SET, "1000"), 42, "can't be empty"),
        (CLIENT_METRICS, "m", ("interval.ms", SET, "99"), 42, "interval must be between 100"),
        (CLIENT_METRICS, "m", ("interval.ms", SET, "bbb"), 40, "Invalid value bbb for configuration interval.ms"),
        (TOPIC, "t", ("internal.segment.bytes", SET, "0"), 40, "Value must be at least 1"),
        (77, "x", ("a", SET, "1"), 42, "Unknown resource type 77"),
        (LOGGER, "1", ("root", SET, "LOUD"), 40, "not a supported log level"),
        (LOGGER, "1", ("other", SET, "INFO"), 40, "Logger other does not exist!"),
        (LOGGER, "1", ("root", DELETE, None), 42, "not allowed"),
        (LOGGER, "1", ("root", APPEND, "INFO"), 42, "APPEND operation is not allowed"),
    ],
)
def test_changes_that_are_refused(
    broker: Broker, kind: int, name: str, change: tuple[str, int, str | None], code: int, message: str
) -> None:
    got_code, got_message = broker.alter(kind, name, change)
    assert got_code == code
    assert got_message is not None and message in got_message


def test_limits_of_a_listener_can_be_changed(broker: Broker) -> None:
    assert broker.alter(BROKER, "1", ("listener.name.plaintext.max.connections", SET, "5")) == (0, None)
    assert broker.alter(BROKER, "1", ("listener.name.plaintext.max.connection.creation.rate", SET, "7")) == (0, None)
    # Kafka: DynamicBrokerConfig.ClusterLevelListenerConfigs.
    assert broker.alter(BROKER, "", ("listener.name.plaintext.max.connections", SET, "9")) == (0, None)


def test_duplicates_are_refused(broker: Broker) -> None:
    twice = ("retention.ms", SET, "1")
    assert broker.alter(TOPIC, "t", twice, twice) == (42, "Error due to duplicate config keys")
    resource = SimpleNamespace(resource_type=TOPIC, resource_name="t", configs=())
    for api_key, version in ((INCREMENTAL, 0), (ALTER, 0)):
        answers = broker.call(api_key, version, resources=(resource, resource), validate_only=False)["responses"]
        assert [answer["error_code"] for answer in answers] == [42, 42]
        assert answers[0]["error_message"] == "Each resource must appear at most once."


@pytest.mark.parametrize("name", ["nonsense", "listener.name.a.nonsense"])
@pytest.mark.parametrize("resource", ["1", ""])
def test_unknown_broker_keys_are_stored_and_never_shown(broker: Broker, tmp_path: Path, name: str, resource: str) -> None:
    warnings: list[str] = []
    broker.context.log.listen(lambda _, level, what, __: level == "warning" and warnings.append(what))
    assert broker.alter(BROKER, resource, (name, SET, "secret"), ("log.cleaner.threads", SET, "2")) == (0, None)
    assert warnings == [f"unknown configuration key {name}"]
    assert broker.logs.cleaner["log.cleaner.threads"] == 2
    broker.store.close()
    again = Broker(tmp_path)
    (entry,) = again.describe(BROKER, resource, name, include_synonyms=True)["configs"]
    source = 2 if resource else 3
    assert entry["synonyms"] == [{"name": name, "value": None, "source": source}]
    assert (entry["value"], entry["config_source"], entry["config_type"]) == (None, source, 0)
    assert entry["is_sensitive"] and entry["read_only"]
    assert again.alter(BROKER, resource, (name, DELETE, None)) == (0, None)
    assert again.describe(BROKER, resource, name)["configs"] == []
    again.store.close()


def test_internal_segment_bytes_is_applied_and_described_only_when_it_is_set(broker: Broker) -> None:
    assert broker.alter(TOPIC, "t", ("internal.segment.bytes", SET, "1000")) == (0, None)
    assert broker.logs.applied["t"]["segment.bytes"] == 1000
    assert "internal.segment.bytes" not in broker.logs.applied["t"]
    assert broker.value(TOPIC, "t", "internal.segment.bytes") == ("1000", 1)
    assert broker.alter(TOPIC, "t", ("internal.segment.bytes", DELETE, None)) == (0, None)
    names = [entry["name"] for entry in broker.describe(TOPIC, "t")["configs"]]
    assert len(names) == 33 and "internal.segment.bytes" not in names


def test_what_a_logger_operation_is_counts_before_its_logger(broker: Broker) -> None:
    operations = (("kafka.server.ReplicaManager", SET, "INFO"), ("root", APPEND, "INFO"))
    assert broker.alter(LOGGER, "1", *operations)[0] == 42
    assert broker.context.log.level == "info"


def test_loggers(broker: Broker) -> None:
    assert broker.value(LOGGER, "1", "root") == ("INFO", 6)
    assert broker.alter(LOGGER, "1", ("root", SET, "DEBUG"), validate_only=True) == (0, None)
    assert broker.context.log.level == "info"
    assert broker.alter(LOGGER, "1", ("root", SET, "WARN")) == (0, None)
    assert broker.context.log.level == "warning"
    assert broker.describe(LOGGER, "1", "other")["configs"] == []


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (TOPIC, "nope", 3),
        (TOPIC, "a b", 17),
        (TOPIC, "", 17),
        (BROKER, "2", 42),
        (BROKER, "x", 42),
        (LOGGER, "", 42),
        (GROUP, "", 42),
        (CLIENT_METRICS, "", 42),
        (77, "x", 42),
    ],
)
def test_resources_that_cannot_be_described(broker: Broker, kind: int, name: str, code: int) -> None:
    result = broker.describe(kind, name)
    assert (result["error_code"], result["configs"]) == (code, [])


def test_describe_filters_and_explains(broker: Broker) -> None:
    assert len(broker.describe(TOPIC, "t")["configs"]) == 33
    assert len(broker.describe(GROUP, "unknown")["configs"]) == 17
    names = [entry["name"] for entry in broker.describe(BROKER, "1", "num.partitions", "nonsense")["configs"]]
    assert names == ["num.partitions"]
    (plain,) = broker.describe(TOPIC, "t", "segment.bytes")["configs"]
    assert (plain["synonyms"], plain["documentation"]) == ([], None)
    options = {"include_synonyms": True, "include_documentation": True}
    (full,) = broker.describe(TOPIC, "t", "segment.bytes", **options)["configs"]
    assert full["synonyms"] == [{"name": "log.segment.bytes", "value": "1073741824", "source": 5}]
    assert full["documentation"].endswith(".")
    for version in (1, 2, 3, 4):
        resource = SimpleNamespace(resource_type=BROKER, resource_name="1", configuration_keys=None)
        broker.call(DESCRIBE, version, resources=(resource,), include_synonyms=True, include_documentation=True)


def test_list_config_resources(broker: Broker) -> None:
    broker.alter(GROUP, "g", ("share.delivery.count.limit", SET, "4"))
    broker.alter(CLIENT_METRICS, "m", ("interval.ms", SET, "1000"))
    answer = broker.call(LIST, 0)
    assert answer["config_resources"] == [{"resource_name": "m", "resource_type": CLIENT_METRICS}]
    answer = broker.call(LIST, 1, resource_types=(TOPIC, GROUP))
    assert [entry["resource_name"] for entry in answer["config_resources"]] == ["t", "g"]
    answer = broker.call(LIST, 1, resource_types=())
    assert {entry["resource_type"] for entry in answer["config_resources"]} == {
        TOPIC,
        BROKER,
        LOGGER,
        CLIENT_METRICS,
        GROUP,
    }
    assert broker.call(LIST, 1, resource_types=(99,))["error_code"] == 35
    broker.alter(CLIENT_METRICS, "m", ("interval.ms", DELETE, None))
    assert broker.call(LIST, 0)["config_resources"] == []


def test_the_log_says_who_changed_what(broker: Broker) -> None:
    stream = io.StringIO()
    broker.context.log = BrokerLog("info", stream)
    assert broker.alter(TOPIC, "t", ("retention.ms", SET, "1"), ("cleanup.policy", SET, "compact")) == (0, None)
    assert broker.alter(TOPIC, "t", ("retention.ms", SET, "1")) == (0, None)  # no change, no line
    assert broker.alter(TOPIC, "t", ("retention.ms", DELETE, None), validate_only=True) == (0, None)
    assert broker.alter(TOPIC, "t", ("retention.ms", DELETE, None)) == (0, None)
    assert broker.alter(BROKER, "1", ("listener.name.plaintext.ssl.key.password", SET, "secret")) == (0, None)
    assert broker.alter(BROKER, "", ("something.unknown", SET, "secret")) == (0, None)
    assert broker.alter(LOGGER, "1", ("root", SET, "INFO")) == (0, None)
    told = [line.split(" INFO ")[1] for line in stream.getvalue().splitlines() if " INFO " in line]
    by = "client_id=admin client=127.0.0.1"
    assert told == [
        f'configuration changed resource="topics t" set="retention.ms=1, cleanup.policy=compact" {by}',
        f'configuration changed resource="topics t" removed=retention.ms {by}',
        f'configuration changed resource="brokers 1" set="listener.name.plaintext.ssl.key.password=[hidden]" {by}',
        f'configuration changed resource="brokers default" set="something.unknown=[hidden]" {by}',
        f'configuration changed resource="loggers root" set="level=info" {by}',
    ]
    assert "secret" not in stream.getvalue()
