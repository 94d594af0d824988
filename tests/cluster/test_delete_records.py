"""DeleteRecords waits for a follower that stands still, not for one that is dead; what a follower has deleted survives a kill."""

from __future__ import annotations

import os
import signal
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from raw_client import Closed, RawClient

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_member_cluster import isrs
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

DELETE_RECORDS, LIST_OFFSETS = 21, 2
EARLIEST = -2
LONG_MS = 600_000
TOOL = "org.apache.kafka.tools.DeleteRecordsCommand"
MORE = {  # a broker that stands still stays alive, and in the ISR, for the time of the test
    "zookeeper.session.timeout.ms": "20000",
    "replica.lag.time.max.ms": "300000",
    "log.flush.offset.checkpoint.interval.ms": "500",
}
STARTS = "log-start-offset-checkpoint"
PURGATORY = 'kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation="DeleteRecords"'


def delete(port: int, topic: str, offset: int, timeout_ms: int = LONG_MS) -> tuple[int, int]:
    """(low watermark, error)"""
    partitions = [{"partition_index": 0, "offset": offset}]
    client = RawClient(f"127.0.0.1:{port}", timeout_s=120)
    answer = client.request(
        DELETE_RECORDS, 2, {"topics": [{"name": topic, "partitions": partitions}], "timeout": timeout_ms}
    )
    row = answer["topics"][0]["partitions"][0]
    return row["low_watermark"], row["error_code"]


def earliest(port: int, topic: str) -> int:
    partitions = [{"partition_index": 0, "current_leader_epoch": -1, "timestamp": EARLIEST}]
    asked = {"replica_id": -1, "isolation_level": 0, "topics": [{"name": topic, "partitions": partitions}]}
    try:
        row = RawClient(f"127.0.0.1:{port}").request(LIST_OFFSETS, 5, asked)["topics"][0]["partitions"][0]
    except (OSError, Closed):
        return -1  # it starts
    return int(row["offset"]) if not row["error_code"] else -1


def waiting_requests(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        lines = page.read().decode().splitlines()
    return max(float(line.split()[-1]) for line in lines if line.startswith(PURGATORY))


class InThread:
    """A call that waits; its result, once it has ended."""

    def __init__(self, call: Callable[[], tuple[int, int]]) -> None:
        self.results: list[tuple[int, int]] = []
        self._thread = threading.Thread(target=lambda: self.results.append(call()))
        self._thread.start()

    def result(self) -> tuple[int, int]:
        self._thread.join(120)
        return self.results[0]


def fill(servers: str, topics: dict[str, list[int]], brokers: int) -> AdminClient:
    """Topics of one partition with these replicas and ten records, all in sync."""
    admin = AdminClient({"bootstrap.servers": servers})
    wait_until(lambda: len(seen(admin).brokers) == brokers, "all brokers")
    new = [NewTopic(name, 1, replica_assignment=[replicas]) for name, replicas in topics.items()]
    for future in admin.create_topics(new).values():
        future.result()
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    for name in topics:
        for number in range(10):
            producer.produce(name, str(number))
    assert producer.flush(60) == 0
    for name, replicas in topics.items():
        wait_until(lambda name=name, replicas=replicas: isrs(admin, name) == [set(replicas)], f"the ISR of {name}")
    return admin


@pytest.mark.slow
@pytest.mark.crash
def test_the_answer_waits_for_the_followers_that_live(
    tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str
) -> None:
    ports = free_ports(3)
    members = [
        MemberBroker(tmp_path, zookeeper_connect, number, ports[number], MORE | more)
        for number, more in enumerate(({"kafkacy.metrics.listen": f"127.0.0.1:{ports[2]}"}, {}))
    ]
    leader, follower = members
    servers = f"127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"
    try:
        for member in members:
            member.start()
        for member in members:
            member.wait()
        fill(servers, {"t": [0, 1]}, 2)
        assert delete(ports[0], "t", 2) == (2, 0)
        assert delete(ports[1], "t", 2) == (-1, ErrorCode.NOT_LEADER_OR_FOLLOWER)

        assert follower.process is not None
        follower.process.send_signal(signal.SIGSTOP)
        assert delete(ports[0], "t", 4, 500) == (2, ErrorCode.REQUEST_TIMED_OUT)
        assert earliest(ports[0], "t") == 4, "the leader has deleted all the same"
        waits = InThread(lambda: delete(ports[0], "t", 6))
        wait_until(lambda: waiting_requests(ports[2]) == 1, "the request waits")
        assert waits.results == []
        follower.process.send_signal(signal.SIGCONT)
        assert waits.result() == (6, 0)
        wait_until(lambda: waiting_requests(ports[2]) == 0, "nothing waits")

        checkpoint = follower.logs / STARTS
        wait_until(lambda: checkpoint.exists() and "t 0 6" in checkpoint.read_text().splitlines(), "the checkpoint")
        leader.kill()
        follower.kill()
        follower.start()
        wait_until(lambda: earliest(ports[1], "t") == 6, "the follower leads, and has its start")
        assert delete(ports[1], "t", 8) == (8, 0), "nobody waits for a dead broker"
        assert [line for member in members for line in member.errors()] == []
    except BaseException:
        print(*(member.log() for member in members), sep="\n======\n")
        raise
    finally:
        for member in members:
            member.kill()


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_with_apache_kafka(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    """Each kind of broker waits for the other one, and answers the same."""
    ports = free_ports(2)
    ours = MemberBroker(tmp_path, zookeeper_connect, 1, ports[0], MORE)
    theirs = Kafka(tmp_path, zookeeper_connect, 2, ports[1], MORE)
    plan = tmp_path / "plan.json"
    rows = ",".join(f'{{"topic": "{name}", "partition": 0, "offset": 4}}' for name in ("ours", "theirs"))
    plan.write_text(f'{{"version": 1, "partitions": [{rows}]}}')
    try:
        ours.start()
        theirs.start()
        ours.wait()
        fill(f"127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}", {"ours": [1, 2], "theirs": [2, 1]}, 2)
        told = theirs.tool(TOOL, "--offset-json-file", str(plan))
        assert all(f"partition: {name}-0\tlow_watermark: 4" in told for name in ("ours", "theirs")), told
        for topic, port, follower in (("ours", ports[0], theirs), ("theirs", ports[1], ours)):
            assert follower.process is not None
            follower.process.send_signal(signal.SIGSTOP)
            assert delete(port, topic, 6, 500) == (4, ErrorCode.REQUEST_TIMED_OUT), topic
            waits = InThread(lambda port=port, topic=topic: delete(port, topic, 7))
            wait_until(lambda port=port, topic=topic: earliest(port, topic) == 7, "the leader has deleted")
            assert waits.results == []
            follower.process.send_signal(signal.SIGCONT)
            assert waits.result() == (7, 0), topic
            assert delete(port, topic, 7) == (7, 0)
        assert ours.errors() == []
    except BaseException:
        print(ours.log(), theirs.log()[-20000:], sep="\n======\n")
        raise
    finally:
        ours.kill()
        theirs.kill()
