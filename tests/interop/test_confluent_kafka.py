"""confluent-kafka (librdkafka) as a client."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, OffsetSpec

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def produce_all(bootstrap: str, topic: str, records: list[dict[str, object]], **settings: object) -> list[Message]:
    """Produce and wait; return the delivered messages in the order of delivery."""
    delivered: list[Message] = []

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        delivered.append(message)

    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, **settings})
    for record in records:
        producer.produce(topic, on_delivery=on_delivery, **record)
    assert producer.flush(60) == 0
    return delivered


def consume_all(consumer: Consumer, count: int, timeout_s: float = 60.0) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + timeout_s
    while len(messages) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(messages), timeout=0.5):
            assert message.error() is None, message.error()
            messages.append(message)
    assert len(messages) == count
    return messages


def read_topic(bootstrap: str, topic: str, count: int, **settings: object) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False, **settings})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return consume_all(consumer, count)
    finally:
        consumer.close()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("idempotent", [False, True], ids=["plain", "idempotent"])
def test_round_trip(bootstrap: str, topic: str, codec: str, idempotent: bool) -> None:
    records: list[dict[str, object]] = [
        {"key": None if i % 3 == 0 else f"k{i}".encode(), "value": None if i % 5 == 0 else b"v" * i, "partition": 0}
        for i in range(500)
    ]
    delivered = produce_all(bootstrap, topic, records, **{"compression.type": codec, "enable.idempotence": idempotent})
    assert [message.offset() for message in delivered] == list(range(500))
    read = read_topic(bootstrap, topic, 500)
    assert [(m.key(), m.value()) for m in read] == [(r["key"], r["value"]) for r in records]
    assert [m.offset() for m in read] == list(range(500))


def test_headers_and_timestamps(bootstrap: str, topic: str) -> None:
    headers = [("a", b"1"), ("empty", b""), ("null", None), ("a", b"again")]
    now_ms = int(time.time() * 1000)
    produce_all(bootstrap, topic, [{"value": b"x", "headers": headers, "timestamp": now_ms - 1000}])
    (message,) = read_topic(bootstrap, topic, 1)
    assert message.headers() == headers
    assert message.timestamp() == (1, now_ms - 1000)


def test_log_append_time(bootstrap: str, create_topic: Callable[..., str]) -> None:
    topic = create_topic(config={"message.timestamp.type": "LogAppendTime"})
    before_ms = int(time.time() * 1000)
    produce_all(bootstrap, topic, [{"value": b"x", "timestamp": before_ms - 100_000}])
    (message,) = read_topic(bootstrap, topic, 1)
    kind, time_ms = message.timestamp()
    assert kind == 2
    assert before_ms - 1000 <= time_ms <= time.time() * 1000 + 1000


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acks(bootstrap: str, topic: str, acks: str) -> None:
    produce_all(bootstrap, topic, [{"value": str(i).encode()} for i in range(50)], acks=acks)
    read = read_topic(bootstrap, topic, 50)
    assert [m.value() for m in read] == [str(i).encode() for i in range(50)]


def test_too_large_record_is_refused(bootstrap: str, create_topic: Callable[..., str]) -> None:
    topic = create_topic(config={"max.message.bytes": "1000"})
    errors: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, b"x" * 2000, on_delivery=lambda error, message: errors.append(error))
    producer.flush(60)
    assert [error.code() for error in errors] == [KafkaError.MSG_SIZE_TOO_LARGE]


def test_large_record(bootstrap: str, topic: str) -> None:
    value = bytes(range(256)) * 3600  # 921,600 bytes, just under the default limit
    produce_all(bootstrap, topic, [{"value": value}])
    (message,) = read_topic(bootstrap, topic, 1)
    assert message.value() == value


def test_auto_created_topic(bootstrap: str, admin: AdminClient, group: str) -> None:
    topic = f"auto-{group}"
    produce_all(bootstrap, topic, [{"value": b"first"}])
    assert read_topic(bootstrap, topic, 1)[0].value() == b"first"
    admin.delete_topics([topic])[topic].result(60)


def test_offsets_by_time(bootstrap: str, topic: str, admin: AdminClient) -> None:
    base_ms = int(time.time() * 1000) - 60_000
    for i in range(10):  # one batch each, so that the result is exact, whatever the index entries are
        produce_all(bootstrap, topic, [{"value": b"x", "timestamp": base_ms + i * 1000}])
    place = TopicPartition(topic, 0)

    def offset(spec: OffsetSpec) -> int:
        return int(admin.list_offsets({place: spec})[place].result(60).offset)

    assert offset(OffsetSpec.earliest()) == 0
    assert offset(OffsetSpec.latest()) == 10
    assert offset(OffsetSpec.for_timestamp(base_ms + 4500)) == 5
    assert offset(OffsetSpec.for_timestamp(base_ms + 5000)) == 5
    assert offset(OffsetSpec.for_timestamp(base_ms + 99_999)) == -1
    assert offset(OffsetSpec.max_timestamp()) == 9


def test_group_resumes_where_it_committed(bootstrap: str, topic: str, group: str) -> None:
    produce_all(bootstrap, topic, [{"value": str(i).encode()} for i in range(20)])
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    first = Consumer(settings)
    first.subscribe([topic])
    assert [m.value() for m in consume_all(first, 8)] == [str(i).encode() for i in range(8)]
    first.commit(offsets=[TopicPartition(topic, 0, 8, metadata="half way")], asynchronous=False)
    (committed,) = first.committed([TopicPartition(topic, 0)], timeout=60)
    assert (committed.offset, committed.metadata) == (8, "half way")
    first.close()
    second = Consumer(settings)
    second.subscribe([topic])
    assert [m.value() for m in consume_all(second, 12)] == [str(i).encode() for i in range(8, 20)]
    second.close()


def test_create_partitions_and_delete(bootstrap: str, admin: AdminClient, topic: str) -> None:
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(60)
    deadline = time.monotonic() + 10
    while len(admin.list_topics(topic, timeout=60).topics[topic].partitions) != 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with pytest.raises(KafkaException) as failure:
        admin.create_partitions([NewPartitions(topic, 2)])[topic].result(60)
    assert failure.value.args[0].code() == KafkaError.INVALID_PARTITIONS


def test_delete_records(bootstrap: str, admin: AdminClient, topic: str) -> None:
    produce_all(bootstrap, topic, [{"value": b"x"}] * 10)
    place = TopicPartition(topic, 0, 6)
    assert admin.delete_records([place])[place].result(60).low_watermark == 6
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "x", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 2)])  # out of range: reset to the new start
    assert [m.offset() for m in consume_all(consumer, 4)] == [6, 7, 8, 9]
    consumer.close()
