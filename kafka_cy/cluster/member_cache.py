"""The metadata of a cluster as a member of it knows them: topics and brokers come from the controller (UpdateMetadata)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from kafka_cy.cluster import rack_aware_assignment
from kafka_cy.cluster.metadata_cache import LiveBroker, MetadataCache, TopicsChanged
from kafka_cy.cluster.topics import PartitionMetadata, Topic
from kafka_cy.protocol.controller_messages.update_metadata import (
    LEADER_DURING_DELETE,
    UpdateMetadataBroker,
    UpdateMetadataEndpoint,
    UpdateMetadataPartition,
    UpdateMetadataTopic,
)
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.hosted_partition import STATE_OFFLINE, STATE_ONLINE

NO_ID = UUID(int=0)  # of a topic that inter.broker.protocol.version below 2.8 has created
NO_CONTROLLER = -1
PARTITION_INDEX_MAX = 100_000  # of a topic
UNTOLD_MAX = 1_000_000  # partitions, of all topics together, below the highest that the controller has told of


class MemberCache(MetadataCache):
    """See MetadataCache. Memory grows with what the controller tells; limit: UNTOLD_MAX (MetadataUpdates)."""

    def __init__(self, broker_id: int, listeners: Sequence[str]) -> None:
        """`listeners`: the names of this broker's listeners, by index."""
        super().__init__(broker_id)
        self.broker_ids = ()
        self.controller_id = NO_CONTROLLER
        self.endpoints: dict[int, tuple[UpdateMetadataEndpoint, ...]] = {}  # of live brokers; replaced as a whole
        self._listeners_here = tuple(listeners)
        self.untold_count = 0  # partitions that the topics have, but of which the controller has not told
        self._untold_of: dict[str, int] = {}  # by topic
        self._untold: list[PartitionMetadata] = []  # by index; the topics share them
        self.stored_counts: dict[str, tuple[UUID, int]] = {}  # of internal topics: id, and partitions as ZooKeeper has them

    # -- reading --

    def partition(self, topic: str, index: int) -> Any:
        """The HostedPartition; None if this broker does not lead the partition or its log directory failed."""
        hosted = self.logs.partitions.get((topic, index)) if self.logs is not None else None
        return hosted if hosted is not None and hosted.state == STATE_ONLINE else None

    def unavailable(self, topic: str, index: int) -> ErrorCode:
        """Its log directory failed, or another broker leads it."""
        hosted = self.logs.partitions.get((topic, index)) if self.logs is not None else None
        offline = hosted is not None and hosted.state == STATE_OFFLINE
        return ErrorCode.KAFKA_STORAGE_ERROR if offline else ErrorCode.NOT_LEADER_OR_FOLLOWER

    def partition_count(self, name: str) -> int:
        """See MetadataCache. Of an internal topic, which keys are mapped with, it is what is stored: the controller may not have
        told of all partitions."""
        topic = self.topics.get(name)
        if topic is None or not topic.internal:
            return super().partition_count(name)
        topic_id, count = self.stored_counts.get(name, (NO_ID, 0))
        return count if topic.id in (topic_id, NO_ID) else 0

    def offline_replicas(self, topic: str, partition: PartitionMetadata) -> list[int]:
        """The replicas of a partition that are not available."""
        return list(partition.offline)

    def usable_broker_ids(self) -> list[int]:
        """Live brokers, sorted."""
        return list(self.broker_ids)

    def assign(
        self, partitions: int, replication: int, first: int = 0, first_replica: int | None = None
    ) -> Iterator[list[int]]:
        """See MetadataCache: as Kafka 3.9 does."""
        racks = {each.broker_id: each.rack for each in self.brokers}
        return rack_aware_assignment.assign(racks, partitions, replication, first, first_replica)

    def endpoint(self, broker_id: int, listener: str) -> tuple[str, int] | None:
        """Host and port of a live broker's listener."""
        for port, host, name, _ in self.endpoints.get(broker_id, ()):
            if name == listener:
                return host, port
        return None

    # -- updates --

    def put_brokers(self, controller_id: int, brokers: Sequence[UpdateMetadataBroker]) -> None:
        """These brokers live, and no others."""
        self.controller_id = controller_id
        self.endpoints = {each.broker_id: each.endpoints for each in brokers}
        self.brokers = tuple(
            [
                LiveBroker(
                    each.broker_id, each.rack, tuple([self.endpoint(each.broker_id, name) for name in self._listeners_here])
                )
                for each in sorted(brokers, key=lambda each: each.broker_id)
            ]
        )
        self.broker_ids = tuple([each.broker_id for each in self.brokers])

    def take(self, told: UpdateMetadataTopic) -> TopicsChanged:
        """Take what the controller tells of some partitions of a topic, as a whole. The caller announces what is returned.

        Raises ValueError: nothing was changed.
        """
        known = self.topics.get(told.topic)
        topic_id = told.topic_id if told.topic_id is not None else (known.id if known is not None else NO_ID)
        removed: tuple[Topic, ...] = ()
        if known is not None and self.is_other_topic(known, told):
            removed, known = (known,), None  # its deletion was missed
        partitions, untold = self._partitions(known, told)
        changed: tuple[Topic, ...] = ()
        if partitions:
            changed = (Topic(told.topic, topic_id, partitions, self.topic_config(told.topic)),)
        elif known is not None:
            removed = (known,)
        for topic in removed:
            config = self.topic_config(topic.name)
            self.remove_topic(topic)
            if changed:
                self.put_config("topics", topic.name, config)  # of the new topic
        for topic in changed:
            self.put_topic(topic)
            self.untold_count += untold - self._untold_of.pop(topic.name, 0)
            if untold:
                self._untold_of[topic.name] = untold
        return TopicsChanged(changed, removed)

    @staticmethod
    def is_other_topic(known: Topic, told: UpdateMetadataTopic) -> bool:
        """Has what is told of another id than the topic of that name?"""
        return told.topic_id is not None and NO_ID not in (known.id, told.topic_id) and known.id != told.topic_id

    def _partitions(self, known: Topic | None, told: UpdateMetadataTopic) -> tuple[list[PartitionMetadata], int]:
        """The partitions of a topic, and how many are untold. Cost: what is told, and a copy of the list."""
        partitions = list(known.partitions) if known is not None else []
        untold = self._untold_of.get(told.topic, 0) if known is not None else 0
        for state in told.partitions:
            index = state.partition
            if not 0 <= index <= PARTITION_INDEX_MAX:
                raise ValueError(f"partition {index} of topic {told.topic}")
            is_told = index < len(partitions) and bool(partitions[index].replicas)
            if state.leader == LEADER_DURING_DELETE or not state.replicas:
                if is_told:
                    self.grow_untold(index + 1, index + 1)
                    partitions[index] = self._untold[index]
                    untold += 1
                continue
            if index >= len(partitions):
                self.grow_untold(index + 1, index + 1)
                untold += index + 1 - len(partitions)
                partitions += self._untold[len(partitions) : index + 1]
            partitions[index] = _partition(state)
            untold -= not is_told
        while partitions and not partitions[-1].replicas:
            partitions.pop()
            untold -= 1
        return partitions, untold

    def grow_untold(self, count: int, step_max: int) -> bool:
        """Make the partitions below `count` that topics share, some at a time. Whether they are there."""
        start = len(self._untold)
        self._untold += [_untold(index) for index in range(start, min(count, start + step_max))]
        return len(self._untold) >= count

    def remove_topic(self, topic: Topic) -> None:
        """See MetadataCache."""
        self.untold_count -= self._untold_of.pop(topic.name, 0)
        super().remove_topic(topic)


def _partition(state: UpdateMetadataPartition) -> PartitionMetadata:
    return PartitionMetadata(
        state.partition,
        state.leader,
        state.leader_epoch,
        list(state.replicas),
        list(state.isr),
        state.zk_version,
        state.offline_replicas,
    )


def _untold(index: int) -> PartitionMetadata:
    return PartitionMetadata(index, -1, -1, [], [])
