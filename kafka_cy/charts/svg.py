"""The `<svg>` elements around charts and pictures."""

from __future__ import annotations

from collections.abc import Sequence

from kafka_cy.charts.palette import Theme, picture_style
from kafka_cy.charts.text import escaped

#: Of a chart in a column of a page, and of one over the whole width of a page.
WIDTH, WIDE = 640, 1160
NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'


def chart_svg(kind: str, title: str, description: str, width: int, height: float, parts: Sequence[str]) -> str:
    """A chart in a page, of the class `kind`: "chart" (its points have tooltips) or "bars".

    The page has the style, and shows the title; here the title is for those who cannot see the chart.
    """
    return (
        f'<svg {NAMESPACE} class="{kind}" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escaped(title)}</title><desc>{escaped(description)}</desc>\n" + "\n".join(parts) + "\n</svg>"
    )


def picture(title: str, description: str, width: int, height: int, parts: Sequence[str], theme: Theme) -> str:
    """An SVG file, with its style and a background."""
    return (
        f'<svg {NAMESPACE} width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escaped(title)}</title><desc>{escaped(description)}</desc>\n<style>{picture_style(theme)}</style>\n"
        f'<rect class="card" width="{width}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
