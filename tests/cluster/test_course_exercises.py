"""The exercises of a course about clusters, with Kafka's own tools: brokers of kafka-cy, an ensemble of three ZooKeeper servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_member_cluster import isrs
from tests.cluster.test_replication_with_kafka import everything
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

TOPICS = "org.apache.kafka.tools.TopicCommand"
ELECTION = "org.apache.kafka.tools.LeaderElectionCommand"
REASSIGNMENT = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
PARTITIONS = 3
MORE = {
    "zookeeper.session.timeout.ms": "3000",
    "offsets.topic.replication.factor": "3",
    "auto.leader.rebalance.enable": "false",  # the exercise elects the preferred leaders itself
}


class VerifiableProducer:
    """Kafka's VerifiableProducer. It does not try again by itself: its file says that it shall."""

    def __init__(self, tools: Kafka, folder: Path, servers: str) -> None:
        (folder / "producer.properties").write_text("retries=2147483647\ndelivery.timeout.ms=120000\nenable.idempotence=true\n")
        self._path = folder / "producer.out"
        command = tools.command(
            "256m", "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server", servers, "--topic", "course",
            "--throughput", "200", "--acks", "-1", "--producer.config", str(folder / "producer.properties"),
        )  # fmt: skip
        with open(self._path, "wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file)

    def told(self, name: str) -> list[dict[str, Any]]:
        lines = self._path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}") and f'"{name}"' in line]

    def goes_on(self) -> None:
        """Wait until more is acknowledged."""
        before = len(self.told("producer_send_success"))
        wait_until(lambda: len(self.told("producer_send_success")) > before + 50, "acknowledgements", self._path.read_text)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_exercises(tmp_path: Path) -> None:
    with Ensemble(tmp_path / "zookeeper", 3) as ensemble:
        ports = free_ports(4)
        members = {
            number: MemberBroker(tmp_path, f"{ensemble.hosts}/course", number, ports[number - 1], MORE) for number in range(1, 5)
        }
        servers = ",".join(f"127.0.0.1:{port}" for port in ports[:3])
        tools = Kafka(tmp_path, "", 99, ports[0])
        try:
            for number in (1, 2, 3):
                members[number].start()
            for number in (1, 2, 3):
                members[number].wait()
            exercises(tmp_path, members, servers, tools)
        except BaseException:
            print(*(member.log()[-20000:] for member in members.values()), sep="\n======\n")
            raise
        finally:
            for member in members.values():
                member.kill()


def exercises(folder: Path, members: dict[int, MemberBroker], servers: str, tools: Kafka) -> None:
    admin = AdminClient({"bootstrap.servers": servers, "socket.timeout.ms": 5000})
    wait_until(lambda: len(seen(admin).brokers) == 3, "three brokers")
    tools.tool(TOPICS, "--create", "--topic", "course", "--partitions", str(PARTITIONS), "--replication-factor", "2")
    placed = described(tools)
    assert all(leader == replicas[0] and isr == set(replicas) for leader, replicas, isr in placed)
    full = [set(replicas) for _, replicas, _ in placed]
    producer = VerifiableProducer(tools, folder, servers)
    try:
        producer.goes_on()
        kill_and_restart(admin, members, tools, producer, placed)
        wait_until(lambda: isrs(admin, "course") == full, "full ISRs")
        tools.tool(ELECTION, "--election-type", "preferred", "--all-topic-partitions")
        assert [leader for leader, _, _ in described(tools)] == [replicas[0] for _, replicas, _ in placed]
        producer.goes_on()
        move_to_the_fourth(folder, members, tools)
        full[0] = {4, placed[0][1][1]}
        wait_until(lambda: isrs(admin, "course") == full, "the fourth broker in the ISR")
        producer.goes_on()
        for number in (2, 3, 4, 1):  # a rolling restart; the tools talk to the first broker
            assert members[number].terminate() == 0
            members[number].start()
            members[number].wait()
            wait_until(lambda: isrs(admin, "course") == full, "full ISRs")
            producer.goes_on()
    finally:
        producer.stop()
    assert producer.told("producer_send_error") == []
    acked = sorted(each["value"] for each in producer.told("producer_send_success"))
    found = sorted(each.decode() for each in everything(servers, PARTITIONS, len(acked), "course"))
    assert found == acked, "no record is lost, none is there twice"
    assert [line for member in members.values() for line in member.errors()] == []


def kill_and_restart(
    admin: AdminClient, members: dict[int, MemberBroker], tools: Kafka, producer: VerifiableProducer,
    placed: list[tuple[int, list[int], set[int]]],
) -> None:  # fmt: skip
    """The leader of the first partition is killed: the other replica leads, and is alone in the ISR."""
    first, other = placed[0][1]
    members[first].kill()
    wait_until(lambda: isrs(admin, "course")[0] == {other}, "a smaller ISR")
    alive = next(number for number in (1, 2, 3) if number != first)
    asked = tools.tool_at(members[alive].port, TOPICS, "--describe", "--under-replicated-partitions")
    assert f"Topic: course\tPartition: 0\tLeader: {other}" in asked, asked
    producer.goes_on()
    members[first].start()
    members[first].wait()


def move_to_the_fourth(folder: Path, members: dict[int, MemberBroker], tools: Kafka) -> None:
    members[4].start()
    members[4].wait()
    other = described(tools)[0][1][1]
    plan = folder / "plan.json"
    moved = {"topic": "course", "partition": 0, "replicas": [4, other]}
    plan.write_text(json.dumps({"version": 1, "partitions": [moved]}))
    tools.tool(REASSIGNMENT, "--execute", "--reassignment-json-file", str(plan))
    wait_until(
        lambda: "is completed" in tools.tool(REASSIGNMENT, "--verify", "--reassignment-json-file", str(plan)),
        "the end of the reassignment",
    )
    assert described(tools)[0][1] == [4, other]


def described(tools: Kafka) -> list[tuple[int, list[int], set[int]]]:
    """Leader, replicas and ISR of each partition, as kafka-topics tells them."""
    text = tools.tool(TOPICS, "--describe", "--topic", "course")
    found = re.findall(r"Partition: (\d+)\s+Leader: (\S+)\s+Replicas: ([\d,]+)\s+Isr: ([\d,]*)", text)
    assert len(found) == PARTITIONS, text
    return [
        (int(leader), [int(each) for each in replicas.split(",")], {int(each) for each in isr.split(",") if each})
        for _, leader, replicas, isr in sorted(found, key=lambda each: int(each[0]))
    ]
