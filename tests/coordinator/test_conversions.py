"""Conversions between classic and consumer groups, in steps: nobody sees a half of one."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import consumer_group_describe, describe_groups
from kafka_cy.base import slices
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.consumer import consumer_groups, downgrade, upgrade
from kafka_cy.coordinator.consumer.embedded_protocol import read_assignment, write_assignment
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.modern import names
from kafka_cy.coordinator.modern.context import SESSION
from kafka_cy.coordinator.modern.groups import LONG_HEARTBEAT
from kafka_cy.coordinator.runtime import shard
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import CT, ConsumerHarness
from .fakes import FakeCluster, FakeLoop, replayed, replicated, subscription
from .lines import Lines
from .share_group_fakes import SST, ShareGroupHarness

MEMBERS = 20
PIECE = 3  # members or records of one step here


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: one step in each turn of the loop."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(shard, "REPLAYED_AT_ONCE", PIECE)
    monkeypatch.setattr(downgrade, "PIECE_MEMBERS", PIECE)
    for module in (upgrade, consumer_groups):
        monkeypatch.setattr(module, "UPGRADED_AT_ONCE", PIECE)


def turns(loop: FakeLoop) -> Iterator[None]:
    """What is due, and works on the other thread, one after the other."""
    while True:
        if loop.threads:
            work, done = loop.threads.pop(0)
            work()
            done()
        elif loop.timers and loop.timers[0][0] <= loop.time_s:
            loop.run_next()
        else:
            return
        yield


def settle(loop: FakeLoop) -> None:
    for _ in turns(loop):
        pass


def mixed() -> tuple[ConsumerHarness, dict[str, int]]:
    """A consumer group of the member m and of classic ones, with their generations."""
    harness = ConsumerHarness(FakeCluster(1))
    harness.loop.threads = []
    harness.join_consumer("g", "m")
    settle(harness.loop)
    joins = [harness.join("g", session_ms=60_000, rebalance_ms=60_000) for _ in range(MEMBERS)]
    settle(harness.loop)
    return harness, {joined["member_id"]: joined["generation_id"] for (joined,) in joins}


def send_leave(harness: ConsumerHarness, member: str = "m") -> list[dict[str, Any]]:
    responses: list[dict[str, Any]] = []
    request = HeartbeatRequest("g", member, -1, client_id="k848", client_host="/127.0.0.1")
    harness.coordinator.consumer.heartbeat(request, responses.append)
    return responses


def test_heartbeats_during_a_downgrade_wait_for_its_end() -> None:
    """A member that heard UNKNOWN_MEMBER_ID would forget its id, and with it what it has."""
    harness, generations = mixed()
    found: list[ErrorCode] = []
    left = send_leave(harness)
    sent = seen = 0
    for _ in turns(harness.loop):
        if harness.coordinator.runtime.busy_key == "g":
            seen += not isinstance(harness.group("g"), ClassicGroup) or len(harness.group("g").members) < MEMBERS
            for member, generation in generations.items():
                harness.coordinator.classic.heartbeat("g", member, None, generation, found.append)
                sent += 1
            assert not found, "they wait"
    group = harness.group("g")
    assert isinstance(group, ClassicGroup) and len(group.members) == MEMBERS and len(left) == 1
    assert seen > MEMBERS / PIECE and len(found) == sent
    assert set(found) <= {ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION}


class LongRequest(SimpleNamespace):
    """A DescribeGroups request."""

    def __init__(self) -> None:
        body = SimpleNamespace(groups=["g"], include_authorized_operations=False)
        super().__init__(api_version=6, authorizer=None, body=body, made=[])

    def respond_long(self, prepare: Any) -> None:
        prepare(self.made.append)


def test_descriptions_during_a_downgrade_show_its_end() -> None:
    harness, _ = mixed()
    context: Any = SimpleNamespace(groups=harness.coordinator)
    send_leave(harness)
    request = LongRequest()
    for turn, _ in enumerate(turns(harness.loop)):
        if harness.coordinator.runtime.busy_key == "g" and turn % 3 == 0:  # each of them takes a turn
            assert describe_groups.handle(request, context) is None  # type: ignore[arg-type]
    assert len(request.made) > MEMBERS / PIECE
    for make in request.made:
        (described,) = make()["groups"]
        assert (described["group_state"], len(described["members"])) == ("PreparingRebalance", MEMBERS)
    assert describe_groups.handle(request, context) is not None, "at once again"  # type: ignore[arg-type]


class LongConsumerRequest(LongRequest):
    """A ConsumerGroupDescribe request."""

    def __init__(self) -> None:
        super().__init__()
        self.body = SimpleNamespace(group_ids=["g"], include_authorized_operations=False)


@pytest.mark.parametrize("kind", ["upgrade", "downgrade"])
def test_descriptions_of_consumer_groups_during_a_conversion_show_its_end(kind: str) -> None:
    harness = classic()[0] if kind == "upgrade" else mixed()[0]
    context: Any = SimpleNamespace(groups=harness.coordinator)
    send_join(harness) if kind == "upgrade" else send_leave(harness)
    request = LongConsumerRequest()
    for turn, _ in enumerate(turns(harness.loop)):
        if harness.coordinator.runtime.busy_key == "g" and turn % 3 == 0:  # each of them takes a turn
            assert consumer_group_describe.handle(request, context) is None  # type: ignore[arg-type]
    assert len(request.made) > MEMBERS / PIECE
    shown = [make()["groups"][0] for make in request.made]
    if kind == "upgrade":
        assert {(each["error_code"], len(each["members"]), each["group_epoch"]) for each in shown} == {(0, MEMBERS + 1, 2)}
    else:
        assert {(each["error_code"], len(each["members"])) for each in shown} == {(ErrorCode.GROUP_ID_NOT_FOUND, 0)}
    assert consumer_group_describe.handle(request, context) is not None, "at once again"  # type: ignore[arg-type]


def test_a_fault_in_a_description_of_a_consumer_group_is_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, _ = mixed()

    def fails(*_: Any) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(consumer_groups, "describe", fails)
    request, context = LongConsumerRequest(), SimpleNamespace(groups=harness.coordinator)
    described: Any = consumer_group_describe.handle(request, context)  # type: ignore[arg-type]
    assert [each["error_code"] for each in described["groups"]] == [ErrorCode.UNKNOWN_SERVER_ERROR]


def test_a_fault_in_a_description_is_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, _ = mixed()

    def fails(*_: Any) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(ClassicGroup, "described", fails)
    send_leave(harness)
    found: list[Any] = []
    harness.coordinator.describe_groups(["g", "none"], found.append)
    settle(harness.loop)
    assert found == [[(ErrorCode.UNKNOWN_SERVER_ERROR, None), (ErrorCode.NONE, None)]]


def test_a_deletion_goes_by_the_kind_that_the_group_has_at_its_turn() -> None:
    """The group becomes a share group while the deletion waits: its states are deleted as well."""
    harness = ShareGroupHarness()
    responses: list[ErrorCode] = []
    harness.loop.threads = []
    altered: list[Any] = []

    def other(state: Any) -> Generator[object, None, CoordinatorResult[None]]:
        yield None
        return CoordinatorResult()

    harness.coordinator.runtime.write_long("g", other)
    harness.coordinator.share_offsets.alter("g", {"st": {0: 5, 1: 6}}, altered.append)
    harness.coordinator.deletion.delete_group("g", responses.append)
    assert harness.group("g") is None
    settle(harness.loop)
    assert responses == [ErrorCode.NONE] and altered
    assert harness.state("g", SST, 0) is None and harness.state("g", SST, 1) is None
    assert harness.coordinator.group_count == 0


# -- in steps --


class Calls:
    """How often a function was called, in each turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.by_turn = [0]
        function = getattr(owner, name)

        def counting(*arguments: Any) -> Any:
            self.by_turn[-1] += 1
            return function(*arguments)

        monkeypatch.setattr(owner, name, counting)

    def settle(self, loop: FakeLoop) -> None:
        self.by_turn.append(0)
        for _ in turns(loop):
            self.by_turn.append(0)


def classic() -> tuple[ConsumerHarness, list[str]]:
    """A Stable classic group. Four of its members have a partition each."""
    harness = ConsumerHarness(FakeCluster(1), group_initial_rebalance_delay_ms=1)
    harness.loop.threads = []
    waiting = [harness.join("g", session_ms=60_000, rebalance_ms=60_000) for _ in range(MEMBERS)]
    while not all(waiting):
        harness.loop.time_s += 0.01
        settle(harness.loop)
    joined = [response for (response,) in waiting]
    names, leader = [each["member_id"] for each in joined], joined[0]["leader"]
    assignment = {name: write_assignment(1, [("ct", [place])] if place < 4 else []) for place, name in enumerate(names)}
    synced = [harness.sync(name, 1, assignment if name == leader else {}) for name in names]
    settle(harness.loop)
    assert all(response["error_code"] == 0 for (response,) in synced)
    return harness, names


def send_join(harness: ConsumerHarness, group: str = "g", topics: tuple[str, ...] = ("ct",)) -> list[dict[str, Any]]:
    responses: list[dict[str, Any]] = []
    request = HeartbeatRequest(
        group, "m", 0, client_id="k848", client_host="/127.0.0.1", topic_names=topics, rebalance_timeout_ms=5000, owned={}
    )
    harness.coordinator.consumer.heartbeat(request, responses.append)
    return responses


def check_log(harness: ConsumerHarness) -> None:
    """The log says the same as the memory."""
    state = harness.coordinator.runtime.shards[0].state
    assert replicated(replayed(harness.cluster.hosted[0].records())) == replicated(state)


def test_members_of_a_classic_group_are_converted_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, names = classic()
    calls = [Calls(monkeypatch, upgrade, "read_assignment"), Calls(monkeypatch, ConsumerGroup, "replay_steps")]
    batches = len(harness.cluster.hosted[0].batches)
    joined = send_join(harness)
    assert not joined and max(each.by_turn[-1] for each in calls) <= PIECE
    beaten: list[ErrorCode] = []
    for _ in turns(harness.loop):
        for each in calls:
            each.by_turn.append(0)
        if harness.coordinator.runtime.busy_key == "g" and len(beaten) < MEMBERS:
            harness.coordinator.classic.heartbeat("g", names[-1], None, 1, beaten.append)
    group = harness.consumer_group("g")
    assert len(group.members) == MEMBERS + 1 and joined[0]["error_code"] == 0
    assert sorted(partition for name in names for partition in group.members[name].assigned.get(CT, ())) == [0, 1, 2, 3]
    assert [max(each.by_turn) for each in calls] == [PIECE, PIECE] and sum(calls[0].by_turn) == MEMBERS
    assert len(harness.cluster.hosted[0].batches) == batches + 1, "one batch has all records"
    assert set(beaten) == {ErrorCode.REBALANCE_IN_PROGRESS}
    check_log(harness)


def test_a_small_classic_group_is_converted_at_once() -> None:
    harness = ConsumerHarness(FakeCluster(1), group_initial_rebalance_delay_ms=0)
    harness.join("small")
    settle(harness.loop)
    assert send_join(harness, "small")[0]["error_code"] == 0


def test_no_turn_reads_all_topics_of_a_member_that_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PIECE_NAMES", 100)
    topics = [f"topic{number}" for number in range(5000)]
    protocols = [("range", subscription(topics))]
    harness = ConsumerHarness(FakeCluster(1), group_initial_rebalance_delay_ms=0)
    harness.loop.threads = []
    waiting = harness.join(protocols=protocols)
    settle(harness.loop)
    member = waiting[0]["member_id"]
    harness.sync(member, 1, {member: write_assignment(0, [(topic, [0]) for topic in topics])})
    lines = Lines()
    joined = lines(lambda: send_join(harness))
    while harness.loop.threads or harness.loop.timers[0][0] <= harness.loop.time_s:
        if harness.loop.threads:
            work, done = harness.loop.threads.pop(0)
            work()
            lines(done)
        else:
            lines(harness.loop.run_next)
    assert joined[0]["error_code"] == 0 and lines.largest < len(topics) // 2
    assert len(harness.consumer_group("g").members[member].details.subscribed_topic_names) == len(topics)


def test_a_group_that_cannot_be_converted_in_steps_stays() -> None:
    harness, names = classic()
    harness.group("g").members[names[-1]].assignment = b"\x00"
    joined = send_join(harness)
    settle(harness.loop)
    assert "malformed" in joined[0]["error_message"] and isinstance(harness.group("g"), ClassicGroup)
    assert harness.heartbeat(names[0], 1) == ErrorCode.NONE


@pytest.mark.parametrize("request_of", ["LeaveGroup", "JoinGroup", "JoinGroup with its id"])
def test_the_last_member_goes_by_a_classic_request(monkeypatch: pytest.MonkeyPatch, request_of: str) -> None:
    replaces = request_of != "LeaveGroup"
    harness = ConsumerHarness(FakeCluster(1))
    harness.loop.threads = []
    harness.join_consumer("g", "m", instance_id="i")
    for _ in range(MEMBERS):
        harness.join("g", session_ms=60_000, rebalance_ms=60_000)
    settle(harness.loop)
    calls = Calls(monkeypatch, downgrade, "write_assignment")
    responses: list[Any] = []
    if replaces:
        member = "m" if request_of == "JoinGroup with its id" else ""
        responses = harness.join("g", member, instance="i", session_ms=60_000, rebalance_ms=60_000)
    else:
        harness.coordinator.classic.leave("g", [("m", "i"), ("x", None)], lambda error, left: responses.append((error, left)))
    calls.settle(harness.loop)
    group = harness.group("g")
    assert isinstance(group, ClassicGroup) and len(group.members) == MEMBERS + replaces
    assert sum(calls.by_turn) == MEMBERS + replaces and max(calls.by_turn) == PIECE
    (response,) = responses
    if replaces:
        assert response["error_code"] == 0 and group.static_members["i"] == response["member_id"]
    else:
        error, left = response
        assert (error, [each["error_code"] for each in left]) == (0, [0, ErrorCode.UNKNOWN_MEMBER_ID])
    check_log(harness)


def lose_the_partition(harness: ConsumerHarness, before: Any, after_turns: int) -> bool | None:
    """After so many turns of the busy group. Whether `before` was in no table any more; None: the group was done by then."""
    runtime = harness.coordinator.runtime
    begun = 0
    for _ in turns(harness.loop):
        begun += runtime.busy_key == "g"
        if begun > after_turns:
            break
    if runtime.busy_key != "g":
        return None
    was_replaced = runtime.shards[0].state.groups.get("g") is not before
    harness.cluster.hosted[0].state = 1
    runtime.unload(0)
    settle(harness.loop)
    return was_replaced


@pytest.mark.parametrize("kind", ["upgrade", "downgrade", "downgrade after a session"])
def test_a_partition_that_is_lost_in_the_middle_leaves_nobody_waiting(kind: str) -> None:
    """Whenever it is lost: also between two records of the replay, when the group of before is in no table any more."""
    replaced = lost = 0
    while True:
        harness = classic()[0] if kind == "upgrade" else mixed()[0]
        waiting = harness.join("g", session_ms=60_000, rebalance_ms=60_000) if kind == "upgrade" else []
        responses: list[dict[str, Any]] = []
        before = harness.group("g")
        if kind == "downgrade after a session":
            before.deadlines.set((SESSION, "m"), 0)
        else:
            responses = send_join(harness) if kind == "upgrade" else send_leave(harness)
        was_replaced = lose_the_partition(harness, before, lost)
        if was_replaced is None:
            break
        replaced += was_replaced
        expected = [] if kind == "downgrade after a session" else [ErrorCode.NOT_COORDINATOR]
        assert [each["error_code"] for each in responses] == expected, lost
        assert len(waiting) == (kind == "upgrade"), lost
        assert harness.coordinator.consumer.context.held.member_bytes == 0, lost
        assert harness.coordinator.rebalancer.held.member_bytes == 0, lost
        lost += 1
    assert replaced and lost > MEMBERS / PIECE


def test_a_partition_that_is_lost_while_an_empty_group_is_replaced() -> None:
    """Ids that the classic group has given out count no more, whenever it is lost."""
    topics = tuple(f"t{number}" for number in range(LONG_HEARTBEAT + 1))
    replaced = lost = 0
    while True:
        harness = ConsumerHarness(FakeCluster(1))
        harness.loop.threads = []
        harness.commit()  # an empty group
        harness.join("g", known=True, session_ms=60_000, rebalance_ms=60_000)
        held = harness.coordinator.rebalancer.held
        assert held.pending_members == 1
        before = harness.group("g")
        responses = send_join(harness, topics=topics)
        was_replaced = lose_the_partition(harness, before, lost)
        if was_replaced is None:
            break
        replaced += was_replaced
        assert [each["error_code"] for each in responses] == [ErrorCode.NOT_COORDINATOR], lost
        assert (held.pending_members, held.member_bytes) == (0, 0), lost
        lost += 1
    assert replaced and held.pending_members == 0


def test_no_turn_encodes_all_partitions_of_a_member_that_is_converted_back(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = ConsumerHarness(FakeCluster(1))
    harness.topic("big", uuid.uuid5(uuid.NAMESPACE_URL, "big"), downgrade.PARTITIONS_AT_ONCE + 1)
    harness.join_consumer("g", "m")
    harness.loop.advance(1.1)
    (joined,) = harness.join("g", protocols=[("range", subscription(["big"]))])
    assert harness.consumer_group("g").target[joined["member_id"]]
    harness.loop.threads = []
    calls = Calls(monkeypatch, downgrade, "write_assignment")
    left = send_leave(harness)
    assert not left
    while not calls.by_turn[-1]:
        if harness.loop.threads:
            work, done = harness.loop.threads.pop(0)
            work()
            on_thread = calls.by_turn[-1]
            done()
            assert calls.by_turn[-1] == on_thread
        else:
            harness.loop.run_next()
            assert calls.by_turn == [0]
    settle(harness.loop)
    group = harness.group("g")
    assert left[0]["error_code"] == 0 and isinstance(group, ClassicGroup)
    partitions = read_assignment(group.members[joined["member_id"]].assignment).partitions["big"]
    assert partitions == tuple(range(downgrade.PARTITIONS_AT_ONCE + 1))
