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
    state (timers, waiting requests) and runs after the replay. `apply_steps` comes after it: a task for slices that changes
    the soft state of many. `failed` runs instead of both when the append fails, or when the partition is lost before all is
    replayed.
    `producer` is the (producer id, epoch) in whose transaction the records are; they count from its commit on.
    `batch` is the batch of the records, if it was made before.
    """

    __slots__ = ("apply", "apply_steps", "batch", "failed", "producer", "records", "response")

    def __init__(
        self,
        records: Sequence[Record] = (),
        response: R | None = None,
        apply: Callable[[], object] | None = None,
        failed: Callable[[ErrorCode], object] | None = None,
        producer: tuple[int, int] | None = None,
        batch: bytes | None = None,
        apply_steps: Callable[[], Iterator[object]] | None = None,
    ) -> None:
        self.records = records
        self.batch = batch
        self.response = response
        self.apply = apply
        self.apply_steps = apply_steps
        self.failed = failed
        self.producer = producer


class StateMachine(Protocol):
    """The state of one partition of a coordinator's topic."""

    def encode(self, record: Record) -> tuple[bytes, bytes | None]:
        """Key and value as bytes. Raises ValueError when a field does not fit."""

    def decode(self, key: bytes, value: bytes | None) -> Record | None:
        """The opposite of encode; None for a record that is kept but not understood."""

    def replay(self, record: Record, offset: int, producer_id: int = -1) -> None:
        """Apply the record at `offset` to the replicated state. Nothing else changes it, neither while loading nor later.

        With a producer id (a transactional record) the record counts from the commit of the transaction on.
        """

    def replay_steps(self, record: Record, offset: int, producer_id: int = -1) -> Iterator[object]:
        """replay() as a task for slices, while the record's key is busy: each step takes less than about a millisecond."""

    def ends_at_once(self, producer_id: int) -> bool:
        """Whether end_transaction() takes less than about a millisecond."""

    def end_transaction(self, producer_id: int, committed: bool) -> Iterator[str | None]:
        """Apply the transaction marker of a producer, as a task for slices.

        Between two steps it yields the key of which only a part has changed, or None: nothing else looks at that key then.
        """

    def loaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        """The log has been replayed: begin the soft state, one step after the other (requests have their turn in between)."""

    def remarks(self) -> Iterable[str]:
        """Lines for the broker's log about what was loaded."""

    def unloaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        """The partition is gone: fail what waits and stop all timers, one step after the other."""

    def restart(self, key: str) -> None:
        """Begin the soft state of what belongs to `key` anew from the replicated state, after a fault in it."""

    def hold(self, key: str) -> None:
        """What belongs to `key` will be looked at and may change: until `release`, only the coordinator's thread changes it.

        Operations nest: the first hold and the last release count. After an exception nothing more is held than before.
        """

    def release(self, key: str) -> None:
        """The change is over."""

    def lose(self) -> None:
        """The partition is lost, or loaded anew: nothing may be appended to it any more but by who comes next."""


class UnsharedState:
    """A state machine of which no other thread changes anything, and whose records are small."""

    def replay(self, record: Record, offset: int, producer_id: int = -1) -> None:
        """See StateMachine."""
        raise NotImplementedError

    def replay_steps(self, record: Record, offset: int, producer_id: int = -1) -> Iterator[object]:
        """At once."""
        self.replay(record, offset, producer_id)
        yield from ()

    def ends_at_once(self, producer_id: int) -> bool:
        """The topic is not written in transactions."""
        return True

    def end_transaction(self, producer_id: int, committed: bool) -> Iterator[str | None]:
        """The topic is not written in transactions."""
        return iter(())

    def hold(self, key: str) -> None:
        """Nothing to do."""

    def release(self, key: str) -> None:
        """Nothing to do."""

    def lose(self) -> None:
        """Nothing to do."""
