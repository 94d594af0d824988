"""Three kafka-cy brokers with a real ZooKeeper: the leader and controller is killed, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_member import consumed
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

MORE = {"zookeeper.session.timeout.ms": "2000", "min.insync.replicas": "2", "offsets.topic.replication.factor": "3"}


class Load:
    """Records with acks=all, until it is stopped."""

    def __init__(self, servers: str, topic: str, more: Mapping[str, object] | None = None) -> None:
        self.acked: list[bytes] = []
        self.failed: list[str] = []
        self._stopping = threading.Event()
        self._producer = Producer({"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True, **(more or {})})
        self._topic = topic
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            self._producer.produce(self._topic, str(number).encode(), on_delivery=self._delivered)
            number += 1
            self._producer.poll(0.002)
        self._producer.flush(60)

    def _delivered(self, error: object, message: object) -> None:
        if error is not None:
            self.failed.append(str(error))
        else:
            self.acked.append(message.value())  # type: ignore[attr-defined]

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def goes_on(self) -> None:
        """Wait until more is acknowledged."""
        before = len(self.acked)
        wait_until(lambda: len(self.acked) > before + 10, f"acknowledgements, {self.failed[:1]}")


def isrs(admin: AdminClient, topic: str) -> list[set[int]]:
    partitions = seen(admin, topic).topics[topic].partitions
    return [set(partitions[index].isrs) for index in sorted(partitions)]


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_the_leader_and_controller_is_killed(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    ports = free_ports(3)
    members = {number: MemberBroker(tmp_path, zookeeper_connect, number, ports[number - 1], MORE) for number in (1, 2, 3)}
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    try:
        for member in members.values():
            member.start()
        for member in members.values():
            member.wait()
        admin = AdminClient({"bootstrap.servers": servers})
        wait_until(lambda: len(seen(admin).brokers) == 3, "three brokers")
        controller = seen(admin).controller_id
        others = [each for each in (1, 2, 3) if each != controller]
        assignment = [[controller, *others], [others[0], controller, others[1]]]
        admin.create_topics([NewTopic("t", 2, replica_assignment=assignment)])["t"].result()
        load = Load(servers, "t")
        try:
            load.goes_on()
            members[controller].kill()
            wait_until(lambda: seen(admin).controller_id in others, "another controller")
            wait_until(lambda: isrs(admin, "t") == [set(others)] * 2, "new leaders")
            load.goes_on()
            members[controller].start()
            wait_until(lambda: isrs(admin, "t") == [{1, 2, 3}] * 2, "full ISRs")
            assert members[others[0]].terminate() == 0
            load.goes_on()
            members[others[0]].start()
            wait_until(lambda: isrs(admin, "t") == [{1, 2, 3}] * 2, "full ISRs")
        finally:
            load.stop()
        assert load.failed == []
        found = consumed(ports[0], "t", len(load.acked))
        assert sorted(found) == sorted(load.acked), "no record is lost, none is there twice"
        assert [line for member in members.values() for line in member.errors()] == []
    except BaseException:
        print(*(member.log() for member in members.values()), sep="\n======\n")
        raise
    finally:
        for member in members.values():
            member.kill()
