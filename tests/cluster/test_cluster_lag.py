"""Consumer lag of a whole cluster, on the page of any member."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.request
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.zookeeper_ensemble import wait_until

GROUPS = [f"group-{number}" for number in range(6)]
RECORDS = 10  # in each partition; record n has timestamp BEGUN_MS + n seconds
COMMITTED = 4
LAG_LINE = re.compile(r'kafka_consumergroup_lag(_seconds)?\{consumergroup="([\w-]+)",topic="t",partition="(\d)"\} (\S+)')


def page_of(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        text: str = page.read().decode()
        return text


def lags(text: str) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], float]]:
    """(lag in messages, lag in seconds) by group and partition."""
    messages: dict[tuple[str, int], int] = {}
    seconds: dict[tuple[str, int], float] = {}
    for in_seconds, group, index, value in LAG_LINE.findall(text):
        if in_seconds:
            seconds[group, int(index)] = float(value)
        else:
            messages[group, int(index)] = int(value)
    return messages, seconds


def fill(port: int, begun_ms: int) -> None:
    """Partition 0 has a batch for each record, partition 1 one compressed batch; every group has committed both."""
    producers = {
        0: Producer({"bootstrap.servers": f"127.0.0.1:{port}", "batch.num.messages": 1}),
        1: Producer({"bootstrap.servers": f"127.0.0.1:{port}", "linger.ms": 500, "compression.type": "lz4"}),
    }
    for index, producer in producers.items():
        for number in range(RECORDS):
            producer.produce("t", b"v" * 100, partition=index, timestamp=begun_ms + 1000 * number)
    for producer in producers.values():
        assert producer.flush(30) == 0
    for group in GROUPS:
        consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{port}", "group.id": group})
        consumer.commit(offsets=[TopicPartition("t", index, COMMITTED) for index in (0, 1)], asynchronous=False)
        consumer.close()


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_groups_of_apache_kafka(tmp_path: Path, zookeeper_connect: str) -> None:
    """Kafka coordinates the groups, and leads both partitions."""
    port, lag_port, kafka_port = free_ports(3)
    kafka = Kafka(tmp_path, zookeeper_connect, 1, kafka_port)
    member = MemberBroker(tmp_path, zookeeper_connect, 9, port, {"kafkacy.lag.listen": f"127.0.0.1:{lag_port}"})
    with kafka:
        wait_until(lambda: "[KafkaServer id=1] started" in kafka.log(), "Kafka")
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{kafka_port}"})
        admin.create_topics([NewTopic("t", 2, 1)])["t"].result()
        fill(kafka_port, int(time.time() * 1000) - 1_000_000)
        with member:
            member.wait()
            everything = {(group, index) for group in GROUPS for index in (0, 1)}
            wait_until(lambda: lags(page_of(lag_port))[1].keys() == everything, "all times")
            messages, seconds = lags(page_of(lag_port))
            assert messages == dict.fromkeys(everything, RECORDS - COMMITTED)
            assert all(1_000_000 // 1000 - 60 < each < 1_000_000 // 1000 + 120 for each in seconds.values()), seconds
            assert member.errors() == []


@pytest.mark.interop
def test_any_member_shows_the_lag_of_the_cluster(tmp_path: Path, zookeeper_connect: str) -> None:
    ports = free_ports(4)
    members = [
        MemberBroker(
            tmp_path, zookeeper_connect, number + 1, ports[number],
            {"kafkacy.lag.listen": f"127.0.0.1:{ports[2 + number]}", "offsets.topic.num.partitions": "2"},
        )
        for number in range(2)
    ]  # fmt: skip
    with members[0], members[1]:
        for each in members:
            each.wait()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{ports[0]}"})
        wait_until(lambda: len(seen(admin).brokers) == 2, "both brokers")
        admin.create_topics([NewTopic("t", 2, replica_assignment=[[1], [2]])])["t"].result()
        begun_ms = int(time.time() * 1000) - 1_000_000
        fill(ports[0], begun_ms)
        offsets = seen(admin, "__consumer_offsets").topics["__consumer_offsets"].partitions
        assert {each.leader for each in offsets.values()} == {1, 2}

        everything = {(group, index) for group in GROUPS for index in (0, 1)}
        for port in ports[2:]:
            wait_until(lambda port=port: lags(page_of(port))[1].keys() == everything, "all times")  # type: ignore[misc]
            text = page_of(port)
            messages, seconds = lags(text)
            assert messages == dict.fromkeys(everything, RECORDS - COMMITTED)
            now_s = time.time()
            assert all(0 <= now_s - begun_ms / 1000 - COMMITTED - each < 60 for each in seconds.values()), seconds
            assert "kafkacy_lag_silent_brokers 0\n" in text and "kafka_brokers 2\n" in text
            for index in (0, 1):
                assert f'kafka_topic_partition_current_offset{{topic="t",partition="{index}"}} {RECORDS}\n' in text
                assert f'kafka_topic_partition_oldest_offset{{topic="t",partition="{index}"}} 0\n' in text

        own = {group for group, _ in lags(text)[0]}
        second = members[1].process
        assert second is not None and own == set(GROUPS)
        second.send_signal(signal.SIGSTOP)
        text = page_of(ports[2])
        second.send_signal(signal.SIGCONT)
        assert "kafkacy_lag_silent_brokers 1\n" in text
        left = {group for group, _ in lags(text)[0]}
        assert left and left < set(GROUPS)
        assert {index for _, index in lags(text)[0]} == {0}  # the other partition lies on the silent broker only
        assert "consumer lag leaves out the groups of a broker that does not answer broker=2 reason=" in members[0].log()
        wait_until(lambda: lags(page_of(ports[2]))[0].keys() == everything, "everything again")
        assert "consumer lag has the groups of a broker again broker=2" in members[0].log()
        assert [each.errors() for each in members] == [[], []]
