"""The data behind the plots: the table of figures and the samples of every run."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from kafka_cy.bench.columns import COLUMNS, REQUESTS, Column, used_columns
from kafka_cy.bench.figures import Summary, bytes_text, ms_text, ratio_text
from kafka_cy.bench.loads import Line, Load
from kafka_cy.bench.report_html.parts import spread_span
from kafka_cy.bench.results import FLOOR, Run, Sample
from kafka_cy.charts.cards import table

SUMMARY_RATE = COLUMNS[0]
SUMMARY_COLUMNS = [column for column in COLUMNS if column.name in ("CPU us/request", "p99", "memory")]


FLOOR_TEXT = (
    "The floor is the same load against a bare loop that writes the batches to a file and answers, without index, state or "
    "guarantees: what this machine and the load generator allow. For loads with fsync it is writing and fdatasync in a loop. For "
    "transactions its answers are ready-made, so that the time is librdkafka's own."
)


def summary(loads: list[Load], two_files: bool) -> str:
    """How the targets stand to the reference, in one small table; empty when nothing can be compared."""
    rows = []
    for load in loads:
        rate = SUMMARY_RATE if any(line.summary(SUMMARY_RATE.figure) for line in load.lines) else REQUESTS
        for line in load.lines:
            reference = load.reference_of(line)
            if reference is None or line.target == FLOOR:
                continue
            cells = [ratio_cell(line, reference, column) for column in (rate, *SUMMARY_COLUMNS)]
            rows.append([escape(load.label), escape(line.name), *cells])
    if not rows:
        if not two_files:
            return ""
        return '<p class="broken">A and B have no load with the same label and target in common: nothing is compared.</p>'
    reference_name = "A" if two_files else "Apache Kafka"
    names = ["load", "target", "throughput", "CPU per request", "p99", "memory"]
    return (
        f'<h2 id="summary">Relative to {reference_name}</h2><div class="card">{table(names, rows, texts=2, group=True)}'
        '<p class="quiet">2.00x throughput is twice as much; 0.50x CPU, p99 or memory is half. Green is better, red is worse, '
        "grey is within the noise of the rounds.</p></div>"
    )


def ratio_cell(line: Line, reference: Line, column: Column) -> str:
    """The ratio of one figure; a dash if one side has none."""
    found, other = line.summary(column.figure), reference.summary(column.figure)
    return ratio(found, other, column.larger_is_better) if found else "-"


def overview(loads: list[Load], two_files: bool) -> str:
    """Every load and line with its figures and their ratios to the reference."""
    used = used_columns(loads)
    rows = []
    for load in loads:
        for index, line in enumerate(load.lines):
            reference = load.reference_of(line)
            cells = [cell(line, reference, column) for column in used]
            rows.append([escape(load.label) if index == 0 else "", escape(line.name), outcomes(line), *cells])
    reference_name = "the same load in A" if two_files else "Apache Kafka in the same file"
    compared = any(load.reference_of(line) for load in loads for line in load.lines)
    ratios = (
        f" Ratios are relative to {reference_name}; a ratio is grey where the rounds overlap, so that it may be noise only."
        if compared
        else ""
    )
    floor = f" {FLOOR_TEXT}" if any(line.target == FLOOR for load in loads for line in load.lines) else ""
    return (
        '<h2 id="figures">Figures</h2><div class="card">'
        + table(["load", "target", "rounds", *(column.name for column in used)], rows, texts=3, group=True)
        + f'<p class="quiet">Medians of the rounds; below them, the minimum and the maximum.{ratios}{floor}</p></div>'
    )


def cell(line: Line, reference: Line | None, column: Column) -> str:
    """The median, spread and ratio of one figure."""
    found = line.summary(column.figure)
    if found is None:
        return "-"
    other = reference.summary(column.figure) if reference else None
    return (
        f"{escape(column.text(found.median))}{ratio(found, other, column.larger_is_better)}"
        f"{spread_span(found, column.text)}"
    )


def ratio(found: Summary, other: Summary | None, larger_is_better: bool) -> str:
    """The ratio to another figure, coloured when the rounds do not overlap."""
    if other is None or not other.median > 0:
        return ""
    kind = (
        "quiet" if found.overlaps(other) else "better" if (found.median > other.median) is larger_is_better else "worse"
    )
    return f' <span class="ratio {kind}">{ratio_text(found.median / other.median)}</span>'


def outcomes(line: Line) -> str:
    """The number of rounds and their failures."""
    count = str(len(line.runs))
    errors = sum(run.totals.errors for run in line.runs)
    failed = [run for run in line.runs if run.outcome != "completed"]
    if failed:
        reasons = "; ".join(dict.fromkeys(f"{run.outcome}{': ' + run.error if run.error else ''}" for run in failed))
        count += f' <span class="broken">{escape(reasons)}</span>'
    return count + (f' <span class="broken">{errors:,} errors</span>' if errors else "")


SAMPLE_COLUMNS: tuple[tuple[str, Callable[[Sample], str]], ...] = (
    ("s", lambda s: f"{s.t_s:.1f}"),
    ("requests", lambda s: f"{s.requests:,}"),
    ("records", lambda s: f"{s.records:,}"),
    ("bytes", lambda s: f"{s.bytes:,}"),
    ("errors", lambda s: f"{s.errors:,}"),
    ("p50", lambda s: ms_text(s.latency_p50_ms)),
    ("p99", lambda s: ms_text(s.latency_p99_ms)),
    ("CPU s", lambda s: "-" if s.cpu_s is None else f"{s.cpu_s:.2f}"),
    ("memory", lambda s: bytes_text(s.rss_bytes)),
    ("context switches", lambda s: "-" if s.context_switches is None else f"{s.context_switches:,}"),
    ("bytes to disk", lambda s: bytes_text(s.written_bytes)),
)


def sample_tables(loads: list[Load]) -> str:
    """Every sample and the latency percentiles of every run, collapsed."""
    parts = []
    for load in loads:
        for line in load.lines:
            for run in line.runs:
                parts.append(run_details(f"{load.label} / {line.name} / round {run.round}", run))
    if not parts:
        return ""
    return f'<h2 id="samples">Every run</h2><div class="card">{"".join(parts)}</div>'


def run_details(title: str, run: Run) -> str:
    """One run's options, percentiles and samples."""
    options = " ".join(f"{name}={value}" for name, value in run.options.items())
    content = f'<p class="quiet">{escape(options)}</p>' if options else ""
    if run.latency is not None:
        names = ("mean_ms", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "p9999_ms", "max_ms")
        row = [f"{run.latency.count:,}", *(escape(ms_text(getattr(run.latency, name))) for name in names)]
        content += table(["responses", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"], [row], texts=0)
    if run.samples:
        rows = [[escape(text(sample)) for _, text in SAMPLE_COLUMNS] for sample in run.samples]
        content += table([name for name, _ in SAMPLE_COLUMNS], rows, texts=0)
    return f"<details><summary>{escape(title)}</summary>{content}</details>"
