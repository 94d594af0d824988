"""The section with the scaling curves: the cost of a request as something else grows."""

from __future__ import annotations

from collections import defaultdict
from html import escape

from kafka_cy.bench import figures
from kafka_cy.bench.figures import Figure, Summary, ms_text, number_text, ratio_text, summary
from kafka_cy.bench.report_html.parts import spread_span
from kafka_cy.bench.results import Results, Run
from kafka_cy.charts.axis import Axis, Scale
from kafka_cy.charts.cards import line_card, table
from kafka_cy.charts.series import Series

Curve = dict[float, list[Run]]

BASE_TEXT = (
    "(base): the same load, in turn with the other one, against a broker where nothing has grown; for record sizes, with 100 B "
    "records. Where both lines move, the machine did."
)


def scaling_section(first: Results, second: Results | None) -> str:
    """One section for each curve in one or both files."""
    curves: dict[str, dict[str, Curve]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for file, results in (("", first),) if second is None else (("A: ", first), ("B: ", second)):
        for run in results.runs:
            at = run.options.get("at")
            if isinstance(at, bool) or not isinstance(at, int | float):
                continue
            role = run.options.get("role")
            name = f"{file}{run.label}{' (base)' if role == 'base' else ''}"
            curves[str(run.options.get("curve", "size"))][name][float(at)].append(run)
    return "".join(curve_section(name, lines) for name, lines in curves.items())


def curve_section(name: str, lines: dict[str, Curve]) -> str:
    """Plots of cost and latency over the axis of the curve, and a table of the figures."""
    places = sorted({at for curve in lines.values() for at in curve})
    scale: Scale = "log" if places[0] > 0 and places[-1] / places[0] > 8 else "linear"
    x = Axis(name, place_text, scale)
    cost, latency = [], []
    for color, (line, curve) in enumerate(lines.items()):
        cost.append(Series(line, medians(curve, figures.cpu_us_per_request), color, marked=True))
        latency.append(Series(line, medians(curve, figures.percentile_of("p99_ms")), color, marked=True))
    rows = []
    for line, curve in lines.items():
        first = None
        for at in sorted(curve):
            found = summary(figures.cpu_us_per_request(run) for run in curve[at])
            first = first or found
            rows.append(
                [
                    escape(line),
                    place_text(at),
                    summary_cell(found),
                    ratio_text(found.median / first.median if found and first and first.median else None),
                    number_text(figures.median(figures.requests_per_s(run) for run in curve[at])),
                    ms_text(figures.median(figures.percentile_of("p99_ms")(run) for run in curve[at])),
                ]
            )
    columns = ["load", name, "CPU us/request", "relative to the first", "requests/s", "p99"]
    base = f'<p class="quiet">{BASE_TEXT}</p>' if any(line.endswith(" (base)") for line in lines) else ""
    return (
        f'<h2>Scaling: {escape(name)}</h2><div class="plots">'
        + line_card("CPU time of the broker per request", cost, x, Axis("us", number_text))
        + line_card("p99 latency", latency, x, Axis("latency", ms_text))
        + f'</div><div class="card">{table(columns, rows)}{base}</div>'
    )


def place_text(value: float) -> str:
    """The text of a position on the curve's axis."""
    return f"{value:,.0f}" if value.is_integer() else number_text(value)


def medians(curve: Curve, figure: Figure) -> list[tuple[float, float]]:
    """(position, median of the rounds) for each position that has a figure."""
    found = [(at, summary(figure(run) for run in curve[at])) for at in sorted(curve)]
    return [(at, each.median) for at, each in found if each]


def summary_cell(found: Summary | None) -> str:
    """The median with its spread."""
    if found is None:
        return "-"
    return f"{number_text(found.median)}{spread_span(found, number_text)}"
