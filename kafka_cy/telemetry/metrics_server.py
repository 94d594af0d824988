"""The broker's HTTP endpoint (`kafkacy.metrics.listen`): `/`, `/metrics`, `/health`, `/ready`, `/debug/threads`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kafka_cy.telemetry import health
from kafka_cy.telemetry.broker_view import BrokerView
from kafka_cy.telemetry.http_server import HttpAnswer, HttpRequest, HttpServer
from kafka_cy.telemetry.metrics_page import MetricsPage

if TYPE_CHECKING:
    from kafka_cy.telemetry.page_security import PageSecurity

PUBLIC = ("/health", "/ready")  # for the probes of systems that start brokers, which have no password
PATHS = "/ /metrics /health /ready /debug/threads"


class MetricsServer(HttpServer):
    """Serves one broker's pages on a thread of its own; see HttpServer for its limits."""

    def __init__(
        self, listen: str, view: BrokerView, persec: bool = False, persec_total: bool = False,
        security: PageSecurity | None = None,
    ) -> None:  # fmt: skip
        """Bind. Raises OSError if the address is taken, ValueError if it is not an address."""
        super().__init__(listen, self.page, "metrics", security, PUBLIC)
        self._scheme = security.scheme if security is not None else "http"
        self._view = view
        self._metrics = MetricsPage(view, persec, persec_total)
        self._begun = time.monotonic()

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
        if request.path == "/":
            from kafka_cy.telemetry import home_page  # kept out of the start path

            return home_page.answer(self._view, request, time.monotonic() - self._begun, self._scheme)
        return HttpAnswer(f"pages: {PATHS}\n".encode(), status="404 Not Found")
