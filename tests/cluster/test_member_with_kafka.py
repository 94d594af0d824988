"""A kafka-cy broker beside Apache Kafka 3.9.2: replicas of each other's partitions, and each of them as the controller."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_controller_with_kafka import MORE, RECORDS, TOPIC, produce
from tests.cluster.test_member import consumed
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until


def isrs(admin: AdminClient) -> list[set[int]]:
    partitions = seen(admin, TOPIC).topics[TOPIC].partitions
    return [set(partitions[index].isrs) for index in sorted(partitions)]


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_replicas_of_kafka_and_of_kafka_cy(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    port, kafka_port = free_ports(2)
    more = {**MORE, "offsets.topic.replication.factor": "2"}
    member = MemberBroker(tmp_path, zookeeper_connect, 9, port, more)
    kafka = Kafka(tmp_path, zookeeper_connect, 1, kafka_port, more)
    try:
        kafka.start()
        wait_until(lambda: "[KafkaServer id=1] started" in kafka.log(), "Kafka")
        member.start()
        member.wait()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
        wait_until(lambda: set(seen(admin).brokers) == {1, 9}, "both brokers")
        assert seen(admin).controller_id == 1
        words = ["--create", "--topic", TOPIC, "--replica-assignment", "1:9,9:1", "--config", "min.insync.replicas=2"]
        kafka.tool("org.apache.kafka.tools.TopicCommand", *words)
        wait_until(lambda: TOPIC in seen(admin).topics, "the topic")
        produce(kafka, [])
        assert isrs(admin) == [{1, 9}] * 2
        assert len(consumed(port, TOPIC, RECORDS)) == RECORDS

        assert member.terminate() == 0
        member.start()
        wait_until(lambda: isrs(admin) == [{1, 9}] * 2, "full ISRs")
        kafka.kill()
        wait_until(lambda: seen(admin).controller_id == 9, "kafka-cy as the controller")
        wait_until(lambda: isrs(admin) == [{9}] * 2, "ISRs without Kafka")
        kafka.start()
        wait_until(lambda: isrs(admin) == [{1, 9}] * 2, "full ISRs")
        admin.create_topics([NewTopic("second", 2, 2)])["second"].result()
        produce(kafka, [])
        assert len(consumed(kafka_port, TOPIC, 2 * RECORDS, "h")) == 2 * RECORDS
        described = kafka.tool("org.apache.kafka.tools.TopicCommand", "--describe", "--under-replicated-partitions")
        assert "Partition:" not in described
        assert member.errors() == []
        assert [line for line in kafka.log().splitlines() if line.startswith("ERROR")] == []
    except BaseException:
        print(member.log(), kafka.log()[-20000:], sep="\n======\n")
        raise
    finally:
        member.kill()
        kafka.kill()
