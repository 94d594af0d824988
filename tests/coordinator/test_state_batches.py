"""State batches of share partitions: how they are merged, compared with single records, and how they are stored."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.coordinator.runtime.record_reader import BadRecord
from kafka_cy.coordinator.share.records import STATE_RECORDS, Update, UpdateKey
from kafka_cy.coordinator.share.state_batches import StateBatch, StateBatches, combine, merge

from .share_state import TOPIC_ID

FIRST, LAST = -(2**63), 2**63 - 1
KEY = UpdateKey("g", TOPIC_ID, 0)

BATCH = st.builds(
    lambda first, size, state, count: StateBatch(first, first + size, state, count),
    st.integers(0, 30),
    st.integers(0, 10),
    st.sampled_from([0, 2, 4]),
    st.integers(1, 5),
)


@given(old=st.lists(BATCH), new=st.lists(BATCH), start_offset=st.integers(-1, 40))
def test_combined_batches_have_the_highest_count_and_state_of_each_record(
    old: list[StateBatch], new: list[StateBatch], start_offset: int
) -> None:
    expected: dict[int, tuple[int, int]] = {}
    for batch in old + new:
        for offset in range(max(batch.first_offset, start_offset), batch.last_offset + 1):
            expected[offset] = max(expected.get(offset, (0, 0)), (batch.delivery_count, batch.delivery_state))
    combined = combine(old, new, start_offset)
    found = {
        offset: (batch.delivery_count, batch.delivery_state)
        for batch in combined
        for offset in range(batch.first_offset, batch.last_offset + 1)
    }
    assert found == expected
    for one, other in pairwise(combined):
        assert one.last_offset < other.first_offset
        assert one.last_offset + 1 < other.first_offset or one[2:] != other[2:]


@given(old=st.lists(BATCH), before=st.integers(-1, 40), new=st.lists(BATCH), start_offset=st.integers(-1, 40))
def test_merging_into_combined_batches_is_combining(
    old: list[StateBatch], before: int, new: list[StateBatch], start_offset: int
) -> None:
    combined = combine((), old, before)
    assert merge(combined, new, start_offset) == combine(combined, new, start_offset)


EDGE = st.sampled_from([FIRST, FIRST + 1, -1, 0, LAST - 1, LAST])
WIDE = st.builds(lambda ends, state, count: StateBatch(min(ends), max(ends), state, count), st.tuples(EDGE, EDGE), *(
    st.sampled_from(each) for each in ([0, 2, 4], [1, 2])))


@given(old=st.lists(WIDE), new=st.lists(WIDE), start_offset=EDGE)
def test_the_largest_and_the_smallest_offsets(old: list[StateBatch], new: list[StateBatch], start_offset: int) -> None:
    """WriteShareGroupState takes any offsets."""
    combined = combine(combine((), old, FIRST), new, start_offset)
    for offset in (FIRST, FIRST + 1, -2, -1, 0, 1, LAST - 1, LAST):
        covering = [each[:1:-1] for each in old + new if max(each.first_offset, start_offset) <= offset <= each.last_offset]
        found = [each[:1:-1] for each in combined if each.first_offset <= offset <= each.last_offset]
        assert found == sorted(covering)[-1:]
    assert merge(combine((), old, FIRST), new, start_offset) == combined
    assert all(one.last_offset < other.first_offset for one, other in pairwise(combined))


def test_batches_that_end_before_they_begin_are_left_out() -> None:
    assert combine([StateBatch(5, 3, 2, 1)], [StateBatch(4, 4, 0, 1), StateBatch(9, 8, 2, 9)], -1) == [(4, 4, 0, 1)]


@given(st.lists(BATCH | WIDE))
def test_stored_batches_are_read_again(rows: list[StateBatch]) -> None:
    batches = StateBatches(rows)
    assert (len(batches), list(batches), batches == tuple(rows)) == (len(rows), rows, True)
    assert [batches[place] for place in range(-len(rows), len(rows))] == rows * 2
    assert StateBatches.of_fields(rows) == batches == StateBatches.decoded(batches.encoded())
    key, value = STATE_RECORDS.encode(KEY, Update(0, 0, 0, batches))
    assert STATE_RECORDS.encode(KEY, Update(0, 0, 0, rows)) == (key, value)
    assert STATE_RECORDS.decode(key, value) == (KEY, Update(0, 0, 0, batches))


def test_batches_with_tagged_fields_that_are_not_known_are_read() -> None:
    """A later version of Kafka may write them."""
    rows = [struct.pack(">qqbh", place, place, 2, 1) for place in range(3)]
    tagged = rows[0] + b"\x00" + rows[1] + b"\x01\x05\x02xy" + rows[2] + b"\x00"
    key, value = STATE_RECORDS.encode(KEY, Update(0, 0, 0, StateBatches()))
    assert value is not None
    value = value.replace(b"\x01", b"\x04" + tagged, 1)
    record = STATE_RECORDS.decode(key, value)
    assert record is not None
    assert record[1].state_batches == [(place, place, 2, 1) for place in range(3)]
    for size in range(len(value)):
        with pytest.raises(BadRecord):
            STATE_RECORDS.decode(key, value[:size])


@pytest.mark.parametrize("row", [(0, 0, 128, 0), (0, 0, 0, 2**15), (2**63, 0, 0, 0)])
def test_what_does_not_fit_is_refused(row: Any) -> None:
    with pytest.raises(OverflowError):
        StateBatches([row])
    with pytest.raises(BadRecord):
        STATE_RECORDS.encode(KEY, Update(0, 0, 0, [StateBatch(*row)]))


def test_batches_are_immutable() -> None:
    batches = StateBatches([(0, 0, 2, 1)])
    with pytest.raises(ValueError, match="immutable"):
        batches.__init__([(1, 1, 2, 1)])  # type: ignore[misc]
    with pytest.raises(IndexError):
        batches[1]
    assert batches[0] == StateBatch(0, 0, 2, 1) and batches[:1] == ((0, 0, 2, 1),)
    assert batches != (0,) and batches != "x" and hash(batches) == hash(StateBatches(list(batches)))
