"""Compacted topics with real clients: only the last record of each key stays, and Kafka's tools agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from foreign_tools import require
from java_tools import KAFKA_JARS, JavaTools
from test_kafka_folder import check_with_kafkas_tool

from kafka_cy.testing import Broker
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

CONFIG: dict[str, Any] = {
    "log.cleaner.backoff.ms": 100,
    "log.cleaner.min.cleanable.ratio": 0.01,
    "log.segment.bytes": 1 << 20,
    "log.segment.delete.delay.ms": 100,
    "offsets.topic.segment.bytes": 1 << 20,
    "offsets.topic.num.partitions": 1,
    "group.initial.rebalance.delay.ms": 0,
}
KEYS, UPDATES = 500, 60_000
SEGMENT = {"cleanup.policy": "compact", "segment.bytes": str(1 << 20), "min.cleanable.dirty.ratio": "0.001"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(CONFIG, folder=tmp_path / "broker") as made:
        yield made


@pytest.fixture
def java(tmp_path: Path) -> Iterator[JavaTools]:
    require((KAFKA_JARS / ".complete").exists(), "Apache Kafka")
    tools = JavaTools(tmp_path / "java.log")
    yield tools
    tools.close()


def create(broker: Broker, topic: str, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1, 1, config={**SEGMENT, **config})])[topic].result(60)


def closed_bytes(broker: Broker, topic: str) -> int:
    """The size of all segments except the active one."""
    logs = sorted((broker.data_dir / f"{topic}-0").glob("*.log"))
    return sum(path.stat().st_size for path in logs[:-1])


def consume(broker: Broker, topic: str) -> list[tuple[int, bytes, bytes | None]]:
    """(offset, key, value) of all records of partition 0."""
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap_servers, "group.id": "reader", "enable.auto.commit": False,
         "enable.partition.eof": True, "check.crcs": True}
    )  # fmt: skip
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found: list[tuple[int, bytes, bytes | None]] = []
    while True:
        message = consumer.poll(60)
        assert message is not None
        if message.error():
            assert message.error().name() == "_PARTITION_EOF", message.error()
            consumer.close()
            return found
        key = message.key()
        assert isinstance(key, bytes)
        found.append((message.offset(), key, message.value()))


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_updates_shrink_to_the_last_of_each_key(broker: Broker, java: JavaTools, codec: str) -> None:
    create(broker, "updates")
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "compression.type": codec,
            "enable.idempotence": True,
            "linger.ms": 2,
        }
    )
    last: dict[bytes, tuple[int, bytes | None]] = {}
    for i in range(UPDATES):
        key, value = b"k%d" % (i % KEYS), None if i % 997 == 0 else b"%d-" % i + bytes((i + j) % 251 for j in range(60))
        producer.produce("updates", key=key, value=value, partition=0)
        last[key] = (i, value)
        if i % 5000 == 4999:
            assert producer.flush(60) == 0
    before = consume(broker, "updates")
    assert [offset for offset, _, _ in before] == sorted({offset for offset, _, _ in before})
    per_key = closed_bytes(broker, "updates")
    wait_until(lambda: closed_bytes(broker, "updates") < 150_000, f"compaction of {per_key} bytes")
    rows = consume(broker, "updates")
    assert {key: (offset, value) for offset, key, value in rows} == last
    active = sorted((broker.data_dir / "updates-0").glob("*.log"))[-1]
    closed = [key for offset, key, _ in rows if offset < int(active.stem)]
    assert len(closed) == len(set(closed)) <= KEYS
    broker.kill()
    broker.start()
    assert {key: (offset, value) for offset, key, value in consume(broker, "updates")} == last
    assert broker.terminate() == 0
    check_with_kafkas_tool(java, broker.data_dir / "updates-0")


def test_committed_offsets_shrink_and_are_there_after_a_crash(broker: Broker) -> None:
    create(broker, "t", **{"cleanup.policy": "delete"})
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "g", "enable.auto.commit": False})
    commits = 16_000  # about 120 bytes each: two segments
    for i in range(commits):
        consumer.commit(offsets=[TopicPartition("t", 0, i)], asynchronous=i % 100 > 0)
    consumer.commit(offsets=[TopicPartition("t", 0, commits, metadata="end")], asynchronous=False)
    wait_until(lambda: closed_bytes(broker, "__consumer_offsets") < 1000, "compaction of the offsets")
    assert (broker.data_dir / "cleaner-offset-checkpoint").read_text().count("__consumer_offsets 0 ") == 1
    consumer.close()
    for end in (broker.kill, broker.terminate):
        end()
        broker.start()
        again = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "g"})
        position = again.committed([TopicPartition("t", 0)], timeout=60)[0]
        assert (position.offset, position.metadata) == (commits, "end")
        again.close()


def test_kafkas_compaction_tester(broker: Broker, java: JavaTools) -> None:
    """Kafka's tool produces duplicates and deletes, waits, consumes, and compares with its own deduplication."""
    result = java.run(
        "LogCompactionTester", "--bootstrap-server", broker.bootstrap_servers, "--messages", 100_000, "--duplicates", 20,
        "--topics", 2, "--percent-deletes", 10, "--sleep", 5, timeout_s=150,
    )  # fmt: skip
    assert result.code == 0, result.out + result.err
    assert "Data verification is completed" in result.out
    checkpoint = (broker.data_dir / "cleaner-offset-checkpoint").read_text().splitlines()
    assert len([line for line in checkpoint if line.startswith("log-cleaner-test") and int(line.split()[2]) > 0]) == 2
