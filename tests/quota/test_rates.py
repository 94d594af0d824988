"""Rates, throttle times and token buckets against models of Kafka's classes (SampledStat, Rate, QuotaUtils, TokenBucket, Avg)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.quota.quota_probe import QuotasProbe, SensorProbe

PRODUCE, FETCH, REQUEST, MUTATION, CONNECTION = range(5)
NONE = -1.0


class Sample:
    def __init__(self, now: int) -> None:
        self.begun = self.last = now
        self.value = 0


class KafkaRate:
    """org.apache.kafka.common.metrics.stats.Rate over WindowedSum."""

    def __init__(self, windows: int, window_ms: int) -> None:
        self.windows, self.window_ms = windows, window_ms
        self.samples: list[Sample] = []
        self.current = 0

    def record(self, value: int, now: int) -> None:
        if not self.samples:
            self.samples.append(Sample(now))
        if now - self.samples[self.current].begun >= self.window_ms:
            self.current = (self.current + 1) % (self.windows + 1)
            if self.current >= len(self.samples):
                self.samples.append(Sample(now))
            else:
                self.samples[self.current] = Sample(now)
        self.samples[self.current].value += value
        self.samples[self.current].last = now

    def measure(self, now: int) -> tuple[float, int]:
        """The sum, and the time that it covers in ms."""
        if not self.samples:
            self.samples.append(Sample(now))
        for i, sample in enumerate(self.samples):
            if now - sample.last >= self.windows * self.window_ms:
                self.samples[i] = Sample(now)
        covered = now - min(sample.begun for sample in self.samples)
        whole = covered // self.window_ms
        if whole < self.windows - 1:
            covered += (self.windows - 1 - whole) * self.window_ms
        return sum(sample.value for sample in self.samples), max(covered, 1)


def throttle_ms(total: float, covered: int, unit: float, limit: float) -> int:
    """QuotaUtils.throttleTime; 0 without a violation."""
    rate = total * unit / (covered / 1000.0)
    if not rate > limit:
        return 0
    return int(min(math.floor((rate - limit) / limit * covered + 0.5), 2**31 - 1))


def sensor(kind: int, limit: float, windows: int = 11, window_ms: int = 1000) -> SensorProbe:
    table = QuotasProbe(windows, window_ms)
    table.put(b"u", False, [limit if i == kind else NONE for i in range(5)])
    found = table.find(kind, b"u", b"c")
    assert found is not None
    return found


steps = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 50), st.integers(0, 3000), st.integers(0, 60_000), st.just(1000), st.just(11_000)),
        st.integers(-2000, 10_000),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(
    steps, st.integers(1, 12), st.sampled_from([1000, 2000]), st.floats(0.5, 1e6), st.sampled_from([PRODUCE, REQUEST]),
    st.booleans(),
)
def test_throttle_times_are_kafkas(
    recorded: list[tuple[int, int]], windows: int, window_ms: int, limit: float, kind: int, slowly: bool
) -> None:
    model, probe, now = KafkaRate(windows, window_ms), sensor(kind, limit, windows, window_ms), 5_000_000
    unit = 1e-7 if kind == REQUEST else 1.0
    for passed, value in recorded:
        now += passed
        value = value * 1_000_000 if kind == REQUEST else value
        model.record(value, now)
        total, covered = model.measure(now)
        record = probe.record_slowly if slowly else probe.record
        assert record(value, now) == throttle_ms(total, covered, unit, limit)
        if not slowly:
            assert probe.read(now)[0] == pytest.approx(total * unit / (covered / 1000.0))


def test_a_client_within_its_quota_is_not_throttled_and_one_above_waits_until_it_is_there() -> None:
    probe = sensor(PRODUCE, 1000.0)
    assert [probe.record(900, 1_000_000 + 1000 * i) for i in range(30)] == [0] * 30
    waits = probe.record(11_000, 1_030_000)
    assert waits > 0
    assert probe.record(0, 1_030_000 + waits + 1000) == 0


@pytest.mark.parametrize("limit", [math.nan, math.inf, 9.2e18])
def test_quotas_that_limit_nothing(limit: float) -> None:
    probe = sensor(PRODUCE, limit)
    assert [probe.record(2**40, 1000 * i + 1) for i in range(20)] == [0] * 20


def test_tiny_quotas_do_not_overflow() -> None:
    assert sensor(PRODUCE, 5e-324).record(1, 1) == 2**31 - 1
    assert sensor(FETCH, 1e-9).window_max == 0
    assert sensor(FETCH, 1e300).window_max == 2**63 - 1
    assert sensor(FETCH, 1000.0).window_max == 10_000  # of ten windows, as Kafka's maxValueInQuotaWindow
    assert sensor(MUTATION, 1e-300).take(5.0, False, 10)[1] == 2**31 - 1
    assert [sensor(MUTATION, math.nan).take(5.0, strict, 10) for strict in (False, True)] == [(True, 0)] * 2, "as in Kafka"


class KafkaBucket:
    """org.apache.kafka.common.metrics.stats.TokenBucket, and the quota managers of KIP-599."""

    def __init__(self, limit: float, burst: float) -> None:
        self.limit, self.burst, self.tokens, self.refilled = limit, burst, burst, 0

    def take(self, permits: float, strict: bool, now: int) -> tuple[bool, int]:
        if self.refilled:
            self.tokens = min(self.burst, self.tokens + self.limit * ((now - self.refilled) / 1000.0))
        self.refilled = now
        allowed = not (strict and self.tokens < 0)
        if allowed:
            self.tokens -= permits
        return allowed, 0 if self.tokens >= 0 else math.floor(-self.tokens / self.limit * 1000.0 + 0.5)


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 200), st.booleans()), max_size=40), st.floats(0.01, 1000.0)
)
def test_mutations_are_limited_as_by_kafka(taken: list[tuple[int, int, bool]], limit: float) -> None:
    model, probe, now = KafkaBucket(limit, limit * 11 * 1.0), sensor(MUTATION, limit), 7_000
    for passed, permits, strict in taken:
        now += passed
        assert probe.take(permits, strict, now) == model.take(permits, strict, now)
        assert probe.read(now)[2] == pytest.approx(model.tokens)


def test_the_average_throttle_time_is_that_of_the_last_minute() -> None:
    probe = sensor(PRODUCE, 1.0)
    assert math.isnan(probe.read(1)[1])
    probe.delayed(100, 1000)
    probe.delayed(300, 2000)
    assert probe.read(30_000)[1] == 200
    probe.delayed(500, 31_500)
    assert probe.read(59_000)[1] == 300
    assert probe.read(61_500)[1] == 500
    assert math.isnan(probe.read(91_500)[1])


