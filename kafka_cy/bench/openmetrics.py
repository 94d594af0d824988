"""Exports runs as metrics named `kafkacy_bench_*`, so that Grafana can show them.

There are three targets: an OpenMetrics file with the time of every sample (`promtool tsdb create-blocks-from openmetrics`
imports it into Prometheus), a `.prom` file for node_exporter's textfile collector, and a push to a Pushgateway. The
latter two refuse timestamps, so they get one value per run, computed over the whole run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.error import URLError

from prometheus_client import CollectorRegistry, exposition, push_to_gateway
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.registry import Collector

from kafka_cy.bench import figures
from kafka_cy.bench.loads import label_of
from kafka_cy.bench.results import Results, Run

PREFIX = "kafkacy_bench_"
PUSH_TIMEOUT_S = 10.0
JOB = "kafkacy_bench"

#: Name without the prefix, type, documentation.
METRICS = (
    ("run", "info", "A run: its outcome, and when the results file was started."),
    ("requests_per_second", "gauge", "Requests answered per second."),
    ("records_per_second", "gauge", "Records produced or consumed per second."),
    ("bytes_per_second", "gauge", "Bytes of requests (produce) or of records (fetch) per second."),
    ("errors_per_second", "gauge", "Failed requests or records per second."),
    ("latency_seconds", "summary", "Latency since the intended send time."),
    ("broker_cpu_cores", "gauge", "CPU seconds that the broker used per second."),
    ("broker_resident_memory_bytes", "gauge", "Resident memory of the broker; for a whole run, the maximum."),
    ("broker_context_switches_per_second", "gauge", "Context switches of the broker per second."),
    ("broker_written_bytes_per_second", "gauge", "Bytes per second that the broker caused to be written to disk."),
)
QUANTILES = (("0.5", "p50_ms"), ("0.9", "p90_ms"), ("0.99", "p99_ms"), ("0.999", "p999_ms"), ("0.9999", "p9999_ms"))

#: Name, labels in addition to those of the run, value, and the Unix time or None.
Value = tuple[str, dict[str, str], float, float | None]


class ExportError(Exception):
    """The metrics could not be written or pushed; the text is one sentence."""


def export(results: Results, path: Path) -> None:
    """Write all runs to a file; a name that ends in `.prom` selects node_exporter's format.

    The file is replaced atomically: a reader sees the old file or the complete new one. Raises ExportError.
    """
    if path.suffix == ".prom":
        text = exposition.generate_latest(registry_of(results, timed=False))
    else:
        text = openmetrics_exposition.generate_latest(registry_of(results, timed=True))
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(text)
        partial.replace(path)
    except OSError as error:
        raise ExportError(f"The metrics cannot be written to {path}: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)


def push(results: Results, url: str) -> None:
    """Replace the metrics of the job `kafkacy_bench` at the Pushgateway `url`. Raises ExportError."""
    try:
        push_to_gateway(url, JOB, registry_of(results, timed=False), timeout=PUSH_TIMEOUT_S)
    except (OSError, URLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ExportError(f"The metrics cannot be pushed to {url}: {reason}.") from error


def registry_of(results: Results, *, timed: bool) -> CollectorRegistry:
    """All metrics of a file: with `timed` one value per sample, with its time; otherwise one value per run."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Runs(results, timed))
    return registry


class _Runs(Collector):
    def __init__(self, results: Results, timed: bool) -> None:
        self.results = results
        self.timed = timed

    def collect(self) -> Iterator[Metric]:
        metrics = {name: Metric(PREFIX + name, text, kind) for name, kind, text in METRICS}
        begun = _unix_time(self.results.started) if self.timed else 0.0
        for index, run in enumerate(self.results.runs):
            labels = {
                "workload": _clean(run.workload),
                "label": _clean(label_of(run)),
                "target": _clean(run.target),
                "generator": run.generator or "",
                "round": str(run.round),
                "run": str(index),
            }
            start = _unix_time(run.started) if self.timed and run.started is not None else begun
            info = {**labels, "outcome": run.outcome, "started": _clean(self.results.started)}
            metrics["run"].add_sample(f"{PREFIX}run_info", info, 1, start if self.timed else None)
            for name, more, value, time in sample_values(run, start) if self.timed else run_values(run):
                family = name.removesuffix("_count").removesuffix("_sum")
                metrics[family].add_sample(PREFIX + name, {**labels, **more}, value, time)
        for metric in metrics.values():
            if metric.samples:
                # OpenMetrics requires the values of one run to be adjacent and in time order.
                metric.samples.sort(key=lambda sample: (int(sample.labels["run"]), sample.timestamp or 0))
                yield metric


def run_values(run: Run) -> Iterator[Value]:
    """One value per metric for the whole run."""
    totals, seconds = run.totals, run.totals.duration_s
    if seconds > 0:
        yield "requests_per_second", {}, totals.requests / seconds, None
        yield "records_per_second", {}, totals.records / seconds, None
        yield "bytes_per_second", {}, totals.bytes / seconds, None
        yield "errors_per_second", {}, totals.errors / seconds, None
        for name, total in (
            ("broker_cpu_cores", totals.broker_cpu_s),
            ("broker_context_switches_per_second", totals.context_switches),
            ("broker_written_bytes_per_second", totals.written_bytes),
        ):
            if total is not None:
                yield name, {}, total / seconds, None
    if totals.rss_bytes_max is not None:
        yield "broker_resident_memory_bytes", {}, totals.rss_bytes_max, None
    if run.latency is not None:
        for quantile, member in QUANTILES:
            ms = figures.percentile_of(member)(run)
            if ms is not None:
                yield "latency_seconds", {"quantile": quantile}, ms / 1000, None
        yield "latency_seconds_count", {}, run.latency.count, None
        if run.latency.mean_ms is not None:
            yield "latency_seconds_sum", {}, run.latency.mean_ms * run.latency.count / 1000, None


def sample_values(run: Run, start: float) -> Iterator[Value]:
    """A value each for every sample of a run that began at the unix time `start`."""
    before = 0.0
    for sample in run.samples:
        seconds, time = sample.t_s - before, round(start + sample.t_s, 3)
        if seconds <= 0:
            continue
        before = sample.t_s
        yield "requests_per_second", {}, sample.requests / seconds, time
        yield "records_per_second", {}, sample.records / seconds, time
        yield "bytes_per_second", {}, sample.bytes / seconds, time
        yield "errors_per_second", {}, sample.errors / seconds, time
        for quantile, ms in (("0.5", sample.latency_p50_ms), ("0.99", sample.latency_p99_ms)):
            if ms is not None:
                yield "latency_seconds", {"quantile": quantile}, ms / 1000, time
        for name, value in (
            ("broker_cpu_cores", sample.cpu_s),
            ("broker_context_switches_per_second", sample.context_switches),
            ("broker_written_bytes_per_second", sample.written_bytes),
        ):
            if value is not None:
                yield name, {}, value / seconds, time
        if sample.rss_bytes is not None:
            yield "broker_resident_memory_bytes", {}, sample.rss_bytes, time


def _unix_time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise ExportError(f"{text!r} is not a time, so the samples have none: write a .prom file or push instead.") from error


def _clean(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()
