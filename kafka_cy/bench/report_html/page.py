"""One or two results files as a self-contained HTML page."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from kafka_cy.bench.figures import bytes_text
from kafka_cy.bench.loads import loads_of
from kafka_cy.bench.report_html.plots import load_sections
from kafka_cy.bench.report_html.scaling import scaling_section
from kafka_cy.bench.report_html.tables import overview, sample_tables, summary
from kafka_cy.bench.report_html.tuning import tune_section
from kafka_cy.bench.results import Machine, Results
from kafka_cy.charts import page

TITLES = {"run": "Benchmark", "compare": "Comparison", "tune": "Tuning", "scaling": "Scaling"}


def html_page(first: Results, second: Results | None = None) -> str:
    """The whole page. `second` is compared with `first` wherever both have the same load."""
    title = f"{TITLES[first.kind]}, {when(first)}" if second is None else "Benchmark A compared with B"
    loads = loads_of(first, second)
    tune = tune_section(first) if second is None and first.kind == "tune" else ""
    scaling = scaling_section(first, second) if first.kind == "scaling" else ""
    plots = "" if tune or scaling else load_sections(loads)
    body = [
        f"<h1>{escape(title)}</h1>",
        heads(first, second),
        "" if tune or scaling else summary(loads, second is not None),
        tune,
        scaling,
        "" if second is None and (tune or scaling) else overview(loads, second is not None),
        plots,
        sample_tables(loads),
    ]
    return page.html_page(title, "".join(body))


def heads(first: Results, second: Results | None) -> str:
    """Command, machine and versions of one or both files."""
    if second is None:
        return head(first)
    return f"<h2>A, {escape(when(first))}</h2>{head(first)}<h2>B, {escape(when(second))}</h2>{head(second)}"


def when(results: Results) -> str:
    """The time of the measurement: 2026-11-25T16:00:00Z as "2026-11-25 16:00 UTC"."""
    try:
        return f"{datetime.fromisoformat(results.started).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return results.started


def head(results: Results) -> str:
    """Command, machine and versions of one file."""
    machine = results.machine
    facts = [
        ("CPU", f"{machine.cpu}, {machine.cores} cores"),
        ("Memory", bytes_text(machine.memory_bytes)),
        ("Kernel", machine.kernel),
        ("TCP congestion control", machine.congestion_control or "unknown"),
        ("Load average", load_text(machine)),
        *results.versions.items(),
    ]
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    disturbed = ""
    if (machine.load_average_start or 0) > machine.cores:
        disturbed = (
            '<p class="quiet">The machine was busy with other work at the start: rates and latencies are unreliable, '
            "CPU time is better, and ratios of interleaved runs are the most reliable.</p>"
        )
    return (
        f'<p class="command"><code>{escape(" ".join(results.command))}</code></p>'
        f'<dl class="facts">{items}</dl>{disturbed}'
    )


def load_text(machine: Machine) -> str:
    """The load average before and after the runs."""
    values = (machine.load_average_start, machine.load_average_end)
    return " to ".join("unknown" if value is None else f"{value:.1f}" for value in values)
