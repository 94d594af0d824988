"""Consumer lag at `kafkacy.lag.listen`, compared with Kafka's kafka-consumer-groups."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from java_tools import JavaTools
from prometheus_client.parser import text_string_to_metric_families

import kafka_cy

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

Place = tuple[str, str, str]  # group, topic, partition
RECORDS = 30
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def broker() -> Iterator[kafka_cy.Broker]:
    """A separate broker, so that --all-groups shows only the groups of this module."""
    with kafka_cy.Broker({"offsets.topic.num.partitions": 5}) as started:
        yield started


@pytest.fixture(scope="module")
def sent_ms(broker: kafka_cy.Broker) -> int:
    """A topic with records in partitions 0 to 3, one per minute up to now, and the time of the last record."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic("orders", 5)])["orders"].result(60)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "compression.type": "lz4", "linger.ms": 100})
    now_ms = int(time.time() * 1000)
    for partition in range(4):
        for i in range(RECORDS):
            at_ms = now_ms - (RECORDS - 1 - i) * MINUTE_MS
            producer.produce("orders", b"v" * 50, partition=partition, timestamp=at_ms)
    assert producer.flush(60) == 0
    return now_ms


def consumer(broker: kafka_cy.Broker, group: str, **settings: object) -> Consumer:
    config = {"bootstrap.servers": broker.bootstrap_servers, "group.id": group, "enable.auto.commit": False}
    return Consumer({**config, "auto.offset.reset": "earliest", **settings})


def wait_for_partitions(member: Consumer) -> None:
    deadline = time.monotonic() + 30
    while not member.assignment():
        assert time.monotonic() < deadline
        member.poll(0.1)


@pytest.fixture(scope="module")
def groups(broker: kafka_cy.Broker, sent_ms: int) -> Iterator[None]:
    """Five groups: live, without its former members, never with members, up to date, and with unusual characters."""
    live = consumer(broker, "live", **{"client.id": 'a "client"'})
    live.subscribe(["orders"])
    wait_for_partitions(live)
    live.commit(offsets=[TopicPartition("orders", i, 10 + i) for i in range(3)], asynchronous=False)
    gone = consumer(broker, "gone")
    gone.subscribe(["orders"])
    wait_for_partitions(gone)
    gone.commit(offsets=[TopicPartition("orders", 0, 1)], asynchronous=False)
    gone.close()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for name, offset in (("simple", 0), ("done", RECORDS), ('odd "letters"\\', 29)):
        offsets = [TopicPartition("orders", i, offset) for i in range(4)]
        admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(name, offsets)])[name].result(60)
    yield
    live.close()


def scrape(broker: kafka_cy.Broker) -> dict[str, dict[Place, float]]:
    """The values by metric and (group, topic, partition)."""
    with urllib.request.urlopen(broker.lag_url, timeout=60) as answer:
        text = answer.read().decode()
    found: dict[str, dict[Place, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            names = sample.labels
            group = names.get("consumergroup", names.get("group", ""))
            place = (group, names.get("topic", ""), names.get("partition", ""))
            found.setdefault(family.name, {})[place] = sample.value
    return found


def test_agrees_with_kafka_consumer_groups(java: JavaTools, broker: kafka_cy.Broker, groups: None) -> None:
    arguments = ("--bootstrap-server", broker.bootstrap_servers, "--describe", "--all-groups")
    described = java.check("consumer.group.ConsumerGroupCommand", *arguments).lines
    told: dict[Place, tuple[float, float]] = {}
    ends: dict[tuple[str, str], float] = {}
    for line in described:
        # The name of a group may contain blanks, so the columns are read starting at the topic.
        head, topic, rest = line.partition(" orders ")
        fields = rest.split()
        if not topic or fields[1] == "-":
            continue  # a heading, or an assigned partition without a committed offset
        partition, committed, end, lag = fields[:4]
        told[head.strip(), "orders", partition] = (float(committed), float(lag))
        ends["orders", partition] = float(end)
    assert {place[0] for place in told} == {"live", "gone", "simple", "done", 'odd "letters"\\'}
    ours = scrape(broker)
    assert ours["kafka_consumergroup_current_offset"] == {place: committed for place, (committed, _) in told.items()}
    for name in ("kafka_consumergroup_lag", "kafka_consumergroup_uncommitted_offsets", "kafka_consumergroup_group_lag"):
        assert ours[name] == {place: lag for place, (_, lag) in told.items()}
    latest = ours["kafka_topic_partition_current_offset"]
    assert {(topic, partition): latest["", topic, partition] for topic, partition in ends} == ends
    members = {place[0]: count for place, count in ours["kafka_consumergroup_members"].items()}
    assert members == {"live": 1, "gone": 0, "simple": 0, "done": 0, 'odd "letters"\\': 0}


def test_time_lag_is_the_age_of_the_first_uncommitted_record(
    broker: kafka_cy.Broker, sent_ms: int, groups: None
) -> None:
    before_ms = time.time() * 1000
    ours = scrape(broker)
    after_ms = time.time() * 1000
    offsets = ours["kafka_consumergroup_current_offset"]
    for place, millis in ours["kafka_consumer_lag_millis"].items():
        if offsets[place] == RECORDS:
            assert millis == 0
        else:
            written_ms = sent_ms - (RECORDS - 1 - offsets[place]) * MINUTE_MS
            assert before_ms - written_ms - 1 <= millis <= after_ms - written_ms
    assert set(ours["kafka_consumer_lag_millis"]) == set(offsets)


def test_a_deleted_group_goes(broker: kafka_cy.Broker, groups: None) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    offsets = ConsumerGroupTopicPartitions("short", [TopicPartition("orders", 0, 3)])
    admin.alter_consumer_group_offsets([offsets])["short"].result(60)
    assert ("short", "orders", "0") in scrape(broker)["kafka_consumergroup_lag"]
    admin.delete_consumer_groups(["short"])["short"].result(60)
    assert not any(place[0] == "short" for family in scrape(broker).values() for place in family)
