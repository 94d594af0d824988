"""Prometheus' HTTP API: instant and range queries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from kafka_cy.tools.client import ToolError
from kafka_cy.tools.http_text import get_text, without_user

QUERY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class TimeSeries:
    """One series of a response: its labels and (time in seconds since the epoch, value) points."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Prometheus:
    """A Prometheus server at an address such as `http://127.0.0.1:9090`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def instant(self, query: str, at: float | None = None) -> list[TimeSeries]:
        """The series of an expression at a time (seconds since the epoch; default: now).

        Raises ToolError if Prometheus cannot be reached or rejects the expression.
        """
        return self._ask("query", {"query": query} if at is None else {"query": query, "time": f"{at:.3f}"})

    def range(self, query: str, start: float, end: float, step: float) -> list[TimeSeries]:
        """The series of an expression over time (seconds since the epoch, step in seconds); raises ToolError."""
        return self._ask(
            "query_range", {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        )

    def value(self, query: str) -> float | None:
        """The single number of an expression; None if it has no series or is not a number."""
        series = self.instant(query)
        if not series or not series[0].points:
            return None
        value = series[0].points[-1][1]
        return value if value == value and abs(value) != float("inf") else None

    def get(self, path: str, parameters: dict[str, str] | None = None) -> Any:
        """The `data` of any API call (`/api/v1/` plus `path`). Raises ToolError."""
        address = f"{self.url}/api/v1/{path}" + (f"?{urlencode(parameters)}" if parameters else "")
        text = get_text(address, "Prometheus", shown=self.url, timeout_s=QUERY_TIMEOUT_S)
        try:
            answer = json.loads(text)
            status = answer["status"]
        except (ValueError, KeyError, TypeError) as error:
            raise ToolError(f"The server at {without_user(self.url)} is not Prometheus.") from error
        if status != "success":
            raise ToolError(f"Prometheus refuses the query: {str(answer.get('error', status)).rstrip('.')}.")
        return answer["data"]

    def _ask(self, path: str, parameters: dict[str, str]) -> list[TimeSeries]:
        data = self.get(path, parameters)
        if data["resultType"] == "scalar":
            return [TimeSeries({}, [_point(data["result"])])]
        return [
            TimeSeries(each["metric"], [_point(point) for point in each.get("values") or [each["value"]]])
            for each in data["result"]
        ]


def _point(pair: list[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
