"""A running cluster moves from Apache Kafka 3.9.2 to kafka-cy and back, broker by broker, each in the folder of the one before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker
from tests.cluster.test_member_cluster import Load, isrs
from tests.cluster.test_replication_with_kafka import SEGMENT, everything
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

PARTITIONS = 6
EVERYBODY = [{1, 2, 3}] * PARTITIONS
MORE = {
    "zookeeper.session.timeout.ms": "3000",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "controlled.shutdown.enable": "true",
}


def brokers_known_to(admin: AdminClient) -> int:
    """0 before one of them listens: a JVM on a busy machine takes longer than the client waits."""
    try:
        return len(admin.list_topics(timeout=20).brokers)
    except KafkaException:
        return 0


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_there_and_back_under_load(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    ports = free_ports(3)
    logs = [tmp_path / f"logs{number}" for number in (1, 2, 3)]
    settings = [{**MORE, "log.dirs": str(each)} for each in logs]
    theirs = [Kafka(tmp_path, zookeeper_connect, each + 1, ports[each], settings[each]) for each in range(3)]
    ours = [MemberBroker(tmp_path, zookeeper_connect, each + 1, ports[each], settings[each]) for each in range(3)]
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    admin = AdminClient({"bootstrap.servers": servers, "socket.timeout.ms": 30_000})
    try:
        for broker in theirs:
            broker.start()
        wait_until(lambda: brokers_known_to(admin) == 3, "three brokers")
        admin.create_topics([NewTopic("t", PARTITIONS, 3)])["t"].result()
        load = Load(servers, "t")
        try:
            load.goes_on()
            for before, after in ((theirs, ours), (ours, theirs)):
                for each in range(3):
                    assert before[each].terminate() in (0, 143), before[each].log()[-5000:]  # a JVM ends with 128 + SIGTERM
                    load.goes_on()
                    after[each].start()
                    wait_until(lambda: isrs(admin, "t") == EVERYBODY, "full ISRs")
                    load.goes_on()
        finally:
            load.stop()
        assert load.failed == []
        found = everything(servers, PARTITIONS, len(load.acked))
        assert sorted(found) == sorted(load.acked), "no record is lost, none is there twice"
        assert [line for broker in ours for line in broker.errors()] == []
        for broker in theirs:
            broker.terminate()
        for partition in range(PARTITIONS):
            copies = {(each / f"t-{partition}" / SEGMENT).read_bytes().rstrip(b"\0") for each in logs}
            assert len(copies) == 1, f"partition {partition}"
    except BaseException:
        print(*(broker.log()[-20000:] for broker in (*ours, *theirs)), sep="\n======\n")
        raise
    finally:
        for broker in (*ours, *theirs):
            broker.kill()
