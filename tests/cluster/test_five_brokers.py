"""Five kafka-cy brokers with a real ZooKeeper: two at once and the controller are killed, and nothing acknowledged is lost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_member_cluster import Load, isrs
from tests.cluster.test_replication_with_kafka import everything
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

FIVE = (1, 2, 3, 4, 5)
#: The replicas of each partition, by topic. Broker n leads partition n - 1.
ASSIGNMENTS = {
    f"{size}-replicas": [[(first + step) % 5 + 1 for step in range(size)] for first in range(5)] for size in (3, 5)
}
MORE = {"zookeeper.session.timeout.ms": "4000", "min.insync.replicas": "3", "offsets.topic.replication.factor": "3"}


def end_offsets(servers: str, topic: str) -> list[int]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "none"})
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, index), timeout=60)[1] for index in range(5)]
    consumer.close()
    return ends


def copies(members: Mapping[int, MemberBroker], topic: str, index: int) -> set[bytes]:
    """The different logs that the replicas of a partition have."""
    folders = [members[number].logs / f"{topic}-{index}" for number in ASSIGNMENTS[topic][index]]
    return {b"".join(path.read_bytes().rstrip(b"\0") for path in sorted(each.glob("*.log"))) for each in folders}


class Cluster:
    """The brokers, and an idempotent producer for each topic."""

    def __init__(self, members: dict[int, MemberBroker]) -> None:
        self.members = members
        self.servers = ",".join(f"127.0.0.1:{member.port}" for member in members.values())
        self.admin = AdminClient({"bootstrap.servers": self.servers})
        wait_until(lambda: len(seen(self.admin).brokers) == len(FIVE), "five brokers")
        for topic, assignment in ASSIGNMENTS.items():
            self.admin.create_topics([NewTopic(topic, 5, replica_assignment=assignment)])[topic].result()
        self.loads = {topic: Load(self.servers, topic) for topic in ASSIGNMENTS}

    @property
    def controller(self) -> int:
        return int(seen(self.admin).controller_id)

    def wait_for_isrs(self, dead: tuple[int, ...]) -> None:
        for topic, assignment in ASSIGNMENTS.items():
            wanted = [set(replicas) - set(dead) for replicas in assignment]
            wait_until(lambda t=topic, w=wanted: isrs(self.admin, t) == w, f"ISRs without {dead}")  # type: ignore[misc]

    def kill(self, *dead: int) -> None:
        """Those that are left go on writing, if they are three. Then the dead come back."""
        for number in dead:
            self.members[number].kill()
        wait_until(lambda: self.controller not in dead, "a controller")
        self.wait_for_isrs(dead)
        self.loads["5-replicas"].goes_on()
        self.come_back(*dead)

    def come_back(self, *dead: int) -> None:
        for number in dead:
            self.members[number].start()
        self.wait_for_isrs(())
        for load in self.loads.values():
            load.goes_on()

    def stop(self) -> None:
        for load in self.loads.values():
            load.stop()


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_two_of_five_and_the_controller_are_killed(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    """With min.insync.replicas=3, five replicas go on without two. Partitions with three wait for the dead, and lose nothing."""
    ports = dict(zip(FIVE, free_ports(5), strict=True))
    members = {number: MemberBroker(tmp_path, zookeeper_connect, number, port, MORE) for number, port in ports.items()}
    try:
        for member in members.values():
            member.start()
        for member in members.values():
            member.wait()
        cluster = Cluster(members)
        try:
            cluster.come_back()
            cluster.kill(*[number for number in FIVE if number != cluster.controller][:2])
            cluster.kill(cluster.controller)
            controller = cluster.controller
            cluster.kill(controller, controller % 5 + 1)
            assert members[controller].terminate() == 0
            cluster.loads["5-replicas"].goes_on()
            cluster.come_back(controller)
        finally:
            cluster.stop()
        for topic, load in cluster.loads.items():
            assert load.failed == []
            found = everything(cluster.servers, 5, len(load.acked), topic)
            assert sorted(found) == sorted(load.acked), "no record is lost"
            assert sum(end_offsets(cluster.servers, topic)) == len(load.acked), "none is there twice"
            for index in range(5):  # all is acknowledged, so all is below the high watermark
                wait_until(lambda t=topic, i=index: len(copies(members, t, i)) == 1, f"equal logs of {topic}-{index}")  # type: ignore[misc]
        assert [line for member in members.values() for line in member.errors()] == []
    except BaseException:
        print(*(member.log()[-20000:] for member in members.values()), sep="\n======\n")
        raise
    finally:
        for member in members.values():
            member.kill()
