"""OpenTelemetry export of one broker: settings, sampling in the data plane, the resource that is exported."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from kafka_cy.config import ConfigError
from kafka_cy.telemetry.metrics_page import MetricsPage, request_names
from kafka_cy.telemetry.otel_export import OtelExport
from kafka_cy.telemetry.otel_settings import GRPC, OtelSettings

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer


def make_export(broker: KafkaServer) -> OtelExport | None:
    """Create the export; call this before the reactors start. None: nothing is exported. Raises ConfigError."""
    try:
        settings = OtelSettings(broker.config, os.environ)
    except ValueError as error:
        raise ConfigError(*error.args) from error
    if not settings.endpoints:
        return None
    if not _has_sdk():
        if broker.config["kafkacy.otel.endpoint"]:
            allowed = "unset as long as OpenTelemetry is not installed (pip install 'kafka-cy[otel]')"
            raise ConfigError("kafkacy.otel.endpoint", broker.config["kafkacy.otel.endpoint"], allowed)
        # The variable may be meant for other programs in this environment.
        broker.log.write(
            "warning", "OTEL_EXPORTER_OTLP_* is set, but OpenTelemetry is not installed (kafka-cy[otel]): nothing is exported", {}
        )
        return None
    if GRPC in settings.protocols.values() and importlib.util.find_spec("grpc") is None:
        allowed = "http/protobuf, or grpc with the package opentelemetry-exporter-otlp-proto-grpc"
        raise ConfigError("kafkacy.otel.protocol", GRPC, allowed)
    traces = None
    if "traces" in settings.endpoints:
        from kafka_cy.network.trace_reader import TraceReader

        traces = TraceReader(broker.server, settings.sample_every, settings.traces_per_second_max)
    export = OtelExport(
        settings, _identity(broker), traces, _metrics_page(broker), request_names,
        lambda text: broker.log.write("warning", text, {}),
    )  # fmt: skip
    broker.log.listen(export.log)
    return export


def _has_sdk() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False


def _identity(broker: KafkaServer) -> dict[str, str]:
    from importlib.metadata import version

    cluster_id = broker.cluster.cluster_id if broker.cluster is not None else ""
    identity = {
        "service.instance.id": f"{cluster_id}/{broker.config.broker_id}",
        "service.version": version("kafka-cy"),
        "kafka.cluster.id": cluster_id,
    }
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return identity if named else {"service.name": "kafka-cy", **identity}


def _metrics_page(broker: KafkaServer) -> Callable[[], bytes]:
    """Return the renderer of a `/metrics` page for the export thread: a page belongs to one thread."""
    from kafka_cy.server.metrics_view import MetricsView

    persec = bool(broker.config["kafkacy.metrics.persec.enable"])
    persec_total = bool(broker.config["kafkacy.metrics.persec.total.enable"])
    return MetricsPage(MetricsView(broker), persec, persec_total).render
