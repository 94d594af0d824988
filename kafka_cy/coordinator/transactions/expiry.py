"""Transactions that take longer than their timeout are aborted, transactional ids that nobody uses any more are removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.transactions import end_transaction
from kafka_cy.coordinator.transactions.init_producer_id import NO_PRODUCER, NO_TIMEOUT_MS, Producer
from kafka_cy.coordinator.transactions.records import TransactionKey
from kafka_cy.coordinator.transactions.states import IDLE
from kafka_cy.coordinator.transactions.transaction import Transaction, named
from kafka_cy.protocol.errors import ErrorCode


class Expiry:
    """Owner: the coordinator's thread. Idle cost: two timers, whatever the number of transactional ids."""

    def __init__(self, coordinator: Any) -> None:
        """`coordinator` is the TransactionCoordinator that this is a part of."""
        self._coordinator = coordinator
        self._loop = coordinator.loop
        self._timers: list[Any] = []

    def start(self) -> None:
        """Begin to look for transactions and transactional ids whose time is over."""
        every_id = self._coordinator.all_transactions
        self._repeat("transaction.abort.timed.out.transaction.cleanup.interval.ms", self._ongoing, self._abort_if_timed_out)
        self._repeat("transaction.remove.expired.transaction.cleanup.interval.ms", every_id, self._remove_if_expired)

    def stop(self) -> None:
        """Stop the timers."""
        for timer in self._timers:
            timer.cancel()

    def _repeat(
        self, key: str, transactions: Callable[[], Iterator[Transaction]], work: Callable[[Transaction], object]
    ) -> None:
        """Do the work for each transaction, in slices, every interval; the next round begins after the end of this one."""
        interval_s = int(self._coordinator.config[key]) / 1000
        place = len(self._timers)

        def schedule() -> None:
            self._timers[place] = self._loop.call_later(interval_s, begin)

        def begin() -> None:
            self._coordinator.runtime.in_slices(transactions(), work, schedule)

        self._timers.append(None)
        schedule()

    def _ongoing(self) -> Iterator[Transaction]:
        for shard in self._coordinator.runtime.loaded_shards():
            yield from shard.state.ongoing.each()

    def _abort_if_timed_out(self, found: Transaction) -> None:
        if not self._is_timed_out(found):
            return

        def operation(
            transaction: Transaction | None, new_id: int | None
        ) -> CoordinatorResult[end_transaction.Response] | None:
            if transaction is None or not self._is_timed_out(transaction):
                return CoordinatorResult(response=(ErrorCode.INVALID_TXN_STATE, NO_PRODUCER))
            if transaction.is_epoch_exhausted and new_id is None:
                return None
            response = (ErrorCode.NONE, NO_PRODUCER)
            fenced: CoordinatorResult[end_transaction.Response] = coordinator.fence(
                transaction, new_id, "it took longer than its timeout", response
            )
            return fenced

        coordinator, name = self._coordinator, named(found)

        def aborted(error: ErrorCode, producer: Producer) -> None:
            if error and error is not ErrorCode.INVALID_TXN_STATE:
                coordinator.log("a transaction that took too long could not be aborted", error=error.name, **name)

        coordinator.write(found.transactional_id, operation, partial(coordinator.ended, found.transactional_id, aborted))

    def _is_timed_out(self, transaction: Transaction) -> bool:
        stored = transaction.stored
        if not transaction.is_ongoing or stored.timeout_ms == NO_TIMEOUT_MS:
            return False
        now_ms: int = self._loop.wall_clock_ms()
        return stored.start_ms + stored.timeout_ms < now_ms

    def _remove_if_expired(self, found: Transaction) -> None:
        """Remove a transactional id that was not used for `transactional.id.expiration.ms`."""
        latest_ms = self._loop.wall_clock_ms() - int(self._coordinator.config["transactional.id.expiration.ms"])

        def operation(transaction: Transaction | None, new_id: int | None) -> CoordinatorResult[bool]:
            if transaction is None or not _is_unused(transaction, latest_ms):
                return CoordinatorResult(response=False)
            return CoordinatorResult([(TransactionKey(transaction.transactional_id), None)], True)

        if _is_unused(found, latest_ms):
            self._coordinator.write(found.transactional_id, operation, lambda error, response: None)


def _is_unused(transaction: Transaction, latest_ms: int) -> bool:
    return transaction.stored.state in IDLE and transaction.stored.last_update_ms <= latest_ms
