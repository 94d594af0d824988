"""The records in flight of a share partition, compared with a model that keeps the state of each record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.group_totals import GroupCounts
from kafka_cy.share.in_flight import RECORDS_AT_ONCE_MAX, Change, InFlight
from kafka_cy.share.in_flight_values import (
    ACCEPT,
    ACKNOWLEDGED,
    ACQUIRED,
    ARCHIVED,
    AVAILABLE,
    FINAL,
    GAP,
    REJECT,
    RELEASE,
    RENEW,
    Acknowledgement,
    Acquired,
    InFlightRange,
    Limits,
)

LIMITS = Limits(delivery_count=5, records_in_flight=20, lock_s=30.0)
BATCH = [(0, 9)]


def acquire(in_flight: InFlight, batches: list[tuple[int, int]], **options: Any) -> list[Acquired]:
    values: dict[str, Any] = {"records_max": 500, "batch_size": 500, "strict": False, "now_s": 0.0, "member_id": "m"}
    values |= options
    limits = values.pop("limits", LIMITS)
    member_id = values.pop("member_id")
    return in_flight.acquire(member_id, in_flight.fetch_offset(), batches, limits, **values)


def settle(in_flight: InFlight, first: int, last: int, *types: int, member: str = "m") -> ErrorCode:
    error, change = in_flight.acknowledge(member, [Acknowledgement(first, last, types)], LIMITS, 0.0)
    change.finish()
    return error


def test_a_batch_stays_together_unless_the_limit_is_strict() -> None:
    assert acquire(InFlight(0), BATCH, records_max=3) == [Acquired(0, 9, 1)]
    assert acquire(InFlight(0), BATCH, records_max=3, strict=True) == [Acquired(0, 2, 1)]
    assert acquire(InFlight(0), BATCH, records_max=0) == []


def test_deliveries_are_whole_batches_of_about_the_asked_size() -> None:
    batches = [(0, 4), (5, 9), (10, 14), (20, 20)]
    assert acquire(InFlight(0), batches, batch_size=10) == [Acquired(0, 9, 1), Acquired(10, 14, 1), Acquired(20, 20, 1)]


def test_all_finished_records_move_the_start() -> None:
    in_flight = InFlight(0)
    acquire(in_flight, BATCH)
    assert settle(in_flight, 0, 3, ACCEPT, ACCEPT, REJECT, GAP) == ErrorCode.NONE
    assert in_flight.start_offset == 4
    assert settle(in_flight, 6, 9, ACCEPT) == ErrorCode.NONE
    assert (in_flight.start_offset, in_flight.finished_count, in_flight.next_offset) == (4, 4, 10)
    assert settle(in_flight, 4, 5, ACCEPT) == ErrorCode.NONE
    assert (in_flight.start_offset, in_flight.finished_count, in_flight.next_offset) == (10, 0, 10)


def test_released_records_come_again_until_the_limit() -> None:
    in_flight = InFlight(0)
    for count in range(1, LIMITS.delivery_count + 1):
        assert acquire(in_flight, [(0, 0)], strict=True) == [Acquired(0, 0, count)]
        settle(in_flight, 0, 0, RELEASE)
    assert in_flight.start_offset == 1


def test_records_that_fail_often_come_alone_and_fewer_each_time() -> None:
    in_flight = InFlight(0)
    for _ in range(3):
        assert [each[:2] for each in acquire(in_flight, BATCH)] == [(0, 9)]
        settle(in_flight, 0, 9, RELEASE)
    assert acquire(in_flight, BATCH) == [Acquired(0, 4, 4)]
    assert acquire(in_flight, BATCH) == [Acquired(5, 9, 4)]
    settle(in_flight, 0, 9, RELEASE)
    assert acquire(in_flight, BATCH) == [Acquired(0, 0, 5)]
    assert acquire(in_flight, BATCH) == [Acquired(1, 1, 5)]


def test_records_that_came_often_are_not_mixed_with_others() -> None:
    in_flight = InFlight(0, [(0, 9, AVAILABLE, 1), (10, 19, AVAILABLE, 3)])
    assert acquire(in_flight, [(0, 9), (10, 19)]) == [Acquired(0, 9, 2)]
    assert acquire(in_flight, [(10, 19)]) == [Acquired(10, 14, 4)]


def test_no_more_records_than_the_limit_are_in_flight() -> None:
    in_flight = InFlight(0)
    assert acquire(in_flight, [(0, 15), (16, 17), (18, 25), (26, 30)]) == [Acquired(0, 25, 1)]
    assert not in_flight.can_acquire(LIMITS)
    assert acquire(in_flight, [(26, 30)]) == []
    settle(in_flight, 0, 9, ACCEPT)
    assert acquire(in_flight, [(26, 30)]) == [Acquired(26, 30, 1)]


@pytest.mark.parametrize(
    ("first", "last", "member", "error"),
    [
        (0, 10, "m", ErrorCode.INVALID_REQUEST),  # never delivered
        (0, 9, "other", ErrorCode.INVALID_RECORD_STATE),
        (4, 6, "m", ErrorCode.INVALID_RECORD_STATE),  # 5 is acknowledged
        (-5, -1, "m", ErrorCode.NONE),
    ],
)
def test_wrong_acknowledgements_change_nothing(first: int, last: int, member: str, error: ErrorCode) -> None:
    in_flight = InFlight(0)
    acquire(in_flight, BATCH)
    settle(in_flight, 5, 5, ACCEPT)
    before = [(each.first, each.last, each.state) for each in in_flight.ranges]
    assert settle(in_flight, first, last, ACCEPT, member=member) == error
    assert [(each.first, each.last, each.state) for each in in_flight.ranges] == before


def test_records_that_are_acknowledged_twice_stay_as_they_were() -> None:
    """As in Kafka the last offset of a batch may be the first one of the next: but not the same record twice."""
    for types in ([ACCEPT, RELEASE], [ACCEPT, RENEW], [REJECT, ACCEPT]):
        in_flight = InFlight(0)
        acquire(in_flight, BATCH)
        asked = [Acknowledgement(0, 2, [RENEW]), Acknowledgement(2, 4, types[:1]), Acknowledgement(4, 6, types[1:])]
        error, change = in_flight.acknowledge("m", asked, LIMITS, 10.0)
        assert (error, len(change)) == (ErrorCode.INVALID_RECORD_STATE, 0)
        assert in_flight.next_deadline_s() == 30.0  # nothing was renewed
        assert settle(in_flight, 0, 9, ACCEPT) == ErrorCode.NONE and in_flight.start_offset == 10
    acquire(in_flight := InFlight(0), BATCH)
    asked = [Acknowledgement(0, 2, [RENEW]), Acknowledgement(2, 2, [ACCEPT])]
    assert in_flight.acknowledge("m", asked, LIMITS, 0.0)[0] == ErrorCode.NONE


def test_a_batch_with_very_many_records_comes_in_parts() -> None:
    """Compression makes a small batch of any number of records; each of them may be acknowledged in another way."""
    in_flight, count = InFlight(0), 3 * RECORDS_AT_ONCE_MAX
    batch = [(0, count - 1)]
    assert acquire(in_flight, batch) == [Acquired(0, RECORDS_AT_ONCE_MAX - 1, 1)]
    assert acquire(in_flight, batch) == []  # the limit of locks
    types = [ACCEPT, RELEASE] * (RECORDS_AT_ONCE_MAX // 2)
    assert settle(in_flight, 0, RECORDS_AT_ONCE_MAX - 1, *types) == ErrorCode.NONE
    assert sum(got.last_offset - got.first_offset + 1 for got in acquire(in_flight, batch, records_max=count)) == len(types) // 2
    rest = [Acknowledgement(first, first, [ACCEPT]) for first in range(1, RECORDS_AT_ONCE_MAX, 2)]
    in_flight.acknowledge("m", rest, LIMITS, 0.0)[1].finish()
    assert acquire(in_flight, batch) == [Acquired(RECORDS_AT_ONCE_MAX, 2 * RECORDS_AT_ONCE_MAX - 1, 1)]


def test_a_renewed_lock_lasts_longer() -> None:
    in_flight = InFlight(0)
    acquire(in_flight, BATCH)
    in_flight.acknowledge("m", [Acknowledgement(0, 4, [RENEW])], LIMITS, 20.0)
    change = in_flight.expire(30.0, LIMITS)
    assert list(change.batches()) == [(5, 9, AVAILABLE, 1)]
    change.finish()
    assert in_flight.next_deadline_s() == 50.0


def test_what_could_not_be_stored_is_as_before() -> None:
    in_flight = InFlight(0)
    acquire(in_flight, BATCH)
    _, change = in_flight.acknowledge("m", [Acknowledgement(0, 9, [ACCEPT])], LIMITS, 0.0)
    assert in_flight.acknowledge("m", [Acknowledgement(0, 0, [ACCEPT])], LIMITS, 0.0)[0] == ErrorCode.INVALID_RECORD_STATE
    assert len(in_flight.expire(99.0, LIMITS)) == 0
    change.undo()
    assert settle(in_flight, 0, 9, ACCEPT) == ErrorCode.NONE


def test_records_that_compaction_removed_do_not_hold_up_others() -> None:
    in_flight = InFlight(0, [(0, 9, AVAILABLE, 1), (10, 10, ACKNOWLEDGED, 1)])
    assert in_flight.fetch_offset() == 0
    assert acquire(in_flight, [(7, 12)]) == [Acquired(7, 9, 2), Acquired(11, 12, 1)]
    assert in_flight.start_offset == 7


def test_a_log_that_begins_later_finishes_what_lies_before() -> None:
    in_flight = InFlight(0)
    acquire(in_flight, BATCH)
    _, change = in_flight.acknowledge("m", [Acknowledgement(0, 9, [ACCEPT])], LIMITS, 0.0)
    in_flight.forget_below(5)
    change.finish()
    assert (in_flight.start_offset, in_flight.ranges) == (10, [])
    in_flight.forget_below(50)
    assert (in_flight.start_offset, in_flight.next_offset) == (50, 50)


def test_gaps_of_the_stored_state_were_never_delivered() -> None:
    in_flight = InFlight(3, [(0, 4, ACKNOWLEDGED, 1), (7, 8, ARCHIVED, 2)])
    assert (in_flight.start_offset, in_flight.fetch_offset(), in_flight.next_offset) == (5, 5, 9)
    assert acquire(in_flight, [(0, 9)]) == [Acquired(5, 6, 1), Acquired(9, 9, 1)]


@dataclass
class Record:
    state: int = AVAILABLE
    count: int = 0
    member: str = ""
    busy: bool = False


MEMBERS = st.sampled_from(["a", "b"])
OFFSETS = st.integers(0, 60)


class Model(RuleBasedStateMachine):
    """Every record by itself. Batches of the log have five records each."""

    def __init__(self) -> None:
        super().__init__()
        self.group = GroupCounts()
        self.in_flight = InFlight(0, (), None, None, self.group)
        self.records: dict[int, Record] = {}
        self.start = 0
        self.changes: list[Change] = []

    @initialize(stored=st.lists(st.tuples(st.integers(1, 4), st.sampled_from([AVAILABLE, *FINAL]), st.integers(1, 3)), max_size=4))
    def load(self, stored: list[tuple[int, int, int]]) -> None:
        rows = []
        at = 0
        for size, state, count in stored:
            rows.append((at, at + size - 1, state, count))
            for offset in range(at, at + size):
                self.records[offset] = Record(state, count)
            at += size
        self.in_flight = InFlight(0, rows, None, None, self.group)
        self._move()

    def _move(self) -> None:
        while self.start in self.records and self.records[self.start].state in FINAL:
            del self.records[self.start]
            self.start += 1

    def _end(self) -> int:
        return max(self.records, default=self.start - 1) + 1

    @rule(member=MEMBERS, most=st.integers(0, 12), strict=st.booleans(), length=st.integers(1, 5))
    def acquire(self, member: str, most: int, strict: bool, length: int) -> None:
        begin = self.in_flight.fetch_offset() // 5 * 5
        batches = [(begin + 5 * each, begin + 5 * each + 4) for each in range(length)]
        end = self._end()
        acquired = acquire(self.in_flight, batches, member_id=member, records_max=most, strict=strict)
        taken = 0
        for first, last, count in acquired:
            for offset in range(first, last + 1):
                record = self.records.setdefault(offset, Record())
                assert record.state == AVAILABLE
                assert not record.busy
                record.state, record.count, record.member = ACQUIRED, record.count + 1, member
                assert record.count == count
                taken += 1
        if strict:
            assert taken <= most
        if self._end() > end:
            assert self._end() - self.start < LIMITS.records_in_flight + 5

    @rule(member=MEMBERS, first=OFFSETS, size=st.integers(1, 8), kinds=st.lists(st.integers(0, 4), min_size=1, max_size=8))
    def acknowledge(self, member: str, first: int, size: int, kinds: list[int]) -> None:
        last = first + size - 1
        types = kinds[:1] if len(kinds) < size else kinds[:size]
        asked = {first + place: types[place] if len(types) > 1 else types[0] for place in range(size)}
        error, change = self.in_flight.acknowledge(member, [Acknowledgement(first, last, types)], LIMITS, 0.0)
        known = {offset: self.records[offset] for offset in asked if offset >= self.start and offset in self.records}
        if last >= self._end():
            assert error == ErrorCode.INVALID_REQUEST
        elif any(record.state != ACQUIRED or record.member != member or record.busy for record in known.values()):
            assert error == ErrorCode.INVALID_RECORD_STATE
        else:
            assert error == ErrorCode.NONE
            for offset, record in known.items():
                record.busy = asked[offset] != RENEW
            self.changes.append(change)

    @rule(member=MEMBERS)
    def release(self, member: str) -> None:
        for record in self.records.values():
            if record.state == ACQUIRED and record.member == member and not record.busy:
                record.busy = True
        self.changes.append(self.in_flight.release(member, LIMITS))

    @rule(stored=st.booleans(), place=st.integers(0, 9))
    def settle(self, stored: bool, place: int) -> None:
        if not self.changes:
            return
        change = self.changes.pop(place % len(self.changes))
        for first, last, state, count in change.batches():
            for offset in range(first, last + 1):
                if offset not in self.records:
                    continue
                record = self.records[offset]
                assert record.busy
                record.busy = False
                assert record.count == count
                if stored:
                    record.state, record.member = state, ""
        if stored:
            change.finish()
            self._move()
        else:
            change.undo()

    @rule(offset=OFFSETS)
    def trim(self, offset: int) -> None:
        self.in_flight.forget_below(offset)
        for each in [each for each in self.records if each < offset]:
            del self.records[each]
        self.start = max(self.start, offset)
        self._move()

    @invariant()
    def equal(self) -> None:
        assert self.in_flight.start_offset == self.start
        assert self.in_flight.next_offset == self._end()
        at = self.start
        for each in self.in_flight.ranges:
            assert each.first == at
            assert each.first <= each.last
            at = each.last + 1
            for offset in range(each.first, each.last + 1):
                record = self.records[offset]
                assert (each.state, each.next_state is not None) == (record.state, record.busy)
                if record.state not in FINAL:
                    assert (each.delivery_count, each.member_id) == (record.count, record.member)
        assert (self.group.records, self.group.ranges) == (at - self.start, len(self.in_flight.ranges))
        finished = sum(record.state in FINAL for record in self.records.values())
        assert self.in_flight.finished_count == finished
        finishing = sum((each.state if each.next_state is None else each.next_state) in FINAL for each in self._each_record())
        assert self.in_flight.finishing_count == finishing
        free = [offset for offset, record in self.records.items() if record.state == AVAILABLE and not record.busy]
        assert self.in_flight.fetch_offset() == min(free, default=self._end())

    def _each_record(self) -> list[InFlightRange]:
        return [each for each in self.in_flight.ranges for _ in range(each.first, each.last + 1)]


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=40)


@given(
    kinds=st.lists(st.integers(GAP, REJECT), min_size=1, max_size=40),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=40),
    skipped=st.sets(st.integers(0, 39)),
)
def test_acknowledgements_of_one_request_are_the_same_as_one_after_the_other(
    kinds: list[int], sizes: list[int], skipped: set[int]
) -> None:
    limits = LIMITS._replace(records_in_flight=1000)
    together, apart = InFlight(0), InFlight(0)
    asked, at = [], 0
    for place, size in enumerate(sizes):
        types = [kinds[(place + each) % len(kinds)] for each in range(size)] if place % 2 else [kinds[place % len(kinds)]]
        if place not in skipped:
            asked.append(Acknowledgement(at, at + size - 1, types))
        at += size
    for each in (together, apart):
        acquire(each, [(0, at - 1)], limits=limits)
    error, change = together.acknowledge("m", asked, limits, 0.0)
    assert error == ErrorCode.NONE and len({row[:2] for row in change.batches()}) == len(change.batches())
    change.finish()
    for one in asked:
        error, change = apart.acknowledge("m", [one], limits, 0.0)
        assert error == ErrorCode.NONE
        change.finish()
    assert together.ranges == apart.ranges and together.start_offset == apart.start_offset
    assert together.counts.acknowledged == apart.counts.acknowledged


def test_ten_thousand_single_records_are_stored_as_one_range() -> None:
    """Whatever they look like in the request: what is stored, and what is kept, is as small as it can be."""
    in_flight, limits = InFlight(0), LIMITS._replace(records_in_flight=RECORDS_AT_ONCE_MAX)
    acquire(in_flight, [(0, RECORDS_AT_ONCE_MAX - 1)], limits=limits)
    singles = [Acknowledgement(each, each, [ACCEPT]) for each in range(1, RECORDS_AT_ONCE_MAX)]
    error, change = in_flight.acknowledge("m", singles, limits, 0.0)
    assert (error, len(change)) == (ErrorCode.NONE, RECORDS_AT_ONCE_MAX - 1)
    assert change.batches() == [(1, RECORDS_AT_ONCE_MAX - 1, ACKNOWLEDGED, 1)]
    change.finish()
    assert [each[:3] for each in in_flight.ranges] == [(0, 0, ACQUIRED), (1, RECORDS_AT_ONCE_MAX - 1, ACKNOWLEDGED)]


def test_a_delivery_count_that_cannot_grow_stays() -> None:
    """It is stored as an int16; WriteShareGroupState takes any."""
    in_flight = InFlight(0, [(0, 0, AVAILABLE, 32767)])
    assert acquire(in_flight, [(0, 0)]) == [Acquired(0, 0, 32767)]
    _, change = in_flight.acknowledge("m", [Acknowledgement(0, 0, [RELEASE])], LIMITS, 0.0)
    assert change.batches() == [(0, 0, ARCHIVED, 32767)]


def test_a_change_that_is_dropped_is_undone() -> None:
    in_flight = InFlight(0)
    acquire(in_flight, BATCH)
    _, change = in_flight.acknowledge("m", [Acknowledgement(0, 9, [ACCEPT])], LIMITS, 0.0)
    in_flight.forget_below(5)
    del in_flight
    del change
    in_flight = InFlight(0)
    acquire(in_flight, BATCH)
    in_flight.acknowledge("m", [Acknowledgement(0, 9, [ACCEPT])], LIMITS, 0.0)
    assert settle(in_flight, 0, 9, ACCEPT) == ErrorCode.NONE
