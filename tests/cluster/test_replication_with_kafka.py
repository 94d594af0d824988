"""A kafka-cy broker and two of Apache Kafka 3.9.2 replicate each other's partitions while each kind is killed or stands still."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_member_cluster import Load, isrs
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

MORE = {
    "zookeeper.session.timeout.ms": "3000",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "replica.lag.time.max.ms": "3000",
}
ASSIGNMENT = [[1, 2, 3], [2, 1, 3], [3, 1, 2]]
EVERYBODY = [{1, 2, 3}] * 3
SEGMENT = "00000000000000000000.log"


def everything(servers: str, partitions: int, count: int, topic: str = "t") -> list[bytes]:
    """The values of all records, without a group."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
    found: list[bytes] = []

    def poll() -> bool:
        found.extend(each.value() for each in consumer.consume(1000, 0.2) if each.error() is None)
        return len(found) >= count

    wait_until(poll, f"{count} records")
    consumer.close()
    return found


def stand_still(broker: MemberBroker | Kafka) -> None:
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)


def go_on(broker: MemberBroker | Kafka) -> None:
    assert broker.process is not None
    broker.process.send_signal(signal.SIGCONT)


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(600)
def test_brokers_are_killed_and_stand_still(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    ports = free_ports(3)
    ours = MemberBroker(tmp_path, zookeeper_connect, 1, ports[0], MORE)
    theirs = {number: Kafka(tmp_path, zookeeper_connect, number, ports[number - 1], MORE) for number in (2, 3)}
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    try:
        for broker in (ours, *theirs.values()):
            broker.start()
        ours.wait()
        admin = AdminClient({"bootstrap.servers": servers, "socket.timeout.ms": 2000})
        wait_until(lambda: len(seen(admin).brokers) == 3, "three brokers")
        admin.create_topics([NewTopic("t", 3, replica_assignment=ASSIGNMENT)])["t"].result()
        load = Load(servers, "t")
        try:
            load.goes_on()
            wait_until(lambda: isrs(admin, "t") == EVERYBODY, "full ISRs")
            for broker, rest, pauses in ((ours, {2, 3}, False), (theirs[2], {1, 3}, False), (ours, {2, 3}, True)):
                stand_still(broker) if pauses else broker.kill()
                wait_until(lambda rest=rest: isrs(admin, "t") == [rest] * 3, f"the ISRs are {rest}")
                load.goes_on()
                go_on(broker) if pauses else broker.start()  # a leader that has stood still does not know that it is none
                wait_until(lambda: isrs(admin, "t") == EVERYBODY, "full ISRs")
                load.goes_on()
        finally:
            load.stop()
        assert load.failed == []
        found = everything(servers, 3, len(load.acked))
        assert sorted(found) == sorted(load.acked), "no record is lost, none is there twice"
        assert ours.terminate() == 0
        for broker in theirs.values():
            broker.kill()
        for partition in range(3):
            logs = [
                (tmp_path / f"{name}" / "logs" / f"t-{partition}" / SEGMENT).read_bytes().rstrip(b"\0")
                for name in ("kafkacy1", "kafka2", "kafka3")
            ]
            assert logs[0] == logs[1] == logs[2], f"partition {partition}: {[len(each) for each in logs]} bytes"
        assert ours.errors() == []
    except BaseException:
        print(ours.log(), *(broker.log()[-20000:] for broker in theirs.values()), sep="\n======\n")
        raise
    finally:
        for broker in (ours, *theirs.values()):
            broker.kill()
