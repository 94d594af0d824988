"""Text in a chart: its escaping, and its width, so that no label overlaps another one or is cut off."""

from __future__ import annotations

import re
import unicodedata
from html import escape

#: In pixels, as in charts.css.
FONT_SIZE = 11.5
HEADING_SIZE = 13.0

# Widths of the ASCII characters from the space on, in hundredths of the font size. The font is DejaVu Sans, which is wider
# than the system fonts of browsers, so a text takes at most this space.
WIDTHS = (
    32, 41, 46, 84, 64, 96, 78, 28, 40, 40, 50, 84, 32, 37, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34, 84, 84, 84,
    54, 100, 69, 69, 70, 78, 64, 58, 78, 76, 30, 30, 66, 56, 87, 75, 79, 61, 79, 70, 64, 62, 74, 69, 99, 69, 62, 69, 40, 34, 40,
    84, 50, 50, 62, 64, 55, 64, 62, 36, 64, 64, 28, 28, 58, 28, 98, 64, 62, 64, 64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34,
    64, 84,
)  # fmt: skip
OTHER_WIDTH, WIDE_WIDTH, BOLD = 0.7, 1.0, 1.14
ELLIPSIS = "…"
# Characters that XML does not allow.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escaped(text: str) -> str:
    """`text` for an SVG or HTML element or attribute."""
    return escape(FORBIDDEN.sub("�", text))


def text_width(text: str, size: float = FONT_SIZE, *, bold: bool = False) -> float:
    """The width of `text` in pixels, rather too large than too small."""
    width = 0.0
    for character in text:
        index = ord(character) - 32
        if 0 <= index < len(WIDTHS):
            width += WIDTHS[index] / 100
        elif character == ELLIPSIS or unicodedata.east_asian_width(character) in "FW":
            width += WIDE_WIDTH
        else:
            width += OTHER_WIDTH
    return width * size * (BOLD if bold else 1.0)


def fitted(text: str, width: float, size: float = FONT_SIZE, *, bold: bool = False) -> str:
    """`text`, or its beginning with an ellipsis where `width` pixels are too few for all of it."""
    if text_width(text, size, bold=bold) <= width:
        return text
    kept = text[: max(1, int(width / (0.28 * size)))]  # no character is narrower
    while len(kept) > 1 and text_width(kept + ELLIPSIS, size, bold=bold) > width:
        kept = kept[:-1]
    return kept.rstrip() + ELLIPSIS


def text_element(
    x: float, y: float, text: str, kind: str, *, anchor: str = "", width: float | None = None, size: float | None = None
) -> str:
    """A `<text>` with the classes `kind` of charts.css, cut to `width` pixels. A text that is cut has all of it as tooltip."""
    bold = "heading" in kind.split() or "bold" in kind.split()
    shown = text if width is None else fitted(text, width, size or FONT_SIZE, bold=bold)
    placed = f' text-anchor="{anchor}"' if anchor else ""
    sized = f' style="font-size:{size:g}px"' if size else ""
    tooltip = f"<title>{escaped(text)}</title>" if shown != text else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{placed}{sized}>{escaped(shown)}{tooltip}</text>'
