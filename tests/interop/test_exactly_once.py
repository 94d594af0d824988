"""Transactions of confluent-kafka (librdkafka): atomic over partitions and offsets, fenced, and kept over kill -9."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing import Broker
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]
TOPIC, PARTITIONS = "data", 4
QUIET = {"log_level": 0}
TIMEOUT_S = 60


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as started:
        admin = AdminClient({"bootstrap.servers": started.bootstrap_servers, **QUIET})
        for topic in (TOPIC, "input"):
            admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(TIMEOUT_S)
        yield started


def transactional(broker: Broker, transactional_id: str, **more: object) -> Producer:
    settings = {"bootstrap.servers": broker.bootstrap_servers, "transactional.id": transactional_id, **QUIET, **more}
    producer = Producer(settings)
    producer.init_transactions(TIMEOUT_S)
    return producer


def consumer(broker: Broker, group: str, isolation: str = "read_committed") -> Consumer:
    settings = {
        "bootstrap.servers": broker.bootstrap_servers, "group.id": group, "enable.auto.commit": False,
        "auto.offset.reset": "earliest", "isolation.level": isolation, "enable.partition.eof": True, **QUIET,
    }  # fmt: skip
    return Consumer(settings)


def read_all(broker: Broker, topic: str = TOPIC, isolation: str = "read_committed") -> list[bytes]:
    """Every record up to the end of each partition, as a reader with this isolation level sees it."""
    reader = consumer(broker, "all", isolation)
    try:
        reader.assign([TopicPartition(topic, index, 0) for index in range(PARTITIONS)])
        values, ended = [], set()
        deadline = time.monotonic() + TIMEOUT_S
        while len(ended) < PARTITIONS and time.monotonic() < deadline:
            for message in reader.consume(500, 0.2):
                error = message.error()
                if error is None:
                    values.append(message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
        assert len(ended) == PARTITIONS
        return values
    finally:
        reader.close()


def write(producer: Producer, name: str, count: int = 8) -> None:
    producer.begin_transaction()
    for number in range(count):
        producer.produce(TOPIC, f"{name}-{number}".encode(), partition=number % PARTITIONS)


def test_committed_records_are_read_and_aborted_ones_are_not(broker: Broker) -> None:
    producer = transactional(broker, "t")
    write(producer, "first")
    producer.commit_transaction(TIMEOUT_S)
    write(producer, "aborted")
    producer.flush(TIMEOUT_S)
    producer.abort_transaction(TIMEOUT_S)
    write(producer, "open")
    producer.flush(TIMEOUT_S)
    assert sorted(read_all(broker)) == sorted(f"first-{number}".encode() for number in range(8))
    assert len(read_all(broker, isolation="read_uncommitted")) == 24
    producer.commit_transaction(TIMEOUT_S)
    assert len(read_all(broker)) == 16


def test_another_producer_fences_the_first(broker: Broker) -> None:
    first = transactional(broker, "t")
    write(first, "lost")
    first.flush(TIMEOUT_S)
    second = transactional(broker, "t")
    write(second, "kept")
    second.commit_transaction(TIMEOUT_S)
    with pytest.raises(KafkaException) as fenced:
        first.commit_transaction(TIMEOUT_S)
    error = fenced.value.args[0]
    assert error.fatal() and error.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED)
    assert sorted(read_all(broker)) == sorted(f"kept-{number}".encode() for number in range(8))


def test_offsets_are_part_of_the_transaction(broker: Broker) -> None:
    feed = Producer({"bootstrap.servers": broker.bootstrap_servers, **QUIET})
    for number in range(20):
        feed.produce("input", b"%d" % number, partition=0)
    assert feed.flush(TIMEOUT_S) == 0
    producer, reader = transactional(broker, "copy"), consumer(broker, "g")
    reader.subscribe(["input"])
    for commits in (False, True):
        producer.begin_transaction()
        copied: list[bytes] = []

        def copy(copied: list[bytes] = copied) -> bool:
            for message in reader.consume(20 - len(copied), 0.5):
                if message.error() is None:
                    copied.append(message.value())
                    producer.produce(TOPIC, message.value(), partition=0)
            return len(copied) == 20

        wait_until(copy, "all of the input", TIMEOUT_S)
        positions = [each for each in reader.position(reader.assignment()) if each.offset >= 0]
        producer.send_offsets_to_transaction(positions, reader.consumer_group_metadata(), TIMEOUT_S)
        if commits:
            producer.commit_transaction(TIMEOUT_S)
        else:
            producer.abort_transaction(TIMEOUT_S)
            (committed,) = reader.committed([TopicPartition("input", 0)], TIMEOUT_S)
            assert committed.offset < 0
            reader.seek(TopicPartition("input", 0, 0))
    (committed,) = reader.committed([TopicPartition("input", 0)], TIMEOUT_S)
    assert committed.offset == 20
    reader.close()
    assert read_all(broker) == [b"%d" % number for number in range(20)]


class Writer(threading.Thread):
    """Writes transactions and remembers which ones were acknowledged; after an error it begins anew."""

    def __init__(self, broker: Broker, name: str) -> None:
        super().__init__(daemon=True)
        self.broker = broker
        self.label = name
        self.acknowledged: set[str] = set()
        self.aborted: set[str] = set()
        self.count = 0
        self.ended = threading.Event()

    def run(self) -> None:
        producer: Producer | None = None
        while not self.ended.is_set():
            self.count += 1
            name = f"{self.label}.{self.count}"
            try:
                producer = producer or transactional(self.broker, self.label)
                write(producer, name)
                if self.count % 4 == 0:
                    producer.flush(5)
                    self.aborted.add(name)
                    producer.abort_transaction(5)
                else:
                    producer.commit_transaction(5)
                    self.acknowledged.add(name)
            except KafkaException:
                producer = None


@pytest.mark.crash
def test_kill_9(broker: Broker) -> None:
    """Acknowledged transactions are there, aborted ones are not, and none is there in parts."""
    writers = [Writer(broker, f"w{number}") for number in range(2)]
    for writer in writers:
        writer.start()
    for _ in range(4):
        before = [len(writer.acknowledged) for writer in writers]
        wait_until(
            lambda: all(len(each.acknowledged) > was + 5 for each, was in zip(writers, before, strict=True)),  # noqa: B023
            "transactions of each writer", TIMEOUT_S,
        )  # fmt: skip
        broker.kill()
        broker.start()
    for writer in writers:
        writer.ended.set()
    for writer in writers:
        writer.join(TIMEOUT_S)
        transactional(broker, writer.label)  # ends what is open
    found: dict[str, int] = {}
    for value in read_all(broker):
        name = value.decode().split("-")[0]
        found[name] = found.get(name, 0) + 1
    assert set(found.values()) <= {8}, "a transaction is there in parts, or twice"
    for writer in writers:
        assert writer.acknowledged <= found.keys()
        assert writer.aborted.isdisjoint(found)
