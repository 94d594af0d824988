"""What a dashboard's JSON asks Prometheus, with its variables filled in as Grafana would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grafana.generate import FOLDER


@dataclass(frozen=True)
class PanelQuery:
    """One target of a panel; `expression` still has its variables."""

    board: str
    panel: Mapping[str, Any]
    expression: str
    legend: str
    instant: bool

    @property
    def name(self) -> str:
        """Where it stands, for people."""
        return f"{self.board}: {self.panel['title']}"


def load_boards() -> dict[str, dict[str, Any]]:
    """All dashboards as committed, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def all_panels(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every panel with queries, also those in closed rows."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def panel_queries(name: str, board: Mapping[str, Any]) -> Iterator[PanelQuery]:
    """Every target of every panel."""
    for panel in all_panels(board):
        for target in panel["targets"]:
            yield PanelQuery(name, panel, target["expr"], target.get("legendFormat", ""), bool(target.get("instant")))


def variables(board: Mapping[str, Any]) -> dict[str, str]:
    """The values that a board opens with: everything, or what its text boxes hold."""
    values = {}
    for each in board["templating"]["list"]:
        if each["type"] == "query":
            values[each["name"]] = each["allValue"]
        elif each["type"] == "textbox":
            values[each["name"]] = each["query"]
    return values


def filled(expression: str, values: Mapping[str, str], rate_interval: str) -> str:
    """The expression as Prometheus gets it; KeyError for a variable that the board does not have."""
    known = {**values, "__rate_interval": rate_interval}
    return re.sub(r"\$(\w+)", lambda match: known[match[1]], expression)


def legend_of(legend: str, labels: Mapping[str, str]) -> str:
    """`{{label}}` filled in."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), legend).strip()
