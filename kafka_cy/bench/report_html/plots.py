"""The plots of each load: latency, throughput, CPU and memory."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from kafka_cy.bench import figures
from kafka_cy.bench.figures import Text, bytes_text, ms_text, number_text
from kafka_cy.bench.loads import Line, Load, names_in_order
from kafka_cy.bench.report_html.parts import bars
from kafka_cy.bench.results import Sample
from kafka_cy.charts.axis import Axis, Scale
from kafka_cy.charts.cards import line_card
from kafka_cy.charts.series import Series


def load_sections(loads: list[Load]) -> str:
    """One section per load: latency, throughput, CPU and memory."""
    names = names_in_order(loads)
    return "".join(load_section(load, index, names) for index, load in enumerate(loads))


def load_section(load: Load, index: int, names: list[str]) -> str:
    """The plots of one load."""
    colors = {line.name: names.index(line.name) for line in load.lines}
    by_records = any(run.totals.records for line in load.lines for run in line.runs)
    rate: Callable[[Sample], float | None] = (lambda s: s.records) if by_records else (lambda s: s.requests)
    unit = "GB" if any(run.options.get("unit") == "GB" for line in load.lines for run in line.runs) else "request"
    plots = [
        percentiles(load.lines, colors),
        over_time(
            "Throughput", "records/s" if by_records else "requests/s", load.lines, colors, rate, number_text, True
        ),
        over_time("Latency, p99 of each second", "p99", load.lines, colors, lambda s: s.latency_p99_ms, ms_text, False),
        over_time("Resident memory", "", load.lines, colors, lambda s: s.rss_bytes, bytes_text, False),
        cpu_bars(load.lines, colors, unit),
    ]
    workload = "" if load.label.startswith(load.workload) else f' <span class="quiet">{escape(load.workload)}</span>'
    return (
        f'<h2 id="load{index}">{escape(load.label)}{workload}</h2>'
        f'<div class="plots">{"".join(plots)}</div>'
    )


def percent_text(fraction: float) -> str:
    """0.999 as "99.9%"."""
    return f"{fraction * 100:.10g}%"


def percentiles(lines: list[Line], colors: dict[str, int]) -> str:
    """Latency by percentile, over all rounds together."""
    series = []
    for line in lines:
        curve = figures.percentile_curve(figures.merged_buckets(run.latency for run in line.runs))
        notes = [f"{line.name}: {fraction * 100:.6g}% within {ms_text(ms)}" for fraction, ms in curve]
        series.append(Series(line.name, curve, colors[line.name], notes=notes))
    return line_card(
        "Latency percentiles",
        series,
        Axis("percentile of the responses", percent_text, "percentile"),
        Axis("latency", ms_text, "log"),
    )


def over_time(
    title: str,
    label: str,
    lines: list[Line],
    colors: dict[str, int],
    value: Callable[[Sample], float | None],
    text: Text,
    rate: bool,
) -> str:
    """A value of the samples over time; rounds after the first are faint. With `rate` the value is divided by the time."""
    series = []
    for line in lines:
        for number, run in enumerate(line.runs):
            points = []
            before = 0.0
            for sample in run.samples:
                found, seconds = value(sample), sample.t_s - before
                before = sample.t_s
                if found is not None and (seconds > 0 or not rate):
                    points.append((sample.t_s, found / seconds if rate else found))
            series.append(Series(line.name, points, colors[line.name], faint=number > 0))
    scale: Scale = "binary" if text is bytes_text else "linear"
    return line_card(title, series, Axis("seconds", lambda s: f"{s:g} s"), Axis(label, text, scale))


def cpu_bars(lines: list[Line], colors: dict[str, int], unit: str) -> str:
    """CPU time of the broker per request or per gigabyte."""
    figure, words = (
        (figures.cpu_s_per_gb, "s/GB") if unit == "GB" else (figures.cpu_us_per_request, "us/request")
    )
    found = [(line.name, colors[line.name], line.summary(figure)) for line in lines]
    return bars(f"CPU time of the broker, {words}", found, number_text, wide=True)
