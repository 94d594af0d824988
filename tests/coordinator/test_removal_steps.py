"""Removals of members, and resolutions of regular expressions, in steps that are small however many topics the members name."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.consumer import downgrade
from kafka_cy.coordinator.consumer import group as consumer_group
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.modern import group as modern_group
from kafka_cy.coordinator.modern import names
from kafka_cy.coordinator.runtime.result import CoordinatorResult

from .consumer_fakes import ConsumerHarness
from .fakes import FakeCluster, Harness, observe_replays, replayed, replicated
from .share_group_fakes import ShareCluster, ShareGroupHarness

PIECE = 10  # names that one step counts here
MEMBERS = 20
NAMES = tuple(f"topic{number:02}" for number in range(8))  # of each member: more than a piece for two of them


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: one step in each turn of the loop."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    for module in (names, *(each for each in modules() if hasattr(each, "PIECE_NAMES"))):
        monkeypatch.setattr(module, "PIECE_NAMES", PIECE)
    for module in (modern_group, consumer_group):
        monkeypatch.setattr(module, "NAMES_FEW", 3)


def modules() -> list[Any]:
    from kafka_cy.coordinator.consumer import consumer_groups
    from kafka_cy.coordinator.share import share_groups

    return [consumer_groups, share_groups]


class Counted:
    """How many names were counted since the last turn of the loop, and the most in a turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = self.total = 0
        change = names.ChangedNames.change

        def counting(changed: Any, added: Any, by: int) -> None:
            added = tuple(added)
            self.now += len(added)
            self.total += len(added)
            self.most = max(self.most, self.now)
            change(changed, added, by)

        monkeypatch.setattr(names.ChangedNames, "change", counting)

    def turns(self, harness: Harness) -> Iterator[None]:
        """What is due, and works on the other thread, one after the other."""
        loop = harness.loop
        while True:
            self.now = 0
            if loop.threads:
                work, done = loop.threads.pop(0)
                work()
                done()
            elif loop.timers and loop.timers[0][0] <= loop.time_s:
                loop.run_next()
            else:
                return
            yield

    def settle(self, harness: Harness) -> None:
        for _ in self.turns(harness):
            pass


def consumers() -> tuple[Any, Callable[[str], Any]]:
    harness = ConsumerHarness(FakeCluster(1))
    for name in NAMES:
        harness.topic(name, uuid.uuid5(uuid.NAMESPACE_URL, name), 1)
    return harness, lambda member: harness.join_consumer("g", member, NAMES)


def sharers() -> tuple[Any, Callable[[str], Any]]:
    harness = ShareGroupHarness(ShareCluster(1))
    for name in NAMES:
        harness.topic(name, uuid.uuid5(uuid.NAMESPACE_URL, name), 1)
    return harness, lambda member: harness.beat("g", member, 0, NAMES)


@pytest.mark.parametrize("kind", [consumers, sharers])
@pytest.mark.parametrize("gone", [2, MEMBERS - 1], ids=["few", "many"])
def test_a_removal_counts_names_in_pieces(
    monkeypatch: pytest.MonkeyPatch, gone: int, kind: Callable[[], tuple[Any, Callable[[str], Any]]]
) -> None:
    """Also of few members, if they name many topics. One batch removes them, and the log says the same as the memory."""
    harness, join = kind()
    counted = Counted(monkeypatch)
    for number in range(MEMBERS):
        join(f"m{number}")
        counted.settle(harness)
    group = harness.group("g")
    harness.loop.time_s += 40
    for number in range(gone, MEMBERS):
        harness.beat("g", f"m{number}", group.members[f"m{number}"].member_epoch)
        counted.settle(harness)
    epoch, batches = group.epoch, len(harness.cluster.hosted[0].batches)
    counted.most = counted.total = 0
    harness.loop.time_s += 6
    counted.settle(harness)
    assert len(group.members) == MEMBERS - gone and group.epoch == epoch + 1
    assert counted.total == gone * len(NAMES) and counted.most <= PIECE
    assert len(harness.cluster.hosted[0].batches) == batches + 1
    assert group.metadata_hash == harness.coordinator.topics.group_hash(NAMES)
    loaded = replayed(harness.cluster.hosted[0].records())
    assert replicated(loaded) == replicated(harness.coordinator.runtime.shards[0].state)


@pytest.mark.parametrize("gone", [1, MEMBERS], ids=["few", "many"])
@pytest.mark.parametrize("what", ["batch", "thread"])
def test_a_removal_that_cannot_be_made_is_tried_again(monkeypatch: pytest.MonkeyPatch, gone: int, what: str) -> None:
    harness = ConsumerHarness(FakeCluster(1))
    counted = Counted(monkeypatch)
    for number in range(gone):
        harness.join_consumer("g", f"m{number}")
        counted.settle(harness)
    harness.loop.time_s += 46

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as context:
        if what == "batch":
            context.setattr("kafka_cy.coordinator.runtime.shard.build_batch", fails)
        else:
            context.setattr(harness.loop, "run_in_thread", fails)
        counted.settle(harness)
        assert len(harness.group("g").members) == (0 if (what, gone) == ("thread", 1) else gone), "few need no thread"
    harness.loop.time_s += 1.1
    counted.settle(harness)
    assert not harness.group("g").members


@pytest.mark.parametrize("leaves", [True, False])
def test_members_that_become_classic_ones_are_converted_in_steps(monkeypatch: pytest.MonkeyPatch, *, leaves: bool) -> None:
    """The last member with the consumer protocol leaves, or its session is over."""
    monkeypatch.setattr(downgrade, "PIECE_MEMBERS", 3)
    converted: list[int] = [0]
    write = downgrade.write_assignment

    def counting(*arguments: Any) -> bytes:
        converted[-1] += 1
        return write(*arguments)

    monkeypatch.setattr(downgrade, "write_assignment", counting)
    harness = ConsumerHarness(FakeCluster(1))
    counted = Counted(monkeypatch)
    harness.join_consumer("g", "m")
    for _ in range(MEMBERS):
        harness.join("g", session_ms=60_000, rebalance_ms=60_000)
    responses: list[dict[str, Any]] = []
    if leaves:
        request = HeartbeatRequest("g", "m", -1, client_id="k848", client_host="/127.0.0.1")
        harness.coordinator.consumer.heartbeat(request, responses.append)
    else:
        harness.loop.time_s += 46
    for _ in counted.turns(harness):
        converted.append(0)
    group = harness.group("g")
    assert isinstance(group, ClassicGroup) and len(group.members) == MEMBERS
    assert sum(converted) == MEMBERS and max(converted) == 3
    assert [(each["error_code"], each["member_epoch"]) for each in responses] == [(0, -1)] * leaves


# -- regular expressions --


def with_regexes(count: int, topics: int) -> ConsumerHarness:
    harness = ConsumerHarness(FakeCluster(1))
    for number in range(topics):
        name = f"topic{number:03}"
        harness.topic(name, uuid.uuid5(uuid.NAMESPACE_URL, name), 1)
    for number in range(count):
        harness.join_consumer("g", f"m{number}", (), topic_regex=f"topic.*|x{number}")
    return harness


def resolve_again(harness: ConsumerHarness) -> None:
    """A topic is created, and a heartbeat begins the resolution."""
    harness.loop.time_s += 11
    harness.topic("topicnew", uuid.UUID(int=1), 1)
    group = harness.consumer_group("g")
    harness.beat("g", "m0", group.members["m0"].member_epoch)
    assert group.resolving


def test_a_resolution_is_stored_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    regexes, topics = 6, 25
    harness = with_regexes(regexes, topics)
    counted = Counted(monkeypatch)
    counted.settle(harness)
    resolve_again(harness)
    group = harness.consumer_group("g")
    counted.most = counted.total = 0
    expected_count = regexes * (topics + 1) + len(group.subscriptions.resolved) * topics
    kept: list[int] = [0]
    count_names = names.count_names

    def counting(counts: Any, added: Any, by: int) -> None:
        added = tuple(added)
        if counts is group.subscriptions.by_regex:
            kept[-1] += len(added)
        count_names(counts, added, by)

    monkeypatch.setattr("kafka_cy.coordinator.consumer.subscriptions.count_names", counting)
    harness.loop.threads = []
    others = 0
    for _ in counted.turns(harness):
        kept.append(0)
        if harness.coordinator.runtime.busy_key == "g":
            others += 1
            assert harness.beat("other", "m", 1)["error_code"], "another group has its turn"
    assert others > regexes and not group.resolving
    assert counted.most <= PIECE and counted.total == expected_count
    assert max(kept) <= PIECE and sum(kept) == expected_count
    expected = tuple(sorted([*(f"topic{number:03}" for number in range(topics)), "topicnew"]))
    assert {each.topics for each in group.subscriptions.resolved.values()} == {expected}
    assert group.metadata_hash == harness.coordinator.topics.group_hash(expected)
    assert dict(group.subscriptions.by_regex) == dict.fromkeys(expected, regexes)
    loaded = replayed(harness.cluster.hosted[0].records())
    assert replicated(loaded) == replicated(harness.coordinator.runtime.shards[0].state)


def test_a_resolution_that_changes_nothing_tells_of_no_rebalance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member changes the epoch while the resolution waits for its turn to be stored."""
    harness = with_regexes(1, 3)
    counted = Counted(monkeypatch)
    counted.settle(harness)
    harness.loop.time_s += 11
    harness.topic("unrelated", uuid.UUID(int=1), 1)
    group = harness.consumer_group("g")
    runtime, waits = harness.coordinator.runtime, [True]

    def others(state: Any) -> Generator[object, None, CoordinatorResult[None]]:
        while waits:
            yield None
        return CoordinatorResult()

    runtime.write_long("other", others)
    harness.beat("g", "m0", group.members["m0"].member_epoch)
    for _ in counted.turns(harness):
        if len(runtime._long._to_do):
            break
    assert group.resolving
    told: list[int] = []
    lines = harness.coordinator.consumer.context.lines
    monkeypatch.setattr(lines, "rebalances", lambda group_id, epoch: told.append(epoch))
    before = group.epoch
    harness.join_consumer("g", "late", ("ct",))
    assert group.epoch == before + 1
    waits.clear()
    counted.settle(harness)
    assert not group.resolving and group.epoch == before + 1 and told == [before + 1]


def test_every_step_of_a_replay_ends_as_the_log_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill after any record of the resolution, or of the removal: what is loaded is a state that was there."""
    harness = with_regexes(3, 25)
    counted = Counted(monkeypatch)
    state, held = harness.coordinator.runtime.shards[0].state, []
    observe_replays(state, held)
    first = len(harness.cluster.hosted[0].records())
    counted.settle(harness)
    resolve_again(harness)
    counted.settle(harness)
    harness.loop.time_s += 46
    counted.settle(harness)
    assert not harness.consumer_group("g").members
    records = harness.cluster.hosted[0].records()
    assert len(held) == len(records) - first > 12
    for count, expected in enumerate(held, first + 1):
        assert replicated(replayed(records[:count])) == expected
