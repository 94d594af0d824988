"""The colours of charts, and their style sheet, for light and dark backgrounds."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Literal

#: "both" follows the reader's preference; the other two are for programs that know no `light-dark()`, such as rsvg-convert.
Theme = Literal["light", "dark", "both"]

# On a light and on a dark card. Any two differ clearly, also for readers with deuteranopia or protanopia, and stand out from
# the card: tests/charts/test_palette.py measures both.
SERIES_COLORS = (
    ("#028fff", "#6fc4ff"),
    ("#d57805", "#ca7c20"),
    ("#1ba275", "#47a177"),
    ("#5001f0", "#8f76ff"),
    ("#784b09", "#f6c700"),
    ("#832537", "#fb43b4"),
    ("#009bc4", "#4cefff"),
    ("#647280", "#e8d2c4"),
)
#: The style has the classes `c0` to `c7`; further series use the same colours with dashed lines.
COLORS = len(SERIES_COLORS)

ROLES = {
    "page": ("#f5f6f8", "#14171c"),
    "card": ("#ffffff", "#1c2027"),
    "text": ("#1d232b", "#e3e7ed"),
    "quiet": ("#5c6673", "#9aa5b3"),
    "rule": ("#dfe3e8", "#323943"),
    "grid": ("#e8ebef", "#2b313a"),
    "tint": ("#f0f3f7", "#242a33"),
    "link": ("#0b62b8", "#6cb2f7"),
    "good": ("#10733f", "#5cc98b"),
    "warn": ("#a35a00", "#f0a850"),
    "bad": ("#b02a1c", "#f28a7d"),
}


def class_of(color: int) -> str:
    """The classes of the series with the number `color`."""
    return f"c{color % COLORS}{' dashed' if color >= COLORS else ''}"


def variables(root: str = ":root") -> str:
    """The style rule that defines every colour as a variable, for both themes, on the element `root`."""
    colors = {**ROLES, **{f"c{index}": pair for index, pair in enumerate(SERIES_COLORS)}}
    lines = "".join(f"  --{name}: light-dark({light}, {dark});\n" for name, (light, dark) in colors.items())
    return f"{root} {{\n  color-scheme: light dark;\n{lines}}}\n"


def chart_style() -> str:
    """The style of charts; the variables must be defined."""
    lines = [files("kafka_cy.charts").joinpath("charts.css").read_text(encoding="utf-8")]
    for index in range(COLORS):
        lines.append(f".stroke.c{index} {{ stroke: var(--c{index}); }} .fill.c{index} {{ fill: var(--c{index}); }}\n")
    return "".join(lines)


def picture_style(theme: Theme) -> str:
    """The style of a picture that stands alone: an SVG file, without a page around it."""
    style = chart_style()
    if theme == "both":
        return variables("svg") + style
    colors = {**ROLES, **{f"c{index}": pair for index, pair in enumerate(SERIES_COLORS)}}
    return re.sub(r"var\(--(\w+)\)", lambda found: colors[found[1]][theme == "dark"], style)
