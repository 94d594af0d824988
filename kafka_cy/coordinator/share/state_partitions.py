"""Which share partitions of a group have state in `__share_group_state`, and what is being done about it (record 15).

A partition is assigned to members only when its state is initialized. Never changed: an update is another object.
Kafka: ShareGroupStatePartitionMetadataInfo.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Set
from typing import Final, NamedTuple

from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.share.records import StatePartitions, StatePartitionsKey, TopicInfo, TopicPartitionsInfo


class TopicStates(NamedTuple):
    """Partitions of a topic."""

    name: str
    partitions: frozenset[int]


Topics = Mapping[uuid.UUID, TopicStates]
StartOffsets = Mapping[uuid.UUID, Mapping[int, int]]  # topic -> partition -> its first offset; -1: by the group's settings


class ShareStates(NamedTuple):
    """`initializing`: the state is to be stored. `deleting`: topics whose states are to be deleted, id -> name."""

    initializing: Topics
    initialized: Topics
    deleting: Mapping[uuid.UUID, str]

    def initializing_also(self, topics: Topics) -> ShareStates:
        """These are about to be initialized, also if they are being deleted."""
        deleting = {topic_id: name for topic_id, name in self.deleting.items() if topic_id not in topics}
        return ShareStates(_merged(self.initializing, topics), self.initialized, deleting)

    def initialized_also(self, topics: Topics) -> ShareStates:
        """These are initialized."""
        return ShareStates(_without(self.initializing, topics), _merged(self.initialized, topics), self.deleting)

    def deleting_also(self, topic_ids: Iterable[uuid.UUID]) -> ShareStates:
        """The states of these topics are about to be deleted."""
        gone = set(topic_ids)
        names = {topic_id: each.name for topic_id, each in self.all_topics().items() if topic_id in gone}
        return self.without(gone)._replace(deleting={**self.deleting, **names})

    def deleted(self, topic_ids: Set[uuid.UUID]) -> ShareStates:
        """The states of these topics are deleted."""
        return self._replace(deleting={each: name for each, name in self.deleting.items() if each not in topic_ids})

    def without(self, topic_ids: Set[uuid.UUID]) -> ShareStates:
        """Nothing of these topics, which do not exist any more."""
        initializing = {topic_id: each for topic_id, each in self.initializing.items() if topic_id not in topic_ids}
        initialized = {topic_id: each for topic_id, each in self.initialized.items() if topic_id not in topic_ids}
        return ShareStates(initializing, initialized, self.deleting).deleted(topic_ids)

    def all_topics(self) -> Topics:
        """What is or may be initialized."""
        return _merged(self.initialized, self.initializing)

    def partition_count(self) -> int:
        """How many partitions are or may be initialized; those that are both count twice."""
        return sum(len(each.partitions) for topics in (self.initializing, self.initialized) for each in topics.values())

    def mentions(self, topic_ids: Iterable[uuid.UUID]) -> bool:
        """Whether one of these topics is mentioned."""
        return any(each in topics for each in topic_ids for topics in self)

    def topic_ids(self) -> set[uuid.UUID]:
        """All topics that are mentioned."""
        return {*self.initializing, *self.initialized, *self.deleting}

    def record(self, group_id: str) -> Record:
        """As it is stored."""
        deleting = tuple(TopicInfo(topic_id, name) for topic_id, name in self.deleting.items())
        return StatePartitionsKey(group_id), StatePartitions(_rows(self.initializing), _rows(self.initialized), deleting)


NO_STATES: Final = ShareStates({}, {}, {})


def states_of(value: StatePartitions) -> ShareStates:
    """What a record says."""
    return ShareStates(
        _topics(value.initializing_topics), _topics(value.initialized_topics),
        {each.topic_id: each.topic_name for each in value.deleting_topics},
    )  # fmt: skip


def _topics(rows: Iterable[TopicPartitionsInfo]) -> Topics:
    return {row.topic_id: TopicStates(row.topic_name, frozenset(row.partitions)) for row in rows}


def _rows(topics: Topics) -> tuple[TopicPartitionsInfo, ...]:
    return tuple(
        TopicPartitionsInfo(topic_id, each.name, tuple(sorted(each.partitions))) for topic_id, each in topics.items()
    )


def _merged(topics: Topics, more: Topics) -> Topics:
    merged = dict(topics)
    for topic_id, each in more.items():
        before = topics.get(topic_id)
        merged[topic_id] = each if before is None else TopicStates(each.name, before.partitions | each.partitions)
    return merged


def _without(topics: Topics, less: Topics) -> Topics:
    kept = {}
    for topic_id, each in topics.items():
        partitions = each.partitions - less[topic_id].partitions if topic_id in less else each.partitions
        if partitions:
            kept[topic_id] = TopicStates(each.name, partitions)
    return kept
