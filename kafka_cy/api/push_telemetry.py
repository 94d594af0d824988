"""PushTelemetry (API 72, KIP-714): a client's metrics, as OTLP MetricsData in one of Kafka's codecs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.push_telemetry.v0.request import PushTelemetryRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesClientTelemetry


@handler(api_key=72)
def handle(request: Request[PushTelemetryRequest], context: UsesClientTelemetry) -> dict[str, Any] | None:
    """Checked here, read on a thread of its own; errors as Kafka's ClientMetricsManager has them."""
    telemetry = context.client_telemetry()
    body = request.body
    error, instance = telemetry.subscriptions.check_push(
        body.client_instance_id, telemetry.client_of(request), body.subscription_id, body.terminating,
        body.compression_type, len(body.metrics),
    )  # fmt: skip
    instance_id = body.client_instance_id
    if error or instance is None or instance_id is None or not body.metrics:
        return {"throttle_time": 0, "error_code": int(error)}
    client = instance.client

    def done(outcome: ErrorCode) -> None:
        telemetry.forget_unknown(instance_id, client)
        request.respond({"throttle_time": 0, "error_code": int(outcome)})

    if telemetry.receive(client, body.compression_type, bytes(body.metrics), done):
        return None
    instance.take_back_push()
    return {"throttle_time": 0, "error_code": int(ErrorCode.THROTTLING_QUOTA_EXCEEDED)}
