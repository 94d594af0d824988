"""One panel as an SVG element of a given size."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana.queries import legend_of
from grafana.render.numbers import in_unit
from kafka_cy.charts.axis import TIME_STEPS, Axis
from kafka_cy.charts.bar_chart import Bar, bar_panel
from kafka_cy.charts.line_chart import line_panel
from kafka_cy.charts.series import Series
from kafka_cy.charts.text import HEADING_SIZE, text_element, text_width
from kafka_cy.tools.prometheus import TimeSeries

SERIES_MAX = 24
FILLED_MAX = 4  # lines; the areas of more would hide each other
LEGEND_ROWS_MAX = 3
ROW_HEIGHT = 20
COLUMN_GAP = 10
VALUE_SIZE = 28  # of the one number of a panel
# Grafana's colour -> the class in kafka_cy/charts/charts.css.
NAMED_COLOURS = {"green": "good", "red": "bad", "orange": "warn", "blue": "c0"}


@dataclass(frozen=True)
class Answer:
    """What Prometheus gave for one target of the panel."""

    legend: str
    series: Sequence[TimeSeries]


def draw(panel: Mapping[str, Any], answers: Sequence[Answer], width: int, height: int) -> str:
    """The panel with its frame."""
    kind = panel["type"]
    if kind == "row":
        inside = text_element(8, height / 2 + 5, f"▸ {panel['title']}", "heading", width=width - 16)
    elif not any(answer.series for answer in answers):
        text = panel["fieldConfig"]["defaults"].get("noValue", "no data")
        middle = text_element(width / 2, height / 2 + 4, text, "name", anchor="middle", width=width - 16)
        inside = _heading(panel, width) + middle
    elif kind == "timeseries":
        inside = _chart(panel, answers, width, height)
    elif kind == "stat":
        inside = _number(panel, answers[0], width, height)
    elif kind == "bargauge":
        inside = _bars(panel, answers[0], width, height)
    elif kind == "table":
        inside = _table(panel, answers, width, height)
    else:
        raise ValueError(f"panels of type {kind} cannot be drawn")
    return f'<g><rect class="frame" width="{width}" height="{height}" rx="3"/>{inside}</g>'


def _heading(panel: Mapping[str, Any], width: int) -> str:
    size = HEADING_SIZE * min(1.0, (width - 16) / text_width(panel["title"], HEADING_SIZE, bold=True))
    return text_element(8, 18, panel["title"], "heading", size=round(size, 1))


def _unit(panel: Mapping[str, Any]) -> str:
    return str(panel["fieldConfig"]["defaults"].get("unit", "short"))


def _named(answers: Sequence[Answer]) -> list[tuple[str, TimeSeries]]:
    """(legend, series), the ones with the largest last value first when there are too many."""
    named = [(legend_of(answer.legend, each.labels), each) for answer in answers for each in answer.series]
    if len(named) > SERIES_MAX:
        named.sort(key=lambda pair: pair[1].points[-1][1], reverse=True)
    return named[:SERIES_MAX]


def _with_gaps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points, with a missing one where Prometheus had none, so that no line is drawn across."""
    distances = [right[0] - left[0] for left, right in itertools.pairwise(points)]
    step = min(distances, default=0.0)
    whole = list(points[:1])
    for distance, point in zip(distances, points[1:], strict=True):
        if distance > 1.5 * step:
            whole.append((point[0] - step, math.nan))
        whole.append(point)
    return whole


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S" if seconds % 60 else "%H:%M", time.gmtime(seconds))


def _chart(panel: Mapping[str, Any], answers: Sequence[Answer], width: int, height: int) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    unit = _unit(panel)
    stacked = defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal"
    named = _named(answers)
    below: dict[float, float] = {}  # what is stacked so far
    series = []
    for color, (name, each) in enumerate(named):
        points = _with_gaps(each.points)
        if not stacked:
            series.append(Series(name, points, color, filled=len(named) <= FILLED_MAX))
            continue
        base = [below.get(moment, 0.0) for moment, _ in points]
        points = [(moment, lower + value) for (moment, value), lower in zip(points, base, strict=True)]
        below.update((moment, value) for moment, value in points if not math.isnan(value))
        series.append(Series(name, points, color, filled=True, base=base))
    steps = TIME_STEPS if unit == "s" else ()
    y = Axis("", lambda value: in_unit(unit, value), least=0.0, most=defaults.get("max"), steps=steps)
    moments = [moment for each in series for moment, _ in each.points]
    x = Axis("", _clock, least=min(moments), most=max(moments), steps=TIME_STEPS)
    return line_panel(panel["title"], series, x, y, width=width, height=height, rows_max=LEGEND_ROWS_MAX)


def _number(panel: Mapping[str, Any], answer: Answer, width: int, height: int) -> str:
    points = answer.series[0].points
    value = points[-1][1]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    colour = next(step["color"] for step in reversed(steps) if step["value"] is None or value >= step["value"])
    text = in_unit(_unit(panel), value)
    for mapping in panel["fieldConfig"]["defaults"].get("mappings", ()):
        if (state := mapping["options"].get(f"{value:g}")) is not None:
            text, colour = state["text"], state["color"]
    kind = NAMED_COLOURS[colour]
    size = min(VALUE_SIZE, VALUE_SIZE * (width - 16) / text_width(text, VALUE_SIZE, bold=True))
    shown = text_element(width / 2, height / 2 + 16, text, f"bold {kind}", anchor="middle", size=round(size, 1))
    return _heading(panel, width) + _course(points, kind, width, height) + shown


def _course(points: Sequence[tuple[float, float]], kind: str, width: int, height: int) -> str:
    """The course of a number behind it, at the bottom of its panel."""
    known = [y for _, y in points if not math.isnan(y)]
    if len(points) < 2 or not known:
        return ""
    least, most = min(known), max(known)
    first, last = points[0][0], points[-1][0]
    floor = height - 6
    course = " ".join(
        f"{4 + (x - first) / ((last - first) or 1) * (width - 8):.1f},"
        f"{floor - (y - least) / ((most - least) or 1) * height * 0.25:.1f}"
        for x, y in points
        if not math.isnan(y)
    )
    return f'<polygon class="area fill {kind}" points="4,{floor} {course} {width - 4},{floor}"/>'


def _bars(panel: Mapping[str, Any], answer: Answer, width: int, height: int) -> str:
    unit = _unit(panel)
    values = sorted(
        ((each.points[-1][1], legend_of(answer.legend, each.labels)) for each in answer.series), reverse=True
    )
    bars = [Bar(name, value, in_unit(unit, value)) for value, name in values]
    return bar_panel(panel["title"], bars, width=width, height=height)


def _table(panel: Mapping[str, Any], answers: Sequence[Answer], width: int, height: int) -> str:
    renamed = panel["transformations"][1]["options"]
    names = list(renamed["renameByName"].values())
    order = sorted(renamed["indexByName"], key=renamed["indexByName"].__getitem__)
    labels = [name for name in order if name not in renamed["renameByName"]]
    units = {
        override["matcher"]["options"]: each["value"]
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
    }
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for name, answer in zip(names, answers, strict=True):
        for each in answer.series:
            key = tuple(each.labels.get(label, "") for label in labels)
            rows.setdefault(key, {})[name] = each.points[-1][1]
    shown = sorted(rows.items(), key=lambda row: row[1].get(names[0], 0.0), reverse=True)
    cells = [[*labels, *names]]
    for key, values in shown[: (height - 34) // ROW_HEIGHT - 1]:
        cells.append([*key, *(in_unit(units[name], values[name]) if name in values else "" for name in names)])
    widths = _column_widths(cells, len(labels), width - 16)
    parts = [_heading(panel, width)]
    for index, row in enumerate(cells):
        y = 44 + index * ROW_HEIGHT
        x = 8.0
        for column, text in enumerate(row):
            room = widths[column] - COLUMN_GAP
            if column < len(labels):
                parts.append(text_element(x, y, text, "label" if index else "bold", width=room))
            else:
                parts.append(text_element(x + room, y, text, "label" if index else "bold", anchor="end", width=room))
            x += widths[column]
        parts.append(f'<path class="grid" d="M8 {y + 5}H{width - 8}"/>')
    return "".join(parts)


def _column_widths(cells: Sequence[Sequence[str]], labels: int, width: float) -> list[float]:
    """The width of each column; where there is too little room, only the first `labels` columns are cut, not figures."""
    widths = [
        max(text_width(row[column], bold=index == 0) for index, row in enumerate(cells)) + COLUMN_GAP
        for column in range(len(cells[0]))
    ]
    figures = sum(widths[labels:])
    names = sum(widths[:labels])
    if names + figures <= width or figures >= width:
        return [each * width / (names + figures) for each in widths]
    return [each * (width - figures) / names for each in widths[:labels]] + widths[labels:]
