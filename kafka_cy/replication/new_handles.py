"""Partitions whose topics get ids (inter.broker.protocol.version goes to 2.8): each has a new handle over the same log.

The new handle takes the role that the former one had. Nobody can use the partition before the metadata names the new handle, so
that the slow part, the files with the ids, comes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kafka_cy.base.slices import in_work
from kafka_cy.storage.log_dir import NO_TOPIC_ID
from kafka_cy.storage.topic_id_files import prepare_topic_ids

if TYPE_CHECKING:
    from kafka_cy.replication.isr_changes import LedPartition
    from kafka_cy.replication.replica_states import Key
    from kafka_cy.replication.role_changes import Role, Surroundings

AGAIN_S = 1.0  # after which a role is taken again that could not be taken for lack of memory
AGAIN_MAX = 600


class NewHandles:
    """Owner: the replica manager's thread."""

    def __init__(self, around: Surroundings, guarded: Callable[[Callable[[Role, Any], object], Role, Any], int]) -> None:
        """`guarded(step, role, argument)`: do one step for one partition, and tell of what it raises."""
        self._around = around
        self._states = around.states
        self._guarded = guarded

    def lacks_id(self, role: Role) -> bool:
        """Whether the log exists, without the id that its topic has by now."""
        partition = self._around.logs.partitions.get(role.key)
        return partition is not None and partition.topic_id == NO_TOPIC_ID != role.topic_id

    def prepare(self, roles: Sequence[Role]) -> Generator[Any, None, None]:
        """Write the files, on other threads, while the partitions are used. One that fails is written again by `adopt`."""
        if roles:
            ids = [(self._around.logs.partitions[role.key].log.directory, role.topic_id) for role in roles]
            yield from in_work(partial(prepare_topic_ids, ids))

    def adopt(self, role: Role, adopted: list[Key]) -> None:
        """Give a partition its id and its new handle. Raises OSError, StorageFailure."""
        if self.lacks_id(role):
            self._around.logs.assign_topic_id(*role.key, role.topic_id)
            adopted.append(role.key)
            self.take_again(role)

    def take_again(self, role: Role, tries: int = 0) -> None:
        """The partition has a new handle, without a role: with the epoch that is known it takes the old one again.

        Without memory it tries again later, which a role that came meanwhile does not mind: the controller sends an epoch once.
        """
        try:
            self._take_known(role.key)
        except MemoryError:
            log = self._around.log
            if tries == AGAIN_MAX:
                log.error("a replica has no role before its next leader epoch: out of memory", partition=_name(role.key))
                return
            if not tries:
                log.warning("a replica waits for memory to take its role again", partition=_name(role.key))
            self._around.later(AGAIN_S, partial(self._guarded, self.take_again, role, tries + 1))

    def _take_known(self, key: Key) -> None:
        """Raises MemoryError, StorageFailure."""
        known, partition = self._states.by_key.get(key), self._around.logs.partitions.get(key)
        if known is None or partition is None:
            return
        led = self._around.isr.led.get(key)
        if known.leader == self._states.broker_id and led is not None:
            lead_with(partition, led, self._states.broker_id)
            self.set_adding(partition, key, known.adding_replicas)
            led.topic_id = UUID(bytes=partition.topic_id)
        else:
            partition.follow(known.leader_epoch)
            self.set_adding(partition, key, known.adding_replicas)
            following = self._around.fetchers.following.get(key)
            if following is not None:
                self._around.fetchers.follow(key, following.leader, following.leader_epoch)

    def set_adding(self, partition: Any, key: Key, replicas: Collection[int]) -> None:
        """Before the first bytes are fetched. It is for metrics only: without memory, the role is taken all the same."""
        try:
            partition.set_adding(replicas, self._states.broker_id)
        except MemoryError:
            self._around.log.warning("the metrics of a reassignment lack a partition: out of memory", partition=_name(key))


def lead_with(partition: Any, led: LedPartition, broker_id: int) -> None:
    """What was asked of the controller stays asked: it may have stored it, and the high watermark must not pass who joins."""
    joining = None if led.joining is None else led.joining[0]
    partition.lead(led.leader_epoch, led.counted, led.isr, broker_id, proposed=led.proposed is not None, joining=joining)


def _name(key: Key) -> str:
    return f"{key[0]}-{key[1]}"
