"""ListPartitionReassignments: a broker by itself never has one in progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.list_partition_reassignments.v0.request import ListPartitionReassignmentsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsNothing


@handler(api_key=46)
def handle(request: Request[ListPartitionReassignmentsRequest], context: ReadsNothing) -> dict[str, Any]:
    """The empty list."""
    if not may_cluster(request, Operation.DESCRIBE):
        return denied(CLUSTER_DENIED) | {"topics": []}
    return {"error_code": ErrorCode.NONE, "error_message": None, "topics": []}
