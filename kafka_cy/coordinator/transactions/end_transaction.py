"""EndTxn: commit or abort. The outcome is stored first (Prepare), then the markers are written, then Complete is stored.

Transaction version 1: the epoch stays. Version 2 (KIP-890, EndTxn v5): each end raises the epoch, so that requests of the
transaction that arrive late are fenced; the markers have the new epoch.
Kafka: TransactionCoordinator.endTransaction, endTransactionWithTV1, TransactionMetadata.prepareAbortOrCommit.
"""

from __future__ import annotations

from kafka_cy.coordinator.transactions.init_producer_id import NO_PRODUCER, Producer
from kafka_cy.coordinator.transactions.records import NO_PRODUCER_ID, StoredTransaction
from kafka_cy.coordinator.transactions.states import IDLE, PREPARE_COMMIT, State
from kafka_cy.coordinator.transactions.transaction import EPOCH_MAX, NO_EPOCH, Transaction
from kafka_cy.protocol.errors import NONE, ErrorCode

Response = tuple[ErrorCode, Producer]
VERSION_WITH_EPOCH_BUMP = 2
_COMPLETE = {True: State.COMPLETE_COMMIT, False: State.COMPLETE_ABORT}


def decide(
    transaction: Transaction | None, producer: Producer, committed: bool, client_version: int
) -> Response | None:
    """The response to an EndTxn that changes nothing (an error, or a retry); None: `prepared` follows."""
    if transaction is None:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING, NO_PRODUCER
    if client_version >= VERSION_WITH_EPOCH_BUMP:
        return _decide_version_2(transaction, producer, committed)
    return _decide_version_1(transaction, producer, committed)


def _decide_version_1(transaction: Transaction, producer: Producer, committed: bool) -> Response | None:
    stored = transaction.stored
    error = NONE
    if stored.producer_id != producer.producer_id:
        error = ErrorCode.INVALID_PRODUCER_ID_MAPPING
    elif stored.producer_epoch != producer.epoch:
        error = ErrorCode.PRODUCER_FENCED
    elif transaction.is_prepared:
        error = ErrorCode.CONCURRENT_TRANSACTIONS
    elif transaction.is_ongoing:
        return None
    elif stored.state != _COMPLETE[committed]:
        error = ErrorCode.INVALID_TXN_STATE
    return error, NO_PRODUCER


def _decide_version_2(transaction: Transaction, producer: Producer, committed: bool) -> Response | None:
    """KIP-890:

    | stored         | abort, old epoch | abort, current | commit, old epoch | commit, current |
    |----------------|------------------|----------------|-------------------|-----------------|
    | Ongoing        | fenced           | ends           | fenced            | ends            |
    | Empty          | fenced           | ends           | fenced            | INVALID         |
    | CompleteAbort  | NONE             | ends           | INVALID           | INVALID         |
    | CompleteCommit | INVALID          | ends           | NONE              | INVALID         |
    """
    stored = transaction.stored
    if transaction.is_prepared:
        return ErrorCode.CONCURRENT_TRANSACTIONS, NO_PRODUCER  # first, see add_partitions.refusal
    is_complete = stored.state in (State.COMPLETE_COMMIT, State.COMPLETE_ABORT)
    with_new_id = (
        stored.previous_producer_id == producer.producer_id
        and producer.epoch == EPOCH_MAX - 1
        and stored.producer_epoch == 0
    )
    if stored.producer_id != producer.producer_id and not with_new_id:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING, NO_PRODUCER
    is_retry = with_new_id or stored.producer_epoch == producer.epoch + 1
    if not (stored.producer_epoch == producer.epoch or (is_complete and is_retry)):
        return ErrorCode.PRODUCER_FENCED, NO_PRODUCER
    if is_complete and is_retry:
        if stored.state == _COMPLETE[committed]:
            return ErrorCode.NONE, Producer(stored.producer_id, stored.producer_epoch)
        return ErrorCode.INVALID_TXN_STATE, NO_PRODUCER
    if stored.state in IDLE and committed:
        return ErrorCode.INVALID_TXN_STATE, NO_PRODUCER
    return None


def prepared(
    stored: StoredTransaction, committed: bool, client_version: int, next_producer_id: int, now_ms: int
) -> StoredTransaction:
    """The Prepare record of an EndTxn. With version 2 an abort may end what never began: it starts now.

    `next_producer_id` is used when the epochs of the producer id are used up.
    """
    epoch = stored.producer_epoch
    if client_version >= VERSION_WITH_EPOCH_BUMP and epoch < EPOCH_MAX:
        epoch += 1
    return _prepare(stored, committed, epoch, next_producer_id, client_version, now_ms)


def fenced(stored: StoredTransaction, server_version: int, next_producer_id: int, now_ms: int) -> StoredTransaction:
    """The Prepare record of the coordinator's own abort, which fences the producer: its epoch is over."""
    epoch = min(stored.producer_epoch + 1, EPOCH_MAX)
    client_version = server_version if server_version >= VERSION_WITH_EPOCH_BUMP else 0
    return _prepare(stored, False, epoch, next_producer_id, client_version, now_ms)


def _prepare(
    stored: StoredTransaction, committed: bool, epoch: int, next_producer_id: int, client_version: int, now_ms: int
) -> StoredTransaction:
    return StoredTransaction(
        producer_id=stored.producer_id,
        producer_epoch=epoch,
        timeout_ms=stored.timeout_ms,
        state=PREPARE_COMMIT if committed else State.PREPARE_ABORT,
        partitions=stored.partitions or (),
        last_update_ms=now_ms,
        start_ms=now_ms if stored.state in IDLE else stored.start_ms,
        previous_producer_id=stored.producer_id,
        next_producer_id=next_producer_id,
        client_version=client_version,
    )


def last_epoch_after(before: StoredTransaction, after: StoredTransaction, last_epoch: int, *, fences: bool) -> int:
    """The previous epoch (Transaction.last_epoch) once the transaction is prepared."""
    if after.client_version >= VERSION_WITH_EPOCH_BUMP:
        return before.producer_epoch
    return NO_EPOCH if fences else last_epoch


def completed(stored: StoredTransaction, now_ms: int) -> StoredTransaction:
    """The Complete record that follows a Prepare record when all markers are written."""
    producer_id, epoch = producer_after(stored)
    return StoredTransaction(
        producer_id=producer_id,
        producer_epoch=epoch,
        timeout_ms=stored.timeout_ms,
        state=_COMPLETE[stored.state == PREPARE_COMMIT],
        partitions=(),
        last_update_ms=now_ms,
        start_ms=stored.start_ms,
        previous_producer_id=stored.producer_id,
        next_producer_id=NO_PRODUCER_ID,
        client_version=stored.client_version,
    )


def producer_after(prepare: StoredTransaction) -> Producer:
    """The producer id and epoch that a prepared transaction leaves behind."""
    if prepare.client_version >= VERSION_WITH_EPOCH_BUMP and prepare.next_producer_id != NO_PRODUCER_ID:
        return Producer(prepare.next_producer_id, 0)
    return Producer(prepare.producer_id, prepare.producer_epoch)
