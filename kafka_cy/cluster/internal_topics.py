"""The broker's internal topics. They are created when first needed; clients can see them, as in Kafka."""

from __future__ import annotations

from typing import Any

from kafka_cy.cluster.assignment import assign_replicas
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.topic_changes import TopicChanges
from kafka_cy.cluster.topic_names import OFFSETS_TOPIC, SHARE_STATE_TOPIC, TRANSACTIONS_TOPIC
from kafka_cy.cluster.topics import Topic

# Topic -> the prefix of the broker keys that hold its partition count, replication factor and segment size.
KEY_PREFIXES = {
    OFFSETS_TOPIC: "offsets.topic",
    TRANSACTIONS_TOPIC: "transaction.state.log",
    SHARE_STATE_TOPIC: "share.coordinator.state.topic",
}


def ensure_internal_topic(cluster: MetadataCache, changes: TopicChanges, config: Any, name: str) -> Topic:
    """Return the internal topic `name` (a key of KEY_PREFIXES). Creates it with Kafka's settings if it does not exist.

    The replication factor is at most the number of brokers, because a single broker is a whole cluster here.
    """
    topic = cluster.topics.get(name)
    if topic is not None:
        return topic
    prefix = KEY_PREFIXES[name]
    brokers = [cluster.broker_id]
    replication = min(len(brokers), int(config[f"{prefix}.replication.factor"]))
    assignment = assign_replicas(brokers, int(config[f"{prefix}.num.partitions"]), replication)
    return changes.create_topic(name, assignment, internal_topic_configs(config, name, replication))


def internal_topic_configs(config: Any, name: str, replication: int) -> dict[str, str]:
    """The settings with which Kafka creates the internal topic (AutoTopicCreationManager)."""
    prefix = KEY_PREFIXES[name]
    configs = {"cleanup.policy": "compact", "compression.type": "producer"}
    if name == TRANSACTIONS_TOPIC:
        configs |= {"compression.type": "uncompressed", "unclean.leader.election.enable": "false"}
    elif name == SHARE_STATE_TOPIC:
        configs |= {"cleanup.policy": "delete", "retention.ms": "-1"}
    if name != OFFSETS_TOPIC:
        # At most the replication factor: a larger value would make the topic unwritable.
        configs["min.insync.replicas"] = str(min(replication, int(config[f"{prefix}.min.isr"])))
    configs["segment.bytes"] = str(config[f"{prefix}.segment.bytes"])
    return configs
