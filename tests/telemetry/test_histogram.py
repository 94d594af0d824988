"""Buckets, quantiles and rates, compared with plain arithmetic."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.telemetry.reactor_numbers import bucket, bucket_floor, quantile
from kafka_cy.telemetry.windows import COUNTS_WINDOW_S, CountsWindow, Rates

BUCKETS = 488


@given(st.integers(0, 2**63 - 1))
def test_a_value_lies_in_its_bucket(value: int) -> None:
    at = bucket(value)
    assert bucket_floor(at) <= value < bucket_floor(at + 1)
    assert bucket_floor(at + 1) - bucket_floor(at) <= max(1, bucket_floor(at) / 8)


def test_buckets_are_gapless_to_the_last_value() -> None:
    assert [bucket(int(bucket_floor(i))) for i in range(BUCKETS)] == list(range(BUCKETS))
    assert bucket(-(2**62)) == 0
    assert bucket(2**63 - 1) == BUCKETS - 1


@pytest.mark.parametrize("spread", ["even", "logarithmic", "two humps"])
def test_quantiles_are_within_half_a_bucket(spread: str) -> None:
    draw = random.Random(spread)
    make = {
        "even": lambda: draw.randrange(1000, 100_000),
        "logarithmic": lambda: int(10 ** draw.uniform(2, 9)),
        "two humps": lambda: draw.randrange(900, 1100) if draw.random() < 0.9 else draw.randrange(10**6, 2 * 10**6),
    }[spread]
    values = sorted(make() for _ in range(20_000))
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket(value)] += 1
    for wanted in (0.5, 0.75, 0.95, 0.98, 0.99, 0.999):
        exact = values[int(wanted * len(values)) - 1]
        assert quantile(counts, wanted) == pytest.approx(exact, rel=0.13 if spread == "two humps" else 0.07)


def test_quantiles_of_nothing_one_and_zeros() -> None:
    counts = [0] * BUCKETS
    assert quantile(counts, 0.99) == 0
    counts[bucket(5_000)] = 1
    assert 4_600 <= quantile(counts, 0.5) <= 5_200
    zeros = [0] * BUCKETS
    zeros[0] = 10
    assert quantile(zeros, 0.999) == 0


def test_rates_speak_of_the_last_minute() -> None:
    rates = Rates()
    assert rates.rate("a", 50, 100.0, since=90.0) == 5  # known to be 0 ten seconds ago
    assert rates.rate("b", 50, 100.0) == 0  # a counter that is seen for the first time
    for second in range(1, 121):
        steady = rates.rate("b", 50 + 3 * second, 100.0 + second)
    assert steady == pytest.approx(3)
    for second in range(121, 181):
        slower = rates.rate("b", 410 + second - 120, 100.0 + second)
    assert slower == pytest.approx(1, abs=0.2)  # the faster minute is forgotten
    assert rates.rate("b", 7, 400.0) == 0  # the counter was reset
    assert max(len(marks) for marks in rates._marks.values()) <= 14


def test_a_histogram_of_the_last_minutes_forgets_what_was_before() -> None:
    window = CountsWindow()
    assert window.recent([1, 5], 0.0) == [1, 5], "since the start"
    assert window.recent([2, 5], COUNTS_WINDOW_S / 2) == [2, 5]
    assert window.recent([2, 7], COUNTS_WINDOW_S) == [2, 7]
    assert window.recent([2, 9], COUNTS_WINDOW_S + 1) == [0, 4]
    assert window.recent([3, 9], 3 * COUNTS_WINDOW_S) == [1, 4]
    assert window.recent([3, 9], 9 * COUNTS_WINDOW_S) == [1, 2], "of few scrapes: since the one before the last"
    assert window.recent([3, 9], 10 * COUNTS_WINDOW_S) == [0, 0]
