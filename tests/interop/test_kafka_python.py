"""kafka-python as a client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import TopicAlreadyExistsError

pytestmark = pytest.mark.interop
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


def read(consumer: KafkaConsumer, count: int) -> list[Any]:
    records: list[Any] = []
    deadline = time.monotonic() + 30
    while len(records) < count and time.monotonic() < deadline:
        for batch in consumer.poll(timeout_ms=500).values():
            records.extend(batch)
    return records


@pytest.mark.parametrize("codec", CODECS)
def test_round_trip(bootstrap: str, topic: str, codec: str | None) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, acks="all", linger_ms=5)
    headers = [("h", b"x"), ("h", b"y")]
    futures = [
        producer.send(topic, key=None if i % 2 else b"k", value=str(i).encode(), headers=headers) for i in range(200)
    ]
    assert [future.get(timeout=60).offset for future in futures] == list(range(200))
    producer.send(topic, key=b"tombstone", value=None, timestamp_ms=1_700_000_000_000).get(timeout=60)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    records = read(consumer, 201)
    assert [record.value for record in records] == [*(str(i).encode() for i in range(200)), None]
    assert list(records[0].headers) == headers
    assert [record.key for record in records[:2]] == [b"k", None]
    assert records[200].timestamp == 1_700_000_000_000
    assert consumer.beginning_offsets([place]) == {place: 0}
    assert consumer.end_offsets([place]) == {place: 201}
    assert consumer.offsets_for_times({place: 1_700_000_000_000})[place].offset >= 0
    consumer.close()


def test_group_commits_and_seeks(bootstrap: str, topic: str, group: str) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for i in range(10):
        producer.send(topic, str(i).encode())
    producer.close()
    place = TopicPartition(topic, 0)

    def member() -> KafkaConsumer:
        return KafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=4,
        )

    first = member()
    assert [record.offset for record in read(first, 4)] == [0, 1, 2, 3]
    first.commit()
    assert first.committed(place) == 4
    first.close()
    second = member()
    assert [record.offset for record in read(second, 6)] == [4, 5, 6, 7, 8, 9]
    second.seek(place, 8)
    assert [record.offset for record in read(second, 2)] == [8, 9]
    second.seek_to_beginning(place)
    assert read(second, 1)[0].offset == 0
    second.close()


class Member:
    """A consumer in a separate thread, as applications run it.

    kafka-python 3.0 abandons a join that ends at the same instant as a short poll, and starts another one: polls of
    100 ms that alternate in one thread can miss each other forever, whatever the broker answers.
    """

    def __init__(self, bootstrap: str, topic: str, group: str) -> None:
        self.consumer = KafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=300,
            session_timeout_ms=6000,
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.consumer.poll(timeout_ms=1000)
        self.consumer.close()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()


def settle(members: list[Member], sizes: list[int]) -> None:
    deadline = time.monotonic() + 30
    while [len(each.consumer.assignment()) for each in members] != sizes:
        assert time.monotonic() < deadline, [each.consumer.assignment() for each in members]
        time.sleep(0.05)


def test_group_rebalance(bootstrap: str, create_topic: Callable[..., str], group: str) -> None:
    topic = create_topic(partitions=4)
    members = [Member(bootstrap, topic, group)]
    try:
        settle(members, [4])
        members.append(Member(bootstrap, topic, group))
        settle(members, [2, 2])
        members.pop(0).close()
        settle(members, [4])
    finally:
        for each in members:
            each.close()


def test_admin(bootstrap: str, group: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    topic = f"kafka-python-{group}"
    try:
        admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
        with pytest.raises(TopicAlreadyExistsError):
            admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
        assert topic in admin.list_topics()
        (described,) = admin.describe_topics([topic])
        assert len(described["partitions"]) == 2
        assert described["error_code"] == 0
        admin.delete_topics([topic])
        assert topic not in admin.list_topics()
    finally:
        admin.close()
