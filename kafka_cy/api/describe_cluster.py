"""DescribeCluster. Asked for controllers, a broker says that it is none (MISMATCHED_ENDPOINT_TYPE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorized_operations import NOT_ASKED, cluster_operations
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_responses import brokers_response
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_cluster.v2.request import DescribeClusterRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsBrokers

ENDPOINT_BROKERS, ENDPOINT_CONTROLLERS = 1, 2
MISMATCH = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"


@handler(api_key=60)
def handle(request: Request[DescribeClusterRequest], context: ReadsBrokers) -> dict[str, Any]:
    """The cluster's id, controller and brokers."""
    endpoint = getattr(request.body, "endpoint_type", ENDPOINT_BROKERS)
    if endpoint != ENDPOINT_BROKERS:
        known = endpoint == ENDPOINT_CONTROLLERS
        return {
            "error_code": ErrorCode.MISMATCHED_ENDPOINT_TYPE if known else ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
            "error_message": MISMATCH if known else f"Unsupported endpoint type {endpoint}",
            "endpoint_type": ENDPOINT_BROKERS,
        }
    return {
        "error_code": ErrorCode.NONE,
        "endpoint_type": ENDPOINT_BROKERS,
        "cluster_id": context.cluster_id,
        "controller_id": context.cluster.controller_id,
        "brokers": brokers_response(request, context, "broker_id"),
        "cluster_authorized_operations": (
            cluster_operations(request) if request.body.include_cluster_authorized_operations else NOT_ASKED
        ),
    }
