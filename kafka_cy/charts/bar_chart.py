"""Horizontal bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kafka_cy.charts.palette import class_of
from kafka_cy.charts.svg import WIDTH, chart_svg
from kafka_cy.charts.text import text_element, text_width

BAR_HEIGHT = 14
ROW_HEIGHT, NAME_HEIGHT = 22, 17
LEFT, GAP = 8, 8
NAMES_SHARE = 0.4  # of the width; if a longer name exists, all names are above their bars


@dataclass(frozen=True)
class Bar:
    """One bar: `text` is its value in words. `low` and `high` are the ends of a thin line that shows a spread."""

    name: str
    value: float
    text: str
    color: int = 0
    low: float | None = None
    high: float | None = None


def bar_chart(title: str, bars: Sequence[Bar], *, width: int = WIDTH) -> str:
    """The bars as an `<svg>` of a page, which has the title above it."""
    above = _longest_name(bars) > width * NAMES_SHARE
    height = len(bars) * (ROW_HEIGHT + (NAME_HEIGHT if above else 0)) + 4
    described = "; ".join(f"{bar.name}: {bar.text}" for bar in bars)
    return chart_svg("bars", title, f"{described}.", width, height, _rows(bars, 2, width, above))


def bar_panel(title: str, bars: Sequence[Bar], *, width: int, height: int) -> str:
    """The bars as a part of a picture, with the title; as many as `height` has room for."""
    above = _longest_name(bars) > width * NAMES_SHARE
    room = int((height - 32) // (ROW_HEIGHT + (NAME_HEIGHT if above else 0)))
    heading = text_element(8, 18, title, "heading", width=width - 16)
    return "\n".join([heading, *_rows(bars[:room], 32, width, above)])


def _longest_name(bars: Sequence[Bar]) -> float:
    return max((text_width(bar.name) for bar in bars), default=0.0)


def _rows(bars: Sequence[Bar], top: float, width: float, above: bool) -> list[str]:
    left = LEFT if above else LEFT + _longest_name(bars) + GAP
    right = width - LEFT - GAP - max((text_width(bar.text) for bar in bars), default=0.0)
    right = max(right, left + 10)
    greatest = max((max(bar.value, bar.high or 0.0) for bar in bars), default=0.0) or 1.0

    def place(value: float) -> float:
        return left + min(max(value / greatest, 0.0), 1.0) * (right - left)

    parts = []
    y = top
    for bar in bars:
        if above:
            parts.append(text_element(LEFT, y + 12, bar.name, "label", width=width - 2 * LEFT))
            y += NAME_HEIGHT
        else:
            parts.append(text_element(left - GAP, y + 11, bar.name, "label", anchor="end"))
        length = max(place(bar.value) - left, 2.0)
        outline = f"M{left:.1f} {y}h{length:.1f}v{BAR_HEIGHT}h{-length:.1f}z"
        parts.append(f'<path class="fill {class_of(bar.color)}" d="{outline}"/>')
        end = left + length
        if bar.low is not None and bar.high is not None:
            middle = y + BAR_HEIGHT / 2
            parts.append(f'<path class="whisker" d="M{place(bar.low):.1f} {middle}H{place(bar.high):.1f}"/>')
            end = max(end, place(bar.high))
        parts.append(text_element(end + GAP, y + 11, bar.text, "label", width=width - end - GAP))
        y += ROW_HEIGHT
    return parts
