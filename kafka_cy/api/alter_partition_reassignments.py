"""AlterPartitionReassignments, for a cluster of one broker.

The replicas that a partition has are taken without any change; others cannot be (INVALID_REPLICA_ASSIGNMENT), and
there is nothing to cancel (NO_REASSIGNMENT_IN_PROGRESS).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.elect_leaders import rows_response
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_creation import TopicRefused, check_replicas
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.alter_partition_reassignments.v1.request import AlterPartitionReassignmentsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsCluster


@handler(api_key=45)
def handle(request: Request[AlterPartitionReassignmentsRequest], context: ReadsCluster) -> dict[str, Any] | None:
    """One result per partition. Another thread makes many."""
    body = request.body
    rows = sum(len(asked.partitions) for asked in body.topics)
    make = partial(_response, body, context) if may_cluster(request, Operation.ALTER) else partial(reassignment_denied, body)
    return rows_response(request, rows, make)


def _response(body: AlterPartitionReassignmentsRequest, context: ReadsCluster) -> dict[str, Any]:
    """Any thread."""
    responses = []
    for asked in body.topics:
        partitions = []
        for partition in asked.partitions:
            code, message = _check(asked.name, partition.partition_index, partition.replicas, context)
            partitions.append(
                {"partition_index": partition.partition_index, "error_code": code, "error_message": message}
            )
        responses.append({"name": asked.name, "partitions": partitions})
    return {
        "allow_replication_factor_change": getattr(body, "allow_replication_factor_change", True),
        "error_code": ErrorCode.NONE,
        "error_message": None if responses else "",
        "responses": responses,
    }


def reassignment_denied(body: Any) -> dict[str, Any]:
    """The sender may not change replicas: the error stands at each partition, too."""
    responses = [
        {
            "name": topic.name,
            "partitions": [{"partition_index": each.partition_index, **denied(CLUSTER_DENIED)} for each in topic.partitions],
        }
        for topic in body.topics
    ]
    return denied(CLUSTER_DENIED) | {"allow_replication_factor_change": True, "responses": responses}


def _check(name: str, index: int, replicas: Any, context: ReadsCluster) -> tuple[ErrorCode, str | None]:
    topic = context.cluster.topics.get(name)
    if topic is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find a topic named {name}."
    if not 0 <= index < len(topic.partitions):
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find partition {name}:{index}."
    if replicas is None:
        return ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, None
    try:
        check_replicas(replicas, context.cluster.broker_ids)
    except TopicRefused as refused:
        return refused.code, refused.message
    return ErrorCode.NONE, None
