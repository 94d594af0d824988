"""A consumer with a rack reads from the follower there, and from the leader when that broker dies (KIP-392)."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_member_cluster import isrs
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

SELECTOR = "org.apache.kafka.common.replica.RackAwareReplicaSelector"


def bytes_out(port: int) -> int:
    """Of the records that the broker has sent to consumers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        lines = page.read().decode().splitlines()
    found = [line for line in lines if line.startswith('kafka_server_brokertopicmetrics_bytesout_total{topic="t"}')]
    return sum(int(float(line.split()[1])) for line in found)


def produce(servers: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    for value in values:
        producer.produce("t", value)
    assert producer.flush(60) == 0


def read(consumer: Consumer, count: int) -> list[bytes]:
    found: list[bytes] = []

    def more() -> bool:
        found.extend(message.value() for message in consumer.consume(count, 1) if message.error() is None)
        return len(found) >= count

    wait_until(more, f"{count} records, not {len(found)}")
    return found


@pytest.mark.slow
def test_a_consumer_reads_in_its_rack(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    ports = free_ports(4)
    members = [
        MemberBroker(
            tmp_path, zookeeper_connect, number, ports[number],
            {"kafkacy.metrics.listen": f"127.0.0.1:{ports[number + 2]}", "broker.rack": "ab"[number],
             "replica.selector.class": SELECTOR, "zookeeper.session.timeout.ms": "2000"},
        )
        for number in (0, 1)
    ]  # fmt: skip
    servers = f"127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"
    try:
        for member in members:
            member.start()
            member.wait()
        admin = AdminClient({"bootstrap.servers": servers})
        wait_until(lambda: len(seen(admin).brokers) == 2, "two brokers")
        admin.create_topics([NewTopic("t", 1, replica_assignment=[[0, 1]])])["t"].result()
        wait_until(lambda: isrs(admin, "t") == [{0, 1}], "the ISR")
        values = [b"%d" % number for number in range(1000)]
        produce(servers, values)
        consumer = Consumer(
            {"bootstrap.servers": servers, "group.id": "g", "auto.offset.reset": "earliest", "client.rack": "b",
             "isolation.level": "read_committed", "enable.auto.commit": False}
        )  # fmt: skip
        consumer.assign([TopicPartition("t", 0, 0)])
        assert read(consumer, len(values)) == values
        produce(servers, values)
        assert read(consumer, len(values)) == values
        assert bytes_out(ports[2]) == 0 and bytes_out(ports[3]) > 0, "the leader has sent nothing"
        members[1].kill()
        wait_until(lambda: isrs(admin, "t") == [{0}], "the follower is gone")
        produce(servers, values)
        assert read(consumer, len(values)) == values
        assert bytes_out(ports[2]) > 0
        consumer.close()
        assert members[0].errors() == []
    except BaseException:
        print(*(member.log() for member in members), sep="\n======\n")
        raise
    finally:
        for member in members:
            member.kill()
