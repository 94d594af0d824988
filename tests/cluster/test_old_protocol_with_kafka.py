"""A cluster of Apache Kafka 3.9.2 and kafka-cy with inter.broker.protocol.version 2.6, and its rise to 3.9 by a rolling restart."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from kazoo.client import KazooClient

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_member_cluster import Load, isrs
from tests.cluster.test_member_coordinators import Transactions
from tests.cluster.test_replication_with_kafka import SEGMENT, everything, go_on, stand_still
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

IBP = "inter.broker.protocol.version"
MORE = {
    IBP: "2.6",
    "zookeeper.session.timeout.ms": "18000",  # a broker that stands still stays a member
    "replica.lag.time.max.ms": "2000",
    "min.insync.replicas": "2",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "controlled.shutdown.enable": "true",
}
ASSIGNMENT = [[9, 1, 2], [1, 9, 2], [2, 9, 1]]
EVERYBODY = [{1, 2, 9}] * 3
TOPICS = ("load", "t", "__transaction_state", "__consumer_offsets")


class Three:
    """Brokers 1 and 2 are Apache Kafka, 9 is kafka-cy."""

    def __init__(self, folder: Path, connect: str, zookeeper: KazooClient) -> None:
        ports = free_ports(3)
        self.first = Kafka(folder, connect, 1, ports[0], MORE)
        self.second = Kafka(folder, connect, 2, ports[1], MORE)
        self.ours = MemberBroker(folder, connect, 9, ports[2], MORE)
        self.brokers: tuple[Kafka | MemberBroker, ...] = (self.first, self.second, self.ours)
        self.servers = ",".join(f"127.0.0.1:{port}" for port in ports)
        self.admin = AdminClient({"bootstrap.servers": self.servers, "socket.timeout.ms": 5000})
        self.zookeeper = zookeeper
        self.load: Load

    @property
    def controller(self) -> int:
        return int(seen(self.admin).controller_id)

    def node(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.zookeeper.get(path)[0])
        return found

    def leader(self, partition: int) -> tuple[int, int]:
        """And its epoch."""
        state = self.node(f"/brokers/topics/load/partitions/{partition}/state")
        return state["leader"], state["leader_epoch"]

    def full(self) -> None:
        wait_until(lambda: isrs(self.admin, "load") == EVERYBODY, "full ISRs", lambda: str(isrs(self.admin, "load")))

    def leads(self, partition: int, broker_id: int) -> None:
        """Have the preferred leader elected."""
        self.full()
        tool = "org.apache.kafka.tools.LeaderElectionCommand"
        self.first.tool(tool, "--election-type", "preferred", "--all-topic-partitions")
        wait_until(lambda: self.leader(partition)[0] == broker_id, f"leader {broker_id}")

    def shrinks_and_grows(self, leader: int, partition: int, broker: Kafka | MemberBroker) -> None:
        """A leader takes a broker that stands still out of its ISR, and back, and all brokers hear of it."""
        self.leads(partition, leader)
        before = self.leader(partition)
        stand_still(broker)
        without = {1, 2, 9} - {broker.broker_id}
        state = f"/brokers/topics/load/partitions/{partition}/state"
        wait_until(lambda: set(self.node(state)["isr"]) == without, f"ISR without {broker.broker_id}")
        assert self.leader(partition) == before
        wait_until(lambda: isrs(self.admin, "load")[partition] == without, "the controller to hear of it")
        go_on(broker)
        self.full()
        self.load.goes_on()

    def check(self) -> None:
        """Nothing is lost, nothing is there twice, all copies are equal."""
        found = everything(self.servers, 3, len(self.load.acked), "load")
        assert self.load.failed == []
        assert sorted(found) == sorted(self.load.acked)
        assert self.ours.errors() == []
        for broker in self.brokers:
            assert broker.terminate() in (0, 143)
        for partition in range(3):
            copies = {(each.logs / f"load-{partition}" / SEGMENT).read_bytes().rstrip(b"\0") for each in self.brokers}
            assert len(copies) == 1, f"partition {partition}"


@contextmanager
def three(folder: Path, ensemble: Ensemble, connect: str, chroot: str) -> Iterator[Three]:
    """All run, kafka-cy is no controller, and a load goes on."""
    with ensemble.client(chroot) as zookeeper:
        cluster = Three(folder, connect, zookeeper)
        try:
            cluster.first.start()
            wait_until(lambda: "[KafkaServer id=1] started" in cluster.first.log(), "Kafka")
            cluster.second.start()
            cluster.ours.start()
            cluster.ours.wait()
            wait_until(lambda: len(seen(cluster.admin).brokers) == 3, "three brokers")
            for topic in ("load", "t"):
                cluster.admin.create_topics([NewTopic(topic, 3, replica_assignment=ASSIGNMENT)])[topic].result()
            wait_until(lambda: isrs(cluster.admin, "load") == EVERYBODY, "the topic")
            cluster.load = Load(cluster.servers, "load")
            try:
                cluster.load.goes_on()
                yield cluster
            finally:
                cluster.load.stop()
        except BaseException:
            print(*(broker.log()[-20000:] for broker in cluster.brokers), sep="\n======\n")
            raise
        finally:
            for broker in cluster.brokers:
                broker.kill()


def only_controller(cluster: Three) -> None:
    """kafka-cy becomes the controller: it is the only one that is there."""
    assert cluster.second.terminate() == 143
    cluster.first.kill()
    wait_until(lambda: "this broker is the controller" in cluster.ours.log(), "kafka-cy as the controller")
    cluster.first.start()
    cluster.second.start()
    cluster.full()
    cluster.load.goes_on()


def run_transactions(found: Transactions, text: str) -> None:
    """Each transactional id aborts and commits, over partitions and coordinators of all three brokers."""
    found.renew()
    for name in found.producers:
        found.run(name, f"{text}-aborted", commit=False)
        found.run(name, text)
    found.check()


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_version_2_6_and_its_rise(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str) -> None:
    with three(tmp_path, one_zookeeper, zookeeper_connect, chroot) as cluster:
        assert cluster.controller == 1
        transactions = Transactions(cluster.servers)
        run_transactions(transactions, "old")
        for topic in TOPICS:
            assert "topic_id" not in cluster.node(f"/brokers/topics/{topic}"), topic
        assert cluster.node("/brokers/ids/9")["version"] == cluster.node("/brokers/ids/1")["version"] == 4
        assert cluster.node("/feature") == {"features": {}, "version": 1, "status": 0}
        assert not list(cluster.ours.logs.rglob("partition.metadata"))

        cluster.shrinks_and_grows(9, 0, cluster.second)  # Kafka's controller hears of it from kafka-cy
        cluster.shrinks_and_grows(1, 1, cluster.ours)
        cluster.ours.kill()
        wait_until(lambda: isrs(cluster.admin, "load") == [{1, 2}] * 3, "ISRs without kafka-cy")
        cluster.load.goes_on()
        cluster.ours.start()
        cluster.full()
        assert "logs of topics that the cluster does not have" not in cluster.ours.log()

        only_controller(cluster)
        cluster.shrinks_and_grows(2, 2, cluster.first)  # kafka-cy's controller hears of it from Kafka
        cluster.shrinks_and_grows(9, 0, cluster.second)
        cluster.admin.create_topics([NewTopic("second", 2, 3)])["second"].result()
        assert "topic_id" not in cluster.node("/brokers/topics/second")
        cluster.admin.delete_topics(["second"])["second"].result()
        run_transactions(transactions, "controlled by kafka-cy")

        for broker in (cluster.ours, cluster.first, cluster.second):
            assert broker.terminate() in (0, 143)
            broker.settings[IBP] = "3.9"
            broker.start()
            cluster.full()
            cluster.load.goes_on()
        wait_until(lambda: all("topic_id" in cluster.node(f"/brokers/topics/{topic}") for topic in TOPICS), "topic ids")
        cluster.full()
        assert cluster.node("/brokers/ids/9")["version"] == 5
        assert cluster.node("/feature") == {"features": {}, "version": 2, "status": 1}
        assert cluster.controller != 2, "which was the last to start: it stands still now"
        cluster.shrinks_and_grows(9, 0, cluster.second)
        cluster.shrinks_and_grows(1, 1, cluster.second)
        run_transactions(transactions, "new")
        assert len(list(cluster.ours.logs.rglob("partition.metadata"))) == 3 + 3 + 4 + 4
        cluster.load.stop()
        cluster.check()
