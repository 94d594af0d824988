"""Copies one log's batches into another, like Kafka's future replica (ReplicaAlterLogDirsThread)."""

from __future__ import annotations

from collections.abc import Callable

from kafka_cy.storage.log import OffsetOutOfRange, PartitionLog

COPY_BYTES = 4 << 20


def first_offset(log: PartitionLog) -> int:
    """Base offset of the batch that holds the log start offset; the log start offset if no such batch exists."""
    while True:
        try:
            data = log.read(log.log_start_offset, 1)
        except OffsetOutOfRange:
            continue  # records were deleted in the meantime
        return int.from_bytes(data[:8], "big") if data else log.log_start_offset


def copy_log(
    source: PartitionLog,
    target: PartitionLog,
    stopping: Callable[[], bool],
    copied: Callable[[int], object] = lambda size: None,
) -> None:
    """Copy from the target's end, but at least the source's log start offset, to the source's end, or until `stopping`.

    `copied(size)` is called after each piece; it may wait.
    """
    while target.log_end_offset < source.log_end_offset and not stopping():
        start = source.log_start_offset
        try:
            data = source.read(max(target.log_end_offset, start), COPY_BYTES)
        except OffsetOutOfRange:
            continue  # records were deleted in the meantime
        if not data:  # the rest has no records
            if target.log_end_offset < start:
                target.truncate_fully(start)
            return
        position = 0
        while position < len(data):
            size = 12 + int.from_bytes(data[position + 8 : position + 12], "big")
            target.append(data[position : position + size], origin="replication")
            position += size
        copied(len(data))
