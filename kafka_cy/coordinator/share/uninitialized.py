"""Which share partitions of a group need state, and whether those that have it are assigned."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.member import all_of
from kafka_cy.coordinator.share.state_partitions import Topics as StateTopics
from kafka_cy.coordinator.share.state_partitions import TopicStates


def uninitialized(group: ShareGroup, names: Collection[str], topics: Topics, now_s: float) -> StateTopics:
    """The partitions of these topics without state; none shortly after a failure."""
    if now_s < group.initialize_not_before_s:
        return {}
    missing: dict[uuid.UUID, TopicStates] = {}
    for topic in topics.existing(names):
        known = group.states.initialized.get(topic.id)
        if known is None or len(known.partitions) < len(topic.partitions):
            partitions = frozenset(range(len(topic.partitions))) - (known.partitions if known is not None else frozenset())
            missing[topic.id] = TopicStates(topic.name, partitions)
    return missing


def is_assigned(group: ShareGroup, topics: Topics) -> bool:
    """Whether every initialized partition of a topic that members read is part of the target assignment."""
    if not group.members or not group.states.initialized:
        return True
    assigned = all_of(group.target.values())
    return all(
        each.partitions == assigned.get(topic_id, frozenset())
        for topic_id, each in group.states.initialized.items()
        if each.name in group.by_name and topics.find_id(topic_id) is not None
    )
