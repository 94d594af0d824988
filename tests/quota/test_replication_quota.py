"""The rate of throttled replicas against Kafka's SimpleRate, and how long a rate stays above its limit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.quota import replication_quota

KIND = "log dirs"
STEPS = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 5000)), min_size=1, max_size=30)


class SimpleRate:
    """Kafka: metrics.stats.SimpleRate over SampledStat."""

    def __init__(self, windows: int, window_ms: int, now_ms: int) -> None:
        self.windows, self.window_ms = windows, window_ms
        self.samples: list[list[int]] = []  # begun, last event, value
        self.current = 0

    def record(self, value: int, now_ms: int) -> None:
        if not self.samples:
            self.samples.append([now_ms, now_ms, 0])
        if now_ms - self.samples[self.current][0] >= self.window_ms:
            self.current = (self.current + 1) % (self.windows + 1)
            if self.current >= len(self.samples):
                self.samples.append([now_ms, now_ms, 0])
            self.samples[self.current] = [now_ms, now_ms, 0]
        self.samples[self.current][1] = now_ms
        self.samples[self.current][2] += value
        self._purge(now_ms)

    def _purge(self, now_ms: int) -> None:
        for sample in self.samples:
            if now_ms - sample[1] >= self.windows * self.window_ms:
                sample[:] = [now_ms, now_ms, 0]

    def rate(self, now_ms: int) -> float:
        self._purge(now_ms)
        oldest = min((sample[0] for sample in self.samples), default=now_ms)
        return 1000 * sum(sample[2] for sample in self.samples) / max(now_ms - oldest, self.window_ms)


@pytest.fixture(autouse=True)
def windows() -> Iterator[None]:
    yield
    for kind in replication_quota.KINDS:
        replication_quota.set_windows(kind, 11, 1)
        replication_quota.set_limit(kind, None)


@given(STEPS, st.integers(1, 12))
def test_the_rate_is_kafkas(steps: list[tuple[int, int]], windows: int) -> None:
    now_ms = 1_000_000
    replication_quota.set_windows(KIND, windows, 1, now_ms=now_ms)
    model = SimpleRate(windows, 1000, now_ms)
    for pause_ms, size in steps:
        now_ms += pause_ms
        replication_quota.record(KIND, size, now_ms=now_ms)
        model.record(size, now_ms)
        assert replication_quota.byte_rate(KIND, now_ms=now_ms) == pytest.approx(model.rate(now_ms))
        assert replication_quota.byte_rate(KIND, now_ms=now_ms + 700) == pytest.approx(model.rate(now_ms + 700))
        now_ms += 700


@given(STEPS, st.integers(0, 10_000))
def test_after_the_wait_the_rate_is_within_the_limit(steps: list[tuple[int, int]], limit: int) -> None:
    now_ms = 1_000_000
    replication_quota.set_windows(KIND, 11, 1, now_ms=now_ms)
    replication_quota.set_limit(KIND, limit)
    for pause_ms, size in steps:
        now_ms += pause_ms
        replication_quota.record(KIND, size, now_ms=now_ms)
        wait_ms = replication_quota.wait_ms(KIND, now_ms=now_ms)
        assert (wait_ms > 0) == (replication_quota.byte_rate(KIND, now_ms=now_ms) > limit)
        if wait_ms > 0 and now_ms + wait_ms < 1_010_000:  # later, Kafka's rate jumps when the first sample is forgotten
            now_ms += wait_ms
            assert replication_quota.wait_ms(KIND, now_ms=now_ms) == 0


def test_limits() -> None:
    replication_quota.record(KIND, 1 << 40)
    assert replication_quota.wait_ms(KIND) == 0, "there is no limit"
    for limit in (0, 1, 1 << 30):
        replication_quota.set_limit(KIND, limit)
        assert replication_quota.wait_ms(KIND) > 0
    replication_quota.set_limit(KIND, (1 << 63) - 1)
    assert replication_quota.wait_ms(KIND) == 0
    with pytest.raises(ValueError, match="not in tuple"):
        replication_quota.set_limit("other", 1)
