"""DescribeQuorum (API 55, KIP-595): the quorum of the metadata, which is this broker alone.

The log end offset is the number of changes of the metadata; there is no metadata log. The replica directory id is that of the log
directory with the metadata, and the listener is the broker's first one: there is no controller listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_quorum.v2.request import DescribeQuorumRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DescribesQuorum

METADATA_TOPIC = "__cluster_metadata"


@handler(api_key=55)
def handle(request: Request[DescribeQuorumRequest], context: DescribesQuorum) -> dict[str, Any]:
    """As Kafka, a request for anything but the one partition of the metadata gets an error for each partition."""
    if not may_cluster(request, Operation.DESCRIBE):
        return denied(CLUSTER_DENIED) | {"topics": [], "nodes": []}
    asked = [(topic.topic_name, [each.partition_index for each in topic.partitions]) for topic in request.body.topics]
    if asked != [(METADATA_TOPIC, [0])]:
        topics = [
            {"topic_name": name, "partitions": [_unknown(index) for index in indexes]} for name, indexes in asked
        ]
        return {"error_code": ErrorCode.NONE, "error_message": "", "topics": topics, "nodes": []}
    host, port = context.advertised[0]
    listener = {"name": context.config.listeners[0].name, "host": host, "port": port}
    return {
        "error_code": ErrorCode.NONE,
        "error_message": "",
        "topics": [{"topic_name": METADATA_TOPIC, "partitions": [_partition(context)]}],
        "nodes": [{"node_id": context.broker_id, "listeners": [listener]}],
    }


def _unknown(index: int) -> dict[str, Any]:
    return {
        "partition_index": index,
        "error_code": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        "error_message": "This server does not host this topic-partition.",
        "leader_id": 0,
        "leader_epoch": 0,
        "high_watermark": 0,
        "current_voters": [],
        "observers": [],
    }


def _partition(context: DescribesQuorum) -> dict[str, Any]:
    quorum = context.quorum()
    now_ms = context.loop.wall_clock_ms()
    voter = {
        "replica_id": context.broker_id,
        "replica_directory_id": quorum.directory_id,
        "log_end_offset": quorum.end_offset,
        "last_fetch_timestamp": now_ms,
        "last_caught_up_timestamp": now_ms,
    }
    return {
        "partition_index": 0,
        "error_code": ErrorCode.NONE,
        "error_message": "",
        "leader_id": context.broker_id,
        "leader_epoch": quorum.leader_epoch,
        "high_watermark": quorum.end_offset,
        "current_voters": [voter],
        "observers": [],
    }
