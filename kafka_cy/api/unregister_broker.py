"""UnregisterBroker (API 64, KIP-631).

Deviation: this broker, the only one, is not unregistered. Kafka obeys, and from then on tells clients that no broker exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.unregister_broker.v0.request import UnregisterBrokerRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsBrokers


@handler(api_key=64)
def handle(request: Request[UnregisterBrokerRequest], context: ReadsBrokers) -> dict[str, Any]:
    """No other broker is registered."""
    if not may_cluster(request, Operation.ALTER):
        return denied(CLUSTER_DENIED)
    broker_id = request.body.broker_id
    if broker_id == context.broker_id:
        message = f"Broker ID {broker_id} is this broker: a broker that runs is not unregistered"
        return {"error_code": ErrorCode.INVALID_REQUEST, "error_message": message}
    message = f"Broker ID {broker_id} is not currently registered"
    return {"error_code": ErrorCode.BROKER_ID_NOT_REGISTERED, "error_message": message}
