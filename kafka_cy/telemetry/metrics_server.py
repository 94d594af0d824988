"""The broker's HTTP endpoint (`kafkacy.metrics.listen`): `/metrics`, `/health`, `/ready`, `/debug/threads`."""

from __future__ import annotations

from kafka_cy.telemetry import health
from kafka_cy.telemetry.broker_view import BrokerView
from kafka_cy.telemetry.http_server import HttpAnswer, HttpRequest, HttpServer
from kafka_cy.telemetry.metrics_page import MetricsPage

PATHS = "/metrics /health /ready /debug/threads"


class MetricsServer(HttpServer):
    """Serves one broker's pages on a thread of its own; see HttpServer for its limits."""

    def __init__(self, listen: str, view: BrokerView, persec: bool = False) -> None:
        """Bind. Raises OSError if the address is taken, ValueError if it is not an address."""
        super().__init__(listen, self.page)
        self._view = view
        self._metrics = MetricsPage(view, persec)

    def page(self, request: HttpRequest) -> HttpAnswer:
        """The page at a path."""
        if request.path == "/metrics":
            return self._metrics.answer(request)
        if request.path == "/health":
            return health.health(self._view)
        if request.path == "/ready":
            return health.ready(self._view)
        if request.path == "/debug/threads":
            return health.threads(self._view)
        return HttpAnswer(f"pages: {PATHS}\n".encode(), status="404 Not Found")
