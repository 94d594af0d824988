"""BrokerConfig: files, overrides, listeners, precedence, and every kind of invalid value."""

from pathlib import Path

import pytest

from kafka_cy.config import BrokerConfig, ConfigError, definitions, dynamic
from kafka_cy.config.topic_settings import validate_topic_configs
from kafka_cy.config.types import ConfigKey, parse_value, to_text


def write(folder: Path, text: str) -> str:
    path = folder / "server.properties"
    path.write_text(text)
    return str(path)


def test_without_a_file_it_is_a_laptop_broker() -> None:
    config = BrokerConfig.load()
    assert [str(listener) for listener in config.listeners] == ["PLAINTEXT://127.0.0.1:9092"]
    assert config.listeners == config.advertised_listeners
    assert (config.broker_id, config.log_dirs, config["num.partitions"]) == (1, ["./data"], 1)
    assert config["kafkacy.metrics.listen"] == "127.0.0.1:9404"
    assert config.warnings == []


def test_first_consumer_waits_for_others_only_with_a_file(tmp_path: Path) -> None:
    key = "group.initial.rebalance.delay.ms"
    assert BrokerConfig.load()[key] == 0
    assert BrokerConfig.load(None, {key: "5"})[key] == 5
    assert BrokerConfig.load(write(tmp_path, ""))[key] == 3000


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "num.partitions = 3\nlog.dirs=/a, /b\nbroker.id=7\nlog.segment.bytes=2000000\n")
    config = BrokerConfig.load(path, {"num.partitions": "5"})
    assert (config["num.partitions"], config.log_dirs, config.broker_id) == (5, ["/a", "/b"], 7)
    assert config["node.id"] == config["broker.id"] == 7
    assert [str(listener) for listener in config.listeners] == ["PLAINTEXT://:9092"]


def test_log_dir_without_log_dirs(tmp_path: Path) -> None:
    assert BrokerConfig.load(write(tmp_path, "log.dir=/one")).log_dirs == ["/one"]
    assert BrokerConfig.load(write(tmp_path, "log.dir=/one\nlog.dirs=/two")).log_dirs == ["/two"]
    assert BrokerConfig.load(write(tmp_path, "")).log_dirs == ["/tmp/kafka-logs"]
    assert BrokerConfig.load(None, {"log.dir": "/mine"}).log_dirs == ["/mine"]


def test_ids() -> None:
    assert BrokerConfig.load(None, {"broker.id": "4"}).broker_id == 4
    assert BrokerConfig({"broker.id": "-1"}).broker_id == 1
    assert BrokerConfig({"broker.id": "2", "node.id": "2"}).broker_id == 2
    with pytest.raises(ConfigError, match=r"broker\.id"):
        BrokerConfig({"broker.id": "2", "node.id": "3"})


def test_one_warning_for_each_unknown_key() -> None:
    config = BrokerConfig({"nonsense": "1", "retention.ms": "5", "num.partitons": "2", "controller.quorum.voters": ""})
    assert len(config.warnings) == 3
    assert "it is a topic's; the broker's is log.retention.ms" in config.warnings[1]
    assert "did you mean num.partitions?" in config.warnings[2]


def test_warnings_of_listeners_keys() -> None:
    """A key that applies to no listener gets a warning: a typo in `ssl.client.auth` would let every client in."""
    config = BrokerConfig(
        {
            "listeners": "INNER://h:1,CONTROLLER://h:2",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "INNER:SSL,CONTROLLER:SSL",
            "listener.name.inner.ssl.client.auth": "required",
            "listener.name.controller.ssl.client.auth": "required",
            "listener.name.inner.plain.sasl.jaas.config": "x",
            "listener.name.INNER.ssl.client.auth": "required",
            "listener.name.outer.ssl.client.auth": "required",
            "listener.name.inner.ssl.cleint.auth": "required",
        }
    )
    assert config.warnings == [
        "configuration key listener.name.INNER.ssl.client.auth: there is no listener INNER; the listeners are controller, inner",
        "configuration key listener.name.outer.ssl.client.auth: there is no listener outer; the listeners are controller, inner",
        "unknown configuration key listener.name.inner.ssl.cleint.auth",
    ]


def test_a_kraft_file_is_taken_silently() -> None:
    config = BrokerConfig(
        {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:9093",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": "127.0.0.1:9093",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:SSL",
        }
    )
    assert config.warnings == []
    assert [(listener.name, listener.port) for listener in config.listeners] == [("PLAINTEXT", 0)]


def test_several_listeners() -> None:
    config = BrokerConfig(
        {
            "listeners": "inside://[::1]:9092, OUTSIDE://0.0.0.0:9093",
            "advertised.listeners": "INSIDE://localhost:9092,OUTSIDE://broker.example:19093",
            "listener.security.protocol.map": "inside:PLAINTEXT,outside:plaintext",
            "inter.broker.listener.name": "outside",
        }
    )
    assert [listener.address for listener in config.listeners] == ["[::1]:9092", "0.0.0.0:9093"]
    assert [str(listener) for listener in config.advertised_listeners][1] == "OUTSIDE://broker.example:19093"
    assert config.inter_broker_listener_name == "OUTSIDE"


def test_a_bound_wildcard_is_advertised_by_the_name_of_the_host() -> None:
    import socket

    for host in ("", "0.0.0.0"):
        config = BrokerConfig({"listeners": f"PLAINTEXT://{host}:9092"})
        assert config.advertised_listeners[0].host == socket.gethostname()


@pytest.mark.parametrize(
    "settings",
    [
        {"listeners": ""},
        {"listeners": "127.0.0.1:9092"},
        {"listeners": "PLAINTEXT://127.0.0.1"},
        {"listeners": "PLAINTEXT://127.0.0.1:70000"},
        {"listeners": "PLAINTEXT://127.0.0.1:-1"},
        {"listeners": "PLAINTEXT://a b:9092"},
        {"listeners": "PLAINTEXT://h:1,PLAINTEXT://h:2"},
        {"listeners": "PLAINTEXT://h:1,B://h:1", "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,B:PLAINTEXT"},
        {"listeners": "PLAINTEXT://h:1,B://:1", "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,B:PLAINTEXT"},
        {"listeners": "OTHER://h:1"},
        {"listeners": "CONTROLLER://h:1", "controller.listener.names": "CONTROLLER"},
        {"listener.security.protocol.map": "A:B"},
        {"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PLAINTEXT:SSL"},
        {"advertised.listeners": "PLAINTEXT://0.0.0.0:9092"},
        {
            "advertised.listeners": "OTHER://h:1",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT",
        },
        {"inter.broker.listener.name": "OTHER"},
        {"inter.broker.listener.name": "PLAINTEXT", "security.inter.broker.protocol": "PLAINTEXT"},
        {"process.roles": "controller"},
        {"process.roles": "king"},
        {"log.retention.ms": "0"},
        {"log.retention.hours": "0"},
        {"queued.max.request.bytes": "1000"},
        {"max.connections.per.ip": "0"},
        {"group.min.session.timeout.ms": "2000000"},
        {"group.consumer.session.timeout.ms": "70000"},
        {"max.connections.per.ip": "0", "max.connections.per.ip.overrides": " "},
        {"max.connections.per.ip.overrides": "127.0.0.1"},
        {"max.connections.per.ip.overrides": "127.0.0.1:x"},
        {"max.connections.per.ip.overrides": "127.0.0.1:-1"},
        {"max.connections.per.ip.overrides": ":5"},
        {"max.connections.per.ip.overrides": "a b:5"},
        {"alter.config.policy.class.name": "example.Policy"},
        {"client.quota.callback.class": "example.Callback"},
        {"config.providers": "file"},
        {"remote.log.storage.system.enable": "true"},
        {"zookeeper.connect": "localhost:2181", "process.roles": "broker"},
        {"zookeeper.connect": "localhost:2181", "broker.id": "1001"},
        {"zookeeper.connect": "localhost:2181", "broker.id.generation.enable": "false"},
        {"zookeeper.connect": "localhost:2181", "control.plane.listener.name": "CONTROL"},
        {"zookeeper.connect": "localhost:2181", "listeners": "SSL://h:1"},
        {"zookeeper.connect": "localhost:2181", "zookeeper.ssl.crl.enable": "true"},
        {"process.roles": "broker", "controller.quorum.bootstrap.servers": "other:9093"},
        {"process.roles": "broker", "controller.quorum.voters": "3@other:9093"},
        {"process.roles": "broker,controller", "controller.quorum.voters": "1@a:9093,2@b:9093,3@c:9093"},
        {"process.roles": "broker,controller", "controller.quorum.bootstrap.servers": "a:9093,b:9093"},
        {"controller.quorum.voters": "1@a:9093,2@b:9093,3@c:9093"},
        {"controller.quorum.bootstrap.servers": "a:9093,b:9093"},
        {"process.roles": "broker,controller", "node.id": "2", "controller.quorum.voters": "1@a:9093"},
        {"controller.quorum.voters": "a:9093"},
    ],
)
def test_settings_that_stop_the_start(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as raised:
        BrokerConfig(settings)
    assert raised.value.key in str(raised.value)
    assert raised.value.allowed


def test_every_security_protocol_is_known() -> None:
    names = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
    config = BrokerConfig({"listeners": ",".join(f"{name}://h:{port}" for port, name in enumerate(names, 1))})
    assert tuple(each.security_protocol for each in config.listeners) == names


def all_keys() -> list[ConfigKey]:
    keys = [definitions.broker_key(name) for name in definitions.broker_key_names()]
    keys += [definitions.topic_key(name) for name in definitions.topic_key_names()]
    keys += [definitions.group_key(name) for name in definitions.group_key_names()]
    keys += [definitions.client_metrics_key(name) for name in definitions.client_metrics_key_names()]
    return [key for key in keys if key is not None]


def invalid_texts(key: ConfigKey) -> list[str]:
    """Texts that the key must refuse, derived from its type and validator."""
    wrong = {"BOOLEAN": ["", "yes", "1"], "DOUBLE": ["", "x", "nan", "1_0"]}.get(key.type, [])
    bits = {"SHORT": 16, "INT": 32, "LONG": 64}.get(key.type)
    if bits is not None:
        wrong = ["", "x", "1.5", "1_000", "0x10", "٣", str(1 << (bits - 1)), str(-(1 << (bits - 1)) - 1)]
    kind, *arguments = key.validator or ("", "")
    if kind in ("at_least", "between") and arguments[0] > -(1 << 31):
        wrong.append(str(arguments[0] - 1))
    if kind == "between":
        wrong.append(str(arguments[1] + 1))
    if kind in ("in", "in_any_case", "list_in", "list_in_or_empty"):
        wrong += ["other", f"{arguments[0]},other"]
    if kind in ("list_in", "list_not_empty"):
        wrong += [""]
    special = {
        "gzip_level": ["0", "10", "-2"],
        "offset_reset": [
            "none", "by_duration:", "by_duration:P", "by_duration:PT", "by_duration:1h", "by_duration:P999999999999999D",
            "by_duration:P106751991167300DT15H30M8S", "by_duration:PT" + "9" * 5000 + "S",
        ],
        "throttled_replicas": ["1", "a:b", "1:2,*", "1:2:3"],
        "client_match": ["x=1", "client_id", "client_id=("],
    }
    return wrong + special.get(kind, [])


@pytest.mark.parametrize("key", all_keys(), ids=lambda key: f"{key.scope}:{key.name}")
def test_every_key_takes_its_default_and_refuses_what_is_invalid(key: ConfigKey) -> None:
    assert to_text(parse_value(key, key.default)) == key.default
    for text in invalid_texts(key):
        with pytest.raises(ConfigError) as raised:
            parse_value(key, text)
        assert raised.value.key == key.name
        assert raised.value.allowed
        if key.name != "match":
            beginning = f"Invalid value {raised.value.value} for configuration {key.name}: "
            assert raised.value.kafka_message.startswith(beginning)


def test_doubles_print_as_in_java() -> None:
    printed = [to_text(value) for value in (0.5, 1.0, 100.0, 1e7, 12345678.0, 1e-4, 1.5e-5, 1.7976931348623157e308)]
    assert printed == ["0.5", "1.0", "100.0", "1.0E7", "1.2345678E7", "1.0E-4", "1.5E-5", "1.7976931348623157E308"]


def test_time_in_the_finest_unit_that_is_set() -> None:
    def topic(settings: dict[str, str]) -> dict[str, object]:
        return BrokerConfig(settings).log_defaults()

    assert topic({})["retention.ms"] == 168 * 3_600_000
    assert topic({"log.retention.hours": "2"})["retention.ms"] == 7_200_000
    assert topic({"log.retention.hours": "2", "log.retention.minutes": "3"})["retention.ms"] == 180_000
    assert topic({"log.retention.minutes": "3", "log.retention.ms": "5"})["retention.ms"] == 5
    assert topic({"log.retention.hours": "-1"})["retention.ms"] == -1
    assert topic({"log.roll.hours": "2"})["segment.ms"] == 7_200_000
    assert topic({"log.roll.hours": "2", "log.roll.ms": "9"})["segment.ms"] == 9
    assert topic({"log.roll.jitter.hours": "1"})["segment.jitter.ms"] == 3_600_000
    assert topic({"log.flush.scheduler.interval.ms": "10"})["flush.ms"] == 10
    assert topic({"log.flush.scheduler.interval.ms": "10", "log.flush.interval.ms": "20"})["flush.ms"] == 20


def test_precedence_of_levels() -> None:
    config = BrokerConfig({"message.max.bytes": "1000"})
    changes: list[frozenset[str]] = []
    config.add_change_listener(changes.append)
    assert config.topic_config({})["max.message.bytes"] == 1000
    config.set_dynamic(broker={}, cluster_default={"message.max.bytes": "2000"})
    assert config.topic_config({})["max.message.bytes"] == 2000
    config.set_dynamic(broker={"message.max.bytes": "3000"}, cluster_default={"message.max.bytes": "2000"})
    assert config["message.max.bytes"] == 3000
    assert config.topic_config({"max.message.bytes": "4000"})["max.message.bytes"] == 4000
    sources = [synonym.source for synonym in dynamic.synonyms(config, "message.max.bytes")]
    assert sources == [2, 3, 4, 5]
    config.set_dynamic(broker={}, cluster_default={})
    assert config["message.max.bytes"] == 1000
    assert changes == [frozenset({"message.max.bytes"})] * 3


def test_a_stored_setting_that_is_not_allowed_any_more_does_not_stop_the_start() -> None:
    config = BrokerConfig({})
    config.set_dynamic(broker={"log.segment.bytes": "1", "gone": "1"}, cluster_default={})
    assert config["log.segment.bytes"] == 1073741824
    assert len(config.warnings) == 1


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ({"nonsense": "1"}, "Unknown topic config name: nonsense"),
        ({"retention.ms": "x"}, "Invalid value x for configuration retention.ms: Not a number of type LONG"),
        ({"segment.bytes": "1"}, "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576"),
        ({"cleanup.policy": "drop"}, "String must be one of: compact, delete"),
        ({"min.compaction.lag.ms": "9", "max.compaction.lag.ms": "5"}, "conflict topic config setting"),
        ({"remote.storage.enable": "true"}, "Tiered Storage functionality is disabled"),
        ({"retention.ms": None}, "Null value not supported"),
    ],
)
def test_topic_settings_that_are_refused(configs: dict[str, str | None], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validate_topic_configs(configs)
    assert message in raised.value.kafka_message


def test_cleanup_policy_may_be_empty() -> None:
    validate_topic_configs({"cleanup.policy": ""})
    assert BrokerConfig({}).topic_config({"cleanup.policy": ""})["cleanup.policy"] == []


def test_reactors_leave_one_core_free_unless_their_number_is_set() -> None:
    unset, chosen = BrokerConfig({}), BrokerConfig({"num.network.threads": "3"})
    assert [unset.reactors(cores) for cores in (1, 2, 3, 4, 64)] == [1, 1, 2, 3, 3]
    assert chosen.reactors(1) == 3


def test_recovery_threads_are_per_directory_where_they_are_set() -> None:
    assert BrokerConfig({"log.dirs": "/a,/b"}).recovery_threads() == 5
    assert BrokerConfig({"log.dirs": "/a,/b", "num.recovery.threads.per.data.dir": "3"}).recovery_threads() == 6


def test_receive_buffers_are_the_systems_unless_they_are_set() -> None:
    assert BrokerConfig({}).receive_buffer_bytes() == -1
    assert BrokerConfig({"socket.receive.buffer.bytes": "102400"}).receive_buffer_bytes() == 102400
    assert BrokerConfig({}).listen_backlog() == 1024
    assert BrokerConfig({"socket.listen.backlog.size": "7"}).listen_backlog() == 7


@pytest.mark.parametrize("moment", ["_topic_default", "text"])
def test_a_change_while_another_thread_reads_is_not_lost(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the reader has built from the earlier settings is not kept."""
    config = BrokerConfig.load()
    original = getattr(config, moment)
    changes = [{"log.retention.bytes": "1000"}]

    def meanwhile(name: str) -> object:
        found = original(name)
        if changes and name in ("retention.bytes", "log.retention.bytes"):
            config.set_dynamic(broker={}, cluster_default=changes.pop())
        return found

    monkeypatch.setattr(config, moment, meanwhile)
    config.log_defaults()
    assert not changes
    assert config.log_defaults()["retention.bytes"] == config["log.retention.bytes"] == 1000



def member(**settings: str) -> BrokerConfig:
    given = {key.replace("_", "."): value for key, value in settings.items()}
    return BrokerConfig({"zookeeper.connect": "zk:2181", "broker.id": "1", **given})


def test_tls_between_brokers() -> None:
    assert member(listeners="SSL://h:1", security_inter_broker_protocol="SSL").inter_broker_listener_name == "SSL"
    named = member(
        listeners="A://h:1,B://h:2,C://h:3", listener_security_protocol_map="A:PLAINTEXT,B:SSL,C:SSL",
        inter_broker_listener_name="b", control_plane_listener_name="c", ssl_endpoint_identification_algorithm="",
    )  # fmt: skip
    assert (named.inter_broker_listener_name, named.control_plane_listener_name, named.warnings) == ("B", "C", [])
    with pytest.raises(ConfigError, match=r"security\.inter\.broker\.protocol"):
        member(listeners="A://h:1", listener_security_protocol_map="A:SSL", security_inter_broker_protocol="SSL")


def test_brokers_may_connect_to_each_other_with_sasl() -> None:
    found = member(
        listeners="A://h:1,B://h:2", listener_security_protocol_map="A:SASL_SSL,B:SASL_PLAINTEXT",
        inter_broker_listener_name="a", control_plane_listener_name="b",
    )  # fmt: skip
    assert (found.inter_broker_listener_name, found.control_plane_listener_name) == ("A", "B")


def test_the_selector_of_replicas() -> None:
    member = {"zookeeper.connect": "zk:2181", "broker.id": "1"}
    for name in ("RackAwareReplicaSelector", "LeaderSelector"):
        selector = f"org.apache.kafka.common.replica.{name}"
        assert BrokerConfig({**member, "replica.selector.class": selector})["replica.selector.class"] == selector
    with pytest.raises(ConfigError, match=r"replica\.selector\.class.*RackAwareReplicaSelector"):
        BrokerConfig({**member, "replica.selector.class": "com.example.Nearest"})
