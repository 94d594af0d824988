"""The state machine of one partition of `__transaction_state` (Kafka: TransactionStateManager's cache)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kafka_cy.coordinator.runtime.record_reader import BadRecord
from kafka_cy.coordinator.runtime.result import UnsharedState
from kafka_cy.coordinator.runtime.walk import Walk
from kafka_cy.coordinator.transactions.limits import TransactionsHeld, transaction_bytes
from kafka_cy.coordinator.transactions.records import (
    TRANSACTION_RECORDS,
    StoredTransaction,
    TransactionKey,
    encode_transaction,
)
from kafka_cy.coordinator.transactions.states import ONGOING, PREPARED, STATE_NAMES
from kafka_cy.coordinator.transactions.transaction import Transaction

Record = tuple[TransactionKey, StoredTransaction | None]


class TransactionStateMachine(UnsharedState):
    """Owner: the coordinator's thread; other threads only call `all.each`.

    Limits: as many transactional ids as the log holds; `TransactionsHeld` bounds new ones.
    """

    def __init__(
        self, held: TransactionsHeld, begin: Callable[[Transaction], object], end: Callable[[Transaction], object]
    ) -> None:
        """`begin` starts the soft state of a transaction that was loaded, `end` stops it."""
        self.transactions: dict[str, Transaction] = {}
        self.all: Walk[Transaction] = Walk()
        self.ongoing: Walk[Transaction] = Walk()  # the open ones
        self.prepared: Walk[Transaction] = Walk()  # those whose outcome is decided, and whose markers are being written
        self.skipped = 0  # records that this version does not understand: they are kept in the log
        self._held = held
        self._begin = begin
        self._end = end

    # -- records --

    encode = staticmethod(encode_transaction)

    def decode(self, key: bytes, value: bytes | None) -> Record | None:
        try:
            record = TRANSACTION_RECORDS.decode(key, value)
        except BadRecord:
            record = None
        if record is not None and record[1] is not None and record[1].state not in STATE_NAMES:
            record = None
        if record is None:
            self.skipped += 1
        return record

    def replay(self, record: Record, offset: int, producer_id: int = -1) -> None:
        """A compacted log may begin with tombstones of what it no longer shows: they change nothing."""
        (transactional_id,), stored = record
        transaction = self.transactions.get(transactional_id)
        before = transaction.stored.partitions if transaction is not None else None
        if stored is None:
            if transaction is not None:
                self._remove(transaction)
            return
        if transaction is None:
            transaction = self._create(transactional_id, stored)
        else:
            transaction.set_stored(stored)
        if stored.partitions is not before or not transaction.held_bytes:
            self._count_bytes(transaction)
        for walk, belongs in ((self.ongoing, stored.state == ONGOING), (self.prepared, stored.state in PREPARED)):
            if belongs:
                walk.add(transaction)
            else:
                walk.discard(transaction)

    def _create(self, transactional_id: str, stored: StoredTransaction) -> Transaction:
        transaction = self.transactions[transactional_id] = Transaction(transactional_id, stored)
        self.all.add(transaction)
        self._held.transactional_ids += 1
        return transaction

    def _count_bytes(self, transaction: Transaction) -> None:
        before, transaction.held_bytes = transaction.held_bytes, transaction_bytes(transaction)
        self._held.bytes += transaction.held_bytes - before

    def _remove(self, transaction: Transaction) -> None:
        self._held.bytes -= transaction.held_bytes
        del self.transactions[transaction.transactional_id]
        for walk in (self.all, self.ongoing, self.prepared):
            walk.discard(transaction)
        self._held.transactional_ids -= 1

    # -- soft state --

    def loaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        for transaction in self.all.each():  # none comes or goes before requests are let in
            self._guard(on_fault, self._begin, transaction)
            yield

    def remarks(self) -> list[str]:
        return [f"{self.skipped} records of other kinds were left alone"] if self.skipped else []

    def unloaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        while self.all:
            transaction = self.all.last()
            self._remove(transaction)
            self._guard(on_fault, self._end, transaction)
            yield

    def restart(self, key: str) -> None:
        transaction = self.transactions.get(key)
        if transaction is not None:
            self._end(transaction)
            self._begin(transaction)

    def _guard(
        self, on_fault: Callable[[Exception], object], change: Callable[[Transaction], object], transaction: Transaction
    ) -> None:
        try:
            change(transaction)
        except Exception as fault:  # noqa: BLE001 a fault of one transaction costs the others nothing
            on_fault(fault)
