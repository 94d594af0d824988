"""Many records in one request that become many ranges: the coordinator's thread takes a few steps in Python for all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api.share_requests import acknowledgements
from kafka_cy.base.slices import at_once
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.in_flight_values import ACCEPT, ACKNOWLEDGED, ARCHIVED, REJECT, RENEW, Acknowledgement

from .harness import KEY, LIMITS, Bench

RECORDS = 10_000
STEPS_MAX = 2_000  # calls of functions and of methods: far less than records


def steps_of(work: Callable[[], object]) -> int:
    """How many functions the work calls, those in C included."""
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """All records are locked by the member "m"."""
    bench = Bench(tmp_path / "st-0")
    bench.settings = bench.settings._replace(limits=LIMITS._replace(records_in_flight=RECORDS))
    for _ in range(10):
        bench.append(RECORDS // 10)
    bench.ready()
    while bench.fetch(records_max=RECORDS):
        pass
    return bench


def alternating() -> list[int]:
    return [REJECT if offset % 2 else ACCEPT for offset in range(RECORDS)]


def check_stored(bench: Bench) -> None:
    bench.states = bench.states.restart()
    state = bench.states.states()[KEY]
    assert [each[:3] for each in state.batches] == [
        (offset, offset, ARCHIVED if offset % 2 else ACKNOWLEDGED) for offset in range(RECORDS)
    ]
    bench.partition = bench.new()
    assert bench.ready() is ErrorCode.NONE and bench.fetch() == []


def test_what_a_reactor_has_begun_is_stored_in_few_steps(bench: Bench) -> None:
    in_flight = bench.partition.in_flight
    assert in_flight is not None
    asked = Acknowledgements([Acknowledgement(0, RECORDS - 1, alternating())])
    error, change = in_flight.acknowledge("m", asked, bench.settings.limits, bench.states.loop.now())
    assert error is ErrorCode.NONE and len(change) == RECORDS
    found: list[ErrorCode] = []
    assert steps_of(lambda: bench.partition.store(change, found.append, bench.states.coordinator.write)) < STEPS_MAX
    assert found == [ErrorCode.NONE]
    check_stored(bench)


def test_a_request_that_the_coordinator_handles_is_read_and_stored_in_few_steps(bench: Bench) -> None:
    rows = [
        SimpleNamespace(first_offset=offset, last_offset=offset, acknowledge_types=(kind,))
        for offset, kind in enumerate(alternating())
    ]
    partitions = [SimpleNamespace(partition_index=0, acknowledgement_batches=tuple(rows))]
    topics = [SimpleNamespace(topic_id=KEY.topic_id, partitions=partitions)]
    found: list[ErrorCode] = []

    def handle() -> None:
        asked = at_once(acknowledgements(topics))[KEY.topic_id, 0]
        assert asked.are_valid(False) and not asked.renew
        bench.partition.acknowledge("m", asked, found.append)

    assert steps_of(handle) < STEPS_MAX
    assert found == [ErrorCode.NONE]
    check_stored(bench)


def test_a_renewal_is_found_among_many() -> None:
    kinds = alternating()
    assert not Acknowledgements([Acknowledgement(0, RECORDS - 1, kinds)]).renew
    asked = Acknowledgements([Acknowledgement(0, RECORDS - 2, kinds[:-1]), Acknowledgement(RECORDS - 1, RECORDS - 1, [RENEW])])
    assert asked.renew and asked.are_valid(True) and not asked.are_valid(False)
