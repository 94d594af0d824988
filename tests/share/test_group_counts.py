"""What is counted of each share group: records in flight, ranges, how much of a fetch could lock records, and after how long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.share.group_series import GROUP_ID_CHARS_MAX, GroupSeries
from kafka_cy.share.group_totals import GroupCounts
from kafka_cy.share.in_flight import InFlight
from kafka_cy.share.in_flight_values import ACCEPT, ACKNOWLEDGED, AVAILABLE
from kafka_cy.share.sessions import SessionKey
from kafka_cy.telemetry.reactor_numbers import bucket

from .test_in_flight import acquire, settle
from .test_share_fetch import MEMBER, Service


def values(counts: list[int], *expected: int) -> bool:
    """Whether the histogram has exactly these values."""
    made = [0] * len(counts)
    for each in expected:
        made[bucket(each)] += 1
    return counts == made


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    yield Service(tmp_path / "st-0")


def test_records_and_ranges_in_flight() -> None:
    group = GroupCounts()
    first, second = InFlight(0, (), None, None, group), InFlight(0, (), None, None, group)
    acquire(first, [(0, 9), (10, 11)], batch_size=10)
    acquire(second, [(0, 2)])
    assert (group.records, group.ranges) == (15, 3)
    assert values(group.range_records, 10, 2, 3)
    assert settle(first, 5, 5, ACCEPT) == 0
    assert (group.records, group.ranges) == (15, 5), "Kafka counts what lies between records in flight too"
    assert settle(first, 6, 6, ACCEPT) == 0
    assert (group.records, group.ranges) == (15, 5), "neighbours in the same final state are one range"
    assert settle(first, 0, 4, ACCEPT) == 0
    assert (group.records, group.ranges) == (8, 3), "the start has moved"
    second.forget_below(2)
    assert (group.records, group.ranges) == (6, 3)
    del first, second
    assert (group.records, group.ranges) == (0, 0)
    assert values(group.range_records, 10, 2, 3)


def test_records_of_the_stored_state_are_in_flight() -> None:
    group = GroupCounts()
    in_flight = InFlight(0, [(0, 4, AVAILABLE, 1), (8, 9, ACKNOWLEDGED, 1)], None, None, group)
    assert (group.records, group.ranges) == (10, 3)
    assert values(group.range_records, 5, 2), "what was never delivered is no batch"
    del in_flight


def test_a_group_has_counts_while_it_has_share_partitions() -> None:
    series = GroupSeries(most=2)
    first = series.opened("a")
    assert first is not None and series.opened("a") is first
    assert series.opened("b") is not None
    assert series.opened("c") is None, "there are as many groups as may have series"
    series.closed("a")
    assert set(series.shown()) == {"a", "b"}
    series.closed("a")
    assert set(series.shown()) == {"b"}
    assert series.opened("x" * (GROUP_ID_CHARS_MAX + 1)) is None
    assert series.opened("c") is not None
    assert set(series.shown()) == {"b", "c"}


def test_fetches_at_the_coordinator_are_counted(service: Service) -> None:
    service.bench.append(3)
    assert service.acquired(service.fetch(0)) == [(0, 2)]
    counts = service.partitions.series.shown()["g"]
    assert (counts.records, counts.ranges) == (3, 1)
    assert values(counts.fetch_percents, 100) and values(counts.acquire_times, 0)
    service.fetch(1)
    assert counts.full_looks == 0, "the log has no more records, but they could be locked"
    service.bench.settings = service.bench.settings._replace(
        limits=service.bench.settings.limits._replace(records_in_flight=3)
    )
    waiting = service.fetch(2, wait_ms=2000)
    service.loop.advance(2)
    assert service.acquired(waiting) == []
    assert counts.full_looks == 1, "it looked once"
    assert values(counts.fetch_percents, 100, 100, 0), "as many records are in flight as may be"
    assert values(counts.acquire_times, 0, 0, 2_000_000_000)


def test_a_fetch_that_waits_for_records_could_have_locked_them(service: Service) -> None:
    service.fetch(0)
    waiting = service.fetch(1, wait_ms=1000)
    service.loop.advance(0.5)
    service.bench.append(1)
    service.partitions.look()
    assert service.acquired(waiting) == [(0, 0)]
    counts = service.partitions.series.shown()["g"]
    assert values(counts.fetch_percents, 100, 100)
    assert values(counts.acquire_times, 0, 0, 500_000_000), "each try counts, from the end of the one before"


def test_locks_that_expire_are_counted_by_record(service: Service) -> None:
    service.bench.append(3)
    service.fetch(0)
    service.loop.advance(31)
    assert service.partitions.counts.lock_timeouts == 3


def test_a_group_that_has_no_share_partition_any_more_has_no_counts(service: Service) -> None:
    service.fetch(0)
    service.fetch(0, key=SessionKey("unknown", "m"))
    assert set(service.partitions.series.shown()) == {MEMBER.group_id}, "that group has no stored state"
    service.partitions.topics_deleted({service.bench.partition.key.topic_id})
    assert service.partitions.series.shown() == {}
