"""Kafka's own tools at three members, and the same at three brokers of Apache Kafka: what is asserted is what Kafka gives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker
from tests.cluster.test_member_cluster import isrs
from tests.cluster.test_rolling_replacement import brokers_known_to
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

TOPICS = "org.apache.kafka.tools.TopicCommand"
CONFIGS = "kafka.admin.ConfigCommand"
LOG_DIRS = "org.apache.kafka.tools.LogDirsCommand"
OFFSETS = "org.apache.kafka.tools.GetOffsetShell"
REASSIGNMENT = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
VERIFICATION = "org.apache.kafka.tools.ReplicaVerificationTool"
RECORDS = 100
BEGIN_MS = int(time.time() * 1000)  # retention deletes records that are old
ASSIGNMENTS = {"single": [[3]], "pair": [[3, 1]], "triple": [[1, 2, 3]]}
Brokers = Mapping[int, MemberBroker | Kafka]


def directories(folder: Path, number: int) -> list[Path]:
    return [folder / f"data{number}-{letter}" for letter in "ab"]


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
@pytest.mark.parametrize("kind", ["kafka-cy", "kafka"])
def test_tools(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, kind: str) -> None:
    ports = free_ports(3)
    new = MemberBroker if kind == "kafka-cy" else Kafka
    brokers: dict[int, Any] = {}
    for number in (1, 2, 3):
        logs = ",".join(map(str, directories(tmp_path, number)))
        brokers[number] = new(tmp_path, zookeeper_connect, number, ports[number - 1], {"log.dirs": logs})
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    admin = AdminClient({"bootstrap.servers": servers, "socket.timeout.ms": 30_000})
    try:
        for broker in brokers.values():
            broker.start()
        wait_until(lambda: brokers_known_to(admin) == 3, "three brokers")
        for name, placed in ASSIGNMENTS.items():
            least = {} if name == "single" else {"min.insync.replicas": "2"}
            admin.create_topics([NewTopic(name, 1, replica_assignment=placed, config=least)])[name].result()
        fill(servers)
        tools = Kafka(tmp_path, "", 99, ports[0])
        offsets(tools)
        configs(tools)
        log_directories(tmp_path, tools)
        replicas_are_equal(tmp_path, tools, servers)
        partitions_in_trouble(tools, brokers, admin)
        if kind == "kafka-cy":
            assert [line for broker in brokers.values() for line in broker.errors()] == []
    except BaseException:
        print(*(broker.log()[-20000:] for broker in brokers.values()), sep="\n======\n")
        raise
    finally:
        for broker in brokers.values():
            broker.kill()


def fill(servers: str) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for topic in ASSIGNMENTS:
        for number in range(RECORDS):
            producer.produce(topic, str(number).encode(), timestamp=BEGIN_MS + number)
    assert producer.flush(60) == 0


def offsets(tools: Kafka) -> None:
    def asked(*words: str) -> list[str]:
        return [line for line in tools.tool(OFFSETS, *words).splitlines() if re.fullmatch(r"[\w.]+:\d+:\d*", line)]

    assert asked("--exclude-internal-topics") == [f"{topic}:0:{RECORDS}" for topic in sorted(ASSIGNMENTS)]
    assert asked("--topic", "triple", "--time", "earliest") == ["triple:0:0"]
    assert asked("--topic-partitions", "triple:0", "--time", "max-timestamp") == [f"triple:0:{RECORDS - 1}"]
    assert asked("--topic", "triple", "--time", str(BEGIN_MS + 50)) == ["triple:0:50"]


def configs(tools: Kafka) -> None:
    def told(*words: str) -> str:
        return tools.tool(CONFIGS, *words)

    entity = ("--entity-type", "topics", "--entity-name", "triple")
    assert "Completed updating config for topic triple." in told(*entity, "--alter", "--add-config", "retention.ms=-1")
    described = told(*entity, "--describe")
    assert "Dynamic configs for topic triple are:" in described
    assert "  retention.ms=-1 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=-1}" in described
    told(*entity, "--alter", "--delete-config", "retention.ms")
    assert "retention.ms" not in told(*entity, "--describe")
    assert "segment.bytes=1073741824 sensitive=false synonyms={DEFAULT_CONFIG:log.segment.bytes=1073741824}" in told(
        *entity, "--describe", "--all"
    )

    key, own, default = "log.cleaner.threads", ("--entity-name", "2"), ("--entity-default",)
    brokers = ("--entity-type", "brokers")
    assert "Completed updating config for broker 2." in told(*brokers, *own, "--alter", "--add-config", f"{key}=2")
    told(*brokers, *default, "--alter", "--add-config", f"{key}=2")
    wait_until(
        lambda: f"  {key}=2 sensitive=false synonyms={{DYNAMIC_BROKER_CONFIG:{key}=2, DYNAMIC_DEFAULT_BROKER_CONFIG:{key}=2, "
        f"DEFAULT_CONFIG:{key}=1}}" in told(*brokers, *own, "--describe"),
        "the setting of broker 2", lambda: told(*brokers, *own, "--describe"),
    )  # fmt: skip
    described = told(*brokers, *default, "--describe")
    assert "Default configs for brokers in the cluster are:" in described and f"  {key}=2" in described, described
    for each in (own, default):
        told(*brokers, *each, "--alter", "--delete-config", key)
    wait_until(lambda: f"{key}=" not in told(*brokers, *own, "--describe"), "no setting of broker 2")


def placed(tools: Kafka, topic: str) -> dict[int, str]:
    """The directory of each replica, as kafka-log-dirs tells."""
    told = tools.tool(LOG_DIRS, "--describe", "--broker-list", "1,2,3", "--topic-list", topic)
    (line,) = [each for each in told.splitlines() if each.startswith("{")]
    found = json.loads(line)
    assert found["version"] == 1 and sorted(each["broker"] for each in found["brokers"]) == [1, 2, 3]
    where = {}
    for broker in found["brokers"]:
        assert len(broker["logDirs"]) == 2 and all(each["error"] is None for each in broker["logDirs"])
        for directory in broker["logDirs"]:
            for replica in directory["partitions"]:
                assert replica["partition"] == f"{topic}-0" and replica["offsetLag"] == 0 and replica["size"] > 0
                assert not replica["isFuture"]
                where[broker["broker"]] = directory["logDir"]
    return where


def log_directories(folder: Path, tools: Kafka) -> None:
    """kafka-reassign-partitions moves a replica to the other directory of its broker."""
    before = placed(tools, "triple")
    assert set(before) == {1, 2, 3}
    (other,) = [str(each) for each in directories(folder, 2) if str(each) != before[2]]
    plan = folder / "plan.json"
    moved = {"topic": "triple", "partition": 0, "replicas": [1, 2, 3], "log_dirs": ["any", other, "any"]}
    plan.write_text(json.dumps({"version": 1, "partitions": [moved]}))
    told = tools.tool(REASSIGNMENT, "--execute", "--reassignment-json-file", str(plan))
    assert f"Successfully started moving log directory to {other} for replica triple-0 with broker 2" in told, told
    done = "Reassignment of replica triple-0-2 completed successfully."
    told = ""

    def verified() -> bool:
        nonlocal told
        told = tools.tool(REASSIGNMENT, "--verify", "--reassignment-json-file", str(plan))
        return done in told

    wait_until(verified, "the move", lambda: told)
    assert "Reassignment of partition triple-0 is completed." in told, told
    assert placed(tools, "triple") == {**before, 2: other}
    assert (Path(other) / "triple-0").exists() and not (Path(before[2]) / "triple-0").exists()


def replicas_are_equal(folder: Path, tools: Kafka, servers: str) -> None:
    """kafka-replica-verification, which fetches from all replicas, goes on until it is stopped."""
    path = folder / "verification"
    words = ["--broker-list", servers, "--topics-include", "pair|triple", "--report-interval-ms", "500"]
    with open(path, "wb") as file:
        process = subprocess.Popen(tools.command("256m", VERIFICATION, *words), stdout=file, stderr=file)
    try:
        found = re.compile(rf"max lag is 0 for partition (?:pair|triple)-0 at offset {RECORDS} among 2 partitions")
        wait_until(
            lambda: len(found.findall(path.read_text())) > 2 or process.poll() is not None, "a verification", path.read_text
        )
        assert process.poll() is None, path.read_text()
    finally:
        process.kill()
        process.wait()
    told = path.read_text()
    assert "doesn't match" not in told and "ERROR" not in told, told


def partitions_in_trouble(tools: Kafka, brokers: Brokers, admin: AdminClient) -> None:
    def told(option: str) -> list[str]:
        """Topic, leader, replicas and sorted ISR of the first partitions."""
        text = tools.tool(TOPICS, "--describe", option)
        found = re.findall(r"Topic: (\S+)\s+Partition: 0\s+Leader: (\S+)\s+Replicas: (\S+)\s+Isr: ([\d,]*)", text)
        return sorted(f"{topic} {leader} {order} {','.join(sorted(isr.split(',')))}" for topic, leader, order, isr in found)

    assert told("--at-min-isr-partitions") == ["pair 3 3,1 1,3", "single 3 3 3"]
    for option in ("--under-replicated-partitions", "--unavailable-partitions", "--under-min-isr-partitions"):
        assert told(option) == []
    brokers[3].kill()
    wait_until(lambda: isrs(admin, "triple") == [{1, 2}] and isrs(admin, "pair") == [{1}], "smaller ISRs")
    assert told("--unavailable-partitions") == ["single none 3 3"]
    assert told("--under-min-isr-partitions") == ["pair 1 3,1 1", "single none 3 3"]
    assert told("--at-min-isr-partitions") == ["single none 3 3", "triple 1 1,2,3 1,2"]
    assert told("--under-replicated-partitions") == ["pair 1 3,1 1", "triple 1 1,2,3 1,2"]
    brokers[3].start()
    wait_until(lambda: isrs(admin, "triple") == [{1, 2, 3}] and isrs(admin, "pair") == [{1, 3}], "full ISRs")
    wait_until(lambda: told("--unavailable-partitions") == [], "a leader")
    assert told("--under-replicated-partitions") == told("--under-min-isr-partitions") == []
