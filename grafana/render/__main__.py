"""Draw all boards from a Prometheus: python -m grafana.render --prometheus URL [--minutes N] [--folder FOLDER] [BOARD]...

Writes FOLDER/BOARD.png with rsvg-convert (Debian: librsvg2-bin), or BOARD.svg with --svg.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grafana.queries import filled, load_boards, panel_queries, variables
from grafana.render.panels import Answer, draw
from kafka_cy.charts.palette import Theme
from kafka_cy.charts.svg import picture
from kafka_cy.charts.text import text_element
from kafka_cy.tools.prometheus import Prometheus

COLUMN = 50  # of 24
ROW = 36
GAP = 6
HEADING = 40
POINTS = 240
TITLE_SIZE = 19


def board_svg(
    name: str,
    board: Mapping[str, Any],
    prometheus: Prometheus,
    minutes: float,
    rate_interval: str,
    end: float | None = None,
    theme: Theme = "both",
) -> str:
    """The whole board as SVG text, of the `minutes` until `end` (seconds since the epoch; default: now)."""
    end = time.time() if end is None else end
    start = end - minutes * 60
    step = max(round((end - start) / POINTS), 1)
    answers: dict[int, list[Answer]] = {}
    values = variables(board)
    shown = {panel["id"] for panel in board["panels"]}
    for query in panel_queries(name, board):
        if query.panel["id"] not in shown:
            continue
        expression = filled(query.expression, values, rate_interval)
        series = (
            prometheus.instant(expression, end) if query.instant else prometheus.range(expression, start, end, step)
        )
        answers.setdefault(query.panel["id"], []).append(Answer(query.legend, series))
    width = COLUMN * 24 + GAP
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    height = HEADING + bottom * ROW + GAP
    parts = [text_element(GAP + 4, 27, board["title"], "heading", size=TITLE_SIZE)]
    for panel in board["panels"]:  # a row is closed: its panels are not drawn
        place = panel["gridPos"]
        x, y = GAP + place["x"] * COLUMN, HEADING + place["y"] * ROW
        drawn = draw(panel, answers.get(panel["id"], []), place["w"] * COLUMN - GAP, place["h"] * ROW - GAP)
        parts.append(f'<g transform="translate({x} {y})">{drawn}</g>')
    return picture(board["title"], board.get("description", ""), width, height, parts, theme)


def main() -> None:
    """Draw the boards that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--end", type=float, metavar="SECONDS", help="since the epoch; default: now")
    parser.add_argument("--rate-interval", default="1m")
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    parser.add_argument("--svg", action="store_true", help="for both themes, as the reader prefers")
    parser.add_argument("--theme", choices=("light", "dark"), default="light", help="of PNG files")
    parser.add_argument("boards", nargs="*")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    prometheus = Prometheus(arguments.prometheus)
    for name, board in load_boards().items():
        if arguments.boards and name not in arguments.boards:
            continue
        theme: Theme = "both" if arguments.svg else arguments.theme
        text = board_svg(name, board, prometheus, arguments.minutes, arguments.rate_interval, arguments.end, theme)
        if arguments.svg:
            (arguments.folder / f"{name}.svg").write_text(text)
        else:
            target = arguments.folder / f"{name}.png"
            subprocess.run(["rsvg-convert", "--output", target], input=text.encode(), check=True)


if __name__ == "__main__":
    main()
