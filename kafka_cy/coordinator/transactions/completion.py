"""Ends a prepared transaction: writes its markers, then stores that it is complete.

It begins when the Prepare record is stored, or when a coordinator has loaded one. A marker that was written before a crash is
written again, which changes nothing. Kafka: TransactionMarkerChannelManager, TransactionMarkerRequestCompletionHandler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.runtime.shard import Marker, Shard
from kafka_cy.coordinator.transactions.end_transaction import completed
from kafka_cy.coordinator.transactions.markers import Errors, MarkerWriter
from kafka_cy.coordinator.transactions.records import StoredTransaction, TransactionKey
from kafka_cy.coordinator.transactions.state_machine import TransactionStateMachine
from kafka_cy.coordinator.transactions.states import PREPARE_COMMIT
from kafka_cy.coordinator.transactions.transaction import Partition, Transaction
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.coordinator.transactions.marker_channels import MarkerRouter

RETRY_S_MIN, RETRY_S_MAX = 0.1, 5.0  # the delay doubles with each attempt
RETRIES_PER_S = 1000  # when many transactions wait, for example for an offline directory, their delay is longer
FOR_PARTITIONS, FOR_LOG = "partitions", "log"  # what a transaction waits for: a marker to be written, Complete to be stored
LOGGED_ATTEMPT = 4  # after 1.5 seconds: the start of a broker, which loads the offsets topic, is not worth a line


class Completion:
    """Owner: the coordinator's thread. Limit: one at a time for each transaction; a failed partition costs one timer."""

    def __init__(
        self,
        runtime: CoordinatorRuntime[TransactionStateMachine],
        cluster: Any,
        markers: MarkerWriter | MarkerRouter,
        log: Callable[..., object],
    ) -> None:
        self._runtime = runtime
        self._cluster = cluster
        self._markers = markers
        self._log = log
        self.waiting = dict.fromkeys((FOR_PARTITIONS, FOR_LOG), 0)  # transactions that wait for another attempt; for metrics

    def begin(self, transactional_id: str) -> None:
        """Write the markers of the transaction if it is prepared and nobody does so yet. Its Prepare record has to be stored."""
        shard = self._runtime.replayed_shard(transactional_id)
        transaction = shard.state.transactions.get(transactional_id) if shard is not None else None
        if shard is None or transaction is None or not transaction.is_prepared or transaction.markers_under_way:
            return
        transaction.markers_under_way = True
        self._write(shard, transaction, transaction.stored, transaction.all_partitions(), 0)

    def _write(
        self,
        shard: Shard[TransactionStateMachine],
        transaction: Transaction,
        stored: StoredTransaction,
        partitions: Sequence[Partition],
        attempt: int,
    ) -> None:
        if not self._is_current(shard, transaction, stored):
            return
        marker = Marker(
            stored.producer_id,
            stored.producer_epoch,
            shard.coordinator_epoch,
            stored.state == PREPARE_COMMIT,
            stored.client_version,
        )

        def written(errors: Errors) -> None:
            left = [each for each, error in errors.items() if error and not self._is_over(transaction, each, error)]
            if not left:
                self._complete(shard, transaction, stored, 0)
                return
            if attempt == LOGGED_ATTEMPT:
                self._log(
                    "a transaction marker cannot be written; it is tried again", transactional_id=transaction.transactional_id,
                    partitions=len(left), topic=left[0][0], partition=left[0][1], error=errors[left[0]].name,
                )  # fmt: skip
            self._later(FOR_PARTITIONS, attempt, self._write, shard, transaction, stored, left)

        self._markers.write(marker, partitions, written)

    def _is_over(self, transaction: Transaction, partition: Partition, error: ErrorCode) -> bool:
        """Whether the partition needs no marker any more: it was deleted, or somebody else has ended its transaction."""
        name, index = partition
        if error is ErrorCode.INVALID_PRODUCER_EPOCH or (
            error is ErrorCode.TRANSACTION_COORDINATOR_FENCED and not self._is_open_in(partition, transaction.stored.producer_id)
        ):
            self._log(
                "a transaction was ended by somebody else", transactional_id=transaction.transactional_id, topic=name,
                partition=index, error=error.name,
            )  # fmt: skip
            return True
        if error is ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT:  # a log that takes no markers has no transactions; as Kafka
            return True
        topic = self._cluster.topics.get(name)
        return topic is None or index >= len(topic.partitions)

    def _is_open_in(self, partition: Partition, producer_id: int) -> bool:
        """Whether the partition has an open transaction of the producer. A marker with a later coordinator epoch (an operator's,
        KIP-664) fences ours, also in the producer's next transaction: it must not count as ended, it is tried again."""
        hosted = self._cluster.partition(*partition)
        if hosted is None:
            return True
        return any(row[0] == producer_id and row[5] >= 0 for row in hosted.log.producers())

    def _complete(
        self,
        shard: Shard[TransactionStateMachine],
        transaction: Transaction,
        stored: StoredTransaction,
        attempt: int,
    ) -> None:
        """All markers are stored."""
        if not self._is_current(shard, transaction, stored):
            return

        def operation(state: TransactionStateMachine) -> CoordinatorResult[bool]:
            record = (TransactionKey(transaction.transactional_id), completed(stored, self._runtime.loop.wall_clock_ms()))
            return CoordinatorResult([record], True, self._done(transaction), failed)

        def failed(error: ErrorCode) -> None:
            self._later(FOR_LOG, attempt, self._complete, shard, transaction, stored)

        self._runtime.write_own(transaction.transactional_id, operation)

    def _done(self, transaction: Transaction) -> Callable[[], object]:
        return partial(setattr, transaction, "markers_under_way", False)

    def _is_current(
        self, shard: Shard[TransactionStateMachine], transaction: Transaction, stored: StoredTransaction
    ) -> bool:
        """Whether this broker is still the coordinator, and nothing has happened to the transaction."""
        return (
            self._runtime.shards.get(shard.index) is shard
            and shard.is_led
            and shard.state.transactions.get(transaction.transactional_id) is transaction
            and transaction.stored is stored
            and transaction.markers_under_way
        )

    def _later(self, reason: str, attempt: int, function: Callable[..., object], *arguments: Any) -> None:
        delay_s = min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** min(attempt, 10))
        delay_s = max(delay_s, sum(self.waiting.values()) / RETRIES_PER_S)
        self.waiting[reason] += 1
        self._runtime.loop.call_later(delay_s, self._again, reason, partial(function, *arguments, attempt + 1))

    def _again(self, reason: str, attempt: Callable[[], object]) -> None:
        self.waiting[reason] -= 1
        attempt()
