"""What an operation of a coordinator returns, and what the runtime asks of a state machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from kafka_cy.protocol.errors import ErrorCode

Record = tuple[Any, Any]  # (key, value) as the state machine knows them; the value None is a tombstone
R = TypeVar("R")


class CoordinatorResult(Generic[R]):
    """The outcome of an operation, which has only looked at the state so far.

    `records` change the replicated state: the runtime appends them as one batch and then replays them. `response` leaves
    when they are stored; None means that the operation has kept the request and responds later. `apply` changes the soft
    state (timers, waiting requests) and runs after the replay. `failed` runs instead of it when the append fails.
    """

    __slots__ = ("apply", "failed", "records", "response")

    def __init__(
        self,
        records: Sequence[Record] = (),
        response: R | None = None,
        apply: Callable[[], object] | None = None,
        failed: Callable[[ErrorCode], object] | None = None,
    ) -> None:
        self.records = records
        self.response = response
        self.apply = apply
        self.failed = failed


class StateMachine(Protocol):
    """The state of one partition of a coordinator's topic."""

    def encode(self, record: Record) -> tuple[bytes, bytes | None]:
        """Key and value as bytes. Raises ValueError when a field does not fit."""

    def decode(self, key: bytes, value: bytes | None) -> Record | None:
        """The opposite of encode; None for a record that is kept but not understood."""

    def replay(self, record: Record, producer_id: int = -1) -> None:
        """Apply one record to the replicated state. Nothing else changes it, neither while loading nor later.

        With a producer id (a transactional record) the record counts from the commit of the transaction on.
        """

    def end_transaction(self, producer_id: int, committed: bool) -> None:
        """The transaction marker of a producer."""

    def loaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        """The log has been replayed: begin the soft state, one step after the other (requests have their turn in between)."""

    def remarks(self) -> Iterable[str]:
        """Lines for the broker's log about what was loaded."""

    def unloaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        """The partition is gone: fail what waits and stop all timers, one step after the other."""

    def restart(self, key: str) -> None:
        """Begin the soft state of what belongs to `key` anew from the replicated state, after a fault in it."""
