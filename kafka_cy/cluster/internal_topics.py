"""The broker's own topics, made when a group first needs them: real, visible topics, as in Kafka."""

from __future__ import annotations

from typing import Any

from kafka_cy.cluster.assignment import assign_replicas
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.topic_names import OFFSETS_TOPIC
from kafka_cy.cluster.topics import Topic


def ensure_offsets_topic(cluster: ClusterMetadata, config: Any) -> Topic:
    """`__consumer_offsets`, created with Kafka's settings where it is missing.

    Where fewer brokers are there than `offsets.topic.replication.factor` (default 3), as many replicas as brokers are
    made: a single broker is a whole cluster here.
    """
    topic = cluster.topics.get(OFFSETS_TOPIC)
    if topic is not None:
        return topic
    partitions = int(config["offsets.topic.num.partitions"])
    configs = {
        "cleanup.policy": "compact",
        "compression.type": "producer",
        "segment.bytes": str(config["offsets.topic.segment.bytes"]),
    }
    brokers = [cluster.broker_id]
    replication = min(len(brokers), int(config["offsets.topic.replication.factor"]))
    return cluster.create_topic(OFFSETS_TOPIC, assign_replicas(brokers, partitions, replication), configs)
