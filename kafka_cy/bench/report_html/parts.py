"""Figures with their spread: as text, in a cell of a table, and as bars."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from kafka_cy.bench.figures import Summary, Text
from kafka_cy.charts import cards
from kafka_cy.charts.bar_chart import Bar


def spread_text(found: Summary, text: Text) -> str:
    """The minimum and the maximum of the rounds."""
    low, high = text(found.low), text(found.high)
    unit = high.rpartition(" ")[2]
    return f"{low.removesuffix(f' {unit}')} – {high}"


def spread_span(found: Summary, text: Text) -> str:
    """The spread as a small line in a table cell, without a unit that the median above it has too.

    Empty for one round, and for rounds that do not differ.
    """
    low, high = text(found.low), text(found.high)
    if found.rounds < 2 or low == high:
        return ""
    _, space, unit = text(found.median).rpartition(" ")
    ending = space + unit if space else ""
    if ending and low.endswith(ending) and high.endswith(ending):
        low, high = low.removesuffix(ending), high.removesuffix(ending)
    return f'<span class="spread">{escape(f"{low}–{high}")}</span>'


def bars(title: str, rows: Sequence[tuple[str, int, Summary | None]], text: Text, *, wide: bool = False) -> str:
    """A card with horizontal bars of medians and their spread; empty when nothing was measured."""
    drawn = []
    for name, color, found in rows:
        if found is None:
            continue
        if found.rounds > 1:
            words = f"{text(found.median)} ({spread_text(found, text)})"
            drawn.append(Bar(name, found.median, words, color, found.low, found.high))
        else:
            drawn.append(Bar(name, found.median, text(found.median), color))
    return cards.bar_card(title, drawn, wide=wide)
