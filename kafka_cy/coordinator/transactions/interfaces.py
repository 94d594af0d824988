"""What the transaction coordinator asks of others: of who hands out producer ids, and of the data plane."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol


class ProducerIds(Protocol):
    """Hands out producer ids (cluster.producer_ids)."""

    def take(self, done: Callable[[int | None, Exception | None], object]) -> None:
        """Call `done` with an unused id, or with the error."""


class PartitionTable(Protocol):
    """Which partitions are part of which producer's open transaction, for the data plane (storage.transaction_table)."""

    def set_partitions(self, producer_id: int, epoch: int, partitions: Iterable[tuple[bytes, int]]) -> bool:
        """Add partitions (topic id, index); they take the place of those with another epoch. False if there is no room."""

    def remove(self, producer_id: int) -> None:
        """Remove all partitions of a producer."""

    def clear(self) -> None:
        """Remove everything."""
