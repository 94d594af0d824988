"""Reads what a share partition delivers from a partition's log: batch boundaries, and which batches were aborted."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

CONTROL, TRANSACTIONAL = 0x20, 0x10  # attributes of a batch
_HEADER = struct.Struct(">qiibIhiqqq")  # base offset, length, leader epoch, magic, CRC, attributes, delta, times, producer id
READ_BYTES = 1 << 16  # at once
_LENGTH_AT = 12  # bytes before those that the length counts


class Batch(NamedTuple):
    """One batch in the bytes that were read."""

    first_offset: int
    last_offset: int
    start: int  # of its bytes
    end: int
    attributes: int
    producer_id: int


class Fetched(NamedTuple):
    """Whole batches of a log; `aborted` are ranges of offsets that read_committed consumers must not get."""

    data: bytes
    batches: list[Batch]
    aborted: list[tuple[int, int]]

    def between(self, first: int, last: int) -> bytes:
        """The bytes of the batches with offsets from `first` to `last`."""
        found = [each for each in self.batches if each.last_offset >= first and each.first_offset <= last]
        return self.data[found[0].start : found[-1].end] if found else b""


def read_batches(hosted: Any, offset: int, bytes_max: int, offsets_max: int, *, committed: bool) -> Fetched:
    """Read whole batches at `offset`, up to the high watermark, or if `committed` to the last stable offset.

    It reads at most about `bytes_max` bytes, and no more than hold `offsets_max` offsets: a client may allow any number of
    bytes, whatever number of records it wants. Raises StorageFailure and OSError as HostedPartition.read.
    """
    end_offset = hosted.last_stable_offset if committed else hosted.high_watermark
    pieces: list[bytes] = []
    batches: list[Batch] = []
    size, at = 0, offset
    while at < end_offset and at - offset < offsets_max and size < bytes_max:
        piece = hosted.read(at, min(READ_BYTES, bytes_max - size), end_offset)
        found = split(piece, size)
        if not found or (batches and size + len(piece) > bytes_max):
            break
        pieces.append(piece[: found[-1].end - size])
        batches += found
        size, at = found[-1].end, found[-1].last_offset + 1
    aborted: list[tuple[int, int]] = []
    if committed and batches:
        transactions = hosted.log.aborted_transactions(batches[0].first_offset, batches[-1].last_offset + 1)
        aborted = _aborted_ranges(batches, sorted((first, producer_id) for producer_id, first in transactions))
    return Fetched(b"".join(pieces), batches, aborted)


def split(data: bytes, start: int = 0) -> list[Batch]:
    """The whole batches (magic 2) in `data`, which is a piece of something and begins there at `start`."""
    batches = []
    at = 0
    while at + _HEADER.size <= len(data):
        base, length, _, _, _, attributes, delta, _, _, producer_id = _HEADER.unpack_from(data, at)
        end = at + _LENGTH_AT + length
        if end > len(data):
            break
        batches.append(Batch(base, base + delta, start + at, start + end, attributes, producer_id))
        at = end
    return batches


def _aborted_ranges(batches: list[Batch], transactions: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The data batches of aborted transactions: (first offset, producer id) says where each begins, its marker where it ends."""
    ranges = []
    open_now: set[int] = set()
    begun = 0
    for each in batches:
        while begun < len(transactions) and transactions[begun][0] <= each.last_offset:
            open_now.add(transactions[begun][1])
            begun += 1
        if each.attributes & CONTROL:
            open_now.discard(each.producer_id)
        elif each.attributes & TRANSACTIONAL and each.producer_id in open_now:
            ranges.append((each.first_offset, each.last_offset))
    return ranges
