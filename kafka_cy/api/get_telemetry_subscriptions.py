"""GetTelemetrySubscriptions (API 71, KIP-714): which metrics the client shall push, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kio.schema.get_telemetry_subscriptions.v0.request import GetTelemetrySubscriptionsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesClientTelemetry


@handler(api_key=71)
def handle(request: Request[GetTelemetrySubscriptionsRequest], context: UsesClientTelemetry) -> dict[str, Any]:
    """Follows Kafka's ClientMetricsManager; without a subscription that matches, no metrics are asked for."""
    telemetry = context.client_telemetry()
    asked = request.body.client_instance_id
    error, instance_id, instance = telemetry.subscriptions.get(asked, telemetry.client_of(request))
    if instance is None:
        return {"throttle_time": 0, "error_code": int(error), "client_instance_id": None, "subscription_id": 0} | {
            "accepted_compression_types": [], "push_interval": 0, "telemetry_max_bytes": 0, "delta_temporality": False,
            "requested_metrics": [],
        }  # fmt: skip
    return {
        "throttle_time": 0,
        "error_code": 0,
        "client_instance_id": instance_id,
        "subscription_id": instance.subscription_id,
        "accepted_compression_types": telemetry.accepted_codecs,
        "push_interval": instance.interval_ms,
        "telemetry_max_bytes": telemetry.subscriptions.telemetry_bytes_max,
        "delta_temporality": False,
        "requested_metrics": instance.metrics,
    }
