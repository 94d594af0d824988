"""The page `/metrics`: all families of this broker in Prometheus' text format or OpenMetrics.

prometheus-client and its dependencies are imported at the first scrape, so a broker that is never scraped pays neither
start time nor memory for them. Families come from prometheus-client collectors; those with a sample per request
or partition are written as text in C.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kafka_cy.telemetry.broker_view import BrokerView
from kafka_cy.telemetry.http_server import HttpAnswer, HttpRequest, weights

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from kafka_cy.telemetry.broker_collector import BrokerCollector
    from kafka_cy.telemetry.request_metrics import RequestMetrics

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OPENMETRICS_END = b"# EOF\n"


class MetricsPage:
    """Owner: the scraping thread.

    `persec`: adds the names of the other dialect (kafkacy.metrics.persec.enable). `persec_total`: adds those of Strimzi's
    Metrics Reporter (kafkacy.metrics.persec.total.enable).
    """

    def __init__(self, view: BrokerView, persec: bool = False, persec_total: bool = False) -> None:
        self._view = view
        self._persec_total = persec_total
        self._persec = persec
        self._registry: CollectorRegistry | None = None
        self._requests: RequestMetrics
        self._collector: BrokerCollector

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """The page in the format that the request accepts."""
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        return HttpAnswer(self.render(openmetrics), OPENMETRICS_TYPE if openmetrics else TEXT_TYPE)

    def render(self, openmetrics: bool = False) -> bytes:
        """All families as text."""
        begun = time.monotonic()
        if self._registry is None:
            self._make()
        from kafka_cy.telemetry import exposition, follower_lag_metrics, partition_metrics

        hosted, deleted = self._view.counted()
        late_before_ms = time.time_ns() // 1_000_000 - self._view.late_transaction_ms()
        partitions, totals = partition_metrics.write(
            hosted, deleted, openmetrics, self._persec, late_before_ms, self._persec_total
        )
        self._collector.partition_totals = {**totals, "partitions": len(hosted)}
        lags = follower_lag_metrics.write(self._view.fetched(), openmetrics)
        requests = self._requests.write(openmetrics, self._persec)
        small = self._small_families(openmetrics)
        families = self._view.client_families()
        if openmetrics:  # OpenMetrics requires counter samples to end in _total
            families = [(name, "unknown" if kind == "counter" else kind, *rest) for name, kind, *rest in families]
        pushed = exposition.page(families)
        took = time.monotonic() - begun
        duration = (
            "# HELP jmx_scrape_duration_seconds Time it took to make this page\n"
            f"# TYPE jmx_scrape_duration_seconds gauge\njmx_scrape_duration_seconds {took:.6f}\n"
        )
        parts = [small, requests, partitions, lags, pushed, duration.encode()]
        return b"".join([*parts, OPENMETRICS_END] if openmetrics else parts)

    def _small_families(self, openmetrics: bool) -> bytes:
        assert self._registry is not None
        if openmetrics:
            from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

            return bytes(generate_openmetrics(self._registry)).removesuffix(OPENMETRICS_END)
        from prometheus_client.exposition import generate_latest

        return bytes(generate_latest(self._registry))

    def _make(self) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector

        from kafka_cy.protocol.errors import ErrorCode
        from kafka_cy.telemetry.broker_collector import BrokerCollector
        from kafka_cy.telemetry.request_metrics import RequestMetrics

        errors = {code.value: code.name for code in ErrorCode}
        self._requests = RequestMetrics(self._view.server, request_names(), errors)
        self._collector = BrokerCollector(self._view, self._requests, self._persec)
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(self._collector)
        self._registry = registry


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header prefers OpenMetrics 1 to the text format."""
    accepted = weights(accept)
    openmetrics = accepted.get("application/openmetrics-text", 0.0)
    return openmetrics > 0 and openmetrics >= accepted.get("text/plain", 0.0)


def request_names() -> dict[int, str]:
    """Kafka's request names by API key: `Produce`, `ApiVersions` ..."""
    from kio.schema.index import api_key_map

    return {key: "".join(word.title() for word in name.split("_")) for key, name in api_key_map.items()}
