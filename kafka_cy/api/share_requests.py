"""What ShareFetch and ShareAcknowledge have in common: reading acknowledgements, and the leader of a refused partition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.sessions import TopicPartition
from kafka_cy.share.share_fetch import PartitionResult, Results

NO_LEADER = {"leader_id": 0, "leader_epoch": 0}


def named_partitions(topics: Iterable[Any]) -> list[TopicPartition]:
    """Every partition that the request names."""
    return [(topic.topic_id, each.partition_index) for topic in topics for each in topic.partitions]


def acknowledgements(topics: Iterable[Any]) -> dict[TopicPartition, Acknowledgements]:
    """The acknowledgements of the partitions that have some; of a partition that is named twice all of them."""
    found: dict[TopicPartition, list[Any]] = {}
    for topic in topics:
        for each in topic.partitions:
            if each.acknowledgement_batches:
                found.setdefault((topic.topic_id, each.partition_index), []).extend(each.acknowledgement_batches)
    return {partition: Acknowledgements.of_request(batches) for partition, batches in found.items()}


def by_topic(results: Results) -> Iterator[tuple[Any, list[tuple[int, PartitionResult]]]]:
    """The results of each topic: partition index and result, in the order of the results."""
    topics: dict[Any, list[tuple[int, PartitionResult]]] = {}
    for (topic_id, index), result in results.items():
        topics.setdefault(topic_id, []).append((index, result))
    yield from topics.items()


def current_leader(cluster: Any, partition: TopicPartition, error: ErrorCode) -> dict[str, int]:
    """Leader and epoch for a client that asked the wrong broker."""
    topic = cluster.topic_by_id.get(partition[0])
    if error is not ErrorCode.NOT_LEADER_OR_FOLLOWER or topic is None:
        return NO_LEADER
    found = topic.partitions[partition[1]]
    return {"leader_id": found.leader, "leader_epoch": found.leader_epoch}
