"""AddPartitionsToTxn: partitions become part of a transaction, which begins with the first one; or it is verified that they are.

Kafka: TransactionCoordinator.handleAddPartitionsToTransaction, handleVerifyPartitionsInTransaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.coordinator.transactions.limits import TransactionsHeld
from kafka_cy.coordinator.transactions.records import StoredTransaction, TransactionKey
from kafka_cy.coordinator.transactions.states import ONGOING
from kafka_cy.coordinator.transactions.transaction import Partition, Transaction
from kafka_cy.protocol.errors import NONE, ErrorCode


def refusal(transaction: Transaction | None, producer: Producer) -> ErrorCode:
    """Why the producer may not add partitions now; NONE if it may."""
    if transaction is None:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if transaction.is_prepared:
        # First: the producer may have the new id of a transaction that uses up the epochs of the old one (KAFKA-18660).
        return ErrorCode.CONCURRENT_TRANSACTIONS
    if transaction.stored.producer_id != producer.producer_id:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if transaction.stored.producer_epoch != producer.epoch:
        return ErrorCode.PRODUCER_FENCED
    return NONE


def add_partitions(
    transaction: Transaction,
    partitions: Sequence[Partition],
    client_version: int,
    held: TransactionsHeld,
    now_ms: int,
) -> CoordinatorResult[ErrorCode]:
    """Add the partitions to a transaction that the producer may change. The first ones begin it."""
    new = transaction.missing(partitions)
    if not new and transaction.is_ongoing:
        return CoordinatorResult(response=NONE)
    if not held.has_room_for_partitions(transaction, len(new)):
        return CoordinatorResult(response=ErrorCode.POLICY_VIOLATION)
    stored = transaction.stored
    value = StoredTransaction(
        producer_id=stored.producer_id,
        producer_epoch=stored.producer_epoch,
        timeout_ms=stored.timeout_ms,
        state=ONGOING,
        partitions=transaction.with_partitions(new),
        last_update_ms=now_ms,
        start_ms=stored.start_ms if transaction.is_ongoing else now_ms,
        previous_producer_id=stored.producer_id,
        next_producer_id=stored.next_producer_id,
        client_version=client_version,
    )
    return CoordinatorResult([(TransactionKey(transaction.transactional_id), value)], NONE)


def verify_partitions(
    transaction: Transaction | None, producer: Producer, partitions: Sequence[Partition]
) -> dict[Partition, ErrorCode]:
    """Whether each partition is part of the producer's transaction (TRANSACTION_ABORTABLE if not)."""
    error = ErrorCode.NONE
    if transaction is None or transaction.stored.producer_id != producer.producer_id:
        error = ErrorCode.INVALID_PRODUCER_ID_MAPPING
    elif transaction.stored.producer_epoch != producer.epoch:
        error = ErrorCode.PRODUCER_FENCED
    elif transaction.is_prepared:
        error = ErrorCode.CONCURRENT_TRANSACTIONS
    if error or transaction is None:
        return dict.fromkeys(partitions, error)
    return {
        each: ErrorCode.NONE if transaction.holds(*each) else ErrorCode.TRANSACTION_ABORTABLE for each in partitions
    }
