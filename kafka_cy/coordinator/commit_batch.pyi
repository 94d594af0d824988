from collections.abc import Iterable

from kafka_cy.coordinator.records import CommittedOffset, OffsetKey

class CommitBatch:
    """The batch of a commit of many offsets, made in pieces. Without compression."""

    def __init__(self, now_ms: int) -> None:
        """`now_ms`: the time of its records."""
    @property
    def size(self) -> int:
        """The bytes of the batch so far."""
    def add(self, records: Iterable[tuple[OffsetKey, CommittedOffset]]) -> None:
        """Append records. Raises ValueError (a string does not fit), OverflowError."""
    def finish(self, producer: tuple[int, int] | None = None) -> bytes:
        """The batch, at the end; transactional if there is a producer (id, epoch). Raises MemoryError."""

def commit_batch(
    group: bytes, rows: Iterable[tuple[bytes, int, int, int, bytes, bytes | None]], now_ms: int
) -> bytes: ...
