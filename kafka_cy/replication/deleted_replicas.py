"""Replicas that a controller had this broker delete. A LeaderAndIsr from before that may come late: it must not bring them back.

A controller sends a request again when its connection is lost, so that one may arrive twice, and the second time after the
deletion. Nobody would delete the log that it creates. (Kafka takes it.)
"""

from __future__ import annotations

from typing import NamedTuple

from kafka_cy.protocol.controller_messages.stop_replica import EPOCH_DURING_DELETE
from kafka_cy.storage.log_dir import NO_TOPIC_ID

DELETED_MAX = 10_000  # the last ones
EVERY_EPOCH = 1 << 31  # of a topic that is deleted: no leader epoch comes after


class Deletion(NamedTuple):
    """Of one replica. `leader_epoch`: that of StopReplica. `known_epoch`: that of its role."""

    topic_id: bytes  # NO_TOPIC_ID: it has none
    leader_epoch: int
    known_epoch: int


class DeletedReplicas:
    """Owner: the replica manager's thread. Limit: DELETED_MAX.

    Only of the present controller epoch: what an earlier controller has sent is refused in any case, and a later one may know
    better, for it may cancel the deletion of a topic. A replica without topic id is not remembered: a new topic of its name would
    look the same, and begins with leader epoch 0, too.
    """

    def __init__(self) -> None:
        self._leader_epochs: dict[tuple[bytes, int], int] = {}  # by topic id and partition
        self._controller_epoch = 0

    def __len__(self) -> int:
        return len(self._leader_epochs)

    def begin(self, controller_epoch: int) -> None:
        """A request of this controller epoch is worked on."""
        if controller_epoch > self._controller_epoch:
            self._controller_epoch = controller_epoch
            self._leader_epochs.clear()

    def add(self, partition: int, deletion: Deletion) -> None:
        """A replica was deleted."""
        topic_id, leader_epoch, known_epoch = deletion
        if topic_id == NO_TOPIC_ID:
            return
        key = topic_id, partition
        epoch = EVERY_EPOCH if leader_epoch == EPOCH_DURING_DELETE else max(leader_epoch, known_epoch)
        self._leader_epochs[key] = max(epoch, self._leader_epochs.pop(key, epoch))
        if len(self._leader_epochs) > DELETED_MAX:
            del self._leader_epochs[next(iter(self._leader_epochs))]

    def has(self, topic_id: bytes, partition: int, leader_epoch: int) -> bool:
        """Whether the replica was deleted in this leader epoch or a later one."""
        deleted_epoch = self._leader_epochs.get((topic_id, partition))
        return deleted_epoch is not None and leader_epoch <= deleted_epoch
