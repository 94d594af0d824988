"""The progress display of a run, always on stderr: a live table on a terminal, one line per sample on a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import Progress
from kafka_cy.bench.results import Run, Sample

if TYPE_CHECKING:
    from rich.live import Live

SHOWN_SAMPLES = 12


def sample_text(sample: Sample, seconds: float) -> str:
    """The figures of a sample in one line; `seconds` is the time that the sample covers."""
    seconds = max(seconds, 1e-3)
    parts = [f"{sample.t_s:6.1f} s", f"{sample.requests / seconds:,.0f} requests/s"]
    if sample.records:
        parts.append(f"{sample.records / seconds:,.0f} records/s")
    if sample.bytes:
        parts.append(f"{sample.bytes / seconds / 1e6:,.1f} MB/s")
    if sample.latency_p50_ms is not None and sample.latency_p99_ms is not None:
        parts.append(f"p50 {sample.latency_p50_ms:.2f} ms, p99 {sample.latency_p99_ms:.2f} ms")
    if sample.cpu_s is not None:
        parts.append(f"broker CPU {sample.cpu_s / seconds:.0%}")
    if sample.rss_bytes:
        parts.append(f"{sample.rss_bytes / 2**20:.0f} MiB")
    if sample.errors:
        parts.append(f"{sample.errors:,} errors")
    return ", ".join(parts)


def run_text(run: Run) -> str:
    """A summary of a run in one line."""
    totals, parts = run.totals, []
    if run.workload in ("start", "recovery"):
        parts.append(f"{totals.requests} starts")
    elif totals.duration_s > 0:
        parts.append(f"{totals.requests / totals.duration_s:,.0f} requests/s")
        if totals.records:
            parts.append(f"{totals.records / totals.duration_s:,.0f} records/s")
        parts.append(f"{totals.bytes / totals.duration_s / 1e6:,.1f} MB/s")
    latency = run.latency
    if latency is not None and latency.count:
        shown = ((latency.p50_ms, "p50"), (latency.p99_ms, "p99"), (latency.p999_ms, "p99.9"), (latency.max_ms, "max"))
        parts.append(", ".join(f"{name} {value:.2f}" for value, name in shown if value is not None) + " ms")
    if totals.broker_cpu_s is not None and totals.requests:
        parts.append(f"broker CPU {totals.broker_cpu_s * 1e6 / totals.requests:.1f} us/request")
        if totals.bytes:
            parts[-1] += f", {totals.broker_cpu_s * 1e9 / totals.bytes:.2f} s/GB"
    if totals.errors:
        parts.append(f"{totals.errors:,} errors")
    text = f"{run.label} on {run.target}: {'; '.join(parts)}."
    if run.outcome != "completed":
        text += f" {run.outcome.capitalize()}"
        text += f": {run.error}" if run.error else "."
    return text


class PlainProgress:
    """Prints one line per sample and one line per run."""

    def __init__(self, *, samples: bool = True) -> None:
        self._samples = samples
        self._before_s = 0.0

    def run_started(self, label: str, target: str, options: LoadOptions | None) -> None:
        self._before_s = 0.0
        if self._samples:
            self._print(f"{label} on {target}")

    def sample(self, sample: Sample) -> None:
        if self._samples:
            self._print(sample_text(sample, sample.t_s - self._before_s))
        self._before_s = sample.t_s

    def run_ended(self, run: Run) -> None:
        self._print(run_text(run))

    def note(self, text: str) -> None:
        self._print(text)

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class RichProgress:
    """Shows the last samples of the run in a table that is redrawn; a finished run leaves one line."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._title = ""
        self._rows: list[tuple[Sample, float]] = []

    def run_started(self, label: str, target: str, options: LoadOptions | None) -> None:
        from rich.live import Live

        self._stop()
        self._title, self._rows = f"{label} on {target}", []
        self._live = Live(self._table(), console=self._console, transient=True, auto_refresh=False)
        self._live.start()

    def sample(self, sample: Sample) -> None:
        before_s = self._rows[-1][0].t_s if self._rows else 0.0
        self._rows.append((sample, max(sample.t_s - before_s, 1e-3)))
        if self._live is not None:
            self._live.update(self._table(), refresh=True)

    def run_ended(self, run: Run) -> None:
        self._stop()
        self._console.print(run_text(run), markup=False)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(title=self._title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("s", "requests/s", "records/s", "MB/s", "p50 ms", "p99 ms", "broker CPU", "MiB", "errors"):
            table.add_column(name, justify="right")
        for sample, seconds in self._rows[-SHOWN_SAMPLES:]:
            table.add_row(
                f"{sample.t_s:.1f}",
                f"{sample.requests / seconds:,.0f}",
                f"{sample.records / seconds:,.0f}",
                f"{sample.bytes / seconds / 1e6:,.1f}",
                "-" if sample.latency_p50_ms is None else f"{sample.latency_p50_ms:.2f}",
                "-" if sample.latency_p99_ms is None else f"{sample.latency_p99_ms:.2f}",
                "-" if sample.cpu_s is None else f"{sample.cpu_s / seconds:.0%}",
                "-" if sample.rss_bytes is None else f"{sample.rss_bytes / 2**20:.0f}",
                f"{sample.errors:,}",
            )
        return table


def progress_for_terminal(*, samples: bool = True) -> Progress:
    """A live table when stderr is a terminal, otherwise plain lines (with `samples`, one line per sample too)."""
    return RichProgress() if sys.stderr.isatty() else PlainProgress(samples=samples)
