"""Settings of a live broker: at start, changed at run time, after a restart and after a crash."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from live_client import Client, string

from kafka_cy.testing import Broker
from tests.waiting import wait_until

CREATE_TIME, LOG_APPEND_TIME = 1, 2
OLD_MS = 1_000_000_000_000


def admin_of(broker: Broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap_servers})


def alter(broker: Broker, kind: ResourceType, name: str, **values: object) -> None:
    entries = [
        ConfigEntry(key.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET)
        for key, value in values.items()
    ]
    resource = ConfigResource(kind, name, incremental_configs=entries)
    admin = admin_of(broker)  # its futures end with it
    admin.incremental_alter_configs([resource])[resource].result(60)


def alter_every_broker(broker: Broker, key: str, value: str) -> int:
    """IncrementalAlterConfigs of the cluster-wide default, which confluent-kafka cannot address. Returns the error code."""
    with Client(broker.host, broker.port) as client:
        resource = b"\x04" + string("") + struct.pack(">i", 1) + string(key) + b"\0" + string(value)
        answer = client.call(44, 0, struct.pack(">i", 1) + resource + b"\0")
    return int(struct.unpack_from(">h", answer, 8)[0])


def produce(broker: Broker, topic: str, value: bytes, *, timestamp_ms: int = OLD_MS, **config: object) -> Any:
    """Produce one record; return the delivered message. Raises KafkaException."""
    reports: list[tuple[KafkaError | None, Message]] = []
    settings = {"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 50000, **config}
    producer = Producer({key.replace("_", "."): value for key, value in settings.items()})
    producer.produce(topic, value, timestamp=timestamp_ms, on_delivery=lambda *report: reports.append(report))
    producer.flush(60)
    error, message = reports[0]
    if error is not None:
        raise KafkaException(error)
    return message


def read(broker: Broker, topic: str, offset: int) -> Message:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "reader"})
    consumer.assign([TopicPartition(topic, 0, offset)])
    message = consumer.poll(60)
    consumer.close()
    assert message is not None and message.error() is None
    return message


def create(broker: Broker, topic: str, **config: object) -> None:
    settings = {key.replace("_", "."): str(value) for key, value in config.items()}
    admin = admin_of(broker)
    admin.create_topics([NewTopic(topic, 1, 1, config=settings)])[topic].result(60)


def error_of(call: Callable[[], object]) -> int:
    with pytest.raises(KafkaException) as raised:
        call()
    return int(raised.value.args[0].code())


def segment(broker: Broker, topic: str) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((broker.data_dir / f"{topic}-0").glob("*.log")))


def check_altered(broker: Broker, value: bytes) -> None:
    """The behaviour of topic `t` after its settings were changed."""
    assert error_of(lambda: produce(broker, "t", b"x" * 3000)) == KafkaError.MSG_SIZE_TOO_LARGE
    before = len(segment(broker, "t"))
    message = produce(broker, "t", value * 900)
    assert read(broker, "t", message.offset()).timestamp()[0] == LOG_APPEND_TIME
    assert len(segment(broker, "t")) - before < 200  # compressed by the broker


def test_topic_settings_at_once_and_after_restarts(tmp_path: Path) -> None:
    with Broker(folder=tmp_path) as broker:
        create(broker, "t")
        message = produce(broker, "t", b"x" * 3000)
        assert read(broker, "t", message.offset()).timestamp() == (CREATE_TIME, OLD_MS)
        settings = {"max_message_bytes": 1000, "message_timestamp_type": "LogAppendTime", "compression_type": "gzip"}
        alter(broker, ResourceType.TOPIC, "t", **settings)
        check_altered(broker, b"a")
        broker.restart()
        check_altered(broker, b"b")
        broker.kill()
        broker.start()
        check_altered(broker, b"c")
        assert read(broker, "t", 0).value() == b"x" * 3000


def test_retention_changed_at_run_time(tmp_path: Path) -> None:
    with Broker({"log.retention.check.interval.ms": 100}, folder=tmp_path) as broker:
        create(broker, "t")
        produce(broker, "t", b"old", timestamp_ms=int(time.time() * 1000))
        consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "watermarks"})
        place = TopicPartition("t", 0)
        assert consumer.get_watermark_offsets(place) == (0, 1)
        alter(broker, ResourceType.TOPIC, "t", retention_ms=100)
        wait_until(lambda: consumer.get_watermark_offsets(place) == (1, 1), "retention")
        consumer.close()


def test_broker_settings_at_once_and_after_a_crash(tmp_path: Path) -> None:
    with Broker({"node.id": 4, "message.max.bytes": 2000}, folder=tmp_path) as broker:
        create(broker, "t")
        create(broker, "own", max_message_bytes=9000)
        assert error_of(lambda: produce(broker, "t", b"x" * 3000)) == KafkaError.MSG_SIZE_TOO_LARGE
        produce(broker, "own", b"x" * 3000)
        alter(broker, ResourceType.BROKER, "4", message_max_bytes=5000)
        produce(broker, "t", b"x" * 3000)
        broker.kill()
        broker.start()
        produce(broker, "t", b"x" * 3000)
        create(broker, "new")
        produce(broker, "new", b"x" * 3000)
        assert error_of(lambda: produce(broker, "t", b"x" * 6000)) == KafkaError.MSG_SIZE_TOO_LARGE
        produce(broker, "own", b"x" * 6000)
        # The setting of this broker has precedence over the cluster-wide default.
        assert alter_every_broker(broker, "message.max.bytes", "100") == 0
        produce(broker, "t", b"x" * 3000)


def test_switches(tmp_path: Path) -> None:
    config = {"auto.create.topics.enable": False, "delete.topic.enable": False}
    with Broker(config, folder=tmp_path) as broker:
        never = (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._MSG_TIMED_OUT)
        assert error_of(lambda: produce(broker, "missing", b"", message_timeout_ms=1000)) in never
        create(broker, "t", min_insync_replicas=2)
        admin = admin_of(broker)
        delete = admin.delete_topics(["t"])["t"]
        assert error_of(lambda: delete.result(60)) == KafkaError.TOPIC_DELETION_DISABLED
        assert "missing" not in admin.list_topics(timeout=60).topics
        # Too few replicas for acks=all; acks=1 does not need them.
        refusals = (KafkaError.NOT_ENOUGH_REPLICAS, KafkaError._MSG_TIMED_OUT)
        assert error_of(lambda: produce(broker, "t", b"", acks="all", message_timeout_ms=1500)) in refusals
        assert produce(broker, "t", b"", acks=1).offset() == 0


def server(folder: Path, *overrides: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "kafka_cy", "server", "--override", f"log.dirs={folder}/data"]
    for override in ("listeners=PLAINTEXT://127.0.0.1:0", "kafkacy.metrics.listen=", "kafkacy.lag.listen=", *overrides):
        command += ["--override", override]
    command += ["--log-level", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline():
        process.terminate()
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("num.partitions=0", ("num.partitions", "0", "at least 1")),
        ("auto.create.topics.enable=maybe", ("auto.create.topics.enable", "maybe", "true or false")),
        ("compression.type=rar", ("compression.type", "rar", "zstd")),
        ("advertised.listeners=OTHER://a:1", ("advertised.listeners", "OTHER")),
        ("listeners=PLAINTEXT://127.0.0.1", ("listeners", "PLAINTEXT://127.0.0.1", "host:port")),
        ("kafkacy.metrics.listen=nowhere", ("kafkacy.metrics.listen", "nowhere", "HOST:PORT")),
        ("kafkacy.lag.listen=nowhere", ("kafkacy.lag.listen", "nowhere", "HOST:PORT")),
        ("connections.max.idle.ms=soon", ("connections.max.idle.ms", "soon", "integer")),
        ("zookeeper.ssl.crl.enable=true", ("zookeeper.ssl.crl.enable", "revoked")),
        ("authorizer.class.name=kafka.security.Authorizer", ("authorizer.class.name", "cannot load Java classes")),
    ],
)
def test_invalid_value_stops_the_start(tmp_path: Path, override: str, said: tuple[str, ...]) -> None:
    code, errors = server(tmp_path, override)
    assert code == 2 and errors.count("\n") == 1, errors
    assert all(part in errors for part in said), errors
    assert not (tmp_path / "data").exists()


def test_keys_of_every_kafka_file_are_silent_and_unknown_ones_warn_once(tmp_path: Path) -> None:
    silent = [
        "process.roles=broker,controller",
        "controller.listener.names=CONTROLLER",
        "controller.quorum.voters=1@localhost:9093",
        "controller.quorum.bootstrap.servers=localhost:9093",
        "controller.quorum.election.timeout.ms=1000",
        "num.io.threads=8",
        "num.recovery.threads.per.data.dir=1",
        "share.coordinator.state.topic.replication.factor=1",
        "socket.send.buffer.bytes=102400",
    ]
    code, errors = server(tmp_path, *silent, "log.retention.hour=3")
    assert "ERROR" not in errors
    warnings = [line for line in errors.splitlines() if "WARN" in line]
    assert code == 0 and len(warnings) == 1 and "log.retention.hour" in warnings[0], errors


def test_a_key_without_effect_gets_one_warning_at_the_start(tmp_path: Path) -> None:
    code, errors = server(tmp_path, "num.replica.fetchers=9", "zookeeper.connect=")
    warnings = [line for line in errors.splitlines() if "WARN" in line]
    assert code == 0 and len(warnings) == 1, errors
    assert "configuration key num.replica.fetchers has no effect: kafka-cy runs as a single broker" in warnings[0]


def background_threads(broker: Broker) -> int:
    names = [path.read_text() for path in Path(f"/proc/{broker.pid}/task").glob("*/comm")]
    return sum(name.startswith("background-") for name in names)


def test_background_threads_flush_logs(tmp_path: Path) -> None:
    settings = {"background.threads": 5, "log.flush.interval.messages": 1, "node.id": 4}
    with Broker(settings, folder=tmp_path) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        for threads in (5, 7):
            alter(broker, ResourceType.BROKER, "4", background_threads=threads)
            producer.produce("t", b"value")
            assert producer.flush(20) == 0
            wait_until(lambda wanted=threads: background_threads(broker) == wanted, f"{threads} threads have names")


def test_num_network_threads_is_how_many_reactors_run(tmp_path: Path) -> None:
    counts = {}
    for asked in (1, 5, 100):
        with Broker({"num.network.threads": asked, "node.id": 4}, folder=tmp_path / str(asked)) as broker:
            with pytest.raises(KafkaException, match=r"num\.network\.threads"):
                alter(broker, ResourceType.BROKER, "4", num_network_threads=3)
            # The control plane has answered, and it starts after the reactors.
            counts[asked] = len(list(Path(f"/proc/{broker.pid}/task").iterdir()))
            logged = broker.log_text()
    assert counts[5] - counts[1] == 4
    assert counts[100] - counts[1] == 62 and "num.network.threads is above the maximum" in logged
