"""What tests of exactly-once clients share: a feed, the broker's kill -9, and what a read_committed consumer sees.

EXACTLY_ONCE_KILLS=N (`make exactly-once`): the broker, or the client, is killed that often instead of once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.records import iterate_batches
from kafka_cy.records.api import CONTROL
from kafka_cy.testing import Broker

KILLS = int(os.environ.get("EXACTLY_ONCE_KILLS", "1"))
TIMEOUT_S = 60
RESULTS_S = 240  # for the results of an application in a JVM of its own, which starts anew after each kill
QUIET = {"log_level": 0}
ABORT_KEY = bytes(4)  # of a control record: version 0, type 0


def create_topics(bootstrap: str, partitions: int, *names: str) -> None:
    """Create topics."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    for future in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
        future.result(TIMEOUT_S)


def feed(bootstrap: str, topic: str, records: Iterable[tuple[bytes | None, bytes]], partitions: int = 1) -> None:
    """Write key and value of each record, the partitions in turn."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, **QUIET})
    for number, (key, value) in enumerate(records):
        producer.produce(topic, value, key, partition=number % partitions)
        producer.poll(0)
    assert producer.flush(TIMEOUT_S) == 0


def read_committed(bootstrap: str, topic: str, partitions: int = 1) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of every committed record, up to the last stable offset of each partition."""
    settings = {
        "bootstrap.servers": bootstrap, "group.id": "exactly-once-reader", "enable.auto.commit": False,
        "isolation.level": "read_committed", "enable.partition.eof": True, **QUIET,
    }  # fmt: skip
    reader = Consumer(settings)
    try:
        reader.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
        found: list[tuple[bytes | None, bytes | None]] = []
        ended: set[int] = set()
        deadline = time.monotonic() + TIMEOUT_S
        while len(ended) < partitions:
            assert time.monotonic() < deadline, f"no end of {topic}: {len(found)} records"
            for message in reader.consume(1000, 0.2):
                error = message.error()
                if error is None:
                    found.append((message.key(), message.value()))
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
        return found
    finally:
        reader.close()


def end_offset(bootstrap: str, topic: str, partition: int = 0, isolation_level: str = "read_committed") -> int:
    """The end of the partition for a consumer; for a read_committed one its last stable offset."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "exactly-once-ends",
        "isolation.level": isolation_level,
        **QUIET,
    }
    consumer = Consumer(settings)
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT_S)[1])
    finally:
        consumer.close()


def abort_markers(broker: Broker, topic: str) -> int:
    """How many transactions the logs of the topic show as aborted."""
    batches = [
        batch for path in broker.data_dir.glob(f"{topic}-[0-9]*/*.log") for batch in iterate_batches(path.read_bytes())
    ]
    return sum(bool(batch.attributes & CONTROL) and batch.records()[0].key == ABORT_KEY for batch in batches)
