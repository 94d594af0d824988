"""Topics and partitions in the responses of Metadata and DescribeTopicPartitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorized_operations import NOT_ASKED, topic_operations
from kafka_cy.cluster.topics import PartitionMetadata, Topic
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DescribesTopics, ReadsBrokers


def partition_response(topic: Topic, partition: PartitionMetadata, context: DescribesTopics) -> dict[str, Any]:
    """One partition; a replica whose log directory failed is offline, and leads nothing."""
    offline = context.cluster.offline_replicas(topic.name, partition)
    leader = -1 if partition.leader in offline else partition.leader
    return {
        "error_code": ErrorCode.NONE if leader >= 0 else ErrorCode.LEADER_NOT_AVAILABLE,
        "partition_index": partition.index,
        "leader_id": leader,
        "leader_epoch": partition.leader_epoch,
        "replica_nodes": partition.replicas,
        "isr_nodes": partition.isr,
        "offline_replicas": offline,
    }


def topic_response(
    request: Request[Any], topic: Topic, partitions: list[dict[str, Any]], with_operations: bool
) -> dict[str, Any]:
    """A known topic."""
    return {
        "error_code": ErrorCode.NONE,
        "name": topic.name,
        "topic_id": topic.id,
        "is_internal": topic.internal,
        "partitions": partitions,
        "topic_authorized_operations": topic_operations(request, topic.name) if with_operations else NOT_ASKED,
    }


def brokers_response(request: Request[Any], context: ReadsBrokers, id_name: str) -> list[dict[str, Any]]:
    """The brokers as clients of the request's listener reach them; `id_name` is the API's name for the id."""
    found = []
    for broker_id, rack, addresses in context.cluster.brokers:
        address = addresses[request.listener_index]
        if address is not None:
            found.append({id_name: broker_id, "host": address[0], "port": address[1], "rack": rack})
    return found
