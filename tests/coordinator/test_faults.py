"""An error at any point of an operation: no partial change remains, and the group continues."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.coordinator import group_limits, heartbeat_table
from kafka_cy.coordinator.classic import join as join_module
from kafka_cy.coordinator.classic import limits
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.sessions import Sessions
from kafka_cy.coordinator.records import CommittedOffset, GroupKey, OffsetKey, Record
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.state_machine import GroupStateMachine
from kafka_cy.protocol.errors import ErrorCode

from .fakes import SUBSCRIPTION, FakeCluster, Harness, replicated

OTHER = bytes.fromhex("000100000001000278780000000000000000")  # topic "xx"


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    works = getattr(owner, name)

    def fails(*_: object, **__: object) -> Any:
        monkeypatch.setattr(owner, name, works)
        raise RuntimeError("a fault")

    monkeypatch.setattr(owner, name, fails)


def offset_record(group: str, offset: int) -> Record:
    return OffsetKey(group, "ct", 0), CommittedOffset(offset, -1, "", 1, -1, None)


def joins_again(harness: Harness) -> None:
    """Check that the group becomes stable and accepts new members."""
    harness.loop.advance(400)
    assert harness.group() is None or harness.group().state.value in ("Empty", "Stable")
    (member,), generation = harness.stable()
    assert harness.heartbeat(member, generation) == 0


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (ClassicGroup, "add"),
        (ClassicGroup, "begin_generation"),
        (ClassicGroup, "transition"),
        (Sessions, "publish_heartbeats"),
        (Sessions, "watch"),
        (Sessions, "watch_until"),
        (heartbeat_table, "set_member"),
    ],
)
def test_a_fault_while_a_group_rebalances(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    for stable in (False, True):
        harness = Harness()
        if stable:
            harness.stable(session_ms=10_000)
        fail_once(monkeypatch, owner, name)
        waiting = harness.join()
        harness.loop.advance(40)
        assert waiting, "the request has its response"
        monkeypatch.undo()
        joins_again(harness)
        harness.coordinator.stop()
        assert heartbeat_table.count() == 0


def test_a_fault_while_an_assignment_is_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()
    first, second = harness.join(), harness.join()
    harness.loop.advance(3)
    leader = first[0]["leader"]
    follower = next(each[0]["member_id"] for each in (first, second) if each[0]["member_id"] != leader)
    waiting = harness.sync(follower, 1)
    fail_once(monkeypatch, ClassicGroup, "become_stable")
    failed = harness.sync(leader, 1, {leader: b"l", follower: b"f"})
    for responses in (failed, waiting):
        assert [each["error_code"] for each in responses] == [ErrorCode.COORDINATOR_NOT_AVAILABLE]
    assert harness.group().state.value == "Stable", "as it is stored"
    assert harness.sync(follower, 1)[0]["assignment"] == b"f"


def test_a_fault_in_an_operation_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()
    (member,), generation = harness.stable()
    before = len(harness.written())
    fail_once(monkeypatch, ClassicGroup, "validate_offset_commit")
    assert harness.commit(member=member, generation=generation) == ErrorCode.UNKNOWN_SERVER_ERROR
    fail_once(monkeypatch, ClassicGroup, "to_stored")
    harness.join(member=member)
    failed = harness.sync(member, generation + 1, {member: b"x"})
    assert failed[0]["error_code"] == ErrorCode.UNKNOWN_SERVER_ERROR
    assert len(harness.written()) == before
    assert harness.sync(member, generation + 1, {member: b"x"})[0]["assignment"] == b"x"


def test_a_fault_in_replay_loads_the_partition_again(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    (member,), generation = harness.stable()
    machine = harness.coordinator.runtime.shards[0].state
    fail_once(monkeypatch, machine, "_commit_offset")
    assert harness.commit(member=member, generation=generation, offset=7) == ErrorCode.NOT_COORDINATOR
    reloaded = harness.coordinator.runtime.shards[0].state
    assert reloaded is not machine and replicated(reloaded)["g"][1]["ct"][0].offset == 7
    assert harness.heartbeat(member, generation) == 0


def test_a_fault_in_replay_loses_nothing_that_is_not_stored_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    partition, runtime = harness.cluster.hosted[0], harness.coordinator.runtime
    partition.held = True
    runtime.write("other", lambda state: CoordinatorResult([offset_record("other", 5)]))
    fail_once(monkeypatch, runtime.shards[0].state, "_commit_offset")
    runtime.write("g", lambda state: CoordinatorResult([offset_record("g", 7)]))
    groups = runtime.shards[0].state.groups
    assert [groups[name].offsets["ct"][0].offset for name in ("other", "g")] == [5, 7]
    seen: list[ErrorCode] = []
    harness.coordinator.fetch(["g"], lambda place, group: None, lambda results: seen.append(results[0][0]))
    assert not seen, "what was loaded is not stored yet"
    partition.high_watermark = partition.log_end_offset
    harness.coordinator.look()
    assert seen == [ErrorCode.NONE]


def test_an_operation_whose_partition_is_loaded_again_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    runtime = harness.coordinator.runtime
    harness.cluster.hosted[0].held = True
    fails = CoordinatorResult[str]([offset_record("g", 7)])

    def nested() -> None:
        fail_once(monkeypatch, runtime.shards[0].state, "_commit_offset")
        runtime.write("g", lambda state: fails)

    seen: list[ErrorCode] = []
    outer = CoordinatorResult([offset_record("other", 5)], "done", apply=nested)
    runtime.write("other", lambda state: outer, lambda error, response: seen.append(error))
    assert seen == [ErrorCode.NOT_COORDINATOR]


def test_a_partition_whose_loading_fails_does_not_load_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    assert harness.commit() == 0
    harness.coordinator.stop()
    fail_once(monkeypatch, GroupStateMachine, "replay")
    again = harness.reload()
    assert not again.coordinator.runtime.shards and again.coordinator.group_count == 0
    assert again.group().offsets["ct"][0].offset == 5, "the next request loads it"


def test_a_record_that_cannot_be_replayed_does_not_load_the_partition_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    assert harness.commit() == 0
    harness.coordinator.stop()
    loads: list[float] = []

    def fail(*_: object) -> None:
        loads.append(harness.loop.now())
        raise RuntimeError("a poison record")

    monkeypatch.setattr(GroupStateMachine, "replay", fail)
    harness = harness.reload()
    begin = harness.loop.now()
    assert harness.coordinator.runtime.counts() == (0, 0, 1)
    for _ in range(700):
        assert harness.commit() in (ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        assert not harness.coordinator.is_coordinator_of("g")
        harness.loop.advance(1)
    assert [round(load_s - begin) for load_s in loads] == [0, 0, 1, 3, 7, 15, 31, 63, 127, 255, 511]
    monkeypatch.undo()
    harness.loop.advance(300)
    assert not harness.coordinator.group("g")[0] and harness.coordinator.is_coordinator_of("g")
    assert harness.group().offsets["ct"][0].offset == 5
    assert harness.coordinator.runtime.counts() == (0, 1, 0)
    monkeypatch.setattr(GroupStateMachine, "replay", fail)
    loads.clear()
    harness.coordinator.runtime.unload(0)
    for _ in range(3):
        harness.commit()
    assert len(loads) == 2, "the delays begin anew after a success"


@pytest.mark.parametrize("group", ["\ufffd" * 11_000, "g" * 32_768])
def test_a_commit_that_cannot_be_stored_changes_nothing(group: str) -> None:
    harness = Harness()
    assert harness.commit(group=group) == ErrorCode.UNKNOWN_SERVER_ERROR
    assert harness.group(group) is None and harness.coordinator.group_count == 0
    huge = Harness(offset_metadata_max_bytes=100_000)
    assert huge.commit(metadata="m" * 32_768) == ErrorCode.UNKNOWN_SERVER_ERROR
    assert huge.group() is None and not huge.written()


def test_groups_that_store_nothing_are_not_kept() -> None:
    harness = Harness()
    assert harness.commit(metadata="m" * 4097) == ErrorCode.OFFSET_METADATA_TOO_LARGE
    harness.describe("other")
    assert harness.commit(group="third", generation=1) == ErrorCode.GROUP_ID_NOT_FOUND
    assert harness.coordinator.group_count == 0 and not harness.coordinator.all_groups()


def test_groups_and_pending_members_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_limits, "GROUPS_MAX", 2)
    monkeypatch.setattr(join_module, "PENDING_MEMBERS_MAX", 3)
    harness = Harness()
    assert harness.commit(group="a") == 0
    for _ in range(3):
        assert harness.join(known=True)[0]["error_code"] == ErrorCode.MEMBER_ID_REQUIRED
    assert harness.join(known=True)[0]["error_code"] == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert harness.join("c")[0]["error_code"] == ErrorCode.POLICY_VIOLATION
    assert harness.commit(group="c") == ErrorCode.POLICY_VIOLATION
    assert harness.commit(group="a", offset=6) == 0, "a group that exists goes on"
    harness.loop.advance(601)
    assert harness.group() is None and harness.coordinator.rebalancer.held.pending_members == 0
    assert harness.coordinator.group_count == 1
    assert harness.commit(group="c") == 0
    assert harness.delete_group("a") == 0 and harness.commit(group="d") == 0
    harness.coordinator.stop()
    assert harness.coordinator.group_count == 0


def test_the_memory_of_all_members_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    large = [("range", bytes(6000))]
    monkeypatch.setattr(limits, "MEMBER_BYTES_MAX", 16_000)
    harness = Harness()
    held = harness.coordinator.rebalancer.held
    (member, _), _ = harness.stable(2, protocols=large)
    assignment = len(member)  # each gets its member id
    besides = limits.member_bytes("g", member, None, "c", [("range", b"")], b"")
    assert held.member_bytes == 2 * (besides + 6000 + assignment)
    assert harness.join("other", protocols=large)[0]["error_code"] == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert harness.join(member=member, protocols=[("range", bytes(10_000))])[0]["error_code"] == 81
    assert not harness.join(member=member, protocols=[("range", bytes(1000))]), "the group rebalances"
    assert held.member_bytes == 2 * (besides + assignment) + 6000 + 1000
    harness.reload()
    harness.loop.advance(60)
    assert not harness.group().members and held.member_bytes == 0


def test_ids_count_as_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMBER_BYTES_MAX", 200_000)
    harness = Harness()
    held = harness.coordinator.rebalancer.held
    for known in (True, False):  # ids that were given out; members
        responses = [harness.join(client="c" * 32_000, known=known, session_ms=10_000) for _ in range(8)]
        refused = [each for each in responses if each and each[0]["error_code"] == ErrorCode.GROUP_MAX_SIZE_REACHED]
        assert len(refused) == (3 if known else 5) and held.member_bytes <= 200_000
        harness.loop.advance(60)
        assert held.member_bytes == 0 or not known
    assert limits.pending_bytes("\U0001f600" + "c" * 8000) > 32_000, "one wide character makes all of them wide"
    harness.coordinator.stop()
    assert held.member_bytes == 0


def test_a_fault_while_a_partition_is_loaded_or_unloaded_costs_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    (member,), generation = harness.stable(session_ms=60_000)
    harness.stable(group="other", session_ms=60_000)
    harness.coordinator.stop()
    fail_once(monkeypatch, ClassicGroup, "restore")
    again = harness.reload()
    assert [again.group(name).state.value for name in ("g", "other")] == ["Empty", "Stable"]
    waiting = [again.join(group=name) for name in ("other", "g", "third")]
    fail_once(monkeypatch, ClassicGroup, "transition")
    again.coordinator.runtime.unload(0)
    assert [each[0]["error_code"] for each in waiting if each] == [ErrorCode.NOT_COORDINATOR] * 2
    assert again.coordinator.group_count == 0
    last = harness.reload()
    assert last.heartbeat(member, generation) == 0


def test_a_response_that_cannot_be_sent_does_not_hold_up_the_others() -> None:
    harness = Harness(FakeCluster(1))
    partition = harness.cluster.hosted[0]
    partition.held = True
    failed: list[ErrorCode] = []

    def broken(error: ErrorCode) -> None:
        raise RuntimeError("a fault")

    harness.coordinator.runtime.write("g", lambda state: CoordinatorResult([(GroupKey("g"), None)]))
    for send in (broken, failed.append):
        harness.coordinator.runtime.when_stored("g", send)
    harness.coordinator.runtime.unload(0)
    assert failed == [ErrorCode.NOT_COORDINATOR]


def test_sessions_of_other_groups_go_on_after_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    (member,), generation = harness.stable(group="other")
    harness.stable()
    fail_once(monkeypatch, Sessions, "publish_heartbeats")
    harness.join(protocols=[("range", OTHER), ("range", SUBSCRIPTION)])
    assert harness.heartbeat(member, generation, group="other") == 0
    assert harness.group("other").state.value == "Stable"
