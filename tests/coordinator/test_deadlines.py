"""Members whose time is over: removals that wait, answers that come meanwhile, and removals that fail."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator.modern.groups import REMOVED_FEW
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import ConsumerHarness, assigned

OLD = REMOVED_FEW + 2
WIDE = uuid.UUID(int=7)


def owned_by(harness: ConsumerHarness, member: str) -> dict[uuid.UUID, list[int]]:
    group = harness.consumer_group("g")
    return {topic_id: sorted(each) for topic_id, each in group.members[member].assigned.items()}


def beat(harness: ConsumerHarness, member: str, **fields: Any) -> dict[str, Any]:
    return harness.beat("g", member, harness.consumer_group("g").members[member].member_epoch, **fields)


def give_up(harness: ConsumerHarness, member: str) -> None:
    """The member tells that it has what it is asked to keep."""
    assert not beat(harness, member, owned=owned_by(harness, member))["error_code"]


@pytest.fixture
def harness() -> ConsumerHarness:
    """More members than are removed at once, of which each has to give up a partition within 5 seconds."""
    harness = ConsumerHarness(group_consumer_assignment_interval_ms=0)
    harness.topic("wide", WIDE, 2 * OLD)
    old, new = ([f"{kind}{number:02}" for number in range(OLD)] for kind in ("old", "new"))
    for member in old:
        harness.join_consumer("g", member, ("wide",))
    for _ in range(3):
        for member in old:
            give_up(harness, member)
    for member in new:
        harness.join_consumer("g", member, ("wide",))
    for member in old:
        response = beat(harness, member)
        assert not response["error_code"]
        assert assigned(response) is not None, "it has to give up a partition"
    return harness


def until_due(harness: ConsumerHarness, after_s: float) -> None:
    """The deadlines are over, and the removals wait for their turn."""
    harness.loop.time_s += after_s
    while not harness.coordinator.runtime.slices._works:
        harness.loop.run_next()


def finish(harness: ConsumerHarness) -> None:
    harness.loop.advance(0)


def test_a_member_that_answers_while_its_removal_waits_stays(
    harness: ConsumerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    until_due(harness, 5.1)
    give_up(harness, "old03")
    finish(harness)
    left = harness.consumer_group("g").members
    assert [member for member in left if member.startswith("old")] == ["old03"]
    assert sum(member.startswith("new") for member in left) == OLD


def test_a_removal_that_has_failed_is_tried_again(harness: ConsumerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = harness.coordinator.consumer
    remove = groups._remove

    def fails(*arguments: Any) -> Any:
        raise RuntimeError("a fault")

    monkeypatch.setattr(groups, "_remove", fails)
    harness.loop.advance(5.1)
    assert len(harness.consumer_group("g").members) == 2 * OLD, "nothing has changed"
    give_up(harness, "old00")
    monkeypatch.setattr(groups, "_remove", remove)
    harness.loop.advance(1.1)
    assert [member for member in harness.consumer_group("g").members if member.startswith("old")] == ["old00"]


def test_a_member_that_is_told_to_join_again_gets_no_more_time_while_its_removal_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only JoinGroup is an answer. SyncGroup tells a member to join again, which begins its time only once."""
    harness = ConsumerHarness(group_consumer_assignment_interval_ms=0)
    harness.topic("wide", WIDE, 2 * OLD)
    harness.join_consumer("g", "m", ("wide",))
    joined: list[tuple[str, int]] = []
    for _ in range(OLD + 1):
        (response,) = harness.join("g", rebalance_ms=2000, session_ms=30_000)
        joined.append((response["member_id"], response["generation_id"]))
        assert not harness.sync(*joined[-1], group="g")[0]["error_code"]
    *late, _ = joined
    for member, generation in late:
        assert harness.sync(member, generation, group="g")[0]["error_code"] == ErrorCode.REBALANCE_IN_PROGRESS
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    until_due(harness, 2.1)
    assert harness.sync(*late[0], group="g")[0]["error_code"] == ErrorCode.REBALANCE_IN_PROGRESS
    finish(harness)
    assert sorted(harness.consumer_group("g").members) == sorted(["m", joined[-1][0]])


def test_nothing_is_awaited_of_an_id_that_a_static_member_had() -> None:
    """A member with the classic protocol chooses how long its SyncGroup is waited for: here for 24 days."""
    harness = ConsumerHarness()
    harness.join_consumer("g", "C", ("ct",), timeout_ms=60_000)
    for _ in range(3):
        [answer] = harness.join("g", instance="i", rebalance_ms=2**31 - 1, session_ms=10_000)
        assert not answer["error_code"]
        harness.loop.advance(0.001)
    group = harness.consumer_group("g")
    assert group.deadlines is not None
    assert {member for _, member in group.deadlines._due_s} == set(group.members)


def test_a_clock_that_was_ahead_holds_up_no_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = ConsumerHarness()
    now_ms = harness.loop.wall_clock_ms
    monkeypatch.setattr(harness.loop, "wall_clock_ms", lambda: now_ms() + 3_600_000)
    harness.join_consumer("g", "A", ("ct",), timeout_ms=60_000)
    monkeypatch.setattr(harness.loop, "wall_clock_ms", now_ms)
    harness.loop.advance(5)
    harness.join_consumer("g", "B", ("ct",), timeout_ms=60_000)
    group = harness.consumer_group("g")
    assert group.assignment_epoch == group.epoch
