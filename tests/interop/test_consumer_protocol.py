"""Consumer groups of KIP-848 with librdkafka and with Apache Kafka's Java consumer and tools."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from java_tools import JavaTools

GROUP_COMMAND = "consumer.group.ConsumerGroupCommand"
WAIT_S = 60.0


def member(bootstrap: str, group: str, topics: list[str], **settings: Any) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            **settings,
        }
    )
    consumer.subscribe(topics)
    return consumer


def places(consumer: Consumer) -> set[tuple[str, int]]:
    return {(place.topic, place.partition) for place in consumer.assignment()}


def wait_for(consumers: Iterable[Consumer], condition: Callable[[], bool]) -> None:
    """Poll all consumers until the condition holds."""
    consumers = list(consumers)
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, [places(each) for each in consumers]
        for each in consumers:
            message = each.poll(0.05)
            assert message is None or message.error() is None, message.error()


def test_members_come_and_go(bootstrap: str, create_topic: Callable[..., str], group: str, admin: AdminClient) -> None:
    topic = create_topic(partitions=4)
    everything = {(topic, partition) for partition in range(4)}
    first = member(bootstrap, group, [topic])
    wait_for([first], lambda: places(first) == everything)
    second = member(bootstrap, group, [topic], **{"group.remote.assignor": "range"})
    both = [first, second]
    wait_for(both, lambda: all(len(places(each)) == 2 for each in both))
    assert places(first) | places(second) == everything
    described = admin.describe_consumer_groups([group])[group].result(30)
    assert {len(each.assignment.topic_partitions) for each in described.members} == {2}
    first.close()
    wait_for([second], lambda: places(second) == everything)
    second.close()


def test_a_regular_expression_and_a_topic_that_comes_later(
    bootstrap: str, create_topic: Callable[..., str], group: str
) -> None:
    """The broker finds the later topic; the member need not ask for it. Its records are consumed from the first one on."""
    first = create_topic(partitions=1)
    consumer = member(bootstrap, group, [f"^{first.rpartition('-')[0]}-.*"])
    wait_for([consumer], lambda: (first, 0) in places(consumer))
    later = create_topic(partitions=2)
    producer = Producer({"bootstrap.servers": bootstrap})
    for partition in range(2):
        producer.produce(later, b"later", partition=partition)
    assert producer.flush(60) == 0
    consumed: set[tuple[str, int]] = set()
    deadline = time.monotonic() + WAIT_S
    while consumed != {(later, 0), (later, 1)}:
        assert time.monotonic() < deadline, (consumed, places(consumer))
        message = consumer.poll(0.1)
        if message is not None:
            assert message.error() is None and message.value() == b"later", message.error()
            consumed.add((str(message.topic()), int(message.partition() or 0)))
    assert {(first, 0), *consumed} <= places(consumer)
    consumer.close()


def test_a_static_member_keeps_its_partitions(bootstrap: str, create_topic: Callable[..., str], group: str) -> None:
    topic = create_topic(partitions=4)
    one = member(bootstrap, group, [topic], **{"group.instance.id": "one"})
    two = member(bootstrap, group, [topic], **{"group.instance.id": "two"})
    wait_for([one, two], lambda: len(places(one)) == len(places(two)) == 2)
    had = places(two)
    two.close()  # it says that it will come back
    again = member(bootstrap, group, [topic], **{"group.instance.id": "two"})
    wait_for([one, again], lambda: len(places(again)) == 2)
    assert places(again) == had
    one.close()
    again.close()


def test_classic_members_are_replaced_one_by_one(bootstrap: str, create_topic: Callable[..., str], group: str) -> None:
    """Every record is read, and what was committed with one protocol counts with the other."""
    topic = create_topic(partitions=4)
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(400):
        producer.produce(topic, str(number).encode(), partition=number % 4)
    assert producer.flush(60) == 0
    everything = {(topic, partition) for partition in range(4)}
    # Not sticky: librdkafka puts data of its own into the assignments of sticky members, so that no broker converts the group.
    classic = {"group.protocol": "classic", "partition.assignment.strategy": "range"}
    old = [member(bootstrap, group, [topic], **classic) for _ in range(2)]
    wait_for(old, lambda: all(len(places(each)) == 2 for each in old))
    new = [member(bootstrap, group, [topic])]
    wait_for(old + new, lambda: sorted(len(places(each)) for each in old + new) == [1, 1, 2])
    old.pop().close()
    new.append(member(bootstrap, group, [topic]))
    wait_for(old + new, lambda: all(places(each) for each in old + new))
    old.pop().close()
    wait_for(new, lambda: set().union(*map(places, new)) == everything and all(len(places(each)) == 2 for each in new))
    for each in new:
        each.close()
    back = member(bootstrap, group, [topic], **classic)
    wait_for([back], lambda: places(back) == everything)
    back.close()


def test_java_consumers(java: JavaTools, bootstrap: str, create_topic: Callable[..., str], group: str) -> None:
    topic = create_topic(partitions=3)
    place = ("--bootstrap-server", bootstrap, "--topic", topic)
    java.check("VerifiableProducer", *place, "--max-messages", 300)
    consumed = java.check(
        "VerifiableConsumer", *place, "--group-id", group, "--group-protocol", "consumer", "--max-messages", 300,
        "--reset-policy", "earliest",
    )  # fmt: skip
    events = [json.loads(line) for line in consumed.lines]
    assert sum(event["count"] for event in events if event["name"] == "records_consumed") == 300
    assert sum(len(event["partitions"]) for event in events if event["name"] == "partitions_assigned") == 3
    commits = [event for event in events if event["name"] == "offsets_committed"]
    assert commits and all(event["success"] for event in commits)
    live = member(bootstrap, group, [topic])
    wait_for([live], lambda: len(places(live)) == 3)
    command = (GROUP_COMMAND, "--bootstrap-server", bootstrap)
    state = java.check(*command, "--describe", "--group", group, "--state", "--verbose").out
    assert "uniform" in state and "Stable" in state
    assert "consumer" in java.check(*command, "--describe", "--group", group, "--members", "--verbose").out
    rows = [line.split() for line in java.check(*command, "--describe", "--group", group).lines if topic in line]
    assert sorted(row[2] for row in rows) == ["0", "1", "2"]
    listed = java.check(*command, "--list", "--type").lines
    assert any(line.split() == [group, "Consumer"] for line in listed)
    live.close()
    java.check(*command, "--delete", "--group", group)
