"""LeaveGroup of many members, in steps: the response has the order of the request, and the group changes once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator.classic import leave
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.rebalance import Rebalancer
from kafka_cy.coordinator.consumer import classic_members, consumer_groups
from kafka_cy.coordinator.consumer import leave as consumer_leave
from kafka_cy.coordinator.consumer.context import ConsumerContext
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import ConsumerHarness
from .fakes import FakeCluster, Harness, replayed, replicated
from .test_long_operations import finish, turns

STEP = 3  # members of one step here
MEMBERS = 20
STAYING = 2
Left = list[tuple[ErrorCode, list[dict[str, Any]]]]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: one step in each turn of the loop."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    for module in (leave, classic_members, consumer_groups, consumer_leave):
        monkeypatch.setattr(module, "LEFT_AT_ONCE", STEP)


class Steps:
    """How often the functions were called in each turn of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *functions: tuple[Any, str]) -> None:
        self.by_turn = [dict.fromkeys((name for _, name in functions), 0)]
        for owner, name in functions:
            self.count(monkeypatch, owner, name)

    def count(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def counted(*arguments: Any, **more: Any) -> Any:
            self.by_turn[-1][name] += 1
            return function(*arguments, **more)

        monkeypatch.setattr(owner, name, counted)

    def turns(self, harness: Harness) -> Iterator[None]:
        self.next()  # the request itself did the first step
        for _ in turns(harness):
            yield
            self.next()

    def next(self) -> None:
        self.by_turn.append(dict.fromkeys(self.by_turn[0], 0))

    def check(self) -> None:
        for name in self.by_turn[0]:
            assert max(each[name] for each in self.by_turn) == STEP, name


def send_leave(harness: Harness, members: list[tuple[str, str | None]]) -> Left:
    found: Left = []
    harness.coordinator.classic.leave("g", members, lambda error, left: found.append((error, left)))
    return found


def classic() -> tuple[Harness, list[str]]:
    """A Stable group: one static member, and others."""
    harness = Harness(FakeCluster(1))
    waiting = [harness.join("g", instance="i" if number == 0 else None) for number in range(MEMBERS)]
    while not all(waiting):
        harness.loop.advance(0.25)
    names = [each[0]["member_id"] for each in waiting]
    synced = [harness.sync(name, 1, dict.fromkeys(names, b"") if name == waiting[0][0]["leader"] else {}) for name in names]
    assert all(each["error_code"] == 0 for (each,) in synced)
    harness.loop.threads = []
    return harness, names


def test_many_members_leave_a_classic_group_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, names = classic()
    steps = Steps(monkeypatch, (ClassicGroup, "validate_member"), (Rebalancer, "remove_member"))
    changed: list[str] = []
    monkeypatch.setattr(Rebalancer, "members_removed", lambda rebalancer, group, reason, member: changed.append(member.member_id))
    gone = names[:-STAYING]
    left = send_leave(harness, [("", "i"), *((name, None) for name in gone[1:]), (gone[1], None), ("unknown", None)])
    beaten: list[ErrorCode] = []
    assert not left and len(harness.group().members) == MEMBERS, "the members are looked at first"
    for turn, _ in enumerate(steps.turns(harness)):
        if turn == 8:
            assert STAYING < len(harness.group().members) < MEMBERS
            harness.coordinator.classic.heartbeat("g", gone[-1], None, 1, beaten.append)
        assert not beaten or left, "it waits"
    steps.check()
    ((error, rows),) = left
    assert error is ErrorCode.NONE
    assert [(each["member_id"], each["group_instance_id"]) for each in rows[:2]] == [("", "i"), (gone[1], None)]
    assert [each["member_id"] for each in rows[1:]] == [*gone[1:], gone[1], "unknown"]
    assert [each["error_code"] for each in rows] == [0] * len(gone) + [ErrorCode.UNKNOWN_MEMBER_ID] * 2
    assert list(harness.group().members) == names[-STAYING:] and changed == [names[0]], "the group rebalances once"
    assert beaten == [ErrorCode.UNKNOWN_MEMBER_ID]


def test_unknown_members_of_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    left = send_leave(harness, [(f"m{number}", None) for number in range(MEMBERS)])
    assert not left
    finish(harness)
    assert [each["error_code"] for each in left[0][1]] == [ErrorCode.UNKNOWN_MEMBER_ID] * MEMBERS


def test_a_fault_in_the_middle_begins_the_group_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, names = classic()
    remove_member = Rebalancer.remove_member
    removed: list[str] = []

    def broken(self: Rebalancer, group: ClassicGroup, member_id: str) -> None:
        removed.append(member_id)
        if len(removed) == 2 * STEP:
            raise RuntimeError("broken")
        remove_member(self, group, member_id)

    monkeypatch.setattr(Rebalancer, "remove_member", broken)
    left = send_leave(harness, [(name, None) for name in names[1:]])
    finish(harness)
    assert left == [(ErrorCode.UNKNOWN_SERVER_ERROR, [])]
    assert list(harness.group().members) == names and harness.group().state_name == "Stable"
    assert harness.heartbeat(names[1], 1) is ErrorCode.NONE


def test_the_partition_is_lost_in_the_middle() -> None:
    harness, names = classic()
    left = send_leave(harness, [(name, None) for name in names[1:]])
    for _ in turns(harness):
        if len(harness.group().members) < MEMBERS - STEP:
            break
    harness.coordinator.runtime.unload(0, reload=True)
    finish(harness)
    assert left == [(ErrorCode.NOT_COORDINATOR, [])]
    assert list(harness.group().members) == names, "their sessions end, or they leave again"
    assert harness.coordinator.rebalancer.held.member_bytes == harness.group().held_bytes()


def test_many_members_leave_a_consumer_group_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = ConsumerHarness(FakeCluster(1))
    names = [f"m{number}" for number in range(MEMBERS)]
    harness.loop.threads = []
    for name in names:
        harness.join_consumer("g", name)
        finish(harness)
    group = harness.consumer_group("g")
    epoch, batches = group.epoch, len(harness.cluster.hosted[0].batches)
    steps = Steps(
        monkeypatch, (classic_members, "find_member"), (consumer_leave, "removal_records"), (ConsumerContext, "forget_member")
    )
    gone = names[:-STAYING]
    left = send_leave(harness, [*((name, None) for name in gone), ("unknown", None)])
    assert not left
    for _ in steps.turns(harness):
        pass
    steps.check()
    ((error, rows),) = left
    assert error is ErrorCode.NONE and [each["member_id"] for each in rows] == [*gone, "unknown"]
    assert [each["error_code"] for each in rows] == [0] * len(gone) + [ErrorCode.UNKNOWN_MEMBER_ID]
    assert list(group.members) == names[-STAYING:] and group.epoch == epoch + 1
    assert len(harness.cluster.hosted[0].batches) == batches + 1, "one batch has all records"
    state = harness.coordinator.runtime.shards[0].state
    assert replicated(replayed(harness.cluster.hosted[0].records())) == replicated(state)


def test_few_members_leave_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    harness, names = classic()

    def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing has to wait")

    monkeypatch.setattr(CoordinatorRuntime, "write_long", fails)
    assert send_leave(harness, [(name, None) for name in names[:STEP]])[0][0] is ErrorCode.NONE
    assert list(harness.group().members) == names[STEP:]
