"""Topics of a live broker through restarts and crashes: ids, records, offsets, names, deletion and re-creation."""

from __future__ import annotations

import struct
from pathlib import Path
from uuid import UUID

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from live_client import Client, string

from kafka_cy.testing import Broker

INVALID_TOPIC = 17


def produce(broker: Broker, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(60) == 0


def consumer_of(broker: Broker, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )


def topic_id(broker: Broker, topic: str) -> UUID:
    """The topic id in the topic's folder; the Metadata test compares the id that clients get."""
    lines = (broker.data_dir / f"{topic}-0/partition.metadata").read_text().splitlines()
    described = described_id(broker, topic)
    import base64

    assert base64.urlsafe_b64decode(lines[1].removeprefix("topic_id: ") + "==") == described.bytes
    return described


def described_id(broker: Broker, topic: str) -> UUID:
    from confluent_kafka import TopicCollection

    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    found = admin.describe_topics(TopicCollection([topic]))[topic].result(60).topic_id
    high, low = found.get_most_significant_bits(), found.get_least_significant_bits()
    return UUID(bytes=struct.pack(">qq", high, low))


def test_topics_ids_and_offsets_survive(tmp_path: Path) -> None:
    with Broker(folder=tmp_path) as broker:
        values = [b"%d" % i for i in range(300)]
        produce(broker, "t", *values)
        first_id = topic_id(broker, "t")
        consumer = consumer_of(broker, "g")
        consumer.subscribe(["t"])
        assert len(consumer.consume(200, timeout=60)) == 200
        consumer.commit(offsets=[TopicPartition("t", 0, 200)], asynchronous=False)
        consumer.close()
        for way in (broker.kill, broker.terminate, broker.kill):
            way()
            broker.start()
            assert topic_id(broker, "t") == first_id
            again = consumer_of(broker, "g")
            assert again.committed([TopicPartition("t", 0)], timeout=60)[0].offset == 200
            again.assign([TopicPartition("t", 0, 200)])
            assert [message.value() for message in again.consume(100, timeout=60)] == values[200:]
            assert again.get_watermark_offsets(TopicPartition("t", 0)) == (0, 300)
            again.close()


def metadata_error(broker: Broker, topic: str) -> int:
    """Send Metadata v4 with automatic creation; return the error code of the topic."""
    with Client(broker.host, broker.port) as client:
        answer = client.call(3, 4, struct.pack(">i", 1) + string(topic) + b"\1")
    return int(struct.unpack_from(">h", answer, answer.rindex(string(topic)) - 2)[0])


def test_names_that_are_created_on_demand(tmp_path: Path) -> None:
    with Broker({"num.partitions": 3}, folder=tmp_path) as broker:
        assert metadata_error(broker, "a.b") in (0, 5)
        assert metadata_error(broker, "a.b") == 0
        for name in ("a_b", "no blanks", "x" * 250, "..", "a/b"):
            assert metadata_error(broker, name) == INVALID_TOPIC, name
        assert metadata_error(broker, "x" * 249) in (0, 5)
        topics = AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_topics(timeout=60).topics
        assert {name: len(topic.partitions) for name, topic in topics.items()} == {"a.b": 3, "x" * 249: 3}


def fetch_request(topic: str) -> bytes:
    """Fetch v4 of partition 0 from offset 0. It waits for a byte longer than a client here waits for a response."""
    head = struct.pack(">iiiibi", -1, 600_000, 1, 1 << 20, 0, 1)
    return head + string(topic) + struct.pack(">iiqi", 1, 0, 0, 1 << 20)


def test_deletion_ends_a_waiting_fetch_and_recreation_is_a_new_topic(tmp_path: Path) -> None:
    with Broker({"log.segment.delete.delay.ms": 0}, folder=tmp_path) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        admin.create_topics([NewTopic("t", 1, 1)])["t"].result(60)
        old_id = topic_id(broker, "t")
        with Client(broker.host, broker.port) as waiting:
            waiting.send(1, 4, fetch_request("t"))
            admin.delete_topics(["t"])["t"].result(60)
            answer = waiting.receive()
            # throttle time, one topic, its name, one partition: index and error
            assert struct.unpack_from(">ih", answer, 4 + 4 + 3 + 4) == (0, KafkaError.UNKNOWN_TOPIC_OR_PART)
        admin.create_topics([NewTopic("t", 1, 1)])["t"].result(60)
        new_id = topic_id(broker, "t")
        assert new_id != old_id
        produce(broker, "t", b"new")
        broker.kill()
        broker.start()
        assert topic_id(broker, "t") == new_id
        consumer = consumer_of(broker, "g")
        consumer.subscribe(["t"])
        message = consumer.poll(60)
        assert message is not None and (message.offset(), message.value()) == (0, b"new")
        consumer.close()


def test_deleted_topics_stay_deleted(tmp_path: Path) -> None:
    with Broker(folder=tmp_path) as broker:
        produce(broker, "gone", b"value")
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        admin.delete_topics(["gone"])["gone"].result(60)
        broker.kill()
        broker.start()
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        assert "gone" not in admin.list_topics(timeout=60).topics
        assert not [path.name for path in broker.data_dir.iterdir() if path.name.startswith("gone")]
