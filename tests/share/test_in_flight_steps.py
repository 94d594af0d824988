"""What a share partition does takes as long as what it changes, however many other ranges it has."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.in_flight import InFlight
from kafka_cy.share.in_flight_values import (
    ACCEPT,
    ACKNOWLEDGED,
    ACQUIRED,
    AVAILABLE,
    FINAL,
    RELEASE,
    Acknowledgement,
    Acquired,
    Limits,
)

RANGES = 10_000
LIMITS = Limits(delivery_count=1000, records_in_flight=RANGES, lock_s=30.0)
STEPS = 500  # of one operation: a search, in shortcuts of which each leads past some 16 others


def acquire(in_flight: InFlight, records: int, last: int = RANGES - 1) -> list[Acquired]:
    return in_flight.acquire("m", in_flight.fetch_offset(), [(0, last)], LIMITS, 0.0, records, RANGES, strict=True)


def settle(in_flight: InFlight, kind: int, *offsets: int) -> None:
    asked = [Acknowledgement(offset, offset, [kind]) for offset in offsets]
    error, change = in_flight.acknowledge("m", asked, LIMITS, 0.0)
    assert error == ErrorCode.NONE
    change.finish()


@pytest.fixture
def many() -> InFlight:
    """Each record is a range of its own, and all are locked."""
    in_flight = InFlight(0, [(offset, offset, AVAILABLE, 1 + offset % 2) for offset in range(RANGES)])
    assert len(acquire(in_flight, RANGES)) == RANGES == len(in_flight.ranges)
    return in_flight


def test_one_record_at_the_start_is_released_and_acquired_again(many: InFlight) -> None:
    before = many.steps
    for _ in range(20):
        settle(many, RELEASE, 0)
        assert many.can_acquire(LIMITS) and many.fetch_offset() == 0
        assert [row[:2] for row in acquire(many, RANGES)] == [(0, 0)]
        assert not many.can_acquire(LIMITS) and many.fetch_offset() == RANGES
    assert many.steps - before < 20 * STEPS


def test_records_far_apart_are_acquired_without_those_in_between(many: InFlight) -> None:
    settle(many, RELEASE, 0, RANGES // 2, RANGES - 1)
    before = many.steps
    assert [row[:2] for row in acquire(many, RANGES)] == [(0, 0), (RANGES // 2, RANGES // 2), (RANGES - 1, RANGES - 1)]
    assert many.steps - before < STEPS


@pytest.mark.parametrize("kind", [ACCEPT, RELEASE])
def test_records_anywhere_are_acknowledged_without_those_in_between(many: InFlight, kind: int) -> None:
    before = many.steps
    settle(many, kind, 1, RANGES // 3, RANGES // 2, RANGES - 2)
    assert many.finished_count == many.finishing_count == (4 if kind == ACCEPT else 0)
    assert many.steps - before < 4 * 3 * STEPS


def test_what_is_being_stored_counts_as_finishing(many: InFlight) -> None:
    _, change = many.acknowledge("m", [Acknowledgement(5, 5, [ACCEPT]), Acknowledgement(7, 7, [RELEASE])], LIMITS, 0.0)
    assert (many.finished_count, many.finishing_count) == (0, 1)
    change.undo()
    assert (many.finished_count, many.finishing_count) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_random_changes_agree_with_a_list_of_records(seed: int) -> None:
    """With enough ranges for several levels of shortcuts."""
    choose = random.Random(seed)
    size = 3000
    states = [AVAILABLE] * size
    in_flight = InFlight(0, [(offset, offset, AVAILABLE, 1 + offset % 2) for offset in range(size)])
    for _ in range(300):
        kind = choose.choice(["acquire", "acquire", ACCEPT, RELEASE, RELEASE])
        if kind == "acquire":
            for first, last, _ in acquire(in_flight, choose.randint(1, 200), size - 1):
                for offset in range(first, last + 1):
                    assert states[offset] == AVAILABLE
                    states[offset] = ACQUIRED
        else:
            held = [offset for offset, state in enumerate(states) if state == ACQUIRED]
            chosen = sorted(choose.sample(held, min(len(held), choose.randint(1, 60))))
            settle(in_flight, int(kind), *chosen)
            for offset in chosen:
                states[offset] = ACKNOWLEDGED if kind == ACCEPT else AVAILABLE
        start = next((offset for offset, state in enumerate(states) if state not in FINAL), size)
        assert in_flight.start_offset == start
        assert in_flight.fetch_offset() == next((offset for offset in range(start, size) if states[offset] == AVAILABLE), size)
        assert in_flight.finished_count == sum(state in FINAL for state in states[start:])
    ranges = in_flight.ranges
    assert [state for each in ranges for state in [each.state] * (each.last - each.first + 1)] == states[start:]
    kinds = [(each.state, each.delivery_count) for each in ranges]
    assert not any(one == other and one[0] in FINAL for one, other in pairwise(kinds)), "neighbours are one"
