"""The Java client, through Apache Kafka's command line tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from java_tools import JavaTools

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

CONFIG_COMMAND = "kafka.admin.ConfigCommand"
GROUP_COMMAND = "consumer.group.ConsumerGroupCommand"
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def produce(java: JavaTools, bootstrap: str, topic: str, lines: str, *arguments: str) -> None:
    java.check("ConsoleProducer", "--bootstrap-server", bootstrap, "--topic", topic, *arguments, stdin=lines)


def consume(java: JavaTools, bootstrap: str, topic: str, count: int, *arguments: str) -> list[str]:
    # fmt: off
    result = java.check(
        "consumer.ConsoleConsumer", "--bootstrap-server", bootstrap, "--topic", topic,
        "--max-messages", count, "--timeout-ms", 30000, *arguments,
    )
    # fmt: on
    return result.lines


def end_offsets(java: JavaTools, bootstrap: str, topic: str, *arguments: str) -> list[str]:
    result = java.check("GetOffsetShell", "--bootstrap-server", bootstrap, "--topic", topic, *arguments)
    return result.lines


def test_topics(java: JavaTools, bootstrap: str, group: str) -> None:
    topic = f"java-{group}"
    command = ("TopicCommand", "--bootstrap-server", bootstrap)
    create = ("--create", "--topic", topic, "--partitions", 3, "--replication-factor", 1)
    java.check(*command, *create, "--config", "retention.ms=3600000")
    assert topic in java.check(*command, "--list").lines
    described = java.check(*command, "--describe", "--topic", topic).out
    assert "PartitionCount: 3" in described
    assert "retention.ms=3600000" in described
    again = java.run(*command, *create)
    assert again.code == 1
    assert "already exists" in again.out + again.err
    java.check(*command, "--alter", "--topic", topic, "--partitions", 5)
    assert "PartitionCount: 5" in java.check(*command, "--describe", "--topic", topic).out
    bad = java.run(*command, "--create", "--topic", "bad name!")
    assert bad.code == 1
    java.check(*command, "--delete", "--topic", topic)
    assert topic not in java.check(*command, "--list").lines


def test_topic_configs(java: JavaTools, bootstrap: str, topic: str) -> None:
    command = (CONFIG_COMMAND, "--bootstrap-server", bootstrap, "--entity-type", "topics", "--entity-name", topic)
    java.check(*command, "--alter", "--add-config", "retention.ms=60000,cleanup.policy=[compact,delete]")
    described = java.check(*command, "--describe").out
    assert "retention.ms=60000" in described
    assert "cleanup.policy=compact,delete" in described
    java.check(*command, "--alter", "--delete-config", "retention.ms")
    assert "retention.ms=60000" not in java.check(*command, "--describe").out
    every = java.check(*command, "--describe", "--all").out
    assert "min.insync.replicas=1" in every
    assert "DEFAULT_CONFIG:" in every
    invalid = java.run(*command, "--alter", "--add-config", "retention.ms=soon")
    assert invalid.code != 0
    assert "retention.ms" in invalid.out + invalid.err


def test_broker_configs(java: JavaTools, bootstrap: str) -> None:
    command = (CONFIG_COMMAND, "--bootstrap-server", bootstrap, "--entity-type", "brokers")
    java.check(*command, "--entity-default", "--alter", "--add-config", "log.retention.ms=99999999")
    assert "log.retention.ms=99999999" in java.check(*command, "--entity-default", "--describe").out
    java.check(*command, "--entity-default", "--alter", "--delete-config", "log.retention.ms")
    assert "log.retention.ms=99999999" not in java.check(*command, "--entity-default", "--describe").out


def test_scram_users(java: JavaTools, bootstrap: str, group: str) -> None:
    command = (CONFIG_COMMAND, "--bootstrap-server", bootstrap, "--entity-type", "users")
    named = (*command, "--entity-name", f"{group} ü%/,=")
    for credential in ("SCRAM-SHA-256=[iterations=8192,password=secret]", "SCRAM-SHA-512=[password=other]"):
        java.check(*named, "--alter", "--add-config", credential)
    described = java.check(*named, "--describe").out
    assert "SCRAM-SHA-256=iterations=8192" in described
    assert "SCRAM-SHA-512=iterations=4096" in described
    java.check(*named, "--alter", "--delete-config", "SCRAM-SHA-256")
    described = java.check(*command, "--describe").out  # of all users
    assert f"{group} ü%/,=" in described
    assert "SCRAM-SHA-256" not in java.check(*named, "--describe").out
    few = java.run(*named, "--alter", "--add-config", "SCRAM-SHA-256=[iterations=4095,password=secret]")
    assert few.code == 1
    java.check(*named, "--alter", "--delete-config", "SCRAM-SHA-512")
    gone = java.run(*named, "--alter", "--delete-config", "SCRAM-SHA-512")
    assert gone.code == 1
    assert "does not exist" in gone.out + gone.err


@pytest.mark.parametrize("codec", CODECS)
def test_console_round_trip(java: JavaTools, bootstrap: str, topic: str, codec: str) -> None:
    lines = "".join(f"h1:a,h2:b\tkey{i}\tvalue{i}\n" for i in range(100))
    # fmt: off
    produce(
        java, bootstrap, topic, lines, "--compression-codec", codec,
        "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
    )
    read = consume(
        java, bootstrap, topic, 100, "--from-beginning",
        "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true",
    )
    # fmt: on
    assert read == lines.splitlines()


def test_null_values(java: JavaTools, bootstrap: str, topic: str) -> None:
    properties = ("--reader-property", "parse.key=true", "--reader-property", "null.marker=NULL")
    produce(java, bootstrap, topic, "k\tNULL\nNULL\tv\n", *properties)
    read = consume(java, bootstrap, topic, 2, "--from-beginning", "--formatter-property", "print.key=true")
    assert read == ["k\tnull", "null\tv"]


def test_offsets_and_delete_records(java: JavaTools, bootstrap: str, topic: str, tmp_path: Path) -> None:
    produce(java, bootstrap, topic, "".join(f"{i}\n" for i in range(10)))
    assert end_offsets(java, bootstrap, topic) == [f"{topic}:0:10"]
    assert end_offsets(java, bootstrap, topic, "--time", "earliest") == [f"{topic}:0:0"]
    plan = tmp_path / "delete.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 4}]}))
    deleted = java.check("DeleteRecordsCommand", "--bootstrap-server", bootstrap, "--offset-json-file", plan)
    assert "low_watermark: 4" in deleted.out
    assert end_offsets(java, bootstrap, topic, "--time", "earliest") == [f"{topic}:0:4"]
    assert consume(java, bootstrap, topic, 6, "--from-beginning") == [str(i) for i in range(4, 10)]


def test_log_dirs(java: JavaTools, bootstrap: str, topic: str) -> None:
    produce(java, bootstrap, topic, "a\n")
    result = java.check("LogDirsCommand", "--bootstrap-server", bootstrap, "--describe", "--topic-list", topic)
    described = json.loads(result.lines[-1])
    (broker,) = described["brokers"]
    partitions = [each for log_dir in broker["logDirs"] for each in log_dir["partitions"]]
    assert [each["partition"] for each in partitions] == [f"{topic}-0"]
    assert partitions[0]["size"] > 60


def test_consumer_groups(java: JavaTools, bootstrap: str, topic: str, group: str) -> None:
    produce(java, bootstrap, topic, "".join(f"{i}\n" for i in range(10)))
    assert len(consume(java, bootstrap, topic, 10, "--from-beginning", "--group", group)) == 10
    command = (GROUP_COMMAND, "--bootstrap-server", bootstrap)
    assert group in java.check(*command, "--list").lines
    assert "Empty" in java.check(*command, "--describe", "--group", group, "--state").out
    row = next(line.split() for line in java.check(*command, "--describe", "--group", group).lines if topic in line)
    assert row[:6] == [group, topic, "0", "10", "10", "0"]
    reset = ("--reset-offsets", "--group", group, "--topic", topic, "--execute")
    for how, expected in (
        (("--to-offset", "3"), "3"),
        (("--to-earliest",), "0"),
        (("--to-latest",), "10"),
        (("--shift-by", "-2"), "8"),
        (("--to-datetime", "2020-01-01T00:00:00.000"), "0"),
    ):
        assert java.check(*command, *reset, *how).lines[-1].split()[-1] == expected, how
    java.check(*command, "--delete-offsets", "--group", group, "--topic", topic)
    java.check(*command, "--delete", "--group", group)
    assert group not in java.check(*command, "--list").lines


def test_verifiable_producer_and_consumer(java: JavaTools, bootstrap: str, topic: str, group: str) -> None:
    place = ("--bootstrap-server", bootstrap, "--topic", topic)
    produced = java.check("VerifiableProducer", *place, "--max-messages", 1000, "--acks", "-1")
    events = [json.loads(line) for line in produced.lines]
    assert sum(event["name"] == "producer_send_success" for event in events) == 1000
    consumed = java.check(
        "VerifiableConsumer", *place, "--group-id", group, "--max-messages", 1000, "--reset-policy", "earliest"
    )
    events = [json.loads(line) for line in consumed.lines]
    assert sum(event["count"] for event in events if event["name"] == "records_consumed") == 1000
    commits = [event for event in events if event["name"] == "offsets_committed"]
    assert commits and all(event["success"] for event in commits)
    assert commits[-1]["offsets"][0]["offset"] == 1000


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_performance_tools(java: JavaTools, bootstrap: str, topic: str, codec: str) -> None:
    # fmt: off
    sent = java.check(
        "ProducerPerformance", "--topic", topic, "--num-records", 20000, "--record-size", 100, "--throughput", -1,
        "--producer-props", f"bootstrap.servers={bootstrap}", f"compression.type={codec}", "acks=all",
    )
    # fmt: on
    assert "20000 records sent" in sent.out
    assert end_offsets(java, bootstrap, topic) == [f"{topic}:0:20000"]
    place = ("--bootstrap-server", bootstrap, "--topic", topic)
    read = java.check("ConsumerPerformance", *place, "--num-records", 20000, "--timeout", 20000)
    assert float(read.lines[-1].split(", ")[4]) >= 20000


def test_end_to_end_latency(java: JavaTools, bootstrap: str, topic: str) -> None:
    # fmt: off
    result = java.check(
        "EndToEndLatency", "--bootstrap-server", bootstrap, "--topic", topic, "--num-records", 200,
        "--producer-acks", "all", "--record-size", 100,
    )
    # fmt: on
    assert "Percentiles" in result.out


def test_client_compatibility(java: JavaTools, bootstrap: str, topic: str) -> None:
    java.run(
        "TopicCommand", "--bootstrap-server", bootstrap, "--delete", "--topic", "newtopic"
    )  # the name of the test itself
    versions = java.check("BrokerApiVersionsCommand", "--bootstrap-server", bootstrap).lines
    acls_line = next(line for line in versions if "DescribeAcls(29)" in line)
    # fmt: off
    result = java.check(
        "ClientCompatibilityTest", "--bootstrap-server", bootstrap, "--topic", topic, "--num-cluster-nodes", 1,
        "--offsets-for-times-supported", "true", "--cluster-id-supported", "true",
        "--expect-record-too-large-exception", "false", "--create-topics-supported", "true",
        "--describe-acls-supported", str("UNSUPPORTED" not in acls_line).lower(),
        "--describe-configs-supported", "true", "--idempotent-producer-supported", "true", timeout_s=90,
    )
    # fmt: on
    assert "Success" in result.out or result.code == 0


def test_cluster_tools(java: JavaTools, bootstrap: str) -> None:
    assert "Cluster ID: " in java.check("ClusterTool", "cluster-id", "--bootstrap-server", bootstrap).out
    versions = java.check("BrokerApiVersionsCommand", "--bootstrap-server", bootstrap).out
    assert "Produce(0): " in versions
    assert "ApiVersions(18): " in versions


def test_leader_election(java: JavaTools, bootstrap: str, topic: str) -> None:
    # fmt: off
    result = java.check(
        "LeaderElectionCommand", "--bootstrap-server", bootstrap, "--election-type", "preferred",
        "--topic", topic, "--partition", 0,
    )
    # fmt: on
    assert "Valid replica already elected" in result.out


def test_reassignments(java: JavaTools, bootstrap: str, topic: str, tmp_path: Path) -> None:
    nodes = java.check("reassign.ReassignPartitionsCommand", "--bootstrap-server", bootstrap, "--list")
    assert "No partition reassignments found." in nodes.out
    plan = tmp_path / "plan.json"
    partition = {"topic": topic, "partition": 0, "replicas": [4711]}
    plan.write_text(json.dumps({"version": 1, "partitions": [partition]}))
    execute = ("--execute", "--reassignment-json-file", plan)
    refused = java.run("reassign.ReassignPartitionsCommand", "--bootstrap-server", bootstrap, *execute)
    assert refused.code == 1


def test_rebalance_of_java_members(
    java: JavaTools, bootstrap: str, create_topic: Callable[..., str], group: str
) -> None:
    topic = create_topic(partitions=3)
    place = ("--bootstrap-server", bootstrap, "--topic", topic)
    java.check("VerifiableProducer", *place, "--max-messages", 300)
    strategy = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"
    consumed = java.check(
        "VerifiableConsumer", *place, "--group-id", group, "--max-messages", 300, "--assignment-strategy", strategy
    )
    assigned = [json.loads(line) for line in consumed.lines if '"partitions_assigned"' in line]
    assert sum(len(event["partitions"]) for event in assigned) == 3
