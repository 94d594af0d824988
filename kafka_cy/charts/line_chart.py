"""Line charts and scatter plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kafka_cy.charts import legend
from kafka_cy.charts.axis import Axis, Projection
from kafka_cy.charts.palette import class_of
from kafka_cy.charts.series import Series, runs_of
from kafka_cy.charts.svg import WIDTH, chart_svg
from kafka_cy.charts.text import escaped, text_element, text_width

HEIGHT = 300  # without the legend
HEADING_HEIGHT, LABEL_HEIGHT, TICKS_HEIGHT = 26, 20, 24
TICK_GAP = 8  # between a tick's text and the plot
LABEL_DISTANCE = 12  # between two labels of an axis


@dataclass(frozen=True)
class Frame:
    """The space of the lines, in pixels, and how values get there."""

    left: float
    right: float
    top: float
    bottom: float
    across: Projection
    up: Projection


Drawn = list[tuple[Series, list[list[int]]]]


def line_chart(
    title: str, series: Sequence[Series], x: Axis, y: Axis, *, width: int = WIDTH, height: int = HEIGHT
) -> str:
    """The chart of a page, which has its title above it: an `<svg>`, or a sentence when there is nothing to draw.

    `height` is without the legend, which takes the rows that it needs. Points that an axis cannot show are left out.
    """
    drawn = _drawn(series, x, y)
    if not drawn:
        return '<p class="none">There are no measurements for this plot.</p>'
    rows = legend.rows(series, width)
    parts = [
        *_parts(drawn, x, y, 6, width, height, notes=True),
        *legend.elements(series, rows, height),
    ]
    return chart_svg("chart", title, _description(drawn, x, y), width, height + legend.height(rows), parts)


def line_panel(title: str, series: Sequence[Series], x: Axis, y: Axis, *, width: int, height: int, rows_max: int) -> str:
    """The chart as a part of a picture, with its title and at most `rows_max` rows of legend, in `height` altogether."""
    drawn = _drawn(series, x, y)
    rows = legend.rows(series, width, rows_max)
    bottom = height - legend.height(rows)
    parts = [text_element(8, 18, title, "heading", width=width - 16)]
    if drawn:
        parts += _parts(drawn, x, y, HEADING_HEIGHT, width, bottom, notes=False)
    parts += legend.elements(series, rows, bottom)
    return "\n".join(parts)


def _drawn(series: Sequence[Series], x: Axis, y: Axis) -> Drawn:
    found = [(each, runs_of(each, x, y)) for each in series]
    return [(each, runs) for each, runs in found if runs]


def _parts(drawn: Drawn, x: Axis, y: Axis, top: float, width: float, bottom: float, *, notes: bool) -> list[str]:
    """Grid, axes and lines between `top` and `bottom`."""
    frame = _frame(drawn, x, y, top, width, bottom)
    parts = _grid(frame, top, bottom)
    for each, runs in drawn:
        parts += _series(each, runs, frame)
        if notes and not each.faint and not each.dashed:
            parts += _spots(each, runs, frame)
    return parts


def _frame(drawn: Drawn, x: Axis, y: Axis, top: float, width: float, bottom: float) -> Frame:
    indexes = [(each, index) for each, runs in drawn for run in runs for index in run]
    values = [each.points[index][1] for each, index in indexes]
    values += [each.base[index] for each, index in indexes if each.base is not None]
    places = [each.points[index][0] for each, index in indexes]
    top += LABEL_HEIGHT if y.label else 6
    bottom -= TICKS_HEIGHT + (LABEL_HEIGHT if x.label else 0)
    up = Projection(y, values, bottom, top)
    texts = [y.tick_text(tick) for tick in up.ticks(_rows_of(bottom - top))]
    left = max(44.0, 8 + TICK_GAP + max((text_width(text) for text in texts), default=0.0))
    ends = Projection(x, places, 0, 1).ticks(6)
    right = width - max(14.0, 4 + text_width(x.tick_text(ends[-1])) / 2 if ends else 0.0)
    return Frame(left, right, top, bottom, Projection(x, places, left, right), up)


def _rows_of(pixels: float) -> int:
    return max(2, min(6, int(pixels / 34)))


def _grid(frame: Frame, top: float, bottom: float) -> list[str]:
    parts = []
    lowest = float("inf")
    for tick in frame.up.ticks(_rows_of(frame.bottom - frame.top)):
        b = frame.up.pixel(tick)
        parts.append(f'<line class="grid" x1="{frame.left:.1f}" x2="{frame.right:.1f}" y1="{b}" y2="{b}"/>')
        if b <= lowest - 15:
            parts.append(text_element(frame.left - TICK_GAP, b + 4, frame.up.axis.tick_text(tick), "tick", anchor="end"))
            lowest = b
    parts += _x_ticks(frame)
    bottom_line = f'x1="{frame.left:.1f}" x2="{frame.right:.1f}" y1="{frame.bottom:.1f}" y2="{frame.bottom:.1f}"'
    parts.append(f'<line class="axis" {bottom_line}/>')
    x, y = frame.across.axis, frame.up.axis
    middle = (frame.left + frame.right) / 2
    if x.label:
        room = frame.right - frame.left
        parts.append(text_element(middle, bottom - 8, x.label, "name", anchor="middle", width=room))
    if y.label:
        parts.append(text_element(8, top + 10, y.label, "name", width=frame.right - 8))
    return parts


def _x_ticks(frame: Frame) -> list[str]:
    """The grid lines of the x axis; a label that would touch the one before it is left out."""
    axis = frame.across.axis
    count = 6
    ticks = frame.across.ticks(count)
    while count > 2 and sum(text_width(axis.tick_text(tick)) + LABEL_DISTANCE for tick in ticks) > frame.right - frame.left:
        count -= 1
        ticks = frame.across.ticks(count)
    parts = []
    end = -1e9
    for tick in ticks:
        a, text = frame.across.pixel(tick), axis.tick_text(tick)
        parts.append(f'<line class="grid" x1="{a}" x2="{a}" y1="{frame.top:.1f}" y2="{frame.bottom:.1f}"/>')
        half = text_width(text) / 2
        if a - half >= end + LABEL_DISTANCE:
            parts.append(text_element(a, frame.bottom + 16, text, "tick", anchor="middle"))
            end = a + half
    return parts


def _series(each: Series, runs: list[list[int]], frame: Frame) -> list[str]:
    color = class_of(each.color) + (" dashed" if each.dashed and "dashed" not in class_of(each.color) else "")
    faint = " faint" if each.faint else ""
    parts = []
    for run in runs:
        if not each.joined or len(run) < 2:
            continue
        points = [_pixels(each, index, frame) for index in run]
        line = " ".join(f"{a},{b}" for a, b in points)
        if each.filled:
            lower = [0.0 if each.base is None else each.base[index] for index in run]
            back = [f"{a},{frame.up.pixel(value)}" for (a, _), value in zip(points, lower, strict=True)]
            kind = "area" if each.base is None else "area stacked"
            if each.base is not None and all(each.points[index][1] == each.base[index] for index in run):
                continue  # nothing of it is in the stack: its line would hide that of another
            parts.append(f'<polygon class="{kind} fill {color}" points="{line} {" ".join(reversed(back))}"/>')
        parts.append(f'<polyline class="line stroke {color}{faint}" points="{line}"/>')
    return parts


def _spots(each: Series, runs: list[list[int]], frame: Frame) -> list[str]:
    """The points with their tooltips, invisible where a line shows them."""
    x, y = frame.across.axis, frame.up.axis
    visible = each.marked or not each.joined or sum(map(len, runs)) < 3
    parts = []
    for index in (index for run in runs for index in run):
        at, value = each.points[index]
        a, b = _pixels(each, index, frame)
        note = each.notes[index] if each.notes else f"{each.name}: {x.text(at)}, {y.text(value)}"
        kind, radius = ("dot", 4) if visible else ("spot", 3)
        parts.append(
            f'<circle class="{kind} fill {class_of(each.color)}" cx="{a}" cy="{b}" r="{radius}">'
            f"<title>{escaped(note)}</title></circle>"
        )
    return parts


def _pixels(each: Series, index: int, frame: Frame) -> tuple[float, float]:
    at, value = each.points[index]
    return frame.across.pixel(at), frame.up.pixel(value)


def _description(drawn: Drawn, x: Axis, y: Axis) -> str:
    """For readers who cannot see the chart: what the axes are, and the range of each line."""
    sentences = [f"{y.label or 'values'} by {x.label}."]
    for each, runs in drawn:
        if not each.faint:
            values = [each.points[index][1] for run in runs for index in run]
            sentences.append(f"{each.name}: from {y.text(min(values))} to {y.text(max(values))}.")
    return " ".join(sentences)
