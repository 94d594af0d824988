"""Responses are sent only when the records that they depend on are below the high watermark."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api.registry import cold_handler
from kafka_cy.base.duration_counts import DurationCounts
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.runtime.stored_waits import EXPIRED_AT_ONCE, StoredWaits
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server.log import BrokerLog
from kafka_cy.telemetry import reactor_numbers

from .fakes import FakeLoop, FakePartition, Harness


def partition_of(harness: Harness, group: str = "g") -> FakePartition:
    return harness.cluster.hosted[harness.partition_index(group)]


def commit(harness: Harness, offset: int, member: str = "", generation: int = -1) -> list[ErrorCode]:
    responses: list[ErrorCode] = []
    each = CommitPartition("ct", None, 0, offset, -1, None)
    request = CommitRequest("g", generation, member, None, -1, True, [each])
    harness.coordinator.commit(request, lambda error, errors: responses.append(error or errors["ct", 0]))
    return responses


def call(harness: Harness, api_key: int, version: int, body: SimpleNamespace) -> list[dict[str, Any]]:
    responses: list[dict[str, Any]] = []
    request = SimpleNamespace(api_version=version, authorizer=None, body=body, body_size=0, respond=responses.append, sender={})
    context = SimpleNamespace(groups=harness.coordinator, cluster=harness.cluster, log=BrokerLog("error"))
    handle = cold_handler(api_key)
    assert handle is not None
    assert handle(request, context) is None  # type: ignore[arg-type]
    return responses


def store(harness: Harness, end_offset: int | None = None) -> None:
    partition = partition_of(harness)
    assert partition.watched
    partition.high_watermark = partition.log_end_offset if end_offset is None else end_offset
    harness.coordinator.look()


def test_commits_get_their_responses_in_the_order_in_which_they_are_stored() -> None:
    harness = Harness()
    partition = partition_of(harness)
    partition.held = True
    first, second = commit(harness, 5), commit(harness, 6)
    harness.coordinator.look()
    assert not first and not second
    store(harness, 1)
    assert first == [ErrorCode.NONE] and not second
    store(harness)
    assert second == [ErrorCode.NONE]
    partition.watched = False
    harness.coordinator.look()
    assert not partition.watched, "nobody waits, nobody watches"


def test_how_long_responses_wait_and_appends_take_is_counted() -> None:
    """Kafka: event-purgatory-time-ms, batch-flush-time-ms. A response that need not wait is no wait."""
    harness = Harness()
    runtime = harness.coordinator.runtime
    commit(harness, 4)
    assert sum(runtime.wait_times.counts()) == 0 and sum(runtime.flush_times.counts()) == 1
    partition_of(harness).held = True
    commit(harness, 5)
    harness.loop.time_s += 2
    store(harness)
    assert [reactor_numbers.bucket(2_000_000_000)] == [at for at, count in enumerate(runtime.wait_times.counts()) if count]
    assert sum(runtime.flush_times.counts()) == 2


def test_waits_end_after_the_timeout_of_commits() -> None:
    """As in Kafka, what was appended stays: it may be stored later."""
    harness = Harness(offsets_commit_timeout_ms=3000)
    partition = partition_of(harness)
    partition.held = True
    first = commit(harness, 5)
    harness.loop.advance(1)
    second = commit(harness, 6)
    timers = harness.loop.pending
    harness.loop.advance(1.9)
    assert not first and not second
    harness.loop.advance(0.2)
    assert first == [ErrorCode.COORDINATOR_NOT_AVAILABLE] and not second
    harness.loop.advance(1)
    assert second == first and harness.loop.pending == timers - 1
    third = commit(harness, 7)
    assert not third
    store(harness)
    assert third == [ErrorCode.NONE] and len(first) == len(second) == 1
    assert harness.group().offsets["ct"][0].offset == 7 and harness.loop.pending == timers - 1


def test_markers_wait_as_long_as_it_takes() -> None:
    harness = Harness()
    commit(harness, 5)
    partition_of(harness).held = True
    found: list[ErrorCode] = []
    runtime = harness.coordinator.runtime
    waits = runtime.shards[harness.partition_index()].waiting
    waits.add(100, found.append, limited=False)
    waits.add(100, found.append, limited=True)
    harness.loop.advance(60)
    assert found == [ErrorCode.COORDINATOR_NOT_AVAILABLE] and len(waits) == 1


class CountedTime(float):
    """Counts how often times are compared."""

    compared = 0

    def __add__(self, other: float) -> CountedTime:
        return CountedTime(float(self) + other)

    def _count(self) -> None:
        CountedTime.compared += 1

    def __le__(self, other: float) -> bool:
        self._count()
        return float(self) <= other

    def __lt__(self, other: float) -> bool:
        self._count()
        return float(self) < other

    def __gt__(self, other: float) -> bool:
        self._count()
        return float(self) > other

    def __ge__(self, other: float) -> bool:
        self._count()
        return float(self) >= other


def test_the_end_of_a_wait_costs_the_same_however_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a due time of its own."""
    count = 1000
    loop = FakeLoop()
    monkeypatch.setattr(loop, "now", lambda: CountedTime(loop.time_s))
    waits = StoredWaits(loop, 5.0, DurationCounts())
    ended: list[ErrorCode] = []
    for offset in range(count):
        waits.add(offset, ended.append, limited=True)
        loop.time_s += 0.001
    CountedTime.compared = 0
    loop.advance(6)
    assert ended == [ErrorCode.COORDINATOR_NOT_AVAILABLE] * count and not waits
    assert CountedTime.compared < 10 * count


def test_many_waits_that_are_due_together_end_a_few_at_a_time() -> None:
    """A fault in one stops none."""
    loop = FakeLoop()
    waits = StoredWaits(loop, 5.0, DurationCounts())
    ended: list[ErrorCode] = []
    faults = 0
    waits.add(0, lambda error: 1 // 0, limited=True)
    for offset in range(3 * EXPIRED_AT_ONCE):
        waits.add(offset, ended.append, limited=True)
    loop.time_s += 5
    while waits:
        before = len(ended)
        try:
            loop.run_next()
        except ZeroDivisionError:
            faults += 1
        assert len(ended) - before <= EXPIRED_AT_ONCE
    assert len(ended) == 3 * EXPIRED_AT_ONCE and faults == 1 and loop.pending == 0


def test_waits_with_and_without_a_limit_end_in_their_order() -> None:
    waits = StoredWaits(FakeLoop(), 5.0, DurationCounts())
    ended: list[int] = []
    for number, (offset, limited) in enumerate([(1, True), (1, False), (1, True), (2, False), (3, True), (3, False)]):
        waits.add(offset, lambda error, number=number: ended.append(number), limited=limited)  # type: ignore[misc]
    waits.send_stored(0)
    assert not ended
    waits.send_stored(2)
    assert ended == [0, 1, 2, 3]
    for _ in waits.fail_each(ErrorCode.NOT_COORDINATOR, pytest.fail):
        pass
    assert ended == [0, 1, 2, 3, 4, 5] and not waits


def test_join_and_sync() -> None:
    harness = Harness(group_initial_rebalance_delay_ms=0)
    partition_of(harness).held = True
    needs_id = harness.join(known=True)
    assert not needs_id, "the group's first record is not stored"
    store(harness)
    member = needs_id[0]["member_id"]
    joined = harness.join(member=member, known=True)
    harness.loop.advance(1)
    assert joined[0]["error_code"] == 0
    synced = harness.sync(member, 1, {member: b"mine"})
    assert not synced
    store(harness)
    assert synced == [{"error_code": 0, "protocol_type": "consumer", "protocol_name": "range", "assignment": b"mine"}]


def test_what_is_not_stored_is_not_shown() -> None:
    harness = Harness()
    partition_of(harness).held = True
    commit(harness, 5)
    asked = SimpleNamespace(group_id="g", topics=None, require_stable=False)
    fetched = call(harness, 9, 8, SimpleNamespace(groups=[asked], require_stable=False))
    single = call(harness, 9, 7, asked)
    assert not fetched and not single
    store(harness)
    assert fetched[0]["groups"][0]["topics"][0]["partitions"][0]["committed_offset"] == 5
    assert single[0]["topics"][0]["partitions"][0]["committed_offset"] == 5


@pytest.mark.parametrize("lost", [False, True])
def test_leave_and_deletions(lost: bool) -> None:
    harness = Harness()
    (member,), generation = harness.stable()
    harness.commit(member=member, generation=generation)
    partition = partition_of(harness)
    partition.held = True
    who = SimpleNamespace(member_id=member, group_instance_id=None)
    left = call(harness, 13, 5, SimpleNamespace(group_id="g", members=[who]))
    forgotten: list[ErrorCode] = []
    harness.coordinator.delete_offsets("g", [("ct", 0)], lambda error, errors: forgotten.append(error))
    deleted = call(harness, 42, 2, SimpleNamespace(groups_names=["g", "none"]))
    assert not left and not forgotten and not deleted
    if lost:
        partition.state = 2
        harness.coordinator.look()
    else:
        store(harness)
    expected = ErrorCode.NOT_COORDINATOR if lost else ErrorCode.NONE
    assert left[0]["error_code"] == expected
    assert forgotten == [expected]
    errors = {each["group_id"]: each["error_code"] for each in deleted[0]["results"]}
    assert errors == {"g": expected, "none": ErrorCode.GROUP_ID_NOT_FOUND}


def test_a_lost_partition_fails_what_waits_and_forgets_its_groups() -> None:
    harness = Harness()
    partition = partition_of(harness)
    partition.held = True
    waiting = commit(harness, 5)
    partition.state = 2
    harness.coordinator.look()
    assert waiting == [ErrorCode.NOT_COORDINATOR]
    assert harness.partition_index() not in harness.coordinator.runtime.shards
