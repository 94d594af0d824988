"""Offsets of one group in pieces, so that other requests have their turn between the removal of two pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

PIECE_OFFSETS_MAX: Final = 500  # looked at in one step, and removed by one batch: a step takes a millisecond or two
TOMBSTONE_BYTES: Final = 300  # of an offset's tombstone in a batch, besides the group's id
Piece = Sequence[tuple[str, int]]  # (topic, partition) pairs


def tombstones_max(group_id: str, batch_bytes_max: int) -> int:
    """How many offsets of the group one batch can remove. Their tombstones take a half of it: those of the group fit, too."""
    id_bytes = len(group_id) * (1 if group_id.isascii() else 4)
    return max(1, batch_bytes_max // 2 // (id_bytes + TOMBSTONE_BYTES))


def piece_size(group_id: str, batch_bytes_max: int) -> int:
    """How many offsets of the group one batch removes when others have their turn between two batches."""
    return min(PIECE_OFFSETS_MAX, tombstones_max(group_id, batch_bytes_max))


def pieces_of(partitions: Iterable[tuple[str, int]], size: int) -> Iterator[Piece]:
    """The pairs in pieces of that size, the last one smaller, and possibly empty."""
    piece: list[tuple[str, int]] = []
    for each in partitions:
        piece.append(each)
        if len(piece) == size:
            yield piece
            piece = []
    yield piece
