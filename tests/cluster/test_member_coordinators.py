"""Coordinators of two kafka-cy brokers in one cluster: transactions over both, offsets and transactions that outlive a broker."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_controller_with_kafka import MORE as KAFKA_MORE
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

MORE = {
    "zookeeper.session.timeout.ms": "2000",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "2",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "2",
}
IDS = ["a", "b", "c", "d"]  # one in each partition of the transactions topic
INTERNAL = ("__consumer_offsets", "__transaction_state")


def leaders(admin: AdminClient, topic: str) -> list[int]:
    partitions = seen(admin, topic).topics[topic].partitions
    return [partitions[index].leader for index in sorted(partitions)]


def full(admin: AdminClient, topic: str, brokers: Collection[int] = (1, 2)) -> bool:
    return all(set(each.isrs) == set(brokers) for each in seen(admin, topic).topics[topic].partitions.values())


class Transactions:
    """Producers with one transactional id each, which go on with transactions, and what they have committed."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.renew()
        self.committed: list[bytes] = []
        self.offsets: dict[str, int] = {}

    def renew(self) -> None:
        """New clients: librdkafka waits for a group's former coordinator, as long as that one is down."""
        self.producers = {each: self._producer(each) for each in IDS}

    def _producer(self, name: str) -> Producer:
        producer = Producer({"bootstrap.servers": self.servers, "transactional.id": name})
        producer.init_transactions(20)
        return producer

    def run(self, name: str, text: str, *, commit: bool = True) -> None:
        """One transaction: a record in each partition, and an offset."""
        producer = self.producers[name]
        values = [f"{text}-{name}-{partition}".encode() for partition in range(2)]
        producer.begin_transaction()
        for partition, value in enumerate(values):
            producer.produce("t", value, partition=partition)
        offset = self.offsets.get(name, 0) + 1
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": f"group-{name}"})
        producer.send_offsets_to_transaction([TopicPartition("t", 0, offset)], consumer.consumer_group_metadata(), 20)
        consumer.close()
        if commit:
            producer.commit_transaction(20)
            self.committed += values
            self.offsets[name] = offset
        else:
            producer.abort_transaction(20)

    def read(self) -> list[bytes]:
        """What a new consumer reads, when as much is there as was committed."""
        settings = {"group.id": "reader", "isolation.level": "read_committed", "auto.offset.reset": "earliest"}
        consumer = Consumer({"bootstrap.servers": self.servers, **settings})
        consumer.assign([TopicPartition("t", partition, 0) for partition in range(2)])
        found: list[bytes] = []

        def poll() -> bool:
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                found.append(message.value())
            return len(found) >= len(self.committed)

        wait_until(poll, "the committed records")
        consumer.close()
        return found

    def stored_offsets(self) -> dict[str, int]:
        found = {}
        for name in IDS:
            consumer = Consumer({"bootstrap.servers": self.servers, "group.id": f"group-{name}"})
            (found[name],) = [each.offset for each in consumer.committed([TopicPartition("t", 0)], 20)]
            consumer.close()
        return found

    def check(self) -> None:
        assert sorted(self.read()) == sorted(self.committed)
        assert self.stored_offsets() == self.offsets


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(300)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_transactions_over_two_brokers(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    ports = free_ports(2)
    members = {number: MemberBroker(tmp_path, zookeeper_connect, number, ports[number - 1], MORE) for number in (1, 2)}
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    try:
        for member in members.values():
            member.start()
        for member in members.values():
            member.wait()
        admin = AdminClient({"bootstrap.servers": servers})
        wait_until(lambda: len(seen(admin).brokers) == 2, "two brokers")
        admin.create_topics([NewTopic("t", 2, replica_assignment=[[1, 2], [2, 1]])])["t"].result()
        transactions = Transactions(servers)
        for name in IDS:
            transactions.run(name, "first")
        for topic in INTERNAL:
            assert set(leaders(admin, topic)) == {1, 2}, "each broker coordinates something"
        for name in IDS:
            transactions.run(name, "aborted", commit=False)
            transactions.run(name, "second")
        transactions.check()

        killed = next(each for each in (1, 2) if each != seen(admin).controller_id)
        members[killed].kill()
        for topic in INTERNAL:
            wait_until(lambda topic=topic: set(leaders(admin, topic)) == {3 - killed}, f"leaders of {topic}")  # type: ignore[misc]
        transactions.renew()
        for name in IDS:
            transactions.run(name, "alone")
        transactions.check()

        members[killed].start()
        wait_until(lambda: all(full(admin, topic) for topic in ("t", *INTERNAL)), "full ISRs")
        assert members[3 - killed].terminate() == 0
        transactions.renew()
        for name in IDS:
            transactions.run(name, "moved", commit=False)
            transactions.run(name, "third")
        transactions.check()
        assert [line for member in members.values() for line in member.errors()] == []
    except BaseException:
        print(*(member.log() for member in members.values()), sep="\n======\n")
        raise
    finally:
        for member in members.values():
            member.kill()


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_transactions_over_kafka_and_kafka_cy(
    tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str
) -> None:
    """Each of them coordinates some of the transactions, and loads what the other has stored."""
    port, kafka_port = free_ports(2)
    more = {**KAFKA_MORE, **MORE, "zookeeper.session.timeout.ms": "6000"}
    member = MemberBroker(tmp_path, zookeeper_connect, 9, port, more)
    kafka = Kafka(tmp_path, zookeeper_connect, 1, kafka_port, more)
    servers = f"127.0.0.1:{port},127.0.0.1:{kafka_port}"
    try:
        kafka.start()
        wait_until(lambda: "[KafkaServer id=1] started" in kafka.log(), "Kafka")
        member.start()
        member.wait()
        admin = AdminClient({"bootstrap.servers": servers})
        wait_until(lambda: set(seen(admin).brokers) == {1, 9}, "both brokers")
        words = ["--create", "--topic", "t", "--replica-assignment", "1:9,9:1"]
        kafka.tool("org.apache.kafka.tools.TopicCommand", *words)
        transactions = Transactions(servers)
        for name in IDS:
            transactions.run(name, "aborted", commit=False)
            transactions.run(name, "first")
        for topic in INTERNAL:
            assert set(leaders(admin, topic)) == {1, 9}, "each broker coordinates something"
        transactions.check()

        assert member.terminate() == 0
        transactions.renew()
        for name in IDS:
            transactions.run(name, "kafka")
        transactions.check()
        member.start()
        wait_until(lambda: all(full(admin, topic, {1, 9}) for topic in ("t", *INTERNAL)), "full ISRs")
        kafka.kill()
        for topic in INTERNAL:
            wait_until(lambda topic=topic: set(leaders(admin, topic)) == {9}, f"leaders of {topic}")  # type: ignore[misc]
        transactions.renew()
        for name in IDS:
            transactions.run(name, "alone")
        transactions.check()
        assert member.errors() == []
    except BaseException:
        print(member.log(), kafka.log()[-20000:], sep="\n======\n")
        raise
    finally:
        member.kill()
        kafka.kill()
