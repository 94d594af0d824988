"""Share groups (KIP-932) with Apache Kafka's own tools: the console and the verifiable share consumer, and ShareGroupCommand."""

from __future__ import annotations

import json

import pytest
from java_tools import JavaTools

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]


def test_share_groups(java: JavaTools, bootstrap: str, topic: str, group: str) -> None:
    server = ("--bootstrap-server", bootstrap)
    place = (*server, "--topic", topic)
    config = ("kafka.admin.ConfigCommand", *server, "--entity-type", "groups", "--entity-name", group)
    java.check(*config, "--alter", "--add-config", "share.auto.offset.reset=earliest")
    java.check("ConsoleProducer", *place, stdin="".join(f"{i}\n" for i in range(10)))
    read = java.check(
        "consumer.ConsoleShareConsumer", *place, "--group", group, "--max-messages", 10, "--timeout-ms", 30000
    )
    assert sorted(read.lines, key=int) == [str(i) for i in range(10)]

    command = ("consumer.group.ShareGroupCommand", *server)
    assert group in java.check(*command, "--list").out
    assert "Empty" in java.check(*command, "--describe", "--group", group, "--state").out
    described = java.check(*command, "--describe", "--group", group).lines
    row = next(line.split() for line in described if topic in line)
    assert row[:3] == [group, topic, "0"] and row[-1] == "0"
    to_earliest = ("--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
    java.check(*command, *to_earliest)
    consumed = java.check(
        "VerifiableShareConsumer", *place, "--group-id", group, "--max-messages", 10, "--acknowledgement-mode", "sync",
        "--offset-reset-strategy", "earliest",
    )  # fmt: skip
    events = [json.loads(line) for line in consumed.lines if line.startswith("{")]
    assert sum(event["count"] for event in events if event["name"] == "records_consumed") == 10
    acknowledged = [event for event in events if event["name"] == "offsets_acknowledged"]
    assert acknowledged and all(event["success"] for event in acknowledged)
    java.check(*command, "--delete-offsets", "--group", group, "--topic", topic)
    java.check(*command, "--delete", "--group", group)
    assert group not in java.check(*command, "--list").out
