"""Work on many groups: how many of them have their turn between two turns of the loop, and what requests get meanwhile.

The clock that slices look at is the test's: a slice ends after as many steps as STEPS, on any machine.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import delete_groups, describe_groups, find_coordinator, list_groups, offset_fetch
from kafka_cy.api.describe_groups import MEMBERS_AT_ONCE_MAX
from kafka_cy.base import slices
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.coordinator import heartbeat_table
from kafka_cy.coordinator.classic.rebalance import Rebalancer
from kafka_cy.coordinator.group_coordinator import OFFSETS_TOPIC, GroupCoordinator
from kafka_cy.coordinator.group_deletion import GroupDeletion
from kafka_cy.coordinator.offsets.pieces import PIECE_OFFSETS_MAX
from kafka_cy.coordinator.records import CommittedOffset, GroupKey, OffsetKey, StoredGroup, StoredMember
from kafka_cy.coordinator.runtime import loader
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server.log import BrokerLog

from .fakes import FakeCluster, FakeLoop, Harness

STEPS = 4  # of a slice
GROUPS = 50
WEEK_S = 7 * 24 * 3600


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(slices, "SLICE_S", STEPS)
    monkeypatch.setattr(slices, "monotonic", lambda: next(ticks))


class Turns:
    """Counts the calls of a function in each turn of the loop."""

    def __init__(self, harness: Harness, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.harness = harness
        self.calls = 0
        self.by_turn: list[int] = []
        function = getattr(owner, name)

        def counted(*arguments: Any, **more: Any) -> Any:
            self.calls += 1
            return function(*arguments, **more)

        monkeypatch.setattr(owner, name, counted)

    def turn(self) -> None:
        """One timer of the loop, which is one turn."""
        before = self.calls
        self.harness.loop.run_next()
        self.by_turn.append(self.calls - before)

    def run(self) -> Iterator[None]:
        """All turns that are due; the test looks around after each."""
        while self.harness.loop.timers and self.harness.loop.timers[0][0] <= self.harness.loop.time_s:
            self.turn()
            yield

    def check(self, total: int) -> None:
        """As many calls in all, and never more in one turn than a slice has steps."""
        assert sum(self.by_turn) == total
        assert max(self.by_turn) <= STEPS
        assert len(self.by_turn) >= total // STEPS


def stored_group(member: str, session_ms: int = 60_000) -> StoredGroup:
    members = (StoredMember(member, None, "c", "/h", 60_000, session_ms, b"", b"a"),)
    return StoredGroup("consumer", 1, "range", member, 1, members)


def fill(harness: Harness, session_ms: int = 60_000, count: int = GROUPS) -> None:
    """Groups with a member each, as the log of another coordinator has them."""
    for number in range(count):
        record = (GroupKey(f"g{number}"), stored_group(f"m{number}", session_ms))
        harness.coordinator.runtime.write(f"g{number}", lambda state, record=record: CoordinatorResult([record]))


def filled(session_ms: int = 60_000) -> Harness:
    """A coordinator that is about to load GROUPS groups."""
    before = Harness(FakeCluster(1))
    fill(before, session_ms)
    before.coordinator.stop()
    return before.reload()


def load(harness: Harness) -> None:
    while harness.coordinator.is_loading():
        harness.loop.run_next()


def test_loading_begins_a_few_groups_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    fill(harness)
    harness.coordinator.stop()
    turns = Turns(harness, monkeypatch, Rebalancer, "begin")
    coordinator = harness.coordinator = GroupCoordinator(harness.coordinator.config, harness.cluster, harness.loop)
    coordinator.start()
    turns.by_turn.append(turns.calls)
    for _ in turns.run():
        if coordinator.is_loading():
            assert harness.commit(group="g1") == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            assert harness.join("g1")[0]["error_code"] == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            assert coordinator.list_groups([], [])[0] == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            assert harness.heartbeat("m1", 1, group="g1") == 0
    turns.check(GROUPS)
    assert harness.heartbeat("m1", 1, group="g1") == 0 and len(coordinator.list_groups([], [])[1]) == GROUPS


def test_a_log_is_read_on_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    commit_each(harness)
    harness.coordinator.stop()
    partition, loop = harness.cluster.hosted[0], harness.loop
    reads: list[int] = []
    read = partition.read

    def counted(offset: int, max_bytes: int, end_offset: int) -> bytes:
        reads.append(offset)
        return read(offset, max_bytes, end_offset)

    monkeypatch.setattr(partition, "read", counted)
    monkeypatch.setattr(loader, "READ_BYTES", 500)
    loop.threads = []
    harness = harness.reload()
    while harness.coordinator.is_loading():
        loop.advance(0)
        assert harness.commit(group="g1") == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        before = len(reads)
        ((work, done),) = loop.threads
        loop.threads.clear()
        work()
        assert len(reads) == before + 1, "the work reads once"
        done()
        loop.advance(0)
        assert len(reads) == before + 1, "the loop's thread reads nothing"
    assert len(reads) > 2 and len(harness.coordinator.all_groups()) == GROUPS


def test_a_partition_is_lost_while_its_log_is_read() -> None:
    harness = filled()
    loop = harness.loop
    load(harness)
    loop.threads = []
    harness = harness.reload()
    runtime = harness.coordinator.runtime
    ((work, done),) = loop.threads
    loop.threads = None
    runtime.unload(0)
    loop.advance(0)
    assert harness.commit(group="g1") == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, "it is hosted again"
    work()
    done()
    load(harness)
    assert harness.coordinator.group_count == GROUPS and len(harness.coordinator.all_groups()) == GROUPS


def test_a_thread_for_reading_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = filled()
    load(harness)

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(harness.loop, "run_in_thread", fail)
    harness = harness.reload()
    assert not harness.coordinator.is_loading(), "the partition does not count as loading for ever"
    monkeypatch.undo()


def test_a_session_that_ends_while_other_groups_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = filled(session_ms=1)
    turns = Turns(harness, monkeypatch, Rebalancer, "begin")
    harness.loop.time_s += 1  # the first groups' sessions end while the others still wait for their turn
    for _ in turns.run():
        pass
    harness.loop.advance(60)
    assert {group.state.value for group in harness.coordinator.all_groups()} == {"Empty"}
    assert heartbeat_table.count() == 0 and harness.coordinator.rebalancer.held.member_bytes == 0
    assert all(group.stored is not None and not group.stored.members for group in harness.coordinator.all_groups())


def test_unloading_ends_a_few_groups_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = filled()
    load(harness)
    waiting = harness.join("g1")
    runtime = harness.coordinator.runtime
    turns = Turns(harness, monkeypatch, Rebalancer, "end")
    runtime.unload(0)
    turns.by_turn.append(turns.calls)
    for _ in turns.run():
        if harness.coordinator.group_count:
            assert harness.commit(group="g1") == ErrorCode.NOT_COORDINATOR
            assert harness.join("g1")[0]["error_code"] == ErrorCode.NOT_COORDINATOR
            assert not harness.coordinator.is_coordinator_of("g1")
            assert runtime.shards == {}, "it is not loaded while groups of before are there"
    turns.check(GROUPS)
    assert [each["error_code"] for each in waiting] == [ErrorCode.NOT_COORDINATOR]
    assert heartbeat_table.count() == 0 and harness.coordinator.group_count == 0
    assert harness.commit(group="g1") == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    load(harness)
    assert harness.heartbeat("m1", 1, group="g1") == 0 and heartbeat_table.count() == GROUPS


def test_unloading_while_the_groups_begin() -> None:
    harness = filled()
    while heartbeat_table.count() == 0:
        harness.loop.run_next()
    assert harness.coordinator.is_loading()
    harness.coordinator.runtime.unload(0)
    harness.loop.advance(0)
    assert heartbeat_table.count() == 0 and harness.coordinator.group_count == 0
    assert harness.coordinator.rebalancer.held.member_bytes == 0


def test_timers_of_a_group_that_is_being_unloaded_do_nothing() -> None:
    harness = filled(session_ms=1000)
    load(harness)
    written = len(harness.cluster.hosted[0].batches)
    harness.coordinator.runtime.unload(0)
    harness.loop.time_s += 100
    harness.loop.advance(0)
    assert len(harness.cluster.hosted[0].batches) == written and harness.coordinator.group_count == 0


def test_a_stop_ends_all_groups_at_once() -> None:
    harness = filled()
    load(harness)
    harness.coordinator.runtime.unload(0)
    harness.coordinator.stop()
    assert heartbeat_table.count() == 0 and harness.coordinator.group_count == 0


def test_a_deleted_offsets_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = filled()
    load(harness)
    turns = Turns(harness, monkeypatch, Rebalancer, "end")
    harness.coordinator.topics_deleted({OFFSETS_TOPIC: uuid.uuid4()})
    turns.by_turn.append(turns.calls)
    for _ in turns.run():
        pass
    turns.check(GROUPS)


def commit_each(harness: Harness) -> None:
    for number in range(GROUPS):
        assert harness.commit(group=f"g{number}") == 0


def test_expiry_looks_at_a_few_groups_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    load(harness)
    commit_each(harness)
    turns = Turns(harness, monkeypatch, GroupCoordinator, "_expire_piece")
    harness.loop.time_s += WEEK_S + 601
    for _ in turns.run():
        pass
    turns.check(GROUPS)
    assert harness.coordinator.group_count == 0


class Walks:
    """Counts the walks over all groups that have started, and those that are in progress."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = self.in_progress = 0
        each_group = GroupCoordinator._each_group

        def counted(coordinator: GroupCoordinator) -> Iterator[Any]:
            self.started += 1
            self.in_progress += 1
            yield from each_group(coordinator)
            self.in_progress -= 1

        monkeypatch.setattr(GroupCoordinator, "_each_group", counted)


def test_one_walk_for_expired_offsets_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    walks = Walks(monkeypatch)
    harness = Harness(FakeCluster(1), offsets_retention_check_interval_ms=1)
    load(harness)
    commit_each(harness)
    most = 0
    for _ in range(10 * GROUPS):
        harness.loop.time_s += 0.01
        while harness.loop.timers[0][0] <= harness.loop.time_s:
            harness.loop.run_next()
            most = max(most, walks.in_progress)
    assert walks.started > 1 and most == 1


def test_one_walk_for_deleted_topics_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    load(harness)
    commit_each(harness)
    old = {f"t{number}": uuid.uuid4() for number in range(40)}
    for name, topic_id in old.items():
        assert harness.commit(group="g0", topic=name, topic_id=topic_id) == 0
    walks = Walks(monkeypatch)
    for name, topic_id in old.items():
        harness.coordinator.topics_deleted({name: topic_id})
    harness.coordinator.topics_deleted({"t0": uuid.uuid4()})  # a second topic with that name
    assert walks.started == 1, "the topics that were deleted during the walk wait"
    assert harness.commit(group="g1", topic="t1", topic_id=uuid.uuid4()) == 0, "of a new topic"
    harness.loop.advance(0)
    assert (walks.started, walks.in_progress) == (2, 0)
    assert list(harness.group("g0").offsets) == ["ct"]
    assert list(harness.group("g1").offsets) == ["ct", "t1"]
    harness.coordinator.topics_deleted({"ct": None})
    harness.loop.advance(0)
    assert walks.started == 3 and list(harness.group("g1").offsets) == ["t1"]


def test_a_fault_in_a_walk_does_not_end_the_later_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1), offsets_retention_check_interval_ms=1000)
    load(harness)
    commit_each(harness)
    each_group = GroupCoordinator._each_group

    def fail(coordinator: GroupCoordinator) -> Iterator[Any]:
        raise RuntimeError("a fault")

    monkeypatch.setattr(GroupCoordinator, "_each_group", fail)
    harness.coordinator.topics_deleted({"other": None})
    harness.loop.advance(1)
    monkeypatch.setattr(GroupCoordinator, "_each_group", each_group)
    harness.coordinator.topics_deleted({"ct": None})
    harness.loop.advance(0)
    assert not any(group.offsets for group in harness.coordinator.all_groups())
    commit_each(harness)
    harness.loop.time_s += WEEK_S + 601
    for _ in range(100):
        harness.loop.advance(0.01)
    assert harness.coordinator.group_count == 0


def test_a_deleted_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    load(harness)
    commit_each(harness)
    assert harness.commit(group="other", topic="kept") == 0
    turns = Turns(harness, monkeypatch, CoordinatorRuntime, "write")
    harness.coordinator.topics_deleted({"ct": uuid.uuid4()})
    turns.by_turn.append(turns.calls)
    for _ in turns.run():
        pass
    turns.check(GROUPS)
    assert [name for name in harness.coordinator.runtime.shards[0].state.groups if harness.group(name).offsets] == ["other"]


def test_the_offsets_of_a_deleted_topic_with_many_partitions_go_in_pieces() -> None:
    """As one batch they would be larger than message.max.bytes, and stay for ever."""
    harness = Harness(FakeCluster(1), message_max_bytes=100_000)
    load(harness)
    for first in range(0, 4000, 500):
        records = [(OffsetKey("g", "ct", first + i), CommittedOffset(1, -1, "", 0)) for i in range(500)]
        harness.coordinator.runtime.write("g", lambda state, records=records: CoordinatorResult(records))
    harness.coordinator.topics_deleted({"ct": uuid.uuid4()})
    harness.loop.advance(0)
    assert harness.group().offsets == {}
    assert PIECE_OFFSETS_MAX == 500


class LongRequest(SimpleNamespace):
    """A request whose long response is built by the test, as the thread does it."""

    def __init__(self, version: int, **fields: Any) -> None:
        body = SimpleNamespace(require_stable=False, **fields)
        super().__init__(api_version=version, authorizer=None, body=body, made=[], responses=[], sender={})

    def respond(self, response: Any) -> None:
        self.responses.append(response)

    def respond_long(self, prepare: Any) -> None:
        prepare(self.made.append)


def test_many_described_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = filled()
    load(harness)
    turns = Turns(harness, monkeypatch, GroupCoordinator, "describe_group")
    names = [f"g{number}" for number in range(GROUPS)]
    request = LongRequest(5, groups=[*names, "g0"], include_authorized_operations=False)
    context: Any = SimpleNamespace(groups=harness.coordinator)
    assert describe_groups.handle(request, context) is None  # type: ignore[arg-type]
    turns.by_turn.append(turns.calls)
    for _ in turns.run():
        pass
    turns.check(GROUPS)
    (make,) = request.made
    assert [(each["group_id"], each["group_state"]) for each in make()["groups"]] == [(name, "Stable") for name in names]
    few = LongRequest(5, groups=names[:3], include_authorized_operations=False)
    assert len(describe_groups.handle(few, context)["groups"]) == 3  # type: ignore[arg-type,index]


def test_few_groups_with_many_members_are_described_in_slices() -> None:
    harness = Harness(FakeCluster(1))
    load(harness)
    members = MEMBERS_AT_ONCE_MAX // 2 + 1
    described = {"members": [None] * members}
    groups = SimpleNamespace(
        members_count=lambda names: len(names) * members, is_busy=lambda names: False,
        describe_group=lambda name: (ErrorCode.NONE, described),
        describe_groups=lambda names, respond: respond([(ErrorCode.NONE, described)] * len(names)),
    )
    context: Any = SimpleNamespace(groups=groups)
    two = LongRequest(0, groups=["a", "b"])
    assert describe_groups.handle(two, context) is None  # type: ignore[arg-type]
    assert len(two.made[0]()["groups"]) == 2
    one = LongRequest(0, groups=["a"])
    assert len(describe_groups.handle(one, context)["groups"][0]["members"]) == members  # type: ignore[arg-type,index]


def test_members_are_counted() -> None:
    harness = filled()
    load(harness)
    assert harness.coordinator.members_count(["g0", "g1", "unknown"]) == 2


def test_a_fault_in_the_response_to_a_deletion_is_one_response() -> None:
    harness = Harness(FakeCluster(1))
    load(harness)
    responses: list[Any] = []

    def respond(errors: list[ErrorCode]) -> None:
        responses.append(errors)
        raise ValueError("a fault")

    names = [f"unknown {number}" for number in range(AT_ONCE_MAX + 1)]
    harness.coordinator.deletion.delete_groups(names, respond)
    for _ in range(len(names)):
        harness.loop.advance(0)
    assert responses == [[ErrorCode.GROUP_ID_NOT_FOUND] * len(names)]


def test_a_list_is_not_built_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = filled()
    load(harness)
    request = LongRequest(4, states_filter=[])
    list_groups.handle(request, SimpleNamespace(groups=harness.coordinator))  # type: ignore[arg-type]
    (make,) = request.made
    assert not request.responses and len(make()["groups"]) == GROUPS


def test_all_offsets_of_a_group_are_a_copy_of_one_moment() -> None:
    harness = Harness(FakeCluster(1))
    load(harness)
    records = [(OffsetKey("g", "ct", i), CommittedOffset(1, -1, "", 0)) for i in range(1000)]
    harness.coordinator.runtime.write("g", lambda state: CoordinatorResult(records))
    request = LongRequest(8, groups=[SimpleNamespace(group_id="g", topics=None)])
    context: Any = SimpleNamespace(groups=harness.coordinator, cluster=harness.cluster)
    assert offset_fetch.handle(request, context) is None  # type: ignore[arg-type]
    (make,) = request.made
    assert harness.commit(offset=2) == 0
    (topic,) = make()["groups"][0]["topics"]
    assert [each["committed_offset"] for each in topic["partitions"]] == [1] * 1000
    small = LongRequest(8, groups=[SimpleNamespace(group_id="other", topics=None)])
    offset_fetch.handle(small, context)  # type: ignore[arg-type]
    assert small.responses and not small.made


def test_offsets_of_many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    load(harness)
    commit_each(harness)
    turns = Turns(harness, monkeypatch, offset_fetch, "_found")
    groups = [SimpleNamespace(group_id=f"g{number}", topics=None) for number in range(GROUPS)]
    request = LongRequest(8, groups=[*groups, groups[0]])
    context: Any = SimpleNamespace(groups=harness.coordinator, cluster=harness.cluster)
    offset_fetch.handle(request, context)  # type: ignore[arg-type]
    turns.by_turn.append(turns.calls)
    for _ in turns.run():
        pass
    turns.check(GROUPS)
    found = request.made[0]()["groups"]
    assert [each["error_code"] for each in found] == [0] * GROUPS + [ErrorCode.INVALID_REQUEST]
    assert all(each["topics"] for each in found[:GROUPS])


def test_many_deleted_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = filled(session_ms=1)
    load(harness)
    harness.loop.advance(60)
    harness.commit(group="kept", topic="ct")
    turns = Turns(harness, monkeypatch, GroupDeletion, "delete_group")
    names = [f"g{number}" for number in range(GROUPS)]
    request = LongRequest(2, groups_names=[*names[1:], "unknown", "g5"])
    context: Any = SimpleNamespace(groups=harness.coordinator, log=BrokerLog("error"))
    delete_groups.handle(request, context)  # type: ignore[arg-type]
    turns.by_turn.append(turns.calls)
    for _ in turns.run():
        pass
    turns.check(GROUPS)
    results = {each["group_id"]: each["error_code"] for each in request.made[0]()["results"]}
    assert results == dict.fromkeys(names[1:], 0) | {"unknown": ErrorCode.GROUP_ID_NOT_FOUND}
    assert sorted(group.group_id for group in harness.coordinator.all_groups()) == ["g0", "kept"]


def test_coordinators_of_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = filled()
    load(harness)
    turns = Turns(harness, monkeypatch, GroupCoordinator, "is_coordinator_of")
    request = LongRequest(4, key_type=0, coordinator_keys=[f"g{number}" for number in range(GROUPS)])
    request.listener_index = 0
    context: Any = SimpleNamespace(
        groups=harness.coordinator, cluster=harness.cluster, advertised=[("h", 1)], broker_id=1
    )
    find_coordinator.handle(request, context)  # type: ignore[arg-type]
    turns.by_turn.append(turns.calls)
    for _ in turns.run():
        pass
    turns.check(GROUPS)
    assert [each["error_code"] for each in request.made[0]()["coordinators"]] == [0] * GROUPS


def test_a_fault_in_a_long_request_does_not_stop_the_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(FakeCluster(1))
    load(harness)
    commit_each(harness)

    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(offset_fetch, "_found", fail)
    groups = [SimpleNamespace(group_id=f"g{number}", topics=None) for number in range(GROUPS)]
    request = LongRequest(8, groups=groups)
    context: Any = SimpleNamespace(groups=harness.coordinator, cluster=harness.cluster)
    offset_fetch.handle(request, context)  # type: ignore[arg-type]
    harness.loop.advance(0)
    found = request.made[0]()["groups"]
    assert [each["error_code"] for each in found] == [ErrorCode.UNKNOWN_SERVER_ERROR] * GROUPS


def test_a_walk_over_groups_that_come_and_go() -> None:
    harness = filled()
    load(harness)
    machine = harness.coordinator.runtime.shards[0].state
    stays = {f"g{number}" for number in range(GROUPS) if number % 3}
    seen: list[str] = []
    for step, group in enumerate(machine.each_group()):
        seen.append(group.group_id)
        if step < GROUPS and f"g{step}" not in stays:
            machine.replay((GroupKey(f"g{step}"), None), 0)
            machine.replay((GroupKey(f"new{step}"), stored_group("m")), 0)
    assert stays <= set(seen), "a group that stays is seen"
    for _ in range(2):
        assert sorted(group.group_id for group in machine.each_group()) == sorted(machine.groups), "once when all stay"
        machine.replay((GroupKey("g1"), None), 0)
    assert {group.group_id for group in harness.coordinator.all_groups()} == set(machine.groups)


def test_a_task_that_waits_gives_its_slice_away() -> None:
    """So others need no more turns of the loop than without it; when all wait, the loop has its turn."""
    loop = FakeLoop()
    work = slices.Slices(loop, pytest.fail)
    order: list[str] = []

    def waits(name: str) -> Iterator[object]:
        while len(order) < 2 * STEPS:
            yield slices.WAITS
        order.append(name)

    def works() -> Iterator[object]:
        while len(order) < 2 * STEPS:
            order.append("work")
            yield None

    work.add(waits("a"))
    assert loop.pending == 1
    work.add(waits("b"))
    work.add(works())
    turns = 0
    while loop.pending:
        loop.run_next()
        turns += 1
    assert order[: 2 * STEPS] == ["work"] * 2 * STEPS and sorted(order[2 * STEPS :]) == ["a", "b"]
    assert turns <= 4
