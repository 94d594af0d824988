"""Line charts and scatter plots as SVG text. They contain no script; the style sheet of the page defines the colours.

The data comes from files, so every text is escaped and every number is checked to be finite.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Literal

WIDTH, WIDE, HEIGHT = 640, 1160, 300
LEFT, RIGHT, TOP, BOTTOM = 66, 30, 26, 44
#: A series with more points is thinned out: a screen could not show them separately.
POINTS_MAX = 240
#: The style has the classes `c0` to `c7`; further series use the same colours with dashed lines.
COLORS = 8

Scale = Literal["linear", "binary", "log", "percentile"]
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line of points (x, y); with `joined` false, separate points. `notes` are tooltips that replace the default ones."""

    name: str
    points: list[Point]
    color: int
    faint: bool = False
    joined: bool = True
    marked: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Axis:
    """An axis. "binary" is linear with ticks at powers of two, for memory; "percentile" takes fractions below 1 and
    gives every additional nine the same width."""

    label: str
    text: Callable[[float], str]
    scale: Scale = "linear"


def percent_text(fraction: float) -> str:
    """0.999 as "99.9%"."""
    return f"{fraction * 100:.10g}%"


class _Projection:
    """Converts values of one axis to pixels."""

    def __init__(self, axis: Axis, values: list[float], start: float, end: float) -> None:
        self.axis = axis
        places = [self._place(value) for value in values]
        low, high = min(places), max(places)
        if axis.scale in ("linear", "binary"):
            low = min(0.0, low)  # an axis that does not start at 0 would exaggerate differences between rates or sizes
        elif axis.scale == "percentile":
            low = 0.0
        if high - low < 1e-9 * max(1.0, abs(high)):
            low, high = (low - 0.5, high + 0.5) if axis.scale == "log" else (low, high + (abs(high) or 1.0))
        elif axis.scale != "percentile":
            margin = (high - low) * 0.06
            low, high = (low - margin if axis.scale == "log" or low < 0 else low), high + margin
        self.low, self.high, self.start, self.end = low, high, start, end

    def _place(self, value: float) -> float:
        if self.axis.scale == "log":
            return math.log10(value)
        if self.axis.scale == "percentile":
            return -math.log10(1 - value)
        return value

    def pixel(self, value: float) -> float:
        share = (self._place(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        if self.axis.scale == "percentile":
            return [0.0, 0.5, *(1 - 10.0**-nines for nines in range(1, 9) if nines <= self.high + 1e-9)]
        if self.axis.scale == "log":
            steps = (1, 2, 5) if self.high - self.low < 2.2 else (1,)
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            thin = max(1, math.ceil(len(decades) / 8))
            ticks = [step * 10.0**decade for decade in decades if decade % thin == 0 for step in steps]
            return [tick for tick in ticks if self.low - 1e-9 <= math.log10(tick) <= self.high + 1e-9]
        least = (self.high - self.low) / 5
        step = 2.0 ** math.ceil(math.log2(least)) if self.axis.scale == "binary" else _nice_step(least)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _nice_step(least: float) -> float:
    decade = 10.0 ** math.floor(math.log10(least))
    return next(step * decade for step in (1, 2, 5, 10) if step * decade >= least * (1 - 1e-9))


def _drawable(axis: Axis, value: float) -> bool:
    if not math.isfinite(value) or abs(value) > 1e300:
        return False
    return (axis.scale != "log" or value > 1e-12) and (axis.scale != "percentile" or 0 <= value < 1)


def _thinned(items: list[int]) -> list[int]:
    """At most POINTS_MAX of the items, including the first and the last."""
    if len(items) <= POINTS_MAX:
        return items
    step = (len(items) - 1) / (POINTS_MAX - 1)
    return [items[round(index * step)] for index in range(POINTS_MAX)]


def chart(title: str, series: list[Series], x: Axis, y: Axis, width: int = WIDTH) -> str:
    """The SVG, or a sentence when there is nothing to draw. Points that a logarithmic axis cannot show are left out."""
    kept = []
    for each in series:
        there = [i for i, (at, value) in enumerate(each.points) if _drawable(x, at) and _drawable(y, value)]
        if there:
            kept.append((each, _thinned(there)))
    if not kept:
        return '<p class="none">There are no measurements for this plot.</p>'
    across = _Projection(x, [each.points[i][0] for each, there in kept for i in there], LEFT, width - RIGHT)
    up = _Projection(y, [each.points[i][1] for each, there in kept for i in there], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        *_grid(across, up),
    ]
    for each, there in kept:
        color = f"c{each.color % COLORS}{' dashed' if each.color >= COLORS else ''}{' faint' if each.faint else ''}"
        pixels = [(across.pixel(each.points[i][0]), up.pixel(each.points[i][1])) for i in there]
        if each.joined and len(pixels) > 1:
            parts.append(f'<polyline class="line {color}" points="{" ".join(f"{a},{b}" for a, b in pixels)}"/>')
        if each.faint:
            continue
        visible = each.marked or not each.joined or len(pixels) < 3
        for i, (a, b) in zip(there, pixels, strict=True):
            at, value = each.points[i]
            note = each.notes[i] if each.notes else f"{each.name}: {x.text(at)}, {y.text(value)}"
            kind = "dot" if visible else "spot"
            radius = 4 if visible else 3
            parts.append(
                f'<circle class="{kind} {color}" cx="{a}" cy="{b}" r="{radius}"><title>{escape(note)}</title></circle>'
            )
    parts.append("</svg>")
    return "\n".join(parts)


def _grid(across: _Projection, up: _Projection) -> list[str]:
    bottom, right = up.start, across.end
    parts = []
    for tick in up.ticks():
        b = up.pixel(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{b}" y2="{b}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{b + 4}" text-anchor="end">{tick_text(up.axis, tick)}</text>'
        )
    for tick in across.ticks():
        a = across.pixel(tick)
        parts.append(f'<line class="grid" x1="{a}" x2="{a}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{a}" y="{bottom + 17}" text-anchor="middle">{tick_text(across.axis, tick)}</text>'
        )
    middle = (LEFT + right) / 2
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(
        f'<text class="name" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(across.axis.label)}</text>'
    )
    parts.append(f'<text class="name" x="8" y="12">{escape(up.axis.label)}</text>')
    return parts


def tick_text(axis: Axis, value: float) -> str:
    """The value of a tick without trailing zeros: 1.00 ms as "1 ms"."""
    return escape(re.sub(r"(\.\d*?)0+(?!\d)", lambda found: found[1].rstrip("."), axis.text(value)))


def legend(series: list[Series]) -> str:
    """The names with their colours; empty for a single series."""
    named = {each.name: each for each in reversed(series) if not each.faint}
    if len(named) < 2:
        return ""
    items = [
        f'<li><svg class="key" viewBox="0 0 22 10">{_key(each)}</svg>{escape(each.name)}</li>'
        for each in reversed(named.values())
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _key(series: Series) -> str:
    color = f"c{series.color % COLORS}"
    if not series.joined:
        return f'<circle class="{color}" cx="11" cy="5" r="4"/>'
    return f'<line class="line {color}{" dashed" if series.color >= COLORS else ""}" x1="1" x2="21" y1="5" y2="5"/>'
