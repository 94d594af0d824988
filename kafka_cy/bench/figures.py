"""Figures derived from runs (rates, cost per request, medians with spread) and their formatting."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kafka_cy.bench.results import Latency, Run

#: A figure of a run; None if the run does not provide it.
Figure = Callable[[Run], float | None]
#: How a figure is formatted.
Text = Callable[[float | None], str]

# -- of one run --


def requests_per_s(run: Run) -> float | None:
    """Answered requests per second."""
    return _rate(run, run.totals.requests)


def records_per_s(run: Run) -> float | None:
    """Records per second."""
    return _rate(run, run.totals.records)


def bytes_per_s(run: Run) -> float | None:
    """Bytes per second."""
    return _rate(run, run.totals.bytes)


def cpu_us_per_request(run: Run) -> float | None:
    """CPU time of the broker per request, in microseconds."""
    if run.totals.broker_cpu_s is None or not run.totals.requests:
        return None
    return run.totals.broker_cpu_s / run.totals.requests * 1e6


def cpu_us_per_record(run: Run) -> float | None:
    """CPU time of the broker per record, in microseconds."""
    if run.totals.broker_cpu_s is None or not run.totals.records:
        return None
    return run.totals.broker_cpu_s / run.totals.records * 1e6


def cpu_s_per_gb(run: Run) -> float | None:
    """CPU time of the broker per gigabyte (10^9), in seconds."""
    if run.totals.broker_cpu_s is None or not run.totals.bytes:
        return None
    return run.totals.broker_cpu_s / run.totals.bytes * 1e9


def rss_bytes(run: Run) -> float | None:
    """Peak resident memory of the broker."""
    return None if run.totals.rss_bytes_max is None else float(run.totals.rss_bytes_max)


def percentile_of(name: str) -> Figure:
    """A function that gives a run's latency member `name` (such as "p99_ms")."""
    return lambda run: None if run.latency is None else getattr(run.latency, name)


def _rate(run: Run, count: int) -> float | None:
    if not count or not run.totals.duration_s > 0:
        return None
    return count / run.totals.duration_s


# -- of several rounds --


@dataclass(frozen=True)
class Summary:
    """Median of several rounds, with minimum and maximum."""

    median: float
    low: float
    high: float
    rounds: int

    def overlaps(self, other: Summary) -> bool:
        """Whether the spreads overlap, so that the rounds do not show which is larger. One round has no spread."""
        return self.low <= other.high and other.low <= self.high


def summary(values: Iterable[float | None]) -> Summary | None:
    """Summary of the values that are not None; None without any."""
    there = [value for value in values if value is not None and math.isfinite(value)]
    if not there:
        return None
    return Summary(statistics.median(there), min(there), max(there), len(there))


def median(values: Iterable[float | None]) -> float | None:
    """Median of the values that are not None."""
    found = summary(values)
    return found.median if found else None


def merged_buckets(latencies: Iterable[Latency | None]) -> list[tuple[float, float]]:
    """Merged (upper_ms, count) of all runs, ascending."""
    counts: dict[float, float] = {}
    for latency in latencies:
        for pair in latency.buckets if latency else ():
            if len(pair) == 2 and pair[1] > 0 and math.isfinite(pair[0]):
                counts[pair[0]] = counts.get(pair[0], 0) + pair[1]
    return sorted(counts.items())


def percentile_curve(buckets: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """(fraction, ms): this fraction of all responses took at most this long. Ends below 1, where only the slowest
    response is left."""
    total = sum(count for _, count in buckets)
    points = []
    seen = 0.0
    for upper_ms, count in buckets:
        # The bucket holds ranks seen+1 .. seen+count of total; use its last rank, minus half a rank at the end.
        points.append((min((seen + count) / total, 1 - 0.5 / total), upper_ms))
        seen += count
    return points


# -- for people --


def number_text(value: float | None) -> str:
    """Three significant figures, with k, M or G: 0.123, 12.3, 725k."""
    if value is None or not math.isfinite(value):
        return "-"
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{_significant(value / factor)}{unit}"
    return _significant(value)


def bytes_text(value: float | None) -> str:
    """In KiB, MiB or GiB."""
    if value is None or not math.isfinite(value):
        return "-"
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(value) >= factor:
            return f"{_significant(value / factor)} {unit}"
    return f"{value:.0f} B"


def bytes_rate_text(value: float | None) -> str:
    """In kB/s, MB/s or GB/s (powers of 1000)."""
    if value is None or not math.isfinite(value):
        return "-"
    for factor, unit in ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")):
        if abs(value) >= factor * 0.9995:
            return f"{_significant(value / factor)} {unit}"
    return f"{value:.0f} B/s"


def ms_text(value: float | None) -> str:
    """A latency: in us below 0.1 ms, in s from one second on."""
    if value is None or not math.isfinite(value):
        return "-"
    if abs(value) >= 1000:
        return f"{_significant(value / 1000)} s"
    if 0 < abs(value) < 0.1:
        return f"{_significant(value * 1000)} us"
    return f"{_significant(value)} ms"


def ratio_text(value: float | None) -> str:
    """Format as in "1.15x"."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.2f}x" if value < 100 else f"{value:.0f}x"


def _significant(value: float) -> str:
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"
