"""What the controller knows: brokers, topics, assignments, the state of every partition and replica. No logic, no store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from kafka_cy.controller.partition_state import LeaderAndIsr, ReplicaAssignment, TopicPartition
from kafka_cy.protocol.controller_messages.update_metadata import UpdateMetadataEndpoint


class PartitionStatus(Enum):
    """NEW: never had a leader. ONLINE: has one. OFFLINE: had one."""

    NEW = 1
    ONLINE = 2
    OFFLINE = 3


class ReplicaStatus(Enum):
    """Kafka's states of a replica; a replica without status does not exist."""

    NEW = 1
    ONLINE = 2
    OFFLINE = 3
    DELETION_STARTED = 4
    DELETION_SUCCESSFUL = 5
    DELETION_INELIGIBLE = 6


class Broker(NamedTuple):
    """A registration. `epoch` is the czxid of its node."""

    id: int
    epoch: int
    endpoints: tuple[UpdateMetadataEndpoint, ...]
    rack: str | None = None

    def endpoint(self, listener: str) -> UpdateMetadataEndpoint | None:
        """The endpoint of a listener."""
        return next((each for each in self.endpoints if each.listener == listener), None)


class Replica(NamedTuple):
    """One replica of a partition."""

    partition: TopicPartition
    broker_id: int


class ControllerContext:
    """Owner: the controller's thread. Lifetime: one term of office. Memory grows with the replicas of the cluster only."""

    def __init__(self, epoch: int, epoch_version: int) -> None:
        """`epoch_version`: the version of /controller_epoch that every write checks."""
        self.epoch = epoch
        self.epoch_version = epoch_version
        self.brokers: dict[int, Broker] = {}
        self.shutting_down: set[int] = set()
        self.offline_dir_partitions: dict[int, set[TopicPartition]] = {}  # by broker
        self.topics: dict[str, dict[int, ReplicaAssignment]] = {}
        self.topic_ids: dict[str, UUID] = {}
        self.topic_names: dict[UUID, str] = {}
        self.states: dict[TopicPartition, LeaderAndIsr] = {}
        self.partition_status: dict[TopicPartition, PartitionStatus] = {}
        self.replica_status: dict[Replica, ReplicaStatus] = {}
        self.on_broker: dict[int, set[TopicPartition]] = {}
        self.without_leader: set[TopicPartition] = set()  # partitions whose status is not ONLINE
        self.being_reassigned: set[TopicPartition] = set()
        self.deleting: set[str] = set()  # topics with a recorded deletion
        self.deletion_begun: set[str] = set()
        self.deletion_ineligible: set[str] = set()

    def live_ids(self) -> list[int]:
        """Brokers that are registered and do not shut down, ascending."""
        return sorted(self.brokers.keys() - self.shutting_down)

    def registered_ids(self) -> list[int]:
        """Brokers that are registered, ascending."""
        return sorted(self.brokers)

    def is_online(self, broker_id: int, partition: TopicPartition, include_shutting_down: bool = False) -> bool:
        """Whether a replica may lead: its broker lives and the log directory works."""
        if broker_id not in self.brokers or (broker_id in self.shutting_down and not include_shutting_down):
            return False
        return partition not in self.offline_dir_partitions.get(broker_id, ())

    def assignment(self, partition: TopicPartition) -> ReplicaAssignment:
        """The replicas of a partition; empty if it does not exist."""
        return self.topics.get(partition.topic, {}).get(partition.partition, ReplicaAssignment(()))

    def assign(self, partition: TopicPartition, assignment: ReplicaAssignment) -> None:
        """Set the replicas of a partition."""
        before = self.assignment(partition)
        self.topics.setdefault(partition.topic, {})[partition.partition] = assignment
        for broker_id in set(before.replicas) - set(assignment.replicas):
            self._not_on(broker_id, partition)
        for broker_id in assignment.replicas:
            self.on_broker.setdefault(broker_id, set()).add(partition)

    def _not_on(self, broker_id: int, partition: TopicPartition) -> None:
        there = self.on_broker.get(broker_id)
        if there is not None:
            there.discard(partition)
            if not there:
                del self.on_broker[broker_id]

    def set_topic_id(self, topic: str, topic_id: UUID | None) -> None:
        """Remember the id of a topic; None: it has none (inter.broker.protocol.version before 2.8)."""
        old = self.topic_ids.pop(topic, None)
        if old is not None:
            self.topic_names.pop(old, None)
        if topic_id is not None:
            self.topic_ids[topic] = topic_id
            self.topic_names[topic_id] = topic

    def set_status(self, partition: TopicPartition, status: PartitionStatus) -> None:
        """Set the status of a partition."""
        self.partition_status[partition] = status
        if status is PartitionStatus.ONLINE:
            self.without_leader.discard(partition)
        else:
            self.without_leader.add(partition)

    def partitions(self, topics: Iterable[str] | None = None) -> Iterator[TopicPartition]:
        """The partitions of these topics, or all, in order of name and index."""
        for topic in sorted(self.topics if topics is None else topics):
            for index in sorted(self.topics.get(topic, ())):
                yield TopicPartition(topic, index)

    def replicas(self, partitions: Iterable[TopicPartition]) -> list[Replica]:
        """All replicas of these partitions."""
        return [Replica(each, broker_id) for each in partitions for broker_id in self.assignment(each).replicas]

    def remove_partition_state(self, partition: TopicPartition) -> None:
        """Forget leader, ISR and status of a partition."""
        self.states.pop(partition, None)
        self.partition_status.pop(partition, None)
        self.without_leader.discard(partition)

    def remove_topic(self, topic: str) -> None:
        """Forget a topic."""
        for index, assignment in self.topics.pop(topic, {}).items():
            partition = TopicPartition(topic, index)
            self.remove_partition_state(partition)
            self.being_reassigned.discard(partition)
            for broker_id in assignment.replicas:
                self.replica_status.pop(Replica(partition, broker_id), None)
                self._not_on(broker_id, partition)
                offline = self.offline_dir_partitions.get(broker_id)
                if offline is not None:
                    offline.discard(partition)
        self.set_topic_id(topic, None)
        for topics in (self.deleting, self.deletion_begun, self.deletion_ineligible):
            topics.discard(topic)
