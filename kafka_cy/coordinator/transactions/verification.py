"""What is asked before something is appended in a transaction: whether the partition is part of it (KIP-890), or to add it.

The coordinator of the transaction knows: that of this broker, or, in a cluster, that of the leader of the transactional id's
partition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.base.duration_counts import DurationCounts
from kafka_cy.coordinator.transactions import add_partitions
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.coordinator.transactions.transaction import Partition
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.coordinator.transactions.remote_verification import RemoteVerification

TRANSACTION_VERSION = 2  # of clients that add partitions with the first write (KIP-890)
NO_LEADER = -1
Errors = dict[Partition, ErrorCode]


class Verification:
    """Owner: the coordinator's thread."""

    def __init__(self, coordinator: Any, remote: RemoteVerification | None) -> None:
        """`remote`: None if this broker is by itself."""
        self._coordinator = coordinator
        self._remote = remote
        self.times = DurationCounts()  # until the coordinator of the transaction had answered
        self.failures = 0  # partitions that it refused

    def _other(self, transactional_id: str) -> int | None:
        """The broker that coordinates the transactional id, NO_LEADER, or None if it is this one."""
        runtime = self._coordinator.runtime
        if self._remote is None:
            return None
        index = runtime.partition_index(transactional_id)
        topic = runtime.cluster.topics.get(runtime.topic)
        if index is None or topic is None or index >= len(topic.partitions):
            return NO_LEADER
        leader: int = topic.partitions[index].leader
        return None if leader == runtime.cluster.broker_id else leader

    def add_for_produce(
        self,
        transactional_id: str,
        producer: Producer,
        partitions: Sequence[Partition],
        implicit: bool,
        respond: Callable[[Errors], object],
    ) -> None:
        """See TransactionCoordinator.add_for_produce."""

        loop = self._coordinator.loop
        began_s = loop.now()

        def done(errors: Mapping[Partition, Any]) -> None:
            self.times.add(loop.now() - began_s)
            self.failures += sum(map(bool, errors.values()))
            fenced, wrong_epoch = ErrorCode.PRODUCER_FENCED, ErrorCode.INVALID_PRODUCER_EPOCH
            respond({each: wrong_epoch if error is fenced else error for each, error in errors.items()})

        other = self._other(transactional_id) if transactional_id else None
        if other is not None:
            if other == NO_LEADER or self._remote is None:  # nobody was asked: as in Kafka, it does not count
                respond(dict.fromkeys(partitions, ErrorCode.COORDINATOR_NOT_AVAILABLE))
            else:  # a cluster has no version of transactions with which a write adds its partition
                self._remote.verify(other, transactional_id, producer, partitions, done)
        elif implicit:
            self._coordinator.add_partitions(
                transactional_id, producer, partitions, TRANSACTION_VERSION,
                lambda error: done(dict.fromkeys(partitions, error)),
            )  # fmt: skip
        else:
            self._coordinator.verify_partitions(transactional_id, producer, partitions, done)

    def check_open(self, transactional_id: str, producer: Producer, partition: Partition) -> ErrorCode:
        """See TransactionCoordinator.check_open."""
        if self._remote is not None and self._other(transactional_id) is not None:
            return ErrorCode.NONE if self._remote.holds(producer, partition) else ErrorCode.INVALID_TXN_STATE
        error, shard = self._coordinator.runtime.shard_of(transactional_id)
        if shard is None:
            return error  # type: ignore[no-any-return]
        transaction = shard.state.transactions.get(transactional_id)
        error = add_partitions.verify_partitions(transaction, producer, [partition])[partition]
        return ErrorCode.INVALID_PRODUCER_EPOCH if error is ErrorCode.PRODUCER_FENCED else error

    def coordinated_here(self, producer_id: int) -> None:
        """The coordinator of this broker tells the data plane of the producer's partitions, and when its transaction is over."""
        if self._remote is not None:
            self._remote.coordinated_here(producer_id)

    def leadership_lost(self, partition: Partition) -> None:
        """This broker leads the partition no more."""
        if self._remote is not None:
            self._remote.leadership_lost(partition)
