"""A reassignment with a throttle, by Kafka's own tool, in a cluster of kafka-cy brokers (KIP-73)."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_member_cluster import isrs
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

TOOL = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
RATES = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")
REPLICAS = ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")
VALUE = os.urandom(900_000)
#: A follower gets replica.fetch.max.bytes at once, and then nothing for the 11 s of the windows: far more than the test needs.
THROTTLE, RECORDS = "1", 30


def settings(admin: AdminClient, kind: ResourceType, name: str, keys: tuple[str, ...]) -> list[Any]:
    resource = ConfigResource(kind, name)
    found = admin.describe_configs([resource])[resource].result()
    return [found[key].value if key in found else None for key in keys]


def metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
        lines = page.read().decode().splitlines()
    [line] = [line for line in lines if line.startswith(f"{name} ")]
    return float(line.split()[1])


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_reassignment_is_throttled(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    ports = free_ports(4)
    members = [
        MemberBroker(
            tmp_path, zookeeper_connect, number, ports[number], {"kafkacy.metrics.listen": f"127.0.0.1:{ports[number + 2]}"}
        )
        for number in (0, 1)
    ]
    tools = Kafka(tmp_path, zookeeper_connect, 9, ports[0])  # is not started
    servers = f"127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"
    plans = {name: tmp_path / f"{name}.json" for name in ("t", "u")}
    for name, plan in plans.items():
        plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": name, "partition": 0, "replicas": [0, 1]}]}))
    try:
        for member in members:
            member.start()
            member.wait()
        admin = AdminClient({"bootstrap.servers": servers})
        wait_until(lambda: len(seen(admin).brokers) == 2, "two brokers")
        for future in admin.create_topics([NewTopic(name, 1, replica_assignment=[[0]]) for name in ("t", "u")]).values():
            future.result()
        producer = Producer({"bootstrap.servers": servers, "acks": "all"})
        for _ in range(RECORDS):
            producer.produce("t", VALUE)
            producer.produce("u", VALUE)
        assert producer.flush(60) == 0

        tools.tool(TOOL, "--reassignment-json-file", str(plans["t"]), "--execute", "--throttle", THROTTLE)
        assert settings(admin, ResourceType.TOPIC, "t", REPLICAS) == ["0:0", "0:1"]
        for broker in ("0", "1"):
            assert settings(admin, ResourceType.BROKER, broker, RATES) == [THROTTLE, THROTTLE]
        copy = tmp_path / "kafkacy1/logs/t-0/00000000000000000000.log"
        wait_until(lambda: copy.exists() and copy.stat().st_size, "the first records of the throttled replica")
        tools.tool(TOOL, "--reassignment-json-file", str(plans["u"]), "--execute", "--additional")
        wait_until(lambda: isrs(admin, "u") == [{0, 1}], "the replica that is not throttled")
        assert isrs(admin, "t") == [{0}] and copy.stat().st_size < RECORDS * len(VALUE) // 2
        assert metric(ports[2], "kafka_server_leaderreplication_byte_rate") > 0
        assert metric(ports[3], "kafka_server_followerreplication_byte_rate") > 0
        moved = metric(ports[3], "kafka_server_brokertopicmetrics_reassignmentbytesin_total")
        assert moved >= RECORDS * len(VALUE)  # all of u, and the first records of t
        assert metric(ports[2], "kafka_server_brokertopicmetrics_reassignmentbytesout_total") >= moved

        tools.tool(TOOL, "--reassignment-json-file", str(plans["t"]), "--execute", "--additional", "--throttle", "1000000000")
        wait_until(lambda: isrs(admin, "t") == [{0, 1}], "the replica, when the throttle is gone")
        told = tools.tool(TOOL, "--reassignment-json-file", str(plans["t"]), "--verify")
        assert "Reassignment of partition t-0 is completed" in told and "Clearing broker-level throttles" in told, told
        assert settings(admin, ResourceType.TOPIC, "t", REPLICAS) == ["", ""]
        for broker in ("0", "1"):
            assert settings(admin, ResourceType.BROKER, broker, RATES) == [None, None]
        for member in members:
            assert "a quota of replication is set" in member.log() and "bytes_per_second=none" in member.log()
            assert member.errors() == []
    except BaseException:
        print(*(member.log() for member in members), sep="\n======\n")
        raise
    finally:
        for member in members:
            member.kill()
