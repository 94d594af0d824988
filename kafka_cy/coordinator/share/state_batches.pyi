from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

class StateBatch(NamedTuple):
    """Records that share a state: 0 available, 2 acknowledged, 4 archived."""

    first_offset: int
    last_offset: int
    delivery_state: int
    delivery_count: int

class StateBatches(Sequence[StateBatch]):
    """State batches, immutable."""

    def __init__(self, rows: Iterable[tuple[int, int, int, int]] = ()) -> None:
        """Raises OverflowError for a number that does not fit, and MemoryError."""
    def __iter__(self) -> Iterator[StateBatch]: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, place: int) -> StateBatch: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[StateBatch]: ...
    @staticmethod
    def of_fields(rows: Sequence[Any]) -> StateBatches:
        """The same of objects that have the fields of a StateBatch."""
    def encoded(self) -> bytes:
        """As they are stored, without their number."""
    @staticmethod
    def decoded(data: bytes) -> StateBatches | None:
        """The opposite of encoded; None if it is something else, for example with tagged fields."""

def combine(old: Sequence[StateBatch], new: Sequence[StateBatch], start_offset: int) -> StateBatches:
    """The batches in offset order, without overlaps, from `start_offset` on (-1: all); neighbours with equal states are joined.

    Where batches overlap, the higher delivery count wins, then the higher delivery state: a record only moves that way.
    """

def merge(old: Sequence[StateBatch], new: Sequence[StateBatch], start_offset: int) -> StateBatches:
    """The same, for `old` that is a result of it: only what `new` touches is looked at."""
