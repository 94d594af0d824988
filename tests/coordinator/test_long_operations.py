"""Operations that take long: others are served in between, those on the same group wait, and a start finds all or nothing.

Each turn of the loop does one step, and the test says when a work on another thread ends.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator.consumer import target as consumer_target
from kafka_cy.coordinator.modern.groups import LONG_HEARTBEAT
from kafka_cy.coordinator.runtime.shard import REPLAYED_AT_ONCE
from kafka_cy.coordinator.state_machine import GroupStateMachine
from kafka_cy.coordinator.streams import limits
from kafka_cy.coordinator.streams.owners import PIECE_TASKS, TaskOwners, pieces
from kafka_cy.coordinator.streams.records import Topology
from kafka_cy.coordinator.streams.requests import StreamsHeartbeat
from kafka_cy.coordinator.streams.tasks import AssignedTasks, Tasks
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import ConsumerHarness
from .fakes import FakeCluster, Harness, replicated
from .streams_fakes import NO_TASKS, StreamsHarness, internal, part

MEMBERS = 5 * REPLAYED_AT_ONCE
BATCH_BYTES_MIN = 40 * MEMBERS  # of an assignment
WIDE = uuid.UUID(int=7)


@pytest.fixture
def one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step in each turn of the loop."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)


def turns(harness: Harness) -> Iterator[None]:
    """What is due, and works on the other thread, one after the other; the test looks around after each."""
    while True:
        if harness.loop.threads:
            work, done = harness.loop.threads.pop(0)
            work()
            done()
        elif harness.loop.timers and harness.loop.timers[0][0] <= harness.loop.time_s:
            harness.loop.run_next()
        else:
            return
        yield


def finish(harness: Harness) -> None:
    for _ in turns(harness):
        pass


def assigning(monkeypatch: pytest.MonkeyPatch) -> ConsumerHarness:
    """A group whose large target assignment is complete, and is being stored: its records were appended just now."""
    monkeypatch.setattr(consumer_target, "AT_ONCE_MAX", 0)
    harness = ConsumerHarness(FakeCluster(1))
    harness.topic("wide", WIDE, MEMBERS)
    harness.loop.threads = []
    for number in range(MEMBERS):
        harness.join_consumer("g", f"m{number}", ("wide",))
    finish(harness)
    harness.loop.time_s += 1.1
    group = harness.consumer_group("g")
    harness.beat("g", "m0", group.members["m0"].member_epoch)
    for _ in turns(harness):
        if len(harness.cluster.hosted[0].batches[-1]) > BATCH_BYTES_MIN:
            return harness
    raise AssertionError("the assignment was not stored")


def test_others_are_served_while_an_assignment_is_stored(one_step: None, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed: list[int] = []
    replay_steps = GroupStateMachine.replay_steps

    def counted(self: GroupStateMachine, *arguments: Any) -> Iterator[object]:
        replayed[-1] += 1
        return replay_steps(self, *arguments)

    monkeypatch.setattr(GroupStateMachine, "replay_steps", counted)
    replayed.append(0)
    harness = assigning(monkeypatch)
    group = harness.consumer_group("g")
    own: list[dict[str, Any]] = []
    beat = harness.coordinator.consumer.heartbeat
    assert group.assignment_epoch < group.epoch, "it is not replayed yet"
    replayed.append(0)
    sent = False
    for _ in turns(harness):
        replayed.append(0)
        if group.assignment_epoch < group.epoch:
            assert harness.beat("other", "m", -1)["error_code"] == ErrorCode.GROUP_ID_NOT_FOUND, "another group has its turn"
            if not sent:
                beat(request_of(group, "m1"), own.append)
                sent = True
            assert own == [], "a member of the group waits"
    assert max(replayed[1:]) <= REPLAYED_AT_ONCE and sum(replayed) > MEMBERS
    assert group.assignment_epoch == group.epoch and [each["error_code"] for each in own] == [0]
    assert sum(len(each) > BATCH_BYTES_MIN for each in harness.cluster.hosted[0].batches) == 1, "one batch has all records"


def request_of(group: Any, member: str) -> Any:
    from kafka_cy.coordinator.consumer.requests import HeartbeatRequest

    return HeartbeatRequest("g", member, group.members[member].member_epoch, client_id="k848", client_host="/127.0.0.1")


def test_the_partition_is_lost_while_an_assignment_is_stored(one_step: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is told, and whoever loads the log finds the whole assignment."""
    harness = assigning(monkeypatch)
    group = harness.consumer_group("g")
    own: list[dict[str, Any]] = []
    harness.coordinator.consumer.heartbeat(request_of(group, "m1"), own.append)
    runtime = harness.coordinator.runtime
    runtime.unload(0, reload=True)
    finish(harness)
    assert [each["error_code"] for each in own] in ([ErrorCode.NOT_COORDINATOR], [ErrorCode.COORDINATOR_LOAD_IN_PROGRESS])
    loaded = harness.consumer_group("g")
    assert loaded is not group and loaded.assignment_epoch == loaded.epoch and len(loaded.target) == MEMBERS
    assert harness.beat("g", "m1", loaded.members["m1"].member_epoch)["error_code"] == 0


def test_a_fault_in_a_replay_loads_the_partition_again(one_step: None, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = assigning(monkeypatch)
    group = harness.consumer_group("g")
    replay_steps = GroupStateMachine.replay_steps
    faults = iter([RuntimeError("broken")])

    def broken(self: GroupStateMachine, *arguments: Any) -> Iterator[object]:
        for fault in faults:
            raise fault
        return replay_steps(self, *arguments)

    monkeypatch.setattr(GroupStateMachine, "replay_steps", broken)
    finish(harness)
    loaded = harness.consumer_group("g")
    assert loaded is not group and loaded.assignment_epoch == loaded.epoch and len(loaded.target) == MEMBERS


def test_a_fault_before_the_append_changes_nothing(one_step: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next heartbeat assigns anew."""
    late_records = consumer_target.TargetAssignment.late_records
    faults = iter([RuntimeError("broken")])

    def broken(self: Any, group: Any) -> Any:
        for fault in faults:
            raise fault
        return late_records(self, group)

    monkeypatch.setattr(consumer_target, "AT_ONCE_MAX", 0)
    monkeypatch.setattr(consumer_target.TargetAssignment, "late_records", broken)
    harness = ConsumerHarness(FakeCluster(1))
    harness.join_consumer("g", "m")
    before = replicated(harness.coordinator.runtime.shards[0].state)
    finish(harness)
    group = harness.consumer_group("g")
    assert replicated(harness.coordinator.runtime.shards[0].state) == before and not group.assigning
    harness.loop.time_s += 1.1
    harness.beat("g", "m", group.members["m"].member_epoch)
    finish(harness)
    assert group.assignment_epoch == group.epoch


def test_operations_that_take_long_take_turns(one_step: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what one adds is counted before the next one asks for room."""
    monkeypatch.setattr(consumer_target, "AT_ONCE_MAX", 0)
    harness = ConsumerHarness(FakeCluster(1))
    for name in ("a", "b", "c"):
        harness.join_consumer(name, "m")
    runtime = harness.coordinator.runtime
    busy = [runtime.busy_key for _ in turns(harness)]
    named = [key for key in busy if key is not None]
    assert sorted(key for key, _ in itertools.groupby(named)) == ["a", "b", "c"]
    assert all(harness.consumer_group(name).assignment_epoch == harness.consumer_group(name).epoch for name in "abc")


# -- streams groups --


def many_names(count: int) -> Topology:
    """Each subtopology has four names: its own, and those of three topics."""
    parts = (
        part(str(number), ["sin"], sinks=[f"sink{number}"], changelogs=[internal(f"changelog{number}")])
        for number in range(count // 4)
    )
    return Topology(0, tuple(parts))


def join_request(member: str, topology: Topology) -> StreamsHeartbeat:
    return StreamsHeartbeat(
        "g", member, 0, endpoint_epoch=0, rebalance_timeout_ms=5000, topology=topology, active={}, standby={}, warmup={},
        process_id="P1", client_id="sg", client_host="/127.0.0.1",
    )  # fmt: skip


def test_others_are_served_while_a_large_topology_is_looked_at(one_step: None) -> None:
    harness = StreamsHarness(FakeCluster(1))
    harness.join_streams("other", "m")
    harness.loop.threads = []
    responses: list[dict[str, Any]] = []
    harness.coordinator.streams.heartbeat(join_request("m", many_names(limits.NAMES_MAX)), responses.append)
    assert responses == [] and harness.coordinator.runtime.busy_key == "g"
    second: list[dict[str, Any]] = []
    harness.coordinator.streams.heartbeat(join_request("m2", many_names(4)), second.append)
    seen = 0
    for _ in turns(harness):
        if not responses:
            seen += 1
            assert harness.beat("other", "m", 1)["error_code"] == 0, "another group has its turn"
            assert second == [], "a member of the group waits"
    assert seen > 5 and responses[0]["error_code"] == 0
    assert second[0]["error_code"] == ErrorCode.INVALID_REQUEST, "the group has another topology by then"


def test_a_small_topology_needs_no_turn(one_step: None) -> None:
    harness = StreamsHarness(FakeCluster(1))
    assert harness.join_streams("g", "m", many_names(LONG_HEARTBEAT - 4))["error_code"] == 0
    with pytest.raises(ValueError, match="unpack"):  # no response yet
        harness.join_streams("h", "m", many_names(LONG_HEARTBEAT + 4))


def test_too_many_names_or_configs() -> None:
    harness = StreamsHarness()
    configs = {f"key{number}": "v" for number in range(limits.TOPIC_CONFIGS_MAX + 1)}
    for topology in (
        many_names(limits.NAMES_MAX + 4),
        Topology(0, (part("0", ["sin"], changelogs=[internal("changelog", **configs)]),)),
    ):
        assert harness.join_streams("g", "m", topology)["error_code"] == ErrorCode.STREAMS_INVALID_TOPOLOGY


def test_a_member_with_many_tasks(one_step: None) -> None:
    """It gets them, gives half of them up, and leaves, in steps."""
    count = 3 * PIECE_TASKS
    harness = StreamsHarness(FakeCluster(1), group_streams_initial_rebalance_delay_ms=0)
    harness.topic("wide", count)
    topology = Topology(0, (part("0", ["wide"]),))
    ask(harness, join_request("m", topology))
    group = harness.streams_group()
    for _ in range(3):
        harness.loop.time_s += 1.1
        ask(harness, heartbeat(group, "m", NO_TASKS))
    assert sorted(group.members["m"].assigned.active["0"]) == list(range(count)) == sorted(group.owners.active["0"])
    ask(harness, join_request("m2", topology))
    rows = []
    for _ in range(4):
        harness.loop.time_s += 1.1
        rows += ask(harness, heartbeat(group, "m", Tasks({"0": frozenset(range(count))})))["active_tasks"] or []
    assert [len(row["partitions"]) for row in rows] == [count // 2]
    ask(harness, StreamsHeartbeat("g", "m", -1, client_id="sg", client_host="/127.0.0.1"))
    assert group.owners.active == {} and list(group.members) == ["m2"]


def heartbeat(group: Any, member: str, tasks: Tasks) -> StreamsHeartbeat:
    return StreamsHeartbeat(
        "g", member, group.members[member].member_epoch, endpoint_epoch=0, active=tasks.active, standby=tasks.standby,
        warmup=tasks.warmup, client_id="sg", client_host="/127.0.0.1",
    )  # fmt: skip


def ask(harness: StreamsHarness, request: StreamsHeartbeat) -> dict[str, Any]:
    responses: list[dict[str, Any]] = []
    harness.coordinator.streams.heartbeat(request, responses.append)
    finish(harness)
    (response,) = responses
    assert response["error_code"] == 0, response
    return response


def test_owners_change_in_pieces() -> None:
    found = list(pieces({"a": range(2 * PIECE_TASKS + 1), "b": range(3)}))
    assert [(name, len(piece)) for name, piece in found] == [("a", PIECE_TASKS), ("a", PIECE_TASKS), ("a", 1), ("b", 3)]
    owners = TaskOwners()
    tasks = AssignedTasks({"a": dict.fromkeys(range(2 * PIECE_TASKS), 1)}, {"b": frozenset(range(PIECE_TASKS + 1))})
    for change in (owners.add, owners.remove):
        sizes = [owned(owners) for _ in change("P", tasks)]
        steps = [abs(after - before) for before, after in itertools.pairwise(sizes)]
        assert max(steps) <= PIECE_TASKS and len(sizes) == 4
    assert owners.stored() == TaskOwners().stored()


def owned(owners: TaskOwners) -> int:
    return sum(len(each) for found in (owners.active, owners.standby) for each in found.values())
