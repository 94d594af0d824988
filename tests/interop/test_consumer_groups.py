"""Groups whose members join, leave and die; offsets reset by offset and by time (confluent-kafka)."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

OnRevoke = Callable[[Consumer, list[TopicPartition]], None]

CHILD = """
import sys
from confluent_kafka import Consumer
bootstrap, group, topic = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "session.timeout.ms": 6000,
                     "heartbeat.interval.ms": 300, "auto.offset.reset": "earliest"})
consumer.subscribe([topic])
while True:
    consumer.poll(0.1)
    if consumer.assignment():
        print("assigned", flush=True)
"""


def ignore(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    pass


def member(bootstrap: str, group: str, topic: str, on_revoke: OnRevoke = ignore, **settings: object) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "heartbeat.interval.ms": 300,
            "enable.auto.commit": False,
            **settings,
        }
    )
    consumer.subscribe([topic], on_revoke=on_revoke)
    return consumer


def partitions_of(consumer: Consumer) -> set[int]:
    return {place.partition for place in consumer.assignment()}


def wait_for(consumers: list[Consumer], condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Poll all consumers until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, [partitions_of(each) for each in consumers]
        for each in consumers:
            message = each.poll(0.05)
            assert message is None or message.error() is None, message.error()


@pytest.fixture(params=["range", "cooperative-sticky"])
def strategy(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def test_members_come_and_go(bootstrap: str, create_topic: Callable[..., str], group: str, strategy: str) -> None:
    topic = create_topic(partitions=4)
    settings = {"partition.assignment.strategy": strategy}
    first = member(bootstrap, group, topic, **settings)
    wait_for([first], lambda: partitions_of(first) == {0, 1, 2, 3})
    second = member(bootstrap, group, topic, **settings)
    both = [first, second]
    wait_for(both, lambda: all(len(partitions_of(each)) == 2 for each in both))
    assert partitions_of(first) | partitions_of(second) == {0, 1, 2, 3}
    first.close()
    wait_for([second], lambda: partitions_of(second) == {0, 1, 2, 3})
    second.close()


def test_dead_member_is_removed(bootstrap: str, create_topic: Callable[..., str], group: str) -> None:
    topic = create_topic(partitions=2)
    child = subprocess.Popen([sys.executable, "-c", CHILD, bootstrap, group, topic], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "assigned\n"
        survivor = member(bootstrap, group, topic, **{"session.timeout.ms": 6000})
        wait_for([survivor], lambda: len(partitions_of(survivor)) == 1)
    finally:
        child.kill()
        child.wait()
    wait_for([survivor], lambda: partitions_of(survivor) == {0, 1})
    survivor.close()


def test_static_member_returns_without_a_rebalance(
    bootstrap: str, create_topic: Callable[..., str], group: str
) -> None:
    topic = create_topic(partitions=4)
    lost: list[object] = []
    first = member(
        bootstrap, group, topic, lambda consumer, partitions: lost.append(partitions), **{"group.instance.id": "one"}
    )
    second = member(bootstrap, group, topic, **{"group.instance.id": "two"})
    both = [first, second]
    wait_for(both, lambda: all(len(partitions_of(each)) == 2 for each in both))
    had = partitions_of(second)
    lost.clear()
    second.close()  # a static member does not leave the group
    again = member(bootstrap, group, topic, **{"group.instance.id": "two"})
    wait_for([first, again], lambda: len(partitions_of(again)) == 2)
    assert partitions_of(again) == had
    assert lost == []
    first.close()
    again.close()


def test_every_record_once_while_members_change(bootstrap: str, create_topic: Callable[..., str], group: str) -> None:
    topic = create_topic(partitions=4)
    producer = Producer({"bootstrap.servers": bootstrap})
    for i in range(2000):
        producer.produce(topic, str(i).encode(), partition=i % 4)
    assert producer.flush(60) == 0
    seen: list[bytes] = []

    def take(consumer: Consumer, limit: int) -> None:
        """Read and commit; partitions that are revoked meanwhile are committed first."""
        for message in consumer.consume(limit, timeout=0.2):
            assert message.error() is None
            seen.append(message.value() or b"")
            consumer.store_offsets(message)
        if consumer.assignment():
            try:
                consumer.commit(asynchronous=False)
            except KafkaException as error:
                assert error.args[0].code() == KafkaError._NO_OFFSET

    settings = {"enable.auto.offset.store": False, "enable.auto.commit": True}
    first = member(bootstrap, group, topic, **settings)
    deadline = time.monotonic() + 40
    while len(seen) < 300 and time.monotonic() < deadline:
        take(first, 100)
    second = member(bootstrap, group, topic, **settings)
    while len(seen) < 1000 and time.monotonic() < deadline:
        take(first, 50)
        take(second, 50)
    first.close()
    while len(set(seen)) < 2000 and time.monotonic() < deadline:
        take(second, 200)
    second.close()
    assert sorted(int(each) for each in seen) == list(range(2000))


def test_offsets_are_moved_by_the_admin(bootstrap: str, topic: str, admin: AdminClient, group: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    base_ms = int(time.time() * 1000) - 60_000
    for i in range(10):
        producer.produce(topic, str(i).encode(), timestamp=base_ms + i * 1000)
        producer.flush(60)
    consumer = member(bootstrap, group, topic)
    wait_for([consumer], lambda: partitions_of(consumer) == {0})
    # A live member prevents the admin client from changing offsets.
    moved = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 3)])]
    result = admin.alter_consumer_group_offsets(moved)[group]
    with pytest.raises(KafkaException) as failure:
        result.result(60)
        raise KafkaException(result.result().topic_partitions[0].error)
    assert failure.value.args[0].code() == KafkaError.UNKNOWN_MEMBER_ID
    # By time, in the consumer itself.
    (place,) = consumer.offsets_for_times([TopicPartition(topic, 0, base_ms + 6500)], timeout=60)
    assert place.offset == 7
    consumer.seek(place)
    deadline = time.monotonic() + 20
    message = None
    while message is None and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is not None and message.offset() != 7:
            message = None  # fetched before the seek
    assert message is not None
    consumer.close()
    admin.alter_consumer_group_offsets(moved)[group].result(60)
    again = member(bootstrap, group, topic)
    read: list[int] = []
    deadline = time.monotonic() + 20
    while len(read) < 7 and time.monotonic() < deadline:
        message = again.poll(0.5)
        if message is not None:
            read.append(int(message.offset() or 0))
    again.close()
    assert read == [3, 4, 5, 6, 7, 8, 9]


def test_describe_list_and_delete(bootstrap: str, topic: str, admin: AdminClient, group: str) -> None:
    consumer = member(bootstrap, group, topic, **{"client.id": "somebody"})
    wait_for([consumer], lambda: partitions_of(consumer) == {0})
    description = admin.describe_consumer_groups([group])[group].result(60)
    assert description.state.name == "STABLE"
    assert [each.client_id for each in description.members] == ["somebody"]
    assert description.members[0].assignment.topic_partitions == [TopicPartition(topic, 0)]
    assert group in {each.group_id for each in admin.list_consumer_groups().result(60).valid}
    with pytest.raises(KafkaException) as failure:
        admin.delete_consumer_groups([group])[group].result(60)
    assert failure.value.args[0].code() == KafkaError.NON_EMPTY_GROUP
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    consumer.close()
    admin.delete_consumer_groups([group])[group].result(60)
    assert group not in {each.group_id for each in admin.list_consumer_groups().result(60).valid}
