"""InitProducerId: a producer gets its id and epoch; whoever had the transactional id before is fenced.

Kafka: TransactionCoordinator.prepareInitProducerIdTransit, TransactionMetadata.prepareIncrementProducerEpoch.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.transactions.records import StoredTransaction, TransactionKey
from kafka_cy.coordinator.transactions.states import State
from kafka_cy.coordinator.transactions.transaction import EPOCH_MAX, NO_EPOCH, Transaction
from kafka_cy.protocol.errors import ErrorCode


class Producer(NamedTuple):
    """A producer id and epoch."""

    producer_id: int
    epoch: int


NO_TIMEOUT_MS = (1 << 31) - 1  # of a transaction that takes part in a two-phase commit
NO_PRODUCER = Producer(-1, NO_EPOCH)
Response = tuple[ErrorCode, Producer]
Result = CoordinatorResult[Response]


class InitRequest(NamedTuple):
    """`expected` is the producer's id and epoch of before (KIP-360), if it has one. `two_phase`: there is no timeout (KIP-939)."""

    transactional_id: str
    timeout_ms: int
    expected: Producer | None
    two_phase: bool = False


def needs_producer_id(transaction: Transaction | None, request: InitRequest) -> bool:
    """Whether the request gets a new producer id: the transactional id is new, or the epochs of its producer id are used up."""
    if transaction is None:
        return True
    expected = request.expected
    return transaction.is_epoch_exhausted and (
        transaction.is_ongoing or expected is None or expected.epoch == transaction.stored.producer_epoch
    )


def refusal(transaction: Transaction, expected: Producer | None) -> ErrorCode:
    """Why the producer may not have the transactional id; NONE if it may."""
    if transaction.is_prepared:
        return ErrorCode.CONCURRENT_TRANSACTIONS
    if expected is None:
        return ErrorCode.NONE
    stored = transaction.stored
    if expected.producer_id == stored.producer_id:
        return ErrorCode.NONE
    # A retry after the epochs of the previous id were used up: the response with the new id was lost.
    is_retry = expected.producer_id == stored.previous_producer_id and expected.epoch >= EPOCH_MAX - 1
    return ErrorCode.NONE if is_retry else ErrorCode.PRODUCER_FENCED


def create(request: InitRequest, producer_id: int, now_ms: int) -> Result:
    """The transactional id is new."""
    stored = StoredTransaction(
        producer_id, 0, request.timeout_ms, State.EMPTY, None, now_ms, -1, previous_producer_id=producer_id
    )
    return Result([(TransactionKey(request.transactional_id), stored)], (ErrorCode.NONE, Producer(producer_id, 0)))


def next_epoch(transaction: Transaction, request: InitRequest, new_producer_id: int | None, now_ms: int) -> Result:
    """The transactional id has no open transaction: the producer gets the next epoch, or a new id when they are used up."""
    stored, expected = transaction.stored, request.expected
    if transaction.is_epoch_exhausted:
        if new_producer_id is None:
            return Result(response=(ErrorCode.UNKNOWN_SERVER_ERROR, NO_PRODUCER))  # an old epoch is expected; as Kafka
        producer = Producer(new_producer_id, 0)
        last_epoch = stored.producer_epoch if expected is not None else NO_EPOCH
    elif expected is None or expected.epoch == stored.producer_epoch:
        producer = Producer(stored.producer_id, stored.producer_epoch + 1)
        last_epoch = stored.producer_epoch if expected is not None else NO_EPOCH
    elif expected.epoch == transaction.last_epoch:
        # A retry of a request that succeeded. Nobody else can have the new epoch: another producer's InitProducerId would
        # have forgotten the last epoch.
        producer = Producer(stored.producer_id, stored.producer_epoch)
        last_epoch = transaction.last_epoch
    else:
        return Result(response=(ErrorCode.PRODUCER_FENCED, NO_PRODUCER))
    value = StoredTransaction(
        producer.producer_id, producer.epoch, request.timeout_ms, State.EMPTY, None, now_ms, -1,
        previous_producer_id=stored.producer_id, client_version=stored.client_version,
    )  # fmt: skip
    apply = partial(setattr, transaction, "last_epoch", last_epoch)
    return Result([(TransactionKey(transaction.transactional_id), value)], (ErrorCode.NONE, producer), apply)
