"""kafka-cy's commands that change and describe topics, settings, offsets, groups and brokers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from command_line import check, tool

from kafka_cy.tools.configs import split_settings
from kafka_cy.tools.groups_reset import duration_s, time_ms

CreateTopic = Callable[..., str]  # the fixture create_topic


def as_json(bootstrap: str, *arguments: str) -> Any:
    return json.loads(check(bootstrap, *arguments, "-o", "json"))


def test_partitions_are_added(bootstrap: str, topic: str) -> None:
    assert (
        check(bootstrap, "topics", "alter", "-t", topic, "--partitions", "3")
        == f"Topic {topic} has 3 partitions now.\n"
    )
    (described,) = as_json(bootstrap, "topics", "describe", topic)
    assert [each["partition"] for each in described["partitions"]] == [0, 1, 2]
    done = tool(bootstrap, "topics", "alter", topic, "--partitions", "2")
    assert done.returncode == 1 and "INVALID_PARTITIONS" in done.stderr
    for option in ("--under-replicated-partitions", "--unavailable-partitions"):
        assert check(bootstrap, "topics", "describe", topic, option) == "Topic\tPartition\tLeader\tReplicas\tIsr\n"
    assert {"topic": topic, "partitions": 3} in as_json(bootstrap, "topics", "list")


def test_settings_of_a_topic(bootstrap: str, topic: str) -> None:
    check(
        bootstrap, "configs", "alter", "--topic", topic, "--set", "retention.ms=1000", "--set", "cleanup.policy=compact"
    )
    rows = as_json(bootstrap, "configs", "describe", "--topic", topic)
    assert rows == [
        {"name": "cleanup.policy", "value": "compact", "source": "DYNAMIC_TOPIC_CONFIG"},
        {"name": "retention.ms", "value": "1000", "source": "DYNAMIC_TOPIC_CONFIG"},
    ]
    kafka_form = ("--entity-type", "topics", "--entity-name", topic)
    added = "cleanup.policy=[compact,delete],segment.ms=5000"
    check(bootstrap, "configs", "alter", *kafka_form, "--add-config", added, "--delete-config", "retention.ms")
    values = {row["name"]: row["value"] for row in as_json(bootstrap, "configs", "describe", *kafka_form)}
    assert values == {"cleanup.policy": "compact,delete", "segment.ms": "5000"}
    every = as_json(bootstrap, "configs", "describe", "--topic", topic, "--all")
    assert len(every) > 20
    done = tool(bootstrap, "configs", "alter", "--topic", topic, "--set", "retention.ms=soon")
    assert done.returncode == 1 and "INVALID_CONFIG" in done.stderr and done.stderr.count("\n") == 1
    done = tool(bootstrap, "configs", "describe", "--topic", "there-is-none")
    assert done.returncode == 1 and "UNKNOWN_TOPIC_OR_PARTITION" in done.stderr


def test_settings_of_a_broker_and_of_client_metrics(bootstrap: str, group: str) -> None:
    (broker,) = as_json(bootstrap, "cluster")["brokers"]
    number = str(broker["id"])
    rows = as_json(bootstrap, "configs", "describe", "--broker", number, "--all")
    assert "log.dirs" in {row["name"] for row in rows}
    check(bootstrap, "configs", "alter", "--client-metrics", group, "--set", "interval.ms=10000")
    (row,) = [
        row
        for row in as_json(bootstrap, "configs", "describe", "--client-metrics", group)
        if row["name"] == "interval.ms"
    ]
    assert row["value"] == "10000" and row["source"] == "DYNAMIC_CLIENT_METRICS_CONFIG"
    check(bootstrap, "configs", "alter", "--client-metrics", group, "--delete", "interval.ms")
    done = tool(bootstrap, "configs", "describe", "--broker", "4711")
    assert (done.returncode, done.stderr) == (1, "kafka-cy: There is no broker 4711.\n")


def test_quotas_of_clients(bootstrap: str, group: str) -> None:
    both = ("--user", group, "--client", "app")
    check(
        bootstrap, "configs", "alter", *both, "--set", "producer_byte_rate=1048576", "--set", "request_percentage=12.5"
    )
    rows = as_json(bootstrap, "configs", "describe", *both)
    assert rows == [
        {"name": "producer_byte_rate", "value": "1048576"},
        {"name": "request_percentage", "value": "12.5"},
    ]
    assert as_json(bootstrap, "configs", "describe", "--user", group) == [], "exactly what is named"
    check(
        bootstrap, "configs", "alter", *both, "--delete", "producer_byte_rate", "--delete-config", "request_percentage"
    )
    assert as_json(bootstrap, "configs", "describe", *both) == []
    kafka_form = ("--entity-type", "ips", "--entity-default")
    check(bootstrap, "configs", "alter", *kafka_form, "--add-config", "connection_creation_rate=100000")
    assert as_json(bootstrap, "configs", "describe", "--ip-defaults") == [
        {"name": "connection_creation_rate", "value": "100000"}
    ]
    check(bootstrap, "configs", "alter", *kafka_form, "--delete-config", "connection_creation_rate")
    done = tool(bootstrap, "configs", "alter", "--client", group, "--set", "producer_byte_rate=-1")
    assert done.returncode == 1 and "Quota producer_byte_rate must be greater than 0" in done.stderr
    done = tool(bootstrap, "configs", "alter", "--ip", "127.0.0.1", "--user", group, "--set", "producer_byte_rate=1")
    assert done.returncode == 1 and "INVALID_REQUEST" in done.stderr


def test_offsets_and_deleted_records(bootstrap: str, create_topic: CreateTopic) -> None:
    topic = create_topic(2)
    check(bootstrap, "produce", "-t", topic, "-p", "1", stdin="a\nb\nc\n")
    assert check(bootstrap, "get-offsets", topic).splitlines()[1:] == [f"{topic}\t0\t0", f"{topic}\t1\t3"]
    assert check(bootstrap, "get-offsets", f"{topic}:1", "--time", "1").splitlines()[1:] == [f"{topic}\t1\t0"]
    deleted = as_json(bootstrap, "delete-records", topic, "-p", "1", "--before-offset", "2")
    assert deleted == [{"topic": topic, "partition": 1, "log_start_offset": 2}]
    earliest = as_json(bootstrap, "get-offsets", "-t", topic, "--time", "earliest")
    assert [row["offset"] for row in earliest] == [0, 2]
    done = tool(bootstrap, "delete-records", topic, "-p", "1", "--before-offset", "99")
    assert done.returncode == 1 and "OFFSET_OUT_OF_RANGE" in done.stderr
    check(bootstrap, "delete-records", topic, "--all")
    assert [row["offset"] for row in as_json(bootstrap, "get-offsets", topic, "--time", "earliest")] == [0, 3]


def test_groups(bootstrap: str, create_topic: CreateTopic, group: str) -> None:
    topic = create_topic(2)
    check(bootstrap, "produce", "-t", topic, "-p", "0", stdin="a\nb\nc\n")
    check(bootstrap, "groups", "reset-offsets", "-g", group, "-t", topic, "--to-latest", "--execute")
    assert {"group": group, "state": "Empty", "type": "Classic"} in as_json(
        bootstrap, "groups", "list", "--state", "empty"
    )
    assert group not in check(bootstrap, "groups", "list", "--state", "Stable")
    rows = [row for row in as_json(bootstrap, "groups", "describe", "--all-groups") if row["group"] == group]
    assert [(row["partition"], row["current_offset"], row["lag"]) for row in rows] == [(0, 3, 0), (1, 0, 0)]
    moved = as_json(bootstrap, "groups", "reset-offsets", group, "--by-duration", "1h", "--execute")
    assert [row["new_offset"] for row in moved] == [0, 0]
    deleted = as_json(bootstrap, "groups", "delete-offsets", group, "-t", f"{topic}:1")
    assert deleted == [{"group": group, "topic": topic, "partition": 1, "result": "deleted"}]
    rows = as_json(bootstrap, "groups", "describe", group)
    assert [(row["partition"], row["current_offset"], row["lag"]) for row in rows] == [(0, 0, 3)]
    done = tool(bootstrap, "groups", "delete-offsets", "there-is-none", "-t", topic)
    assert done.returncode == 1 and "GROUP_ID_NOT_FOUND" in done.stderr
    check(bootstrap, "groups", "delete", group)


def test_cluster_and_brokers(bootstrap: str, topic: str) -> None:
    cluster = as_json(bootstrap, "cluster")
    assert len(cluster["cluster_id"]) >= 20
    (found,) = [each for each in cluster["topics"] if each["topic"] == topic]
    assert found == {
        "topic": topic,
        "partitions": 1,
        "replication_factor": 1,
        "under_replicated": 0,
        "unavailable": 0,
    }
    assert not any(each["topic"].startswith("__") for each in cluster["topics"])
    assert topic in check(bootstrap, "cluster")
    versions = {row["api"]: row for row in as_json(bootstrap, "broker-api-versions")}
    assert versions["Produce"]["key"] == 0 and versions["Produce"]["max_version"] >= 9
    (folder,) = as_json(bootstrap, "log-dirs")
    assert folder["state"] == "online" and folder["partitions"] >= 1
    check(bootstrap, "produce", "-t", topic, stdin="a\n")
    (row,) = as_json(bootstrap, "log-dirs", "-t", topic, "--partitions")
    assert (row["topic"], row["partition"]) == (topic, 0) and row["size"] > 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("1d12h", 129_600), ("PT2H30M", 9000), ("P1DT1S", 86_401), ("2h", 7200)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


def test_lists_of_settings() -> None:
    assert split_settings("a=1, b=[x,y],c=") == ["a=1", "b=x,y", "c="]


def test_wrong_options(bootstrap: str) -> None:
    for arguments in (
        ("configs", "describe"),
        ("configs", "describe", "--topic", "a", "--broker", "1"),
        ("configs", "alter", "--topic", "a"),
        ("configs", "describe", "--entity-type", "topics"),
        ("configs", "describe", "--entity-type", "users"),
        ("configs", "describe", "--user", "a", "--topic", "b"),
        ("configs", "describe", "--client", "a", "--client-defaults"),
        ("configs", "alter", "--client", "a", "--set", "producer_byte_rate=fast"),
        ("configs", "alter", "--client", "a"),
        ("delete-records", "a"),
        ("get-offsets", "--time", "yesterday"),
        ("groups", "describe"),
        ("groups", "reset-offsets", "g", "--by-duration", "long"),
    ):
        assert tool(bootstrap, *arguments).returncode == 2, arguments


def test_log_directories_of_a_broker_that_does_not_exist(bootstrap: str) -> None:
    done = tool(bootstrap, "log-dirs", "--broker", "7777")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "kafka-cy: There is no broker 7777.\n")


def test_numbers_that_no_broker_has(bootstrap: str, topic: str) -> None:
    for arguments in (
        ("topics", "create", f"{topic}-2", "--partitions", "3000000000"),
        ("topics", "create", f"{topic}-2", "--replication-factor", "70000"),
        ("topics", "alter", topic, "--partitions", "2000000000"),
        ("produce", "--topic", topic, "--partition", "3000000000"),
        ("get-offsets", topic, "--time", "99999999999999999999"),
        ("delete-records", topic, "--before-offset", "99999999999999999999"),
    ):
        done = tool(bootstrap, *arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr


def test_each_of_several_topics_is_reported(bootstrap: str, create_topic: CreateTopic) -> None:
    first, last = create_topic(), create_topic()
    done = tool(bootstrap, "topics", "delete", first, "there-is-none", last)
    assert done.returncode == 1 and done.stderr.startswith("kafka-cy: Topic there-is-none: ")
    assert sorted(done.stdout.splitlines()) == sorted(f"Deleted topic {name}." for name in (first, last))


def test_each_of_several_groups_is_deleted(bootstrap: str, topic: str, group: str) -> None:
    check(bootstrap, "groups", "reset-offsets", group, "-t", topic, "--to-earliest", "--execute")
    done = tool(bootstrap, "groups", "delete", "there-is-none", group)
    assert (done.returncode, done.stdout) == (1, f"Deleted group {group}.\n")
    assert done.stderr.startswith("kafka-cy: Group there-is-none: ") and "GROUP_ID_NOT_FOUND" in done.stderr


def test_a_time_before_1970_is_the_beginning() -> None:
    assert time_ms("1969-12-31T23:59:59.999") == 0
