"""One panel as an SVG element of a given size."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from grafana.queries import legend_of
from grafana.render.numbers import in_unit
from kafka_cy.sizing.charts import CHARACTER_WIDTH, COLOURS, TIME_STEPS, Axis, Series, line_chart
from kafka_cy.tools.prometheus import TimeSeries

SERIES_MAX = 24
FILLED_MAX = 4  # lines; the areas of more would hide each other
ROW_HEIGHT = 20
BOLD_WIDTH = 0.68  # of a bold character, times the size of the font
NAMED_COLOURS = {"green": "#3a8f3a", "red": "#d0312d", "orange": "#d97a00", "blue": "#0072b2"}


@dataclass(frozen=True)
class Answer:
    """What Prometheus gave for one target of the panel."""

    legend: str
    series: Sequence[TimeSeries]


def draw(panel: Mapping[str, Any], answers: Sequence[Answer], width: int, height: int) -> str:
    """The panel with its frame."""
    kind = panel["type"]
    if kind == "row":
        inside = _text(8, height / 2 + 5, f"▸ {panel['title']}", size=13, font_weight="bold")
    elif not any(answer.series for answer in answers):
        text = panel["fieldConfig"]["defaults"].get("noValue", "no data")
        inside = _heading(panel, width) + _text(width / 2, height / 2, text, size=13, anchor="middle", opacity=0.5)
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
    frame = f'<rect width="{width}" height="{height}" rx="3" fill="none" stroke="currentColor" stroke-opacity="0.2"/>'
    return f"<g>{frame}{inside}</g>"


def _text(
    x: float, y: float, text: str, *, size: float = 11, anchor: str = "start", opacity: float = 1, **more: str
) -> str:
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill-opacity="{opacity}"{extra}>'
        f"{escape(text)}</text>"
    )


def _heading(panel: Mapping[str, Any], width: int) -> str:
    size = min(13.0, (width - 16) / (BOLD_WIDTH * len(panel["title"])))
    return _text(8, 18, panel["title"], size=round(size, 1), font_weight="bold")


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
    base: dict[float, float] = {}
    series = []
    for name, each in named:
        if stacked:
            for moment, value in each.points:
                base[moment] = base.get(moment, 0.0) + (value if value == value else 0.0)
        points = _with_gaps([(moment, base[moment] if stacked else value) for moment, value in each.points])
        filled = stacked or len(named) <= FILLED_MAX
        xs, ys = [x for x, _ in points], [y for _, y in points]
        series.append(Series(name, xs, ys, filled=filled, covering=stacked))
    if stacked:
        series.reverse()  # the sum of all first, so that each area covers the part that is not its own
    steps = TIME_STEPS if unit == "s" else ()
    y_axis = Axis("", lambda value: in_unit(unit, value), least=0.0, most=defaults.get("max"), steps=steps)
    return line_chart(panel["title"], series, Axis("", _clock, steps=TIME_STEPS), y_axis, width=width, height=height)


def _number(panel: Mapping[str, Any], answer: Answer, width: int, height: int) -> str:
    points = answer.series[0].points
    value = points[-1][1]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    colour = next(step["color"] for step in reversed(steps) if step["value"] is None or value >= step["value"])
    parts = [_heading(panel, width)]
    known = [y for _, y in points if y == y]
    if len(points) > 1 and known:
        least, most = min(known), max(known)
        first, last = points[0][0], points[-1][0]
        floor = height - 6
        course = " ".join(
            f"{4 + (x - first) / ((last - first) or 1) * (width - 8):.1f},"
            f"{floor - (y - least) / ((most - least) or 1) * height * 0.25:.1f}"
            for x, y in points
            if y == y
        )
        area = f"4,{floor} {course} {width - 4},{floor}"
        parts.append(f'<polygon points="{area}" fill="{NAMED_COLOURS[colour]}" fill-opacity="0.12"/>')
    text = in_unit(_unit(panel), value)
    for mapping in panel["fieldConfig"]["defaults"].get("mappings", ()):
        if (state := mapping["options"].get(f"{value:g}")) is not None:
            text, colour = state["text"], state["color"]
    shown = _text(
        width / 2, height / 2 + 16, text, size=28, anchor="middle", fill=NAMED_COLOURS[colour], font_weight="bold"
    )
    return "".join((*parts, shown))


def _bars(panel: Mapping[str, Any], answer: Answer, width: int, height: int) -> str:
    unit = _unit(panel)
    values = sorted(
        ((each.points[-1][1], legend_of(answer.legend, each.labels)) for each in answer.series), reverse=True
    )
    values = values[: (height - 30) // ROW_HEIGHT]
    most = max((value for value, _ in values), default=0.0) or 1.0
    left = min(24 + CHARACTER_WIDTH * max(len(name) for _, name in values), width * 0.6)
    parts = [_heading(panel, width)]
    for index, (value, name) in enumerate(values):
        y = 34 + index * ROW_HEIGHT
        length = max(value, 0.0) / most * (width - left - 90)
        parts.append(_text(left - 8, y + 11, _cut(name, left - 16), anchor="end"))
        parts.append(
            f'<rect x="{left:.1f}" y="{y}" width="{length:.1f}" height="14" fill="{COLOURS[0]}" fill-opacity="0.7"/>'
        )
        parts.append(_text(left + length + 6, y + 11, in_unit(unit, value)))
    return "".join(parts)


def _cut(text: str, width: float) -> str:
    """`text`, or what of it fits."""
    most = max(int(width / CHARACTER_WIDTH), 2)
    return text if len(text) <= most else text[: most - 1] + "…"


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
    widths = [max(len(row[column]) for row in cells) + 3 for column in range(len(cells[0]))]
    scale = (width - 16) / sum(widths)
    parts = [_heading(panel, width)]
    for index, row in enumerate(cells):
        y = 44 + index * ROW_HEIGHT
        x = 8.0
        for column, text in enumerate(row):
            parts.append(
                _text(x, y, _cut(text, widths[column] * scale), font_weight="bold" if index == 0 else "normal")
            )
            x += widths[column] * scale
        parts.append(f'<path d="M8 {y + 5}H{width - 8}" stroke="currentColor" stroke-opacity="0.15"/>')
    return "".join(parts)
