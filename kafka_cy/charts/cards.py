"""The building blocks of a page's sections: tables, and cards with a chart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kafka_cy.charts.axis import Axis
from kafka_cy.charts.bar_chart import Bar, bar_chart
from kafka_cy.charts.line_chart import line_chart
from kafka_cy.charts.series import Series
from kafka_cy.charts.svg import WIDE, WIDTH
from kafka_cy.charts.text import escaped


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1, group: bool = False) -> str:
    """A table; the cells are HTML already. The first `texts` columns are texts, all others numbers.

    With `group`, a row whose first cell is not empty gets a line above it.
    """
    kinds = ["" if index < texts else ' class="n"' for index in range(len(columns))]
    heads = "".join(f"<th{kind}>{escaped(name)}</th>" for name, kind in zip(columns, kinds, strict=True))
    lines = []
    for row in rows:
        cells = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True))
        first = ' class="first"' if group and row[0] else ""
        lines.append(f"<tr{first}>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def line_card(title: str, series: Sequence[Series], x: Axis, y: Axis, *, wide: bool = False) -> str:
    """A card with a line chart; empty when no series has points."""
    if not any(each.points for each in series):
        return ""
    return _card(title, lambda width: line_chart(title, series, x, y, width=width), wide)


def bar_card(title: str, bars: Sequence[Bar], *, wide: bool = False) -> str:
    """A card with horizontal bars; empty without bars."""
    return _card(title, lambda width: bar_chart(title, bars, width=width), wide) if bars else ""


def _card(title: str, drawn: Callable[[int], str], wide: bool) -> str:
    """With `wide`, the card is as wide as the page and has the chart twice: the style shows the one for the screen."""
    if wide:
        chart = f'<div class="on-wide">{drawn(WIDE)}</div><div class="on-narrow">{drawn(WIDTH)}</div>'
    else:
        chart = drawn(WIDTH)
    return f'<div class="card{" wide" if wide else ""}"><h3>{escaped(title)}</h3>{chart}</div>'
