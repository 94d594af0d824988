"""Replicas move between kafka-cy and Apache Kafka 3.9.2 under load, and a topic is deleted and created again on all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_member_cluster import Load, isrs
from tests.cluster.test_replication_with_kafka import MORE, everything
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

BEFORE, AFTER = [[2, 3], [1, 2]], [[1, 3], [3, 2]]
SOON = {**MORE, "log.segment.delete.delay.ms": "100"}


def folders(folder: Path) -> list[str]:
    return sorted(f"{path.parent.parent.name}/{path.name}" for path in folder.glob("*/logs/t-[01]"))


def loaded(servers: str, admin: AdminClient, assignment: list[list[int]]) -> Load:
    """A new topic with records, whose former namesake may still be about to go."""

    def create() -> bool:
        try:
            admin.create_topics([NewTopic("t", 2, replica_assignment=assignment)])["t"].result(15)
        except KafkaException as error:
            assert error.args[0].name() == "TOPIC_ALREADY_EXISTS", error
            return False
        return True

    wait_until(create, "the topic is created")
    load = Load(servers, "t")
    load.goes_on()
    return load


def check(servers: str, load: Load) -> None:
    load.stop()
    assert load.failed == []
    assert sorted(everything(servers, 2, len(load.acked))) == sorted(load.acked), "no record is lost, none is there twice"


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("controller", ["kafka-cy", "Kafka"])
def test_replicas_move(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, controller: str) -> None:
    ports = free_ports(3)
    ours = MemberBroker(tmp_path, zookeeper_connect, 1, ports[0], SOON)
    theirs = {number: Kafka(tmp_path, zookeeper_connect, number, ports[number - 1], SOON) for number in (2, 3)}
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    try:
        first, *others = [ours, theirs[2], theirs[3]] if controller == "kafka-cy" else [theirs[2], ours, theirs[3]]
        first.start()
        admin = AdminClient({"bootstrap.servers": servers})
        wait_until(lambda: seen(admin).controller_id == first.broker_id, "the first broker is the controller")
        for broker in others:
            broker.start()
        wait_until(lambda: len(seen(admin).brokers) == 3, "three brokers")
        load = loaded(servers, admin, BEFORE)
        plan = tmp_path / "plan.json"
        moves = [{"topic": "t", "partition": index, "replicas": replicas} for index, replicas in enumerate(AFTER)]
        plan.write_text(json.dumps({"version": 1, "partitions": moves}))
        command = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
        theirs[2].tool(command, "--reassignment-json-file", str(plan), "--execute")
        wait_until(lambda: isrs(admin, "t") == [set(each) for each in AFTER], "the replicas have moved")
        load.goes_on()
        check(servers, load)
        wait_until(lambda: folders(tmp_path) == ["kafka2/t-1", "kafka3/t-0", "kafka3/t-1", "kafkacy1/t-0"], "the others are gone")
        admin.delete_topics(["t"])["t"].result()
        wait_until(lambda: folders(tmp_path) == [], "the topic is deleted")
        check(servers, loaded(servers, admin, [[1, 3], [2, 1]]))
        assert ours.errors() == []
    except BaseException:
        print(ours.log(), *(broker.log()[-20000:] for broker in theirs.values() if broker.process), sep="\n======\n")
        raise
    finally:
        for broker in (ours, *theirs.values()):
            broker.kill()
