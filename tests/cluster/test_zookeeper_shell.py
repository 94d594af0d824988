"""zookeeper-shell shows of a cluster of kafka-cy what it shows of the same cluster of Apache Kafka 3.9.2."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker
from tests.cluster.test_member_cluster import isrs
from tests.cluster.test_rolling_replacement import brokers_known_to
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

SHELL = "org.apache.zookeeper.ZooKeeperMainWithTlsSupportForKafka"
LISTS = ("/", "/admin", "/brokers", "/brokers/ids", "/brokers/topics", "/brokers/topics/t/partitions", "/config", "/config/topics")
NODES = (
    "/brokers/ids/1", "/brokers/ids/2", "/brokers/topics/t", "/brokers/topics/t/partitions/0/state",
    "/brokers/topics/t/partitions/1/state", "/cluster/id", "/config/topics/t", "/config/brokers/2", "/controller",
    "/controller_epoch", "/isr_change_notification", "/feature",
)  # fmt: skip
OURS = {"/config": ["client-metrics", "groups"]}  # what Kafka does not have (docs/cluster.md)
#: What differs from one cluster to the next: addresses, times, ids.
VARIABLE = {"timestamp", "id", "topic_id", "port", "endpoints"}


class ZooKeeperShell:
    """One process for all commands: each starts a JVM."""

    def __init__(self, tools: Kafka, connect: str) -> None:
        self._command = [*tools.command("128m", SHELL, "-server", connect)]

    def run(self, commands: list[str]) -> list[str]:
        """The last line of what each command prints."""
        marked = "".join(f"{command}\nls /consumers-of-{number}\n" for number, command in enumerate(commands))
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        told, _ = process.communicate(marked + "quit\n", timeout=120)
        parts = re.split(r"Node does not exist: /consumers-of-\d+", told)
        assert len(parts) == len(commands) + 1, told
        return [part.strip().splitlines()[-1] for part in parts[:-1]]


def same_for_all(text: str) -> Any:
    """A node without what no two clusters have in common."""
    if not text.startswith("{"):
        return text
    node = json.loads(text)
    return {key: type(value).__name__ if key in VARIABLE else value for key, value in node.items()}


def shown(tools: Kafka, connect: str) -> dict[str, Any]:
    told = ZooKeeperShell(tools, connect).run([f"ls {each}" for each in LISTS] + [f"get {each}" for each in NODES])
    found: dict[str, Any] = {each: sorted(told.pop(0).strip("[]").split(", ")) for each in LISTS}
    return found | {each: same_for_all(told.pop(0)) for each in NODES}


def cluster(brokers: Mapping[int, MemberBroker | Kafka], servers: str) -> None:
    """Two brokers, the first the controller; a topic that has lost its first leader and has it back, and settings."""
    for number, broker in brokers.items():
        broker.start()
        admin = AdminClient({"bootstrap.servers": servers, "socket.timeout.ms": 30_000})
        wait_until(lambda a=admin, n=number: brokers_known_to(a) == n, "brokers")  # type: ignore[misc]
    assigned = [[1, 2], [2, 1]]
    admin.create_topics([NewTopic("t", 2, replica_assignment=assigned, config={"retention.ms": "1000000"})])["t"].result()
    wait_until(lambda: isrs(admin, "t") == [{1, 2}] * 2, "the topic")
    setting = ConfigEntry("log.cleaner.threads", "2", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.BROKER, "2", incremental_configs=[setting])
    admin.incremental_alter_configs([resource])[resource].result()
    assert brokers[2].terminate() in (0, 143)
    brokers[2].start()
    wait_until(lambda: isrs(admin, "t") == [{1, 2}] * 2, "full ISRs")


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_the_same_as_of_kafka(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    ports = free_ports(4)
    tools = Kafka(tmp_path, "", 99, 0)
    ours, theirs = f"{zookeeper_connect}/ours", f"{zookeeper_connect}/theirs"
    members = {each: MemberBroker(tmp_path, ours, each, ports[each - 1]) for each in (1, 2)}
    kafkas = {each: Kafka(tmp_path, theirs, each, ports[each + 1]) for each in (1, 2)}
    brokers = [*members.values(), *kafkas.values()]
    try:
        cluster(members, f"127.0.0.1:{ports[0]}")
        cluster(kafkas, f"127.0.0.1:{ports[2]}")
        wanted = shown(tools, theirs)
        assert wanted["/brokers/topics/t"]["partitions"] == {"0": [1, 2], "1": [2, 1]}, wanted
        assert wanted["/brokers/topics/t/partitions/1/state"]["leader"] == 1, wanted
        for path, names in OURS.items():
            wanted[path] = sorted([*wanted[path], *names])
        assert shown(tools, ours) == wanted
    except BaseException:
        print(*(broker.log()[-20000:] for broker in brokers), sep="\n======\n")
        raise
    finally:
        for broker in brokers:
            broker.kill()
