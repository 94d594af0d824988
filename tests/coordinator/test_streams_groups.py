"""Streams groups: the errors of heartbeats, who takes a group id, statuses, internal topics, tasks, offsets, limits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest

from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.streams import limits, target
from kafka_cy.coordinator.streams.records import CopartitionGroup, Endpoint, KeyValue, TopicInfo, Topology
from kafka_cy.coordinator.streams.tasks import NO_TASKS, Tasks
from kafka_cy.protocol.errors import ErrorCode

from .streams_fakes import SIMPLE, SIN, STATEFUL, StreamsHarness, internal, part, statuses, task_map, tasks_in

INVALID, BAD_TOPOLOGY = ErrorCode.INVALID_REQUEST, ErrorCode.STREAMS_INVALID_TOPOLOGY
UNKNOWN, FENCED, NOT_FOUND = ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.GROUP_ID_NOT_FOUND
NEWER = Topology(1, SIMPLE.subtopologies)
JOIN: dict[str, Any] = {"rebalance_timeout_ms": 5000, "topology": SIMPLE, "process_id": "P1"}


def settled(harness: StreamsHarness, topology: Topology = SIMPLE, **fields: Any) -> None:
    """Group g with member m, which has its tasks at epoch 2 (3 if internal topics were missing)."""
    harness.join_streams("g", "m", topology, **fields)
    harness.loop.advance(1.1)
    response = harness.beat("g", "m", 1, NO_TASKS)
    assert response["member_epoch"] == harness.streams_group().epoch and tasks_in(response)


@pytest.mark.parametrize(
    ("member", "epoch", "owned", "fields", "error", "text"),
    [
        ("", 0, NO_TASKS, JOIN, INVALID, "MemberId can't be empty."),
        ("n", 0, NO_TASKS, JOIN | {"rack_id": " "}, INVALID, "RackId can't be empty."),
        ("n", 0, NO_TASKS, JOIN | {"instance_id": "i"}, INVALID, "Static membership is not yet supported."),
        ("n", 0, NO_TASKS, JOIN | {"has_task_offsets": True}, INVALID, "TaskOffsets are not supported yet."),
        ("n", 0, NO_TASKS, JOIN | {"has_task_end_offsets": True}, INVALID, "TaskEndOffsets are not supported yet."),
        ("n", 0, NO_TASKS, JOIN | {"rebalance_timeout_ms": -1}, INVALID, "RebalanceTimeoutMs must be provided in first request."),
        ("n", 0, NO_TASKS, JOIN | {"topology": None}, INVALID, "Topology must be non-null when (re-)joining."),
        ("n", 0, None, JOIN, INVALID, "ActiveTasks must be empty when (re-)joining."),
        ("n", 0, {"0": [0]}, JOIN, INVALID, "ActiveTasks must be empty when (re-)joining."),
        ("n", 0, Tasks({}, {"0": frozenset([0])}), JOIN, INVALID, "StandbyTasks must be empty when (re-)joining."),
        ("n", 0, Tasks({}, {}, {"0": frozenset([0])}), JOIN, INVALID, "WarmupTasks are not supported yet."),
        ("m", 2, None, {"active": {}}, INVALID, "If one task-type is non-null, all must be non-null."),
        ("m", 2, None, {"topology": SIMPLE}, INVALID, "Topology can only be provided when (re-)joining."),
        ("m", -2, None, {}, INVALID, "InstanceId can't be null."),
        ("m", -3, None, {}, INVALID, "MemberEpoch is -3, but must be greater than or equal to -2."),
        ("m", 2, {"1": [0]}, {}, INVALID, "Subtopology 1 does not exist in the topology."),
        ("m", 2, {"0": [2]}, {}, INVALID, "Task 2 for subtopology 0 is invalid. Number of tasks for this subtopology: 2"),
        ("n", 0, NO_TASKS, JOIN | {"topology": NEWER}, INVALID, "Topology updates are not supported yet."),
        ("n", 0, NO_TASKS, JOIN | {"topology": STATEFUL}, INVALID, "Topology updates are not supported yet."),
        ("n", 2, None, {}, UNKNOWN, "Member n is not a member of group g."),
        ("n", -1, None, {}, UNKNOWN, "Member n is not a member of group g."),
        ("m", 3, None, {}, FENCED, None),
        ("m", 1, None, {}, FENCED, None),  # the previous epoch, without its tasks
        ("m", 1, {"0": [1]}, {}, ErrorCode.NONE, None),  # the response was lost
    ],
)  # fmt: skip
def test_errors(
    member: str, epoch: int, owned: Any, fields: dict[str, Any], error: ErrorCode, text: str | None
) -> None:
    harness = StreamsHarness()
    settled(harness)
    before = harness.written()
    response = harness.beat("g", member, epoch, owned, **fields)
    assert response["error_code"] == error
    assert text is None or response["error_message"] == text
    if error:
        assert (response["member_id"], response["member_epoch"], response["status"]) == ("", 0, [])
        assert harness.written() == before


@pytest.mark.parametrize(
    ("topology", "text"),
    [
        (Topology(0, (part("0", ["sin"], changelogs=[internal("c", 3)]),)), "Changelog topic c must have an undefined"),
        (Topology(-1, SIMPLE.subtopologies), "Topology epoch must be non-negative."),
        (Topology(0, SIMPLE.subtopologies * 2), "Two subtopologies have the same id."),
        (Topology(0, (part("0"),)), "No source topics found for subtopology 0"),
        (Topology(0, (part("0", reads=[internal("r")]),)), "never used as a sink topic"),
        (Topology(0, (part("0", ["sin"], reads=[internal("r", -1)]),)), "Number of partitions of r is -1."),
        (Topology(0, (part("0", sinks=["r"], reads=[internal("r")]),)), "There may be loops"),
        (Topology(0, (part("0", ["sin"], copartitioned=[CopartitionGroup((1,), (), ())]),)), "names an unknown topic"),
    ],
)
def test_topologies_that_cannot_run(topology: Topology, text: str) -> None:
    harness = StreamsHarness()
    response = harness.join_streams("g", "m", topology)
    assert response["error_code"] == BAD_TOPOLOGY and text in response["error_message"]
    assert harness.group() is None


def test_a_group_belongs_to_one_protocol() -> None:
    harness = StreamsHarness()
    assert harness.beat("g", "m", 1)["error_message"] == "Streams group g not found."
    assert harness.beat("g", "m", -1)["error_message"] == "Group g not found."
    harness.stable(group="classic")
    for epoch, fields in ((0, JOIN), (1, {}), (-1, {})):
        response = harness.beat("classic", "m", epoch, NO_TASKS, **fields)
        text = "Group classic is not a streams group."
        assert (response["error_code"], response["error_message"]) == (NOT_FOUND, text)
    settled(harness)
    (joined,) = harness.join("g")
    assert joined["error_code"] == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    found: list[dict[str, Any]] = []
    request = HeartbeatRequest("g", "m", 0, rebalance_timeout_ms=5000, topic_names=("sin",), owned={})
    harness.coordinator.consumer.heartbeat(request, found.append)
    assert found[0]["error_code"] == NOT_FOUND
    assert harness.describe("g")["error_code"] == NOT_FOUND
    assert harness.delete_group() == ErrorCode.NON_EMPTY_GROUP
    harness.beat("g", "m", -1)
    waiting = harness.join("g")
    harness.loop.advance(1.1)
    assert waiting[0]["error_code"] == 0 and harness.group().kind == "classic", "an empty group is taken over"


def test_an_empty_classic_group_becomes_a_streams_group_with_its_offsets() -> None:
    harness = StreamsHarness()
    harness.commit(topic="sin", topic_id=SIN, offset=7)
    settled(harness)
    assert harness.streams_group().offsets["sin"][0].offset == 7
    assert harness.reload().streams_group().offsets["sin"][0].offset == 7


def test_topics_that_do_not_fit_and_topics_that_come() -> None:
    harness = StreamsHarness()
    changelog = internal("g-changelog", **{"cleanup.policy": "compact"})
    topology = Topology(0, (part("0", ["sin", "late"], changelogs=[changelog]),))
    response = harness.join_streams("g", "m", topology)
    assert statuses(response) == [5, 1]
    assert response["status"][1]["status_detail"] == "Source topics late are missing."
    assert harness.describe_streams()["group_state"] == "NotReady"
    assert harness.describe_streams()["topology"]["subtopologies"][0]["state_changelog_topics"][0]["partitions"] == 0
    harness.topic("late", 3)
    harness.topic("g-changelog", 5)
    response = harness.beat("g", "m", 1, NO_TASKS)
    assert response["status"][-1]["status_detail"] == (
        "Existing topic g-changelog has different number of partitions: expected 3, found 5"
    )
    harness.delete_topic("g-changelog")
    assert statuses(harness.beat("g", "m", 1, NO_TASKS)) == [5, 3]
    (created,) = harness.created
    assert created == ("g-changelog", 3, 1, (KeyValue("cleanup.policy", "compact"),))
    harness.loop.advance(1.1)
    assert harness.beat("g", "m", 1, NO_TASKS)["member_epoch"] == 4, "nobody had tasks when the time of the first assignment came"
    harness.loop.advance(1.1)
    response = harness.beat("g", "m", 4, NO_TASKS)
    assert (statuses(response), tasks_in(response)) == ([], {"0": [0, 1, 2]})
    described = harness.describe_streams()
    assert described["group_state"] == "Stable"
    assert described["topology"]["subtopologies"][0]["state_changelog_topics"][0]["partitions"] == 3
    harness.topic("late", 4)  # and its changelog does not grow
    response = harness.beat("g", "m", response["member_epoch"])
    assert statuses(response) == [5, 2] and harness.streams_group().state_name == "NotReady"


def test_why_internal_topics_cannot_be_created() -> None:
    harness = StreamsHarness()
    harness.refused["g-changelog"] = "Replication factor: 3 larger than available brokers: 1."
    harness.join_streams("g", "m", STATEFUL)
    (status,) = [each for each in harness.beat("g", "m", 1)["status"] if each["status_code"] == 3]
    assert status["status_detail"] == (
        "Internal topics are missing: g-changelog; Creation failed: g-changelog "
        "(Replication factor: 3 larger than available brokers: 1.)."
    )
    del harness.refused["g-changelog"]
    harness.beat("g", "m", 1)
    assert not harness.created, "not tried again at once"
    harness.loop.advance(10.1)
    harness.beat("g", "m", 1)
    assert [each.name for each in harness.created] == ["g-changelog"]


def test_partition_counts_of_internal_topics() -> None:
    harness = StreamsHarness()
    harness.topic("big", 6)
    subtopologies = [  # the last one first: its input is known last
        part("2", reads=[internal("r2"), internal("given", 4)], changelogs=[internal("c2")]),
        part("1", reads=[internal("r1")], sinks=["r2"]),
        part("0", ["sin", "big"], sinks=["r1", "given"]),
    ]
    harness.join_streams("g", "m", Topology(0, tuple(subtopologies)))
    assert {each.name: each.partitions for each in harness.created} == {"r1": 6, "r2": 6, "given": 4, "c2": 6}
    joined = part(
        "0", ["sin"], sinks=["r"], reads=[internal("r")], copartitioned=[CopartitionGroup((0,), (), (0,))]
    )
    feeder = part("1", ["big"], sinks=["r"])
    harness.created.clear()
    harness.join_streams("h", "m", Topology(0, (feeder, joined)))
    assert {each.name: each.partitions for each in harness.created} == {"r": 2}, "as the topic it is joined with"
    different = part("0", ["sin", "big"], copartitioned=[CopartitionGroup((0, 1), (), ())])
    response = harness.join_streams("i", "m", Topology(0, (different,)))
    assert response["status"][-1] == {
        "status_code": 2,
        "status_detail": "Following topics do not have the same number of partitions: [{big=6, sin=2}]",
    }


def test_a_chain_of_repartition_topics_is_worked_on_in_linear_time() -> None:
    harness = StreamsHarness()
    count = 1500
    chain = [part(str(n), reads=[internal(f"r{n}")], sinks=[f"r{n + 1}"] if n < count else []) for n in range(count, 0, -1)]
    topology = Topology(0, (*chain, part("0", ["sin"], sinks=["r1"])))
    harness.late = []
    begun_s = time.perf_counter()
    assert harness.join_streams("g", "m", topology)["error_code"] == 0
    assert time.perf_counter() - begun_s < 10, "1500 rounds over 1500 subtopologies would take long"


def test_a_member_moves_from_active_to_standby_in_two_steps() -> None:
    """Its process must not have a task twice."""
    harness = StreamsHarness()
    harness.cluster.configs["groups", "g"] = {"streams.num.standby.replicas": "1"}
    settled(harness, STATEFUL, process="P1")
    harness.loop.advance(1.1)
    epoch = harness.streams_group().epoch
    harness.join_streams("g", "n", STATEFUL, process="P2")
    assert tasks_in(harness.beat("g", "m", epoch, {"0": [0, 1]})) == {"0": [0]}, "gives one up, gets no standby task yet"
    owned = Tasks(task_map({"0": [0]}))
    response = harness.beat("g", "m", epoch, owned)
    assert tasks_in(response, "standby") is None or tasks_in(response, "standby") == {}
    response = harness.beat("g", "m", response["member_epoch"], owned)
    assert tasks_in(response, "standby") == {"0": [1]}
    response = harness.beat("g", "n", harness.streams_group().members["n"].member_epoch, NO_TASKS)
    assert (tasks_in(response), tasks_in(response, "standby")) == ({"0": [1]}, {"0": [0]})
    assert harness.streams_group().state_name == "Stable"


@pytest.mark.parametrize("at_once_max", [0, 300])
def test_the_log_tells_of_standby_tasks_without_a_process(at_once_max: int) -> None:
    harness = StreamsHarness()
    harness.cluster.configs["groups", "g"] = {"streams.num.standby.replicas": "2"}
    told: list[dict[str, Any]] = []
    with (
        patch.object(target, "AT_ONCE_MAX", at_once_max),
        patch.object(harness.coordinator.streams.context.lines, "_info", lambda text, **fields: told.append({"": text} | fields)),
    ):
        for member in ("m", "n"):
            harness.join_streams("g", member, STATEFUL, process=member)
        harness.beat("g", "m", 1, NO_TASKS)
        harness.loop.advance(1.2)
        harness.beat("g", "m", 1, NO_TASKS)
        harness.loop.advance(0.1)
    assert [each["missing"] for each in told if each[""].startswith("too few processes")] == [2], "two tasks, one copy each"


def test_who_does_not_give_up_tasks_is_removed() -> None:
    harness = StreamsHarness()
    settled(harness)
    harness.loop.advance(1.1)
    harness.join_streams("g", "n")
    assert tasks_in(harness.beat("g", "m", 2, {"0": [0, 1]})) == {"0": [0]}
    harness.loop.advance(5.1)
    assert "m" not in harness.streams_group().members


def test_all_members_are_told_to_shut_down_until_the_group_is_empty() -> None:
    harness = StreamsHarness()
    settled(harness)
    harness.join_streams("g", "n")
    assert statuses(harness.beat("g", "m", 2, shutdown_application=True))[-1] == 4
    (told,) = [each for each in harness.beat("g", "n", 2)["status"] if each["status_code"] == 4]
    assert told["status_detail"].startswith("Streams group member m encountered a fatal error")
    for member in ("m", "n"):
        harness.beat("g", member, -1)
    assert 4 not in statuses(harness.join_streams("g", "o"))


def test_endpoints() -> None:
    harness = StreamsHarness()
    endpoint = Endpoint("here", 8080)
    response = harness.join_streams("g", "m", endpoint=endpoint, endpoint_epoch=-1)
    assert (response["endpoint_information_epoch"], len(response["partitions_by_user_endpoint"])) == (0, 1)
    harness.loop.advance(1.1)
    response = harness.beat("g", "m", 1, NO_TASKS, endpoint_epoch=0)
    assert response["endpoint_information_epoch"] == 1
    assert response["partitions_by_user_endpoint"] == [
        {
            "user_endpoint": {"host": "here", "port": 8080},
            "active_partitions": [{"topic": "sin", "partitions": [0, 1]}],
            "standby_partitions": [],
        }
    ]
    assert harness.beat("g", "m", 2, endpoint_epoch=1)["partitions_by_user_endpoint"] is None
    unready = harness.join_streams("h", "m", Topology(0, (part("0", ["none"]),)), endpoint=endpoint, endpoint_epoch=-1)
    assert unready["error_code"] == 0 and unready["partitions_by_user_endpoint"] == []


def test_offsets_of_a_member_and_of_its_tasks() -> None:
    harness = StreamsHarness()
    settled(harness)
    harness.loop.advance(1.1)
    harness.join_streams("g", "n", process="P2")
    harness.beat("g", "m", 2, {"0": [0, 1]})
    harness.beat("g", "m", 2, {"0": [0]})
    harness.beat("g", "n", 3, NO_TASKS)

    def commit(member: str, epoch: int, partition: int = 0, topic: str = "sin", **more: Any) -> ErrorCode:
        return harness.commit(member=member, generation=epoch, topic=topic, topic_id=SIN, partition=partition, **more)

    assert commit("m", 3) == 0 and commit("n", 3, 1) == 0
    assert commit("m", 2) == 0, "it has had this task since epoch 2"
    assert commit("m", 2, 1) == commit("n", 2, 1) == commit("m", 4) == ErrorCode.STALE_MEMBER_EPOCH
    assert commit("m", 2, topic="other") == ErrorCode.STALE_MEMBER_EPOCH
    assert commit("x", 3) == commit("", -1) == UNKNOWN
    assert commit("m", 3, new=False) == ErrorCode.UNSUPPORTED_VERSION
    group = harness.streams_group()
    transactional = CommitRequest("g", -1, "", None, -1, True, [CommitPartition("sin", SIN, 0, 1, -1, None)], True)
    assert group.validate_offset_commit(transactional) == 0
    assert group.validate_offset_fetch(None, -1) == group.validate_offset_fetch("m", 3) == 0
    assert group.validate_offset_fetch("m", 2) == ErrorCode.STALE_MEMBER_EPOCH
    assert group.validate_offset_fetch("", -1) == UNKNOWN
    assert harness.delete_offsets("sin") == ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
    assert {each.member_id: each.assignment for each in group.lag_members()} == {"m": {"sin": (0,)}, "n": {"sin": (1,)}}
    for member in ("m", "n"):
        harness.beat("g", member, -1)
    assert harness.delete_offsets("sin") == 0


def test_limits_of_members_topologies_and_tasks() -> None:
    harness = StreamsHarness(group_streams_max_size=1)
    settled(harness)
    for member in ("m", "n"):
        assert harness.join_streams("g", member)["error_code"] == ErrorCode.GROUP_MAX_SIZE_REACHED
    held = harness.coordinator.streams.context.held
    assert held.member_bytes == harness.streams_group().held_bytes > 0
    with patch.object(held, "bytes_max", held.member_bytes + 100):
        assert harness.join_streams("h", "m")["error_code"] == ErrorCode.GROUP_MAX_SIZE_REACHED
    harness.beat("g", "m", -1)
    harness.delete_group()
    assert held.member_bytes == 0
    harness.topic("huge", limits.TASKS_MAX + 1)
    many = [part("0", [f"t{number}" for number in range(limits.NAMES_MAX)])]
    for subtopologies in ([part("0", ["huge"])], many):
        assert harness.join_streams("g", "m", Topology(0, tuple(subtopologies)))["error_code"] == BAD_TOPOLOGY


def test_a_large_assignment_is_computed_in_slices() -> None:
    harness = StreamsHarness()
    harness.cluster.configs["groups", "g"] = {"streams.num.standby.replicas": "1"}
    harness.topic("wide", 3000)
    topology = Topology(0, (part("0", ["wide"], changelogs=[TopicInfo("c", 0, 0, ())]),))
    for number in range(10):
        harness.join_streams("g", f"m{number}", topology, process=f"P{number % 5}")
    harness.beat("g", "m0", 1, NO_TASKS)
    harness.loop.advance(1.1)
    harness.loop.advance(0.1)
    group = harness.streams_group()
    assert group.assignment_epoch == group.epoch
    assert sorted(len(each.active["0"]) for each in group.target.values()) == [300] * 10
    assert sorted(len(each.standby["0"]) for each in group.target.values()) == [300] * 10
    for number in range(10):
        each, process = group.target[f"m{number}"], number % 5
        mates = [group.target[f"m{other}"] for other in range(10) if other % 5 == process]
        assert not any(each.active["0"] & mate.standby["0"] for mate in mates), "a copy is in another process"


def test_a_fault_while_tasks_are_assigned_is_tried_again() -> None:
    harness = StreamsHarness()

    def broken(*arguments: Any) -> Sequence[Any]:
        raise RuntimeError("broken")

    with patch.object(target, "AT_ONCE_MAX", 0):
        with patch.object(target.StickyTaskAssignor, "steps", broken):
            harness.join_streams("g", "m")
            harness.beat("g", "m", 1)
            harness.loop.advance(1.2)
        assert harness.streams_group().assignment_epoch == 1
        harness.beat("g", "m", 1, NO_TASKS)
        harness.loop.advance(0.1)
        assert tasks_in(harness.beat("g", "m", 1, NO_TASKS)) == {"0": [0, 1]}


def test_the_protocol_can_be_switched_off() -> None:
    harness = StreamsHarness(group_coordinator_rebalance_protocols=["classic", "consumer"])
    assert not harness.coordinator.streams.is_offered()
    assert harness.describe_streams()["error_code"] == ErrorCode.UNSUPPORTED_VERSION
    harness = StreamsHarness()
    harness.cluster.features.levels["streams.version"] = 0
    assert not harness.coordinator.streams.is_offered()
    assert StreamsHarness().describe_streams("")["error_code"] == ErrorCode.INVALID_GROUP_ID
    assert StreamsHarness().describe_streams()["error_message"] == "Group g not found."
