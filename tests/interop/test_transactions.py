"""Transactions of librdkafka and of the Java client, read with both isolation levels, with the broker killed in between."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from java_tools import JavaTools

from kafka_cy.testing import Broker

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]


def create(bootstrap: str, topic: str, partitions: int = 2, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(topic, partitions, 1, config=config)]).values():
        future.result(30)


def producer(bootstrap: str, transactional_id: str) -> Producer:
    made = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id, "linger.ms": 0})
    made.init_transactions(30)
    return made


def transact(source: Producer, topic: str, values: list[str], *, commit: bool) -> None:
    source.begin_transaction()
    for i, value in enumerate(values):
        source.produce(topic, value, partition=i % 2)
    source.flush(30)
    if commit:
        source.commit_transaction(30)
    else:
        source.abort_transaction(30)


def read(bootstrap: str, topic: str, isolation: str, count: int, quiet_s: float = 1.0) -> list[str]:
    """What a new consumer reads: at least `count` records, and what else comes until it is quiet."""
    config = {"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"}
    consumer = Consumer({**config, "isolation.level": isolation, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, index, 0) for index in range(2)])
    found: list[str] = []
    deadline, quiet_at = time.monotonic() + 30, time.monotonic() + 30
    while time.monotonic() < min(deadline, quiet_at):
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            found.append(message.value().decode())
        if len(found) >= count and message is None:
            quiet_at = min(quiet_at, time.monotonic() + quiet_s)
    consumer.close()
    return sorted(found)


def test_committed_and_aborted(bootstrap: str, java: JavaTools) -> None:
    create(bootstrap, "transacted")
    source = producer(bootstrap, "t")
    transact(source, "transacted", ["a1", "a2"], commit=True)
    transact(source, "transacted", ["b1", "b2"], commit=False)
    transact(source, "transacted", ["c1", "c2"], commit=True)
    assert read(bootstrap, "transacted", "read_committed", 4) == ["a1", "a2", "c1", "c2"]
    assert read(bootstrap, "transacted", "read_uncommitted", 6) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    command = ("consumer.ConsoleConsumer", "--bootstrap-server", bootstrap, "--topic", "transacted", "--from-beginning")
    committed = java.run(*command, "--isolation-level", "read_committed", "--max-messages", 4, "--timeout-ms", 60_000)
    assert sorted(committed.lines) == ["a1", "a2", "c1", "c2"]


def test_log_append_time_and_the_java_client(bootstrap: str, java: JavaTools) -> None:
    """Its Produce adds the partitions to the transaction, so that the broker asks the coordinator about the first batch of each."""
    create(bootstrap, "java-append-time", **{"message.timestamp.type": "LogAppendTime"})
    for codec in ("none", "gzip"):
        done = java.check(
            "ProducerPerformance", "--topic", "java-append-time", "--num-records", 100, "--record-size", 10, "--throughput", -1,
            "--transactional-id", "java", "--producer-props", f"bootstrap.servers={bootstrap}", f"compression.type={codec}",
        )  # fmt: skip
        assert "100 records sent" in done.out
    assert len(read(bootstrap, "java-append-time", "read_committed", 200)) == 200


def test_an_open_transaction_hides_what_follows(bootstrap: str) -> None:
    create(bootstrap, "hidden")
    source, plain = producer(bootstrap, "slow"), Producer({"bootstrap.servers": bootstrap})
    source.begin_transaction()
    source.produce("hidden", "first", partition=0)
    source.flush(30)
    plain.produce("hidden", "second", partition=0)
    plain.flush(30)
    assert read(bootstrap, "hidden", "read_committed", 0) == []
    assert read(bootstrap, "hidden", "read_uncommitted", 2) == ["first", "second"]
    source.commit_transaction(30)
    assert read(bootstrap, "hidden", "read_committed", 2) == ["first", "second"]


def test_a_fenced_producer(bootstrap: str) -> None:
    create(bootstrap, "fenced")
    old = producer(bootstrap, "fenced-id")
    old.begin_transaction()
    old.produce("fenced", "old", partition=0)
    old.flush(30)
    transact(producer(bootstrap, "fenced-id"), "fenced", ["new"], commit=True)
    with pytest.raises(KafkaException):
        old.commit_transaction(30)
    assert read(bootstrap, "fenced", "read_committed", 1) == ["new"]


@pytest.mark.parametrize("level", ["2", "1", "0"])
def test_the_broker_is_killed(tmp_path: Path, java: JavaTools, level: str) -> None:
    """An open transaction is aborted by the next InitProducerId, committed ones stay; at every level of transaction.version."""
    with Broker({"transaction.state.log.num.partitions": 3}, folder=tmp_path) as broker:
        bootstrap = broker.bootstrap_servers
        if level != "2":
            command = ("FeatureCommand", "--bootstrap-server", bootstrap)
            java.check(*command, "downgrade", "--feature", f"transaction.version={level}")
        create(bootstrap, "killed")
        source = producer(bootstrap, "k")
        transact(source, "killed", ["a", "b"], commit=True)
        transact(source, "killed", ["x", "y"], commit=False)
        source.begin_transaction()
        source.produce("killed", "open", partition=0)
        source.flush(30)
        broker.kill()
    with Broker({"transaction.state.log.num.partitions": 3}, folder=tmp_path) as broker:
        bootstrap = broker.bootstrap_servers
        transact(producer(bootstrap, "k"), "killed", ["c", "d"], commit=True)
        assert read(bootstrap, "killed", "read_committed", 4) == ["a", "b", "c", "d"]
        assert read(bootstrap, "killed", "read_uncommitted", 7) == ["a", "b", "c", "d", "open", "x", "y"]
