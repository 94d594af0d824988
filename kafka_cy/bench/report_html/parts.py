"""The building blocks of the page's sections: tables, plots, bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from kafka_cy.bench.figures import Summary, Text
from kafka_cy.bench.report_html.charts import COLORS, WIDE, WIDTH, Axis, Series, chart, legend


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1, group: bool = False) -> str:
    """A table; the cells are HTML already. The first `texts` columns are texts, all others numbers.

    With `group`, a row whose first cell is not empty gets a line above it.
    """
    kinds = ["" if index < texts else ' class="n"' for index in range(len(columns))]
    heads = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(columns, kinds, strict=True))
    lines = []
    for row in rows:
        cells = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True))
        first = ' class="first"' if group and row[0] else ""
        lines.append(f"<tr{first}>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def spread_text(found: Summary, text: Text) -> str:
    """The minimum and the maximum of the rounds."""
    low, high = text(found.low), text(found.high)
    unit = high.rpartition(" ")[2]
    return f"{low.removesuffix(f' {unit}')} – {high}"


def spread_span(found: Summary, text: Text) -> str:
    """The spread as a small line in a table cell; empty for one round."""
    return f'<span class="spread">{escape(spread_text(found, text))}</span>' if found.rounds > 1 else ""


def plot(title: str, series: list[Series], x: Axis, y: Axis, *, wide: bool = False) -> str:
    """A card with a plot; empty when no series has points."""
    if not any(each.points for each in series):
        return ""
    drawn = f'<div class="scroll">{chart(title, series, x, y, WIDE if wide else WIDTH)}</div>{legend(series)}'
    return f'<div class="card{" wide" if wide else ""}"><h3>{escape(title)}</h3>{drawn}</div>'


def bars(title: str, rows: Sequence[tuple[str, int, Summary | None]], text: Text, *, wide: bool = False) -> str:
    """A card with horizontal bars of medians; empty when nothing was measured."""
    there = [(name, color, found) for name, color, found in rows if found is not None]
    if not there:
        return ""
    greatest = max(found.median for _, _, found in there) or 1.0
    lines = []
    for name, color, found in there:
        spread = f" ({spread_text(found, text)})" if found.rounds > 1 else ""
        width = max(0.0, found.median) / greatest * 62
        lines.append(
            f'<div class="what">{escape(name)}</div><div class="row">'
            f'<div class="bar c{color % COLORS}" style="width:{width:.1f}%"></div>'
            f'<span class="value">{escape(text(found.median) + spread)}</span></div>'
        )
    return f'<div class="card{" wide" if wide else ""}"><h3>{escape(title)}</h3><div class="bars">{"".join(lines)}</div></div>'
