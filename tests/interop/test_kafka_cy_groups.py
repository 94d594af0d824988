"""`kafka-cy groups` with share groups and streams groups. Their members are raw requests."""

from __future__ import annotations

import json
import uuid

import pytest
from click.testing import CliRunner
from command_line import check as produce
from raw_client import RawClient

from kafka_cy.testing import Broker
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.configs import commands as configs
from kafka_cy.tools.groups_reset import groups
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop]
SHARE_HEARTBEAT, STREAMS_HEARTBEAT = 76, 88


def check(bootstrap: str, *arguments: str) -> str:
    """The output of a command, which runs in this process: that of a process takes half a second longer."""
    group = {"groups": groups, "configs": configs}[arguments[0]]
    result = CliRunner().invoke(group, [*arguments[1:], "--bootstrap-server", bootstrap], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def coordinator(broker: Broker, group: str) -> RawClient:
    """A client of the coordinator, which has loaded."""
    client = RawClient(broker.bootstrap_servers)
    asked = {"key_type": 0, "coordinator_keys": [group]}
    wait_until(lambda: client.request(10, 4, asked)["coordinators"][0]["error_code"] == 0, "the coordinator")
    return client


def rows(bootstrap: str, *arguments: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(check(bootstrap, "groups", *arguments, "-o", "json"))
    return found


def share_member(client: RawClient, group: str, topic: str) -> str:
    """A member of a share group that has got its partition."""
    member, epoch = str(uuid.uuid4()), 0
    values = {"group_id": group, "member_id": member, "rack_id": None, "subscribed_topic_names": [topic]}

    def assigned() -> bool:
        nonlocal epoch
        answer = client.request(SHARE_HEARTBEAT, 1, {**values, "member_epoch": epoch})
        assert answer["error_code"] == 0, answer
        epoch = answer["member_epoch"]
        return bool(answer["assignment"] and answer["assignment"]["topic_partitions"])

    wait_until(assigned, "a partition")
    return member


def test_a_share_group(kafka_broker: Broker, create_topic: object, group: str) -> None:
    bootstrap, topic = kafka_broker.bootstrap_servers, create_topic()  # type: ignore[operator]
    produce(bootstrap, "produce", "--topic", topic, stdin="1\n2\n3\n")
    check(bootstrap, "configs", "alter", "-g", group, "--set", "share.auto.offset.reset=earliest")
    client = coordinator(kafka_broker, group)
    member = share_member(client, group, topic)
    assert f"{group}\tStable\tShare" in check(bootstrap, "groups", "list").splitlines()
    assert group in check(bootstrap, "groups", "list", "--type", "share")
    assert group not in check(bootstrap, "groups", "list", "--type", "consumer")
    (state,) = rows(bootstrap, "describe", group, "--state")
    assert (state["state"], state["members"], state["assignment_strategy"]) == ("Stable", 1, "simple")
    assert str(state["coordinator"]).startswith(bootstrap)
    (row,) = rows(bootstrap, "describe", group, "--members")
    assert (row["consumer_id"], row["partitions"]) == (member, 1)
    (row,) = rows(bootstrap, "describe", group)
    assert (row["topic"], row["partition"], row["log_end_offset"], row["consumer_id"]) == (topic, 0, 3, member)
    with pytest.raises(ToolError, match="NON_EMPTY_GROUP"):
        check(bootstrap, "groups", "reset-offsets", group, "-t", topic, "--to-offset", "1", "--execute")
    client.request(SHARE_HEARTBEAT, 1, {"group_id": group, "member_id": member, "member_epoch": -1})
    shown = rows(bootstrap, "reset-offsets", group, "-t", topic, "--to-offset", "1")
    assert [row["new_offset"] for row in shown] == [1]
    check(bootstrap, "groups", "reset-offsets", group, "-t", topic, "--to-offset", "1", "--execute")
    (row,) = rows(bootstrap, "describe", group)
    assert (row["current_offset"], row["lag"], row["consumer_id"]) == (1, 2, None)
    check(bootstrap, "groups", "reset-offsets", group, "--shift-by", "1", "--execute")
    assert [row["current_offset"] for row in rows(bootstrap, "describe", group)] == [2]
    with pytest.raises(AssertionError, match="A share group forgets whole topics"):
        check(bootstrap, "groups", "delete-offsets", group, "-t", f"{topic}:0")
    assert rows(bootstrap, "delete-offsets", group, "-t", topic)[0]["result"] == "deleted"
    assert rows(bootstrap, "describe", group) == []
    check(bootstrap, "groups", "delete", group)
    assert group not in check(bootstrap, "groups", "list")


def test_a_streams_group(kafka_broker: Broker, create_topic: object, group: str) -> None:
    bootstrap, topic = kafka_broker.bootstrap_servers, create_topic()  # type: ignore[operator]
    produce(bootstrap, "produce", "--topic", topic, stdin="1\n2\n3\n")
    client = coordinator(kafka_broker, group)
    member, epoch = str(uuid.uuid4()), 0
    subtopology = {"subtopology_id": "0", "source_topics": [topic]}
    joining = {
        "rebalance_timeout": 10000, "process_id": "p", "topology": {"epoch": 0, "subtopologies": [subtopology]},
        "active_tasks": [], "standby_tasks": [], "warmup_tasks": [],
    }  # fmt: skip
    staying = {"rebalance_timeout": -1, "process_id": None, "topology": None}
    staying |= dict.fromkeys(("active_tasks", "standby_tasks", "warmup_tasks"))
    values = dict.fromkeys(
        ("instance_id", "rack_id", "user_endpoint", "client_tags", "task_offsets", "task_end_offsets")
    )

    def assigned() -> bool:
        nonlocal epoch
        asked = {
            **values,
            **(staying if epoch else joining),
            "group_id": group,
            "member_id": member,
            "member_epoch": epoch,
        }
        answer = client.request(STREAMS_HEARTBEAT, 0, asked)
        assert answer["error_code"] == 0, answer
        epoch = answer["member_epoch"]
        return bool(answer["active_tasks"])

    wait_until(assigned, "a task")
    assert f"{group}\tStreams" in check(bootstrap, "groups", "list", "--type", "streams").replace("\tStable", "")
    (row,) = rows(bootstrap, "describe", group, "--members")
    assert (row["consumer_id"], row["partitions"]) == (member, 1)
    (row,) = rows(bootstrap, "describe", group)
    assert (row["topic"], row["current_offset"], row["log_end_offset"], row["consumer_id"]) == (topic, None, 3, member)
    leaving = {**values, **staying, "group_id": group, "member_id": member, "member_epoch": -1}
    client.request(STREAMS_HEARTBEAT, 0, leaving)
    check(bootstrap, "groups", "reset-offsets", group, "-t", topic, "--to-offset", "2", "--execute")
    (row,) = rows(bootstrap, "describe", group)
    assert (row["current_offset"], row["lag"], row["consumer_id"]) == (2, 1, None)
    check(bootstrap, "groups", "delete", group)
    assert group not in check(bootstrap, "groups", "list")


def test_a_group_that_does_not_exist(bootstrap: str, group: str) -> None:
    with pytest.raises(ToolError, match=f"Consumer group {group} does not exist."):
        check(bootstrap, "groups", "describe", group)
