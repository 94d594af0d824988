"""Three brokers are restarted one after the other, and no client with default settings hears of it.

A transactional producer that is never renewed, consumers of classic groups, and Kafka's own verifiable clients.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker
from tests.cluster.rolling_clients import (
    TOPIC,
    Client,
    JavaClient,
    Member,
    Transactor,
    consumed_by,
    verifiable_consumer,
    verifiable_producer,
)
from tests.cluster.test_member_cluster import isrs
from tests.cluster.test_replication_with_kafka import everything
from tests.cluster.test_rolling_replacement import brokers_known_to
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

PARTITIONS = 3
IDS = ["a", "b", "c", "d"]  # in four of the six partitions of the transactions topic: each broker coordinates some
MORE = {
    "zookeeper.session.timeout.ms": "6000",
    "min.insync.replicas": "2",
    "offsets.topic.num.partitions": "6",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.num.partitions": "6",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "controlled.shutdown.enable": "true",
}


def all_in_sync(admin: AdminClient) -> bool:
    topics = (TOPIC, "__consumer_offsets", "__transaction_state")
    return all(each == {1, 2, 3} for topic in topics for each in isrs(admin, topic))


def roll(brokers: Mapping[int, MemberBroker | Kafka], admin: AdminClient, clients: list[Client | JavaClient]) -> None:
    for broker in brokers.values():
        assert broker.terminate() in (0, 143), broker.log()[-5000:]  # a JVM ends with 128 + SIGTERM
        for client in clients:
            client.goes_on()
        broker.start()
        wait_until(lambda: all_in_sync(admin), "full ISRs")
        for client in clients:
            client.goes_on()


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
@pytest.mark.parametrize("kind", ["kafka-cy", "kafka"])
def test_no_client_sees_an_error(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, kind: str) -> None:
    """Apache Kafka's brokers in the same test show that it asks for nothing more than Kafka gives."""
    ports = free_ports(3)
    new = MemberBroker if kind == "kafka-cy" else Kafka
    brokers = {number: new(tmp_path, zookeeper_connect, number, ports[number - 1], MORE) for number in (1, 2, 3)}
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    clients: list[Client | JavaClient] = []
    try:
        for broker in brokers.values():
            broker.start()
        admin = AdminClient({"bootstrap.servers": servers, "socket.timeout.ms": 30_000})
        wait_until(lambda: brokers_known_to(admin) == 3, "three brokers")
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 3)])[TOPIC].result()
        tools = Kafka(tmp_path, "", 99, ports[0])
        producer = verifiable_producer(tools, tmp_path, servers)
        clients.append(producer)
        transactors = [Transactor(servers, each) for each in IDS]
        members = [Member(servers, group, commits=group == "commits") for group in ("auto", "auto", "commits")]
        java = verifiable_consumer(tools, tmp_path, servers)
        clients += [*transactors, *members, java]
        for client in clients:
            client.start()
        for client in clients:
            client.goes_on()
        roll(brokers, admin, clients)
        producer.stop()
        for transactor in transactors:
            transactor.stop()
        acked = {each["value"] for each in producer.told("producer_send_success")}
        acked |= {each.decode() for transactor in transactors for each in transactor.committed}
        wait_until(lambda: acked <= consumed_by(java), "what was acknowledged, read in Java")
        for group in (members[:2], members[2:]):
            wait_until(lambda g=group: acked <= {each.decode() for member in g for each in member.values}, "the same")  # type: ignore[misc]
        for client in clients:
            client.stop()
        assert [each for client in clients for each in client.failures] == []
        found = [each.decode() for each in everything(servers, PARTITIONS, len(acked))]
        assert sorted(each for each in found if each in acked) == sorted(acked), "no record is lost, none is there twice"
        if kind == "kafka-cy":
            assert [line for broker in brokers.values() for line in broker.errors()] == []  # type: ignore[union-attr]
    except BaseException:
        print(*(broker.log()[-20000:] for broker in brokers.values()), sep="\n======\n")
        raise
    finally:
        for client in clients:
            client.stop()
        for broker in brokers.values():
            broker.kill()
