"""`GET /metrics` with consumer lag, on the address of `kafkacy.lag.listen`; one broker answers for the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kafka_cy.telemetry.http_server import HttpAnswer, HttpRequest, HttpServer
from kafka_cy.telemetry.metrics_page import TEXT_TYPE

if TYPE_CHECKING:
    from kafka_cy.telemetry.lag import ClusterView, LagCollector
    from kafka_cy.telemetry.page_security import PageSecurity


class LagServer(HttpServer):
    """The endpoint. Its own daemon thread reads groups and logs; it takes no lock that an append waits for."""

    def __init__(
        self, listen: str, view: ClusterView, dialects: Iterable[str], security: PageSecurity | None = None
    ) -> None:  # fmt: skip
        """Bind. Raises OSError if the address is taken, ValueError if it is not an address."""
        super().__init__(listen, self.page, "lag", security)
        self._view = view
        self._dialects = list(dialects)
        self._collector: LagCollector | None = None

    def page(self, request: HttpRequest) -> HttpAnswer:
        """The page at a path."""
        if request.path != "/metrics":
            return HttpAnswer(b"consumer lag is at /metrics\n", status="404 Not Found")
        return HttpAnswer(self.render(), TEXT_TYPE)

    def render(self) -> bytes:
        """All groups in Prometheus' text format."""
        from kafka_cy.telemetry.lag_names import render

        if self._collector is None:
            from kafka_cy.telemetry.lag import LagCollector

            self._collector = LagCollector(self._view, self._view.times())
        return render(self._collector.collect(), self._dialects)
