"""Offsets of one group in pieces, so that other requests have their turn between the removal of two pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

PIECE_OFFSETS_MAX = 500  # looked at in one step, and removed by one batch: a step takes a millisecond or two
Piece = Sequence[tuple[str, int]]  # (topic, partition) pairs


def pieces_of(partitions: Iterable[tuple[str, int]]) -> Iterator[Piece]:
    """The pairs in pieces, the last one possibly empty."""
    piece: list[tuple[str, int]] = []
    for each in partitions:
        piece.append(each)
        if len(piece) == PIECE_OFFSETS_MAX:
            yield piece
            piece = []
    yield piece
