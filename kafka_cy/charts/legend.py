"""The legend of a chart: the names of its series with their colours, in rows below the plot."""

from __future__ import annotations

from collections.abc import Sequence

from kafka_cy.charts.palette import class_of
from kafka_cy.charts.series import Series
from kafka_cy.charts.text import text_element, text_width

ROW_HEIGHT = 19
KEY_WIDTH, GAP, LEFT = 22, 18, 8

#: One entry: its x, the index of its series, and the width that its name may take.
Entry = tuple[float, int, float]


def rows(series: Sequence[Series], width: float, rows_max: int | None = None) -> list[list[Entry]]:
    """The entries row by row. Of series with the same name only the first has one, and a faint or unnamed one has none."""
    found: list[list[Entry]] = []
    x = width
    names: set[str] = set()
    for index, each in enumerate(series):
        if each.faint or not each.name or each.name in names:
            continue
        names.add(each.name)
        room = min(text_width(each.name), width - 2 * LEFT - KEY_WIDTH)
        if not found or x + KEY_WIDTH + room > width - LEFT:
            if len(found) == rows_max:
                break
            found.append([])
            x = LEFT
        found[-1].append((x, index, room))
        x += KEY_WIDTH + room + GAP
    return found


def height(entries: list[list[Entry]]) -> int:
    """The space of the rows."""
    return ROW_HEIGHT * len(entries) + 4 if entries else 0


def elements(series: Sequence[Series], entries: list[list[Entry]], top: float) -> list[str]:
    """The rows from `top` on."""
    parts = []
    for number, row in enumerate(entries):
        y = top + ROW_HEIGHT * number + 14
        for x, index, room in row:
            parts.append(_key(series[index], x, y - 4))
            parts.append(text_element(x + KEY_WIDTH, y, series[index].name, "label", width=room))
    return parts


def _key(series: Series, x: float, y: float) -> str:
    kind = class_of(series.color)
    if not series.joined:
        return f'<path class="fill {kind}" d="M{x + 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0"/>'
    dashed = " dashed" if series.dashed and "dashed" not in kind else ""
    return f'<path class="line stroke {kind}{dashed}" d="M{x:.1f} {y:.1f}h16"/>'
