"""A share partition over a real log and a share coordinator in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import build_batch
from kafka_cy.records.api import CONTROL, TRANSACTIONAL
from kafka_cy.share import log_reader, share_partition
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.in_flight import take_noticed
from kafka_cy.share.in_flight_values import ACCEPT, RELEASE, Acknowledgement, Acquired
from kafka_cy.share.log_reader import split
from kafka_cy.storage.log import StorageFailure
from kafka_cy.telemetry.reactor_numbers import bucket, quantile

from .harness import KEY, LIMITS, Bench

COMMIT, ABORT = b"\x00\x00\x00\x01", b"\x00\x00\x00\x00"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path / "st-0")


def test_records_come_with_the_batches_that_hold_them(bench: Bench) -> None:
    bench.append(3)
    bench.append(2)
    assert bench.ready() == ErrorCode.NONE
    assert bench.fetch(records_max=1) == [Acquired(0, 2, 1)]
    assert [each[:2] for each in split(bench.delivered.records)] == [(0, 2)]
    assert bench.fetch() == [Acquired(3, 4, 1)]
    assert bench.fetch() == []


@pytest.mark.parametrize("held", [0, 600])
def test_no_more_is_read_than_is_delivered(bench: Bench, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """A client may allow any number of bytes. What others hold lies between the first free record and the next ones."""
    for _ in range(200):
        bench.append(50)
    assert bench.ready() == ErrorCode.NONE
    if held:
        assert bench.fetch("other", records_max=held) != []
        assert bench.settle(0, 0, RELEASE, "other") == ErrorCode.NONE
    sizes: list[int] = []

    class Log:
        """The log, with the sizes of what was read."""

        def __getattr__(self, name: str) -> Any:
            return getattr(hosted, name)

        def read(self, *arguments: int) -> bytes:
            sizes.append(len(data := hosted.read(*arguments)))
            return bytes(data)

    hosted = bench.hosted
    monkeypatch.setattr(bench.partition, "hosted", Log())
    monkeypatch.setattr(log_reader, "READ_BYTES", 1000)
    acquired = bench.fetch(bytes_max=0x7FFFFFFF)
    whole = hosted.read(0, 1 << 20)
    assert 500 <= sum(each.last_offset - each.first_offset + 1 for each in acquired) < 550
    assert sum(sizes) <= len(whole) * (held + 550) // 10_000
    assert bench.delivered.records in whole


def test_what_was_acknowledged_is_finished_after_a_restart_and_the_rest_comes_again(bench: Bench) -> None:
    bench.append(5)
    bench.ready()
    bench.fetch()
    assert bench.settle(0, 1, ACCEPT) == ErrorCode.NONE
    assert bench.settle(3, 3, RELEASE) == ErrorCode.NONE
    bench.states = bench.states.restart()
    bench.partition = bench.new()
    assert bench.ready() == ErrorCode.NONE
    assert bench.fetch() == [Acquired(2, 2, 1), Acquired(3, 3, 2), Acquired(4, 4, 1)]


def test_a_lock_that_expires_frees_the_records(bench: Bench) -> None:
    bench.append(2)
    bench.ready()
    bench.fetch()
    bench.states.loop.advance(29.9)
    assert bench.changes == []
    bench.states.loop.advance(0.2)
    assert bench.changes == [bench.partition]
    assert bench.fetch("other") == [Acquired(0, 1, 2)]
    assert bench.settle(0, 1, ACCEPT) == ErrorCode.INVALID_RECORD_STATE


def test_each_lock_expires_at_its_time(bench: Bench) -> None:
    bench.append(1)
    bench.append(1)
    bench.append(1)
    bench.ready()
    bench.fetch("one", records_max=1)
    bench.states.loop.advance(0.1)
    bench.fetch("two", records_max=1)
    limits = bench.settings.limits
    bench.settings = bench.settings._replace(limits=limits._replace(lock_s=15.0))  # set meanwhile
    bench.fetch("three", records_max=1)
    bench.states.loop.advance(15.05)
    assert bench.fetch("four") == [Acquired(2, 2, 2)]
    bench.states.loop.advance(14.9)
    assert bench.fetch("four", records_max=1) == [Acquired(0, 0, 2)]
    bench.states.loop.advance(0.15)
    assert bench.fetch("four", records_max=1) == [Acquired(1, 1, 2)]


def test_a_member_that_goes_releases_what_it_holds(bench: Bench) -> None:
    bench.append(2)
    bench.append(2)
    bench.ready()
    bench.fetch("one", records_max=1)
    bench.fetch("two")
    bench.partition.release("one")
    assert bench.changes == [bench.partition]
    assert bench.fetch("two") == [Acquired(0, 1, 2)]


def test_a_state_that_was_never_initialized_is_an_error(bench: Bench) -> None:
    bench.states.delete(KEY)
    assert bench.ready() == ErrorCode.UNKNOWN_SERVER_ERROR
    assert bench.fetch() == []
    assert bench.settle(0, 0, ACCEPT) == ErrorCode.UNKNOWN_SERVER_ERROR


def test_a_state_of_a_later_leader_fences_this_one(bench: Bench) -> None:
    bench.append(1)
    bench.ready()
    bench.fetch()
    bench.states.read(KEY, 9)
    assert bench.settle(0, 0, ACCEPT) == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert bench.partition.error == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert bench.fetch() == []
    bench.states.loop.advance(31)
    assert bench.changes == []


def test_locks_that_cannot_be_released_are_tried_again_later(bench: Bench) -> None:
    bench.append(1)
    bench.ready()
    bench.fetch()
    log = bench.states.log_of(KEY)
    log.failing = StorageFailure("no space", 1)
    assert bench.settle(0, 0, ACCEPT) == ErrorCode.COORDINATOR_NOT_AVAILABLE
    bench.states.loop.advance(35)
    assert bench.changes == []
    log.failing = None
    bench.states.loop.advance(1.1)
    assert bench.fetch("other") == [Acquired(0, 0, 2)]
    bench.append(1)
    bench.states.loop.advance(15)
    assert bench.fetch("late") == [Acquired(1, 1, 1)]  # its lock expires later
    log.failing = StorageFailure("no space", 1)
    bench.states.loop.advance(15.1)
    log.failing = None
    bench.states.loop.advance(1.1)
    assert bench.fetch("other", records_max=1) == [Acquired(0, 0, 3)]


def test_a_log_that_was_trimmed_begins_later(bench: Bench) -> None:
    bench.append(2)
    bench.append(2)
    bench.ready()
    bench.fetch(records_max=1)
    bench.hosted.delete_records(3)
    assert bench.fetch() == [Acquired(3, 3, 1)]
    assert bench.settle(0, 1, ACCEPT) == ErrorCode.NONE


def test_read_committed_leaves_out_aborted_records_and_waits_for_open_ones(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "st-0", committed=True)
    transaction: dict[str, Any] = {"attributes": TRANSACTIONAL, "producer_id": 7, "producer_epoch": 0}

    def mark(key: bytes) -> None:
        marker = build_batch(
            [(key, b"\x00\x00\x00\x00\x00\x00", 1, (), -1)], attributes=TRANSACTIONAL | CONTROL, producer_id=7, producer_epoch=0
        )
        bench.hosted.append(marker)

    bench.append(2)
    bench.append(2, base_sequence=0, **transaction)
    bench.ready()
    assert bench.fetch() == [Acquired(0, 1, 1)]
    assert bench.fetch() == []
    bench.append(1)
    mark(ABORT)
    bench.append(1, base_sequence=2, **transaction)
    mark(COMMIT)
    acquired = bench.fetch()
    assert [each[:2] for each in acquired] == [(4, 7)]
    assert [each[:2] for each in split(bench.delivered.records)] == [(4, 4), (5, 5), (6, 6), (7, 7)]
    bench.settle(0, 1, ACCEPT)
    assert bench.partition.in_flight is not None
    assert bench.partition.in_flight.start_offset == 4
    assert bench.partition.lag == 4


def test_a_deleted_partition_answers_and_holds_nothing(bench: Bench) -> None:
    bench.append(1)
    bench.ready()
    bench.fetch()
    bench.partition.close(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    assert bench.settle(0, 0, ACCEPT) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert bench.fetch() == []


def test_no_write_overtakes_one_that_was_put_off(bench: Bench) -> None:
    """It has the start offset of when it was begun: stored later, the start offset would go back, before acknowledged records."""
    bench.append(10)
    bench.ready()
    bench.fetch()
    assert bench.partition.in_flight is not None
    put_off: list[tuple[Any, Any]] = []
    found: list[ErrorCode] = []
    for first, last in ((5, 6), (0, 4)):
        asked = [Acknowledgement(first, last, [ACCEPT])]
        error, change = bench.partition.in_flight.acknowledge("m", asked, LIMITS, bench.states.loop.now())
        assert error is ErrorCode.NONE
        bench.partition.store(change, found.append, lambda *write: put_off.append(write))
    bench.partition.acknowledge("m", Acknowledgements([Acknowledgement(7, 9, [ACCEPT])]), found.append)  # not by a reactor
    assert len(put_off) == 3 and not found
    bench.states.coordinator.write_all(put_off)
    bench.states.loop.advance(0)
    assert found == [ErrorCode.NONE] * 3
    assert bench.settle(10, 10, ACCEPT) is ErrorCode.INVALID_REQUEST
    bench.append(1)
    bench.fetch()
    assert bench.settle(10, 10, ACCEPT) is ErrorCode.NONE and len(put_off) == 3, "nothing is under way: at once"
    bench.partition = bench.new()
    bench.ready()
    assert bench.fetch() == [], "all of them stay acknowledged after a restart"


def test_locks_expire_after_a_change_was_dropped(bench: Bench) -> None:
    """Nobody looked for these locks while the change was under way: whoever drops it tells the coordinator."""
    bench.append(2)
    bench.ready()
    bench.fetch()
    in_flight = bench.partition.in_flight
    assert in_flight is not None
    take_noticed(100)
    error, change = in_flight.acknowledge("m", [Acknowledgement(0, 1, [ACCEPT])], LIMITS, bench.states.loop.now())
    assert error is ErrorCode.NONE
    bench.states.loop.advance(LIMITS.lock_s + 0.1)
    assert bench.changes == [], "what is being stored does not expire"
    del change
    ((number, due_s),), more = take_noticed(100)
    assert (number, more) == (in_flight.number, False) and due_s <= bench.states.loop.now()
    bench.partition.locked(due_s)
    assert bench.changes == [], "not at once: what failed may fail again"
    bench.states.loop.advance(1.1)
    assert bench.changes == [bench.partition]
    assert bench.fetch("other") == [Acquired(0, 1, 2)]


def test_a_fault_while_locks_expire_is_tried_again(bench: Bench) -> None:
    bench.append(1)
    bench.ready()
    bench.fetch()
    settings, bench.settings = bench.settings, None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        bench.states.loop.advance(LIMITS.lock_s + 0.1)
    bench.settings = settings
    bench.states.loop.advance(1.1)
    assert bench.changes == [bench.partition]


def test_locks_of_a_fetch_that_fails_expire(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read = share_partition.read_batches

    class Broken:
        def __init__(self, fetched: Any) -> None:
            self.batches = fetched.batches

        @property
        def aborted(self) -> Any:
            raise OSError("a fault")

    monkeypatch.setattr(share_partition, "read_batches", lambda *arguments, **options: Broken(read(*arguments, **options)))
    bench.append(1)
    bench.ready()
    with pytest.raises(OSError, match="a fault"):
        bench.fetch()
    monkeypatch.undo()
    assert bench.fetch("other") == []
    bench.states.loop.advance(LIMITS.lock_s + 0.1)
    assert bench.fetch("other") == [Acquired(0, 0, 2)]


def test_a_client_that_cannot_be_answered_keeps_no_records_from_others(bench: Bench) -> None:
    bench.append(1)
    bench.ready()
    bench.fetch()

    def respond(error: ErrorCode) -> None:
        raise RuntimeError("a fault")

    bench.partition.acknowledge("m", Acknowledgements([Acknowledgement(0, 0, [RELEASE])]), respond)
    assert bench.changes == [bench.partition]
    assert bench.fetch("other") == [Acquired(0, 0, 2)]


def test_the_time_to_read_the_state_is_counted(bench: Bench) -> None:
    log = bench.states.log_of(KEY)
    partition = bench.new()
    partition.leader_epoch = 5  # which is stored
    log.held = True
    partition.when_ready(lambda error: None)
    partition.when_ready(lambda error: None)
    bench.states.loop.advance(0.04)
    assert sum(partition.counts.load_times) == 0
    log.high_watermark = log.log_end_offset
    bench.states.coordinator.look()
    assert partition.in_flight is not None and sum(partition.counts.load_times) == 1
    assert quantile(partition.counts.load_times, 0.5) == pytest.approx(40e6, rel=0.13)


def test_the_time_for_which_fetches_look_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look takes a millisecond: the first one is all of the time, the second one a fifth."""
    loop, read = bench.states.loop, share_partition.read_batches

    def slow(*arguments: Any, **options: Any) -> Any:
        loop.advance(0.001)
        return read(*arguments, **options)

    monkeypatch.setattr(share_partition, "read_batches", slow)
    bench.append(1)
    bench.ready()
    bench.fetch()
    loop.advance(0.004)
    bench.fetch()
    counts = bench.partition.counts
    assert (sum(counts.look_times), sum(counts.look_percents)) == (2, 2)
    assert quantile(counts.look_times, 0.9) == pytest.approx(1e6, rel=0.13)
    assert [place for place, count in enumerate(counts.look_percents) if count] == [bucket(20), bucket(100)]
