"""Runs one load against one target and watches both: a sample per second, totals, latencies, and how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from kafka_cy.bench import results
from kafka_cy.bench.brokers import Target
from kafka_cy.bench.histogram import LatencyHistogram
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.process_sampler import Usage, usage

SAMPLE_NS = 1_000_000_000
LAST_SAMPLE_NS = 300_000_000  # a shorter rest is merged into the previous sample
STOP_TIMEOUT_S = 15.0
DEATH_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Ending:
    """How a load ended. `error` is one sentence; `closed`: the broker hung up or no longer answers."""

    finished_ns: int
    client_cpu_s: float
    error: str | None = None
    closed: bool = False


class Load(Protocol):
    """A load on a broker, run by its own threads. Times are of the monotonic clock."""

    def start(self) -> None: ...

    def measured_from_ns(self) -> int:
        """When the warm-up ends; after `start`."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; returns whether it has ended."""

    def stop(self) -> None:
        """Make it end soon."""

    def counters(self) -> tuple[int, int, int, int]:
        """Requests, records, bytes, errors in the measured time so far."""

    def histogram(self) -> LatencyHistogram:
        """A copy of the latencies so far."""

    def ending(self) -> Ending:
        """After its end."""


class Progress(Protocol):
    """Observer of a run in progress."""

    def run_started(self, label: str, target: str, options: LoadOptions | None) -> None: ...

    def sample(self, sample: results.Sample) -> None: ...

    def run_ended(self, run: results.Run) -> None: ...

    def note(self, text: str) -> None:
        """An event between runs."""


class NoProgress:
    """An observer that does nothing."""

    def run_started(self, label: str, target: str, options: LoadOptions | None) -> None:
        pass

    def sample(self, sample: results.Sample) -> None:
        pass

    def run_ended(self, run: results.Run) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@dataclass
class Measured:
    """What `measure` has recorded."""

    totals: results.Totals
    outcome: results.Outcome
    error: str | None
    latency: results.Latency | None
    samples: list[results.Sample] = field(default_factory=list)


class _Watch:
    """Takes samples: differences of the counters, of the histogram and of the broker's usage."""

    def __init__(self, load: Load, target: Target, begin_ns: int) -> None:
        self.load, self.target = load, target
        self.begin_ns = self.taken_ns = begin_ns
        self.counters = (0, 0, 0, 0)
        self.histogram = LatencyHistogram()
        self.first_usage = self.usage = usage(target.pid)
        self.rss_bytes_max = self.usage.rss_bytes
        self.samples: list[results.Sample] = []
        self._before = (self.counters, self.histogram, self.usage)

    def take_last(self, now_ns: int) -> results.Sample | None:
        """The time after the last sample: one more sample, or, if short, merged into the last one (then None)."""
        if self.samples and now_ns - self.taken_ns < LAST_SAMPLE_NS:
            last, last_usage = self.samples.pop(), self.usage
            self.counters, self.histogram, self.usage = self._before
            joined = self.take(now_ns)
            if joined.cpu_s is None:  # it has died since
                joined.cpu_s, joined.rss_bytes = last.cpu_s, last.rss_bytes
                joined.context_switches, joined.written_bytes = last.context_switches, last.written_bytes
                self.usage = last_usage
            return None
        return self.take(now_ns)

    def take(self, now_ns: int) -> results.Sample:
        """The sample from the last one until now."""
        counters, histogram, used = self.load.counters(), self.load.histogram(), usage(self.target.pid)
        latency = histogram.since(self.histogram)
        requests, records, size, errors = (now - before for now, before in zip(counters, self.counters, strict=True))
        sample = results.Sample(
            t_s=round((now_ns - self.begin_ns) / 1e9, 3),
            requests=requests,
            records=records,
            bytes=size,
            errors=errors,
            latency_p50_ms=latency.quantile_ns(0.5) / 1e6 if latency.count else None,
            latency_p99_ms=latency.quantile_ns(0.99) / 1e6 if latency.count else None,
            rss_bytes=used.rss_bytes,
            **usage_between(self.usage, used),
        )
        self._before = (self.counters, self.histogram, self.usage)
        if used.cpu_s is not None:  # otherwise the broker has died, and its last known usage counts
            self.usage = used
            self.rss_bytes_max = max(used.rss_bytes or 0, self.rss_bytes_max or 0)
        self.counters, self.histogram, self.taken_ns = counters, histogram, now_ns
        self.samples.append(sample)
        return sample


def usage_between(before: Usage, after: Usage) -> dict[str, Any]:
    """CPU seconds, context switches and bytes written between two readings, as a sample's fields."""
    cpu_s = _difference(before.cpu_s, after.cpu_s)
    return {
        "cpu_s": None if cpu_s is None else round(cpu_s, 6),
        "context_switches": _difference(before.context_switches, after.context_switches),
        "written_bytes": _difference(before.written_bytes, after.written_bytes),
    }


def _difference(before: Any, after: Any) -> Any:
    return None if before is None or after is None else max(0, after - before)


def measure(load: Load, target: Target, progress: Progress) -> Measured:
    """Run a load to its end, or until Ctrl-C; then returns what was measured so far."""
    interrupted = False
    load.start()
    try:
        while (left_ns := load.measured_from_ns() - time.monotonic_ns()) > 0:
            if load.wait(min(left_ns / 1e9, 0.2)):
                break
    except KeyboardInterrupt:
        interrupted = True
        load.stop()
    watch = _Watch(load, target, load.measured_from_ns())
    due_ns = watch.begin_ns + SAMPLE_NS
    try:
        while not load.wait(max(0.0, (due_ns - time.monotonic_ns()) / 1e9)):
            progress.sample(watch.take(time.monotonic_ns()))
            due_ns += SAMPLE_NS
    except KeyboardInterrupt:
        interrupted = True
        load.stop()
        load.wait(STOP_TIMEOUT_S)
    return _finish(load, target, progress, watch, interrupted)


def _finish(load: Load, target: Target, progress: Progress, watch: _Watch, interrupted: bool) -> Measured:
    ending = load.ending()
    now_ns = max(time.monotonic_ns(), watch.begin_ns)
    last = watch.take_last(now_ns)
    if last is not None:
        progress.sample(last)
    duration_s = max(0.0, (ending.finished_ns - watch.begin_ns) / 1e9)
    outcome: results.Outcome = "completed"
    error = ending.error
    if interrupted:
        outcome = "interrupted"
    elif ending.closed and _died(target):
        outcome = "broker-died"
        error = f"The broker died after {duration_s:.1f} s."
    elif error is not None:
        outcome = "failed"
    requests, records, size, errors = watch.counters
    used = usage_between(watch.first_usage, watch.usage)
    totals = results.Totals(
        duration_s=round(duration_s, 6),
        requests=requests,
        records=records,
        bytes=size,
        errors=errors,
        broker_cpu_s=used["cpu_s"],
        client_cpu_s=round(ending.client_cpu_s, 6),
        rss_bytes_max=watch.rss_bytes_max,
        context_switches=used["context_switches"],
        written_bytes=used["written_bytes"],
    )
    histogram = load.histogram()
    latency = results.Latency(**histogram.export()) if histogram.count else None
    return Measured(totals, outcome, error, latency, watch.samples)


def _died(target: Target) -> bool:
    deadline = time.monotonic() + DEATH_TIMEOUT_S
    while time.monotonic() < deadline:
        if not target.alive():
            return True
        time.sleep(0.05)
    return False
