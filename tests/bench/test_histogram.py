"""The latency histogram: bounded error, no lost values, merging adds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.bench.histogram import LatencyHistogram

ERROR = 1 / 128
VALUE_MAX = 2**42 - 1
DURATIONS = st.lists(st.integers(0, VALUE_MAX), min_size=1, max_size=200)


def recorded(values: list[int]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(DURATIONS, st.floats(0, 1))
def test_a_quantile_is_at_most_one_128th_too_high(values: list[int], q: float) -> None:
    exact = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    shown = recorded(values).quantile_ns(q)
    assert exact <= shown <= exact * (1 + ERROR)


@given(DURATIONS)
def test_count_mean_and_max_are_exact(values: list[int]) -> None:
    histogram = recorded(values)
    assert histogram.count == len(values) == sum(count for _, count in histogram.buckets())
    assert histogram.max_ns == max(values)
    assert histogram.mean_ns == pytest.approx(sum(values) / len(values))


@given(DURATIONS, DURATIONS)
def test_merging_is_recording_both(first: list[int], second: list[int]) -> None:
    merged = recorded(first)
    merged.merge(recorded(second))
    assert merged.export() == recorded(first + second).export()


@given(DURATIONS, DURATIONS)
def test_since_is_what_came_after_the_copy(first: list[int], second: list[int]) -> None:
    histogram = recorded(first)
    before = histogram.copy()
    for value in second:
        histogram.record(value)
    later = histogram.since(before)
    assert later.count == len(second)
    assert later.mean_ns == pytest.approx(sum(second) / len(second))
    assert max(second) <= later.max_ns <= max(max(second) * (1 + ERROR), max(second) + 1)
    assert before.export() == recorded(first).export()


@given(DURATIONS)
def test_buckets_ascend_and_cover_their_values(values: list[int]) -> None:
    uppers = [upper for upper, _ in recorded(values).buckets()]
    assert uppers == sorted(set(uppers))
    for value in values:
        upper = next(each for each in uppers if each * 1e6 >= value * (1 - 1e-12))
        assert upper * 1e6 <= value * (1 + ERROR) + 1e-6


def test_what_is_out_of_range_counts_at_the_ends() -> None:
    histogram = recorded([-5, 2**60])
    assert histogram.count == 2
    assert histogram.quantile_ns(0.5) == 0
    assert histogram.quantile_ns(1.0) == histogram.max_ns == 2**60
    assert LatencyHistogram().export() == {"count": 0}
