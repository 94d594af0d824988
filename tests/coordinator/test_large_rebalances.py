"""The assignment of a large classic group: its record is made on another thread, and the group's other requests wait."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.coordinator.classic import group
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.sessions import Sessions
from kafka_cy.protocol.errors import ErrorCode

from .fakes import FakeCluster, Harness, replayed, replicated

MEMBERS = 3


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr(group, "STORED_AT_ONCE_MEMBERS", MEMBERS - 1)
    harness = Harness(FakeCluster(1))
    harness.loop.threads = []
    return harness


def settle(harness: Harness) -> None:
    loop = harness.loop
    while loop.threads or (loop.timers and loop.timers[0][0] <= loop.time_s):
        if loop.threads:
            work, done = loop.threads.pop(0)
            work()
            done()
        else:
            loop.run_next()


def joined(harness: Harness) -> tuple[str, list[str]]:
    """The leader, and the others."""
    waiting = [harness.join() for _ in range(MEMBERS)]
    harness.loop.advance(10)
    (leader,) = [each[0]["member_id"] for each in waiting if each[0]["members"]]
    return leader, [each[0]["member_id"] for each in waiting if not each[0]["members"]]


def test_the_record_is_made_on_another_thread(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    leader, (one, other) = joined(harness)
    made: list[bool] = []
    to_stored = ClassicGroup.to_stored
    works = False

    def counted(group: ClassicGroup, *arguments: Any, **named: Any) -> Any:
        made.append(works)
        return to_stored(group, *arguments, **named)

    monkeypatch.setattr(ClassicGroup, "to_stored", counted)
    assignments = {name: name.encode() for name in (leader, one, other)}
    before = harness.sync(one, 1)
    led = harness.sync(leader, 1, assignments)
    meanwhile = harness.sync(other, 1)
    beaten: list[ErrorCode] = []
    harness.coordinator.classic.heartbeat("g", one, None, 1, beaten.append)
    assert not (before or led or meanwhile or beaten or made)
    while harness.loop.threads:
        work, done = harness.loop.threads.pop(0)
        works = True
        work()
        works = False
        done()
    settle(harness)
    assert made == [True]
    found = {name: each[0]["assignment"] for name, each in ((leader, led), (one, before), (other, meanwhile))}
    assert found == assignments and beaten == [ErrorCode.NONE]
    assert harness.group().state_name == "Stable"
    assert harness.coordinator.rebalancer.held.member_bytes == harness.group().held_bytes()
    state = harness.coordinator.runtime.shards[0].state
    assert replicated(replayed(harness.cluster.hosted[0].records())) == replicated(state)


def test_a_record_that_is_too_large(harness: Harness) -> None:
    """The members join again. Kafka answers the same."""
    leader, (one, other) = joined(harness)
    waits = harness.sync(one, 1)
    led = harness.sync(leader, 1, {other: bytes(2_000_000)})
    settle(harness)
    assert [each[0]["error_code"] for each in (led, waits)] == [ErrorCode.UNKNOWN_SERVER_ERROR] * 2
    assert harness.group().state_name == "PreparingRebalance"
    assert harness.coordinator.rebalancer.held.member_bytes == harness.group().held_bytes()


@pytest.mark.parametrize("reload", [False, True])
@pytest.mark.parametrize("works", [0, 1], ids=["the record is made", "the batch is made"])
def test_the_partition_is_lost_meanwhile(harness: Harness, works: int, *, reload: bool) -> None:
    harness.loop.threads = None
    (leader, one, other), generation = harness.stable(MEMBERS)
    harness.loop.threads = []
    joins = [harness.join(member=member) for member in (leader, one, other)]
    assert all(joins) and all(each.assignment for each in harness.group().members.values())
    waits = harness.sync(one, generation + 1)
    led = harness.sync(leader, generation + 1, {other: b"x"})
    for _ in range(works):
        work, done = harness.loop.threads.pop(0)
        work()
        done()
    assert harness.loop.threads and not led
    harness.coordinator.runtime.unload(0, reload=reload)
    settle(harness)
    assert led[0]["error_code"] == waits[0]["error_code"] == ErrorCode.NOT_COORDINATOR
    held = harness.coordinator.rebalancer.held
    assert held.member_bytes == (harness.group().held_bytes() if reload else 0)
    harness.loop.advance(60)
    assert held.member_bytes == 0, "sessions of the loaded members have ended"


def test_a_static_member_that_comes_back_to_a_large_group(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.loop.threads = None
    waiting = [harness.join(instance=f"i{number}") for number in range(MEMBERS)]
    harness.loop.advance(10)
    names = [each[0]["member_id"] for each in waiting]
    leader = waiting[0][0]["leader"]
    for name in sorted(names, key=lambda each: each == leader):
        harness.sync(name, 1, {each: each.encode() for each in names}, instance=f"i{names.index(name)}")
    assert harness.group().state_name == "Stable"
    harness.loop.threads = []
    looked: list[ClassicGroup] = []
    with monkeypatch.context() as patch:
        patch.setattr(Sessions, "watch", lambda sessions, group: looked.append(group))
        came = harness.join(instance="i1")
        meanwhile = harness.sync(names[2], 1, instance="i2")
        assert not came and not meanwhile and len(harness.loop.threads) == 1
        settle(harness)
    assert came[0]["generation_id"] == 1 and meanwhile[0]["assignment"] == names[2].encode()
    assert not looked, "the sessions of all members"
    new = came[0]["member_id"]
    assert harness.sync(new, 1, instance="i1")[0]["assignment"] == names[1].encode()
    assert harness.heartbeat(names[1], 1, instance="i1") == ErrorCode.FENCED_INSTANCE_ID
    assert harness.coordinator.rebalancer.held.member_bytes == harness.group().held_bytes()
    state = harness.coordinator.runtime.shards[0].state
    assert replicated(replayed(harness.cluster.hosted[0].records())) == replicated(state)
