"""The values that the controller knows of a partition: its assignment and its leader and ISR."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kafka_cy.protocol.controller_messages.update_metadata import LEADER_NONE

RECOVERED, RECOVERING = 0, 1  # KIP-704


class TopicPartition(NamedTuple):
    """Name and index."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class LeaderAndIsr(NamedTuple):
    """What a state node says. `partition_epoch` is the node's version; `controller_epoch` is of the controller that wrote it."""

    leader: int
    leader_epoch: int
    isr: tuple[int, ...]
    partition_epoch: int
    controller_epoch: int
    leader_recovery_state: int = RECOVERED

    def next_epoch(self, leader: int, isr: tuple[int, ...]) -> LeaderAndIsr:
        """A new leader epoch with this leader and ISR."""
        return self._replace(leader=leader, leader_epoch=self.leader_epoch + 1, isr=isr)

    @property
    def has_leader(self) -> bool:
        """Whether a replica leads."""
        return self.leader != LEADER_NONE


class ReplicaAssignment(NamedTuple):
    """All replicas, those that a reassignment adds and those that it will remove."""

    replicas: tuple[int, ...]
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()

    @property
    def is_being_reassigned(self) -> bool:
        """Whether a reassignment has not ended."""
        return bool(self.adding or self.removing)

    @property
    def target_replicas(self) -> tuple[int, ...]:
        """The replicas after the reassignment, in the new order."""
        return _without(self.replicas, self.removing)

    @property
    def origin_replicas(self) -> tuple[int, ...]:
        """The replicas before the reassignment."""
        return _without(self.replicas, self.adding)

    def reassigned_to(self, target: Sequence[int]) -> ReplicaAssignment:
        """The assignment while these become the replicas: first the targets, then those that will go."""
        origin = self.origin_replicas
        full = (*target, *_without(origin, target))
        return ReplicaAssignment(full, _without(full, origin), _without(full, target))


def _without(replicas: Iterable[int], others: Sequence[int]) -> tuple[int, ...]:
    return tuple([replica for replica in replicas if replica not in others])
