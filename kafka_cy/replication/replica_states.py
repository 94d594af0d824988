"""What a controller has told this broker of its replicas: the table that LeaderAndIsr and StopReplica change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kafka_cy.protocol.controller_messages.leader_and_isr import PartitionState
from kafka_cy.storage.hosted_partition import STATE_OFFLINE, HostedPartition

Key = tuple[str, int]
NO_EPOCH = -1  # of a partition of which no controller has told


class ReplicaState(NamedTuple):
    """The state of a partition that this broker hosts, as of the last LeaderAndIsr that it took.

    The ISR and the partition epoch of a partition that it leads change with AlterPartition, too: IsrChanges has them.
    """

    leader: int
    leader_epoch: int
    partition_epoch: int
    controller_epoch: int
    replicas: tuple[int, ...]
    adding_replicas: tuple[int, ...] = ()
    removing_replicas: tuple[int, ...] = ()


def replica_state(told: PartitionState, replicas: tuple[int, ...]) -> ReplicaState:
    """What LeaderAndIsr tells of a partition. `replicas`: each of them once."""
    return ReplicaState(
        told.leader, told.leader_epoch, told.partition_epoch, told.controller_epoch, replicas, told.adding_replicas,
        told.removing_replicas,
    )  # fmt: skip


class ReplicaStates:
    """Owner: the replica manager's thread; others may look up single keys, or copy it.

    A partition that is hosted but not here (after a start) has no role: no controller has told of it yet.
    """

    def __init__(self, broker_id: int, partitions: Mapping[Key, HostedPartition]) -> None:
        self.broker_id = broker_id
        self.controller_epoch = 0  # the largest that was seen
        self.broker_epoch = -1  # of the last registration
        self.by_key: dict[Key, ReplicaState] = {}
        self.offline: set[Key] = set()  # whose log could not be created or is in a failed directory
        self._partitions = partitions

    def leader_epoch(self, key: Key) -> int:
        """NO_EPOCH: none is known."""
        state = self.by_key.get(key)
        return NO_EPOCH if state is None else state.leader_epoch

    def leads(self, key: Key) -> bool:
        """Whether this broker leads the partition."""
        state = self.by_key.get(key)
        return state is not None and state.leader == self.broker_id

    def is_offline(self, key: Key) -> bool:
        """Whether its log directory has failed."""
        partition = self._partitions.get(key)
        return key in self.offline or (partition is not None and partition.state == STATE_OFFLINE)
