"""Line charts as SVG text, without scripts, external fonts or external files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

# Distinguishable with colour blindness, readable on white and on black (Okabe and Ito).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00", "#7f7f7f")
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 72, 16, 34, 44
MARGIN_TICKS = 26  # below, without a label
LEGEND_LINE = 17
CHARACTER_WIDTH = 6.6
LEGEND_ROWS_MAX = 3
TICKS = 5

Format = Callable[[float], str]


@dataclass(frozen=True)
class Series:
    """Points of one line. `filled` colours the area below it, `covering` also hides earlier drawings there; `dashed` is
    for limits."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    dashed: bool = False
    filled: bool = False
    covering: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis: its label, its number format, its range (default: that of the points), and the allowed tick
    distances (default: 1, 2 or 5 times a power of ten)."""

    label: str = ""
    form: Format = "{:g}".format
    least: float | None = None
    most: float | None = None
    steps: Sequence[float] = ()


# Steps for seconds, up to a week.
TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800)


def nice_ticks(least: float, most: float, steps: Sequence[float] = (), count: int = TICKS) -> list[float]:
    """At most about `count` round numbers from `least` to `most`, one of `steps` apart if one is large enough."""
    if not most > least:
        return [least]
    rough = (most - least) / count
    power = 10.0 ** math.floor(math.log10(rough))
    usual = [factor * power for factor in (1, 2, 5, 10)]
    possible = steps if steps and steps[0] <= rough <= steps[-1] else usual
    step = next(each for each in possible if each >= rough * (1 - 1e-9))
    first = math.ceil(least / step - 1e-9)
    return [index * step for index in range(first, math.floor(most / step + 1e-9) + 1)]


def line_chart(
    title: str, series: Sequence[Series], x_axis: Axis, y_axis: Axis, *, width: int = 640, height: int = 300
) -> str:
    """The chart as an `<svg>` element; points that are not finite interrupt their line.

    The legend takes its space from `height`; entries that do not fit in LEGEND_ROWS_MAX rows are omitted.
    """
    legend = _legend_rows([each.name for each in series], width)[:LEGEND_ROWS_MAX]
    legend_top = height - LEGEND_LINE * len(legend)
    xs = [x for each in series for x in each.xs if math.isfinite(x)]
    ys = [y for each in series for y in each.ys if math.isfinite(y)]
    left = _bound(x_axis.least, min(xs, default=0.0))
    right = _bound(x_axis.most, max(xs, default=1.0))
    bottom = _bound(y_axis.least, min(0.0, *ys) if ys else 0.0)
    top = _bound(y_axis.most, max(ys, default=1.0))
    if not right > left:
        right = left + 1.0
    if not top > bottom:
        top = bottom + (abs(bottom) or 1.0)
    if y_axis.most is None:
        top += (top - bottom) * 0.05
    y_labels = {tick: y_axis.form(tick) for tick in nice_ticks(bottom, top, y_axis.steps)}
    margin_left = max(MARGIN_LEFT, 10 + CHARACTER_WIDTH * max((len(label) for label in y_labels.values()), default=0))
    plot_right, plot_bottom = width - MARGIN_RIGHT, legend_top - (MARGIN_BOTTOM if x_axis.label else MARGIN_TICKS)

    def x_at(x: float) -> float:
        return margin_left + (x - left) / (right - left) * (plot_right - margin_left)

    def y_at(y: float) -> float:
        return plot_bottom - (y - bottom) / (top - bottom) * (plot_bottom - MARGIN_TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title, quote=True)}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="11" '
        'fill="currentColor">',
        f'<text x="8" y="18" font-size="13" font-weight="bold">{escape(title)}</text>',
    ]
    for tick, label in y_labels.items():
        y = y_at(tick)
        parts.append(f'<path d="M{margin_left:.1f} {y:.1f}H{plot_right}" stroke="currentColor" stroke-opacity="0.15"/>')
        parts.append(f'<text x="{margin_left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    for tick in nice_ticks(left, right, x_axis.steps):
        x = x_at(tick)
        parts.append(f'<path d="M{x:.1f} {plot_bottom}v4" stroke="currentColor"/>')
        label = x_axis.form(tick)
        middle = min(x, width - 2 - CHARACTER_WIDTH * len(label) / 2)
        parts.append(f'<text x="{middle:.1f}" y="{plot_bottom + 16}" text-anchor="middle">{escape(label)}</text>')
    parts.append(f'<path d="M{margin_left:.1f} {plot_bottom}H{plot_right}" stroke="currentColor"/>')
    middle = (margin_left + plot_right) / 2
    parts.append(f'<text x="{middle:.1f}" y="{plot_bottom + 32}" text-anchor="middle">{escape(x_axis.label)}</text>')
    if y_axis.label:
        parts.append(f'<text x="{plot_right}" y="18" text-anchor="end">{escape(y_axis.label)}</text>')
    for index, each in enumerate(series):
        colour = COLOURS[index % len(COLOURS)]
        for run in _runs(each, (left, right), (bottom, top)):
            points = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in run)
            if each.filled:
                floor = y_at(max(bottom, 0.0))
                area = f"{x_at(run[0][0]):.1f},{floor:.1f} {points} {x_at(run[-1][0]):.1f},{floor:.1f}"
                if each.covering:
                    parts.append(f'<polygon points="{area}" fill="#fff"/>')
                parts.append(
                    f'<polygon points="{area}" fill="{colour}" fill-opacity="{0.35 if each.covering else 0.15}"/>'
                )
            dash = ' stroke-dasharray="6 4"' if each.dashed else ""
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
    for row, entries in enumerate(legend):
        y = legend_top + LEGEND_LINE * row + 8
        for offset, index in entries:
            colour = COLOURS[index % len(COLOURS)]
            parts.append(f'<path d="M{offset} {y - 4}h16" stroke="{colour}" stroke-width="3"/>')
            parts.append(f'<text x="{offset + 21}" y="{y}">{escape(series[index].name)}</text>')
    parts.append("</svg>")
    return "\n".join(parts)


def _bound(given: float | None, found: float) -> float:
    return found if given is None else given


def _legend_rows(names: list[str], width: int) -> list[list[tuple[float, int]]]:
    """(x, index of the series) of each legend entry, row by row."""
    rows: list[list[tuple[float, int]]] = [[]]
    x = 8.0
    for index, name in enumerate(names):
        if not name:
            continue
        room = 34 + CHARACTER_WIDTH * len(name)
        if rows[-1] and x + room > width:
            rows.append([])
            x = 8.0
        rows[-1].append((x, index))
        x += room
    return rows if rows[0] else []


def _runs(
    series: Series, x_range: tuple[float, float], y_range: tuple[float, float]
) -> list[list[tuple[float, float]]]:
    """Runs of consecutive points inside the plot; y is clipped at its borders."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(series.xs, series.ys, strict=True):
        if math.isfinite(y) and x_range[0] <= x <= x_range[1]:
            runs[-1].append((x, min(max(y, y_range[0]), y_range[1])))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
