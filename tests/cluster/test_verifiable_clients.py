"""Kafka's VerifiableConsumer beside its VerifiableProducer while members are killed, stand still and are restarted."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.rolling_clients import TOPIC, JavaClient, consumed_by, verifiable_consumer, verifiable_producer
from tests.cluster.test_member_cluster import isrs
from tests.cluster.test_member_coordinators import leaders
from tests.cluster.test_replication_with_kafka import everything, go_on, stand_still
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

PARTITIONS = 3
MORE = {"zookeeper.session.timeout.ms": "4000", "min.insync.replicas": "2", "offsets.topic.replication.factor": "3"}


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_nothing_is_lost(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    ports = free_ports(3)
    members = {number: MemberBroker(tmp_path, zookeeper_connect, number, ports[number - 1], MORE) for number in (1, 2, 3)}
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    clients: list[JavaClient] = []
    try:
        for member in members.values():
            member.start()
        for member in members.values():
            member.wait()
        admin = AdminClient({"bootstrap.servers": servers, "socket.timeout.ms": 5000})
        wait_until(lambda: len(seen(admin).brokers) == 3, "three brokers")
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 3)])[TOPIC].result()
        tools = Kafka(tmp_path, "", 99, ports[0])
        producer, consumer = verifiable_producer(tools, tmp_path, servers), verifiable_consumer(tools, tmp_path, servers)
        clients = [producer, consumer]
        faults(members, admin, clients)
        producer.stop()
        acked = [each["value"] for each in producer.told("producer_send_success")]
        assert producer.told("producer_send_error") == [] and len(acked) > 100
        wait_until(lambda: set(acked) <= consumed_by(consumer), "all that was acknowledged, consumed")
        assert consumer.process.poll() is None, "no error has ended it"
        assert consumer.stop() in (0, 143)  # a JVM ends with 128 + SIGTERM
        stored = Counter(each.decode() for each in everything(servers, PARTITIONS, len(acked)))
        assert stored == Counter(acked), "no record is lost, none is there twice"
        assert [line for member in members.values() for line in member.errors()] == []
    except BaseException:
        print(*(member.log()[-20000:] for member in members.values()), sep="\n======\n")
        raise
    finally:
        for client in clients:
            client.stop()
        for member in members.values():
            member.kill()


def faults(members: dict[int, MemberBroker], admin: AdminClient, clients: list[JavaClient]) -> None:
    def all_go_on() -> None:
        for client in clients:
            client.goes_on()

    def all_in_sync() -> bool:
        return all(each == {1, 2, 3} for topic in (TOPIC, "__consumer_offsets") for each in isrs(admin, topic))

    def missed(number: int) -> bool:
        return all(number not in each for each in isrs(admin, TOPIC)) and number not in leaders(admin, "__consumer_offsets")

    all_go_on()
    (coordinator,) = leaders(admin, "__consumer_offsets")
    members[coordinator].kill()
    wait_until(lambda: missed(coordinator), "ISRs without the killed member")
    all_go_on()
    members[coordinator].start()
    wait_until(all_in_sync, "full ISRs")

    (coordinator,) = leaders(admin, "__consumer_offsets")
    stand_still(members[coordinator])  # until its session has ended
    wait_until(lambda: missed(coordinator), "ISRs without the member that stands still")
    all_go_on()
    go_on(members[coordinator])
    wait_until(all_in_sync, "full ISRs")
    all_go_on()

    for member in members.values():
        assert member.terminate() == 0
        all_go_on()
        member.start()
        wait_until(all_in_sync, "full ISRs")
        all_go_on()
