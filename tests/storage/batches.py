"""Batches for the storage tests."""

from __future__ import annotations

import struct

from kafka_cy.records import Record, build_batch

TRANSACTIONAL = 0x10
CONTROL = 0x20


def batch(count: int = 1, *, size: int = 20, timestamp_ms: int = 1000, **fields: int) -> bytes:
    """`count` records with increasing timestamps."""
    return build_batch(
        [Record(timestamp_ms=timestamp_ms + i, key=b"k", value=b"v" * size) for i in range(count)], **fields
    )


def marker(producer_id: int, epoch: int, *, commit: bool, timestamp_ms: int = 1000) -> bytes:
    """The control batch of a transaction marker."""
    key = struct.pack(">hh", 0, 1 if commit else 0)
    value = struct.pack(">hi", 0, 0)
    return build_batch(
        [Record(timestamp_ms=timestamp_ms, key=key, value=value)],
        attributes=TRANSACTIONAL | CONTROL,
        producer_id=producer_id,
        producer_epoch=epoch,
    )


def split(data: bytes) -> list[bytes]:
    """The complete batches in the result of a read."""
    found = []
    while data:
        size = 12 + int.from_bytes(data[8:12], "big")
        assert size <= len(data)
        found.append(data[:size])
        data = data[size:]
    return found


def base_offset(data: bytes) -> int:
    """Of the first batch."""
    return int.from_bytes(data[:8], "big")


def last_offset(data: bytes) -> int:
    """Of the first batch."""
    return base_offset(data) + int.from_bytes(data[23:27], "big")
