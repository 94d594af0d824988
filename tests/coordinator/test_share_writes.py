"""Writes of the states of many share partitions at once: what is stored together, and what one write does to the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator.share import state_coordinator
from kafka_cy.coordinator.share.state_batches import StateBatch
from kafka_cy.coordinator.share.state_machine import SharePartition
from kafka_cy.coordinator.share.state_writes import BATCHED_MAX, StateWrite
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.log import StorageFailure

from .share_state import CONFIG, TOPIC_ID, ShareHarness

NONE = ErrorCode.NONE
UPDATES_MAX = CONFIG["share.coordinator.snapshot.update.records.per.snapshot"]


def partitions_of_one_log(harness: ShareHarness, count: int, chars: int = 0) -> list[SharePartition]:
    """Initialized share partitions whose states lie in one partition of the topic; `chars` make their group ids longer."""
    found: list[SharePartition] = []
    number = 0
    while len(found) < count:
        partition = SharePartition(f"g{number}".ljust(chars, "x"), TOPIC_ID, 0)
        if harness.log_of(partition) is harness.log_of(found[0] if found else partition):
            assert harness.initialize(partition, 3) == NONE
            found.append(partition)
        number += 1
    return found


def write_of(partition: SharePartition, *batches: tuple[int, int, int, int]) -> StateWrite:
    return StateWrite(partition, 3, 0, -1, 1, tuple(StateBatch(*each) for each in batches))


def write_all(
    harness: ShareHarness, writes: Sequence[StateWrite], respond: Callable[[int, ErrorCode], object] = lambda place, error: None
) -> list[ErrorCode | None]:
    """The answers, in the order of the writes."""
    found: list[ErrorCode | None] = [None] * len(writes)

    def answer(place: int, error: ErrorCode) -> None:
        assert found[place] is None, "one answer each"
        found[place] = error
        respond(place, error)

    harness.coordinator.write_all([(write, partial(answer, place)) for place, write in enumerate(writes)])
    harness.loop.advance(0)  # those that wait for their slice
    return found


def test_a_snapshot_that_is_due_is_not_stored_with_others() -> None:
    """It has all that is stored of its share partition: a batch with several of them could be too large for the log."""
    harness = ShareHarness(**{"message.max.bytes": 30_000})
    partitions = partitions_of_one_log(harness, 10)
    for partition in partitions[:-1]:
        first = [(2 * place, 2 * place, 2, 1) for place in range(900)]
        assert harness.write(partition, *first) == NONE
        for place in range(UPDATES_MAX - 1):
            assert harness.write(partition, (5000 + 2 * place, 5000 + 2 * place, 2, 1)) == NONE
    batches = len(harness.log_of(partitions[0]).batches)
    assert write_all(harness, [write_of(each, (9000, 9000, 2, 1)) for each in partitions]) == [NONE] * 10
    assert len(harness.log_of(partitions[0]).batches) == batches + 10
    states = harness.states()
    assert [states[each].updates for each in partitions] == [0] * 9 + [1]
    assert harness.restart().states() == states


def test_a_second_change_of_a_share_partition_makes_a_snapshot_that_goes_alone() -> None:
    """The first one, of the same call, is the last update before the snapshot."""
    harness = ShareHarness()
    partitions = partitions_of_one_log(harness, 3)
    for partition in partitions:
        for place in range(UPDATES_MAX - 1):
            assert harness.write(partition, (2 * place, 2 * place, 2, 1)) == NONE
    batches = len(harness.log_of(partitions[0]).batches)
    writes = [write_of(each, (place, place, 2, 1)) for place in (50, 60) for each in partitions]
    assert write_all(harness, writes) == [NONE] * 6
    assert len(harness.log_of(partitions[0]).batches) == batches + 1 + 3
    for state in harness.states().values():
        assert (state.updates, [each.first_offset for each in state.batches][-2:]) == (0, [50, 60])


def test_writes_that_are_too_large_together_are_stored_in_several_batches() -> None:
    lines: list[str] = []
    harness = ShareHarness(**{"message.max.bytes": 20_000})
    harness.coordinator.runtime.log = lambda what, **details: lines.append(what)
    partitions = partitions_of_one_log(harness, 30, chars=3000)
    batches = len(harness.log_of(partitions[0]).batches)
    assert write_all(harness, [write_of(each, (0, 0, 2, 1)) for each in partitions]) == [NONE] * 30
    assert harness.coordinator.write_count == 30
    added = harness.log_of(partitions[0]).batches[batches:]
    assert max(map(len, added)) <= 20_000 and sum(map(len, added)) > 60_000
    assert lines == [], "none was tried that is too large"


def test_only_the_write_fails_that_cannot_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that cannot be built is halved, until each one that can be stored is."""
    harness = ShareHarness()
    partitions = partitions_of_one_log(harness, 20)
    bad = partitions[7]
    machine_of = harness.coordinator.runtime.shard_of(bad.key)[1]
    assert machine_of is not None
    encode = machine_of.state.encode

    def refuses(record: Any) -> Any:
        if record[0].group_id == bad.group_id:
            raise ValueError("it does not fit")
        return encode(record)

    monkeypatch.setattr(machine_of.state, "encode", refuses)
    batches = len(harness.log_of(bad).batches)
    answers = write_all(harness, [write_of(each, (0, 0, 2, 1)) for each in partitions])
    assert answers == [ErrorCode.UNKNOWN_SERVER_ERROR if each is bad else NONE for each in partitions]
    assert harness.coordinator.write_count == 19
    assert len(harness.log_of(bad).batches) - batches < 10
    assert [len(state.batches) for state in harness.states().values()] == [int(each is not bad) for each in partitions]


def test_a_log_that_fails_is_not_tried_for_each_write() -> None:
    harness = ShareHarness()
    partitions = partitions_of_one_log(harness, 20)
    log = harness.log_of(partitions[0])
    tries: list[bytes] = []

    def fails(batch: bytes, origin: str, leader_since: int) -> int:
        tries.append(batch)
        raise StorageFailure("no space", 1)

    log.append = fails  # type: ignore[method-assign]
    answers = write_all(harness, [write_of(each, (0, 0, 2, 1)) for each in partitions])
    assert answers == [ErrorCode.NOT_COORDINATOR] * 20 and len(tries) == 1


@pytest.mark.parametrize("where", ["look", "answer", "append"])
def test_a_fault_in_one_write_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Each write has its answer, and what is answered with NONE is stored."""
    lines: list[dict[str, Any]] = []
    harness = ShareHarness()
    monkeypatch.setattr(harness.coordinator.runtime, "log", lambda what, **details: lines.append(details))
    partitions = partitions_of_one_log(harness, 4)
    apart = next(each for number in range(100) if harness.log_of(each := SharePartition(f"x{number}", TOPIC_ID, 0)) is not (
        harness.log_of(partitions[0])))
    assert harness.initialize(apart, 3) == NONE
    bad = partitions[1]
    fault = RuntimeError("a fault")

    def respond(place: int, error: ErrorCode) -> None:
        if where == "answer" and place == 1:
            raise fault

    if where == "look":
        looked = harness.coordinator._write_error

        def look(request: StateWrite, state: Any, stored: int) -> ErrorCode:
            if request.partition is bad:
                raise fault
            return looked(request, state, stored)

        monkeypatch.setattr(harness.coordinator, "_write_error", look)
    elif where == "append":
        harness.log_of(bad).failing = fault
    answers = write_all(harness, [write_of(each, (0, 0, 2, 1)) for each in (*partitions, apart)], respond)
    failed = {"look": {1}, "answer": set(), "append": {0, 1, 2, 3}}[where]
    assert answers == [ErrorCode.UNKNOWN_SERVER_ERROR if place in failed else NONE for place in range(5)]
    assert [each["error"] for each in lines] == [repr(fault)]
    stored = [len(harness.states()[each].batches) for each in (*partitions, apart)]
    assert stored == [int(place not in failed) for place in range(5)]


def test_a_fault_answers_a_single_write() -> None:
    harness = ShareHarness()
    (partition,) = partitions_of_one_log(harness, 1)
    harness.log_of(partition).failing = RuntimeError("a fault")
    assert harness.write(partition, (0, 0, 2, 1)) == ErrorCode.UNKNOWN_SERVER_ERROR


@pytest.fixture
def one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step in each turn of the loop."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)


def test_many_writes_are_stored_in_slices_and_in_their_order(one_step: None) -> None:
    harness = ShareHarness()
    partitions = partitions_of_one_log(harness, BATCHED_MAX)
    found: list[tuple[int, int]] = []

    def answer(place: int, first: int, error: ErrorCode) -> None:
        found.append((place, first))

    def write(first: int) -> None:
        writes = [write_of(each, (first, first, 2, 1)) for each in partitions]
        harness.coordinator.write_all([(each, partial(answer, place, first)) for place, each in enumerate(writes)])

    write(0)
    at_once = len(found)
    assert 0 < at_once <= BATCHED_MAX // 2, "the rest waits for its slice"
    write(10)
    assert len(found) == at_once, "behind those that wait"
    turns = 0
    while len(found) < 2 * len(partitions):
        before = len(found)
        harness.loop.run_next()
        assert len(found) - before <= BATCHED_MAX // 2
        turns += 1
    assert turns >= 3 and found == [(place, first) for first in (0, 10) for place in range(len(partitions))]
    write(20)
    before = len(found)
    harness.coordinator.stop()
    assert len(found) == 3 * len(partitions) > before, "a stop answers what waits"


@pytest.mark.parametrize("what", ["snapshots", "large states"])
def test_much_that_is_stored_already_makes_smaller_steps(
    one_step: None, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Snapshots have all of it, and each write copies it. Share partitions of a group are often due at the same time."""
    harness = ShareHarness()
    partitions = partitions_of_one_log(harness, 6)
    for partition in partitions:
        for place in range(UPDATES_MAX if what == "snapshots" else 1):
            assert harness.write(partition, (2 * place, 2 * place, 2, 1), (1000, 1000, 0, 1)) == NONE
    if what == "large states":
        monkeypatch.setattr(state_coordinator, "STORED_MAX", 2 * 2)
    batches = len(harness.log_of(partitions[0]).batches)
    found: list[ErrorCode] = []
    writes = [write_of(each, (2000 + place, 2000 + place, 2, 1)) for place in (0, 10) for each in partitions]
    harness.coordinator.write_all([(each, found.append) for each in writes])
    most = {"snapshots": 1, "large states": 2}[what]
    sizes = [len(found)]
    while len(found) < 12:
        harness.loop.run_next()
        sizes.append(len(found) - sum(sizes))
    assert max(sizes[:6]) <= most and len(harness.log_of(partitions[0]).batches) - batches == len(sizes)
    for state in harness.states().values():
        assert [each.first_offset for each in state.batches][-2:] == [2000, 2010], "in their order"


def test_how_long_a_write_takes_until_it_is_stored() -> None:
    harness = ShareHarness()
    partitions = partitions_of_one_log(harness, 2)
    log, times, loop = harness.log_of(partitions[0]), harness.coordinator.write_times, harness.loop
    assert times.mean_and_max_ms(loop.now()) == (0, 0)
    log.held = True
    assert write_all(harness, [write_of(each, (0, 0, 2, 1)) for each in partitions]) == [None, None]
    loop.advance(0.25)
    assert times.mean_and_max_ms(loop.now()) == (0, 0), "it is not stored yet"
    log.high_watermark = log.log_end_offset
    harness.coordinator.look()
    assert times.mean_and_max_ms(loop.now()) == pytest.approx((250, 250))
    log.held = False
    assert harness.write(partitions[0], (1, 1, 2, 1), state_epoch=2) == ErrorCode.FENCED_STATE_EPOCH
    assert harness.write(partitions[0], (1, 1, 2, 1)) == NONE
    assert times.mean_and_max_ms(loop.now()) == pytest.approx((125, 250))
    loop.advance(24)
    assert times.mean_and_max_ms(loop.now()) == pytest.approx((125, 250))
    loop.advance(6)
    assert times.mean_and_max_ms(loop.now()) == (0, 0), "the last 30 seconds"


def test_writes_of_many_share_partitions_are_stored_together() -> None:
    """Those of one partition of the topic are one batch, each with its own error; a second change of one comes after the first."""
    harness = ShareHarness()
    groups = [f"g{number}" for number in range(100)]
    partitions = [SharePartition(group, TOPIC_ID, 0) for group in groups]
    for partition in partitions[:-1]:
        harness.initialize(partition, 3)
    before = {index: hosted.log_end_offset for index, hosted in harness.hosted.items()}
    batches = {index: len(hosted.batches) for index, hosted in harness.hosted.items()}
    errors: list[tuple[SharePartition, int, ErrorCode]] = []
    for epoch in (3, 2):  # the second round is fenced
        requests = []
        for partition in (*partitions, *partitions):
            place = len(requests)
            batch = StateBatch(place, place, 2, 1)
            request = StateWrite(partition, epoch, 0, 0, 1, (batch,))
            requests.append((request, partial(lambda *found: errors.append(found), partition, place)))
        harness.coordinator.write_all(requests)
        harness.loop.advance(0)
    assert len(errors) == 400
    for partition, _, error in errors[:200]:
        assert error == (ErrorCode.INVALID_REQUEST if partition == partitions[-1] else ErrorCode.NONE)
    assert {error for partition, _, error in errors[200:] if partition != partitions[-1]} == {ErrorCode.FENCED_STATE_EPOCH}
    states = harness.states()
    for place, partition in enumerate(partitions[:-1]):
        assert [each.first_offset for each in states[partition].batches] == [place, place + 100]
    written = sum(hosted.log_end_offset - before[index] for index, hosted in harness.hosted.items())
    assert written == harness.coordinator.write_count == 198
    assert sum(len(hosted.batches) - batches[index] for index, hosted in harness.hosted.items()) < 150
    assert harness.restart().states() == states
