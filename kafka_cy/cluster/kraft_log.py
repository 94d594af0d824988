"""Reads Kafka's `__cluster_metadata-0` folder: the latest snapshot, then the log records after it.

It only reads. A torn end of the log (Kafka was killed during a write) is ignored, as Kafka does at its next
start; damage anywhere else raises BadMetadataLog.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kafka_cy.cluster.kraft_records import BadMetadataRecord, MetadataRecord, decode_record
from kafka_cy.records import Batch, InvalidBatch, iterate_batches

METADATA_FOLDER: Final = "__cluster_metadata-0"
SNAPSHOT_FOOTER: Final = 4  # ControlRecordType
BATCH_BYTES_MAX: Final = 64 << 20  # Kafka's own limit of a metadata batch is 8 MiB
_SEGMENT_NAME = re.compile(r"(\d{20})\.log")
_SNAPSHOT_NAME = re.compile(r"(\d{20})-(\d{10})\.checkpoint")


class BadMetadataLog(ValueError):
    """The metadata log cannot be read; the text names the file and says why."""


class Snapshot(NamedTuple):
    """One snapshot file: the state of all records before `end_offset`."""

    end_offset: int
    epoch: int
    path: Path


class KraftLog:
    """One `__cluster_metadata-0` folder. Not thread-safe; reads files only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.end_offset = 0  # one above the last record that was read
        self.torn_bytes = 0  # ignored bytes at the end of the last segment

    def exists(self) -> bool:
        """Whether there is anything to read."""
        return bool(self._snapshots() or self._segments())

    def records(self) -> Iterator[MetadataRecord]:
        """All records in order: those of the latest snapshot, then those of the log. Raises BadMetadataLog, OSError."""
        snapshots = self._snapshots()
        self.end_offset, self.torn_bytes = 0, 0
        if snapshots:
            yield from self._snapshot_records(snapshots[-1])
            self.end_offset = snapshots[-1].end_offset
        segments = self._segments()
        for i, (base_offset, path) in enumerate(segments):
            following = segments[i + 1][0] if i + 1 < len(segments) else None
            if following is not None and following <= self.end_offset:
                continue  # everything in it is in the snapshot
            if base_offset > self.end_offset:
                raise BadMetadataLog(f"{path} starts at {base_offset}: the records from {self.end_offset} on are missing")
            yield from self._segment_records(path, base_offset, is_last=following is None)

    def _segments(self) -> list[tuple[int, Path]]:
        found = [(_SEGMENT_NAME.fullmatch(path.name), path) for path in self.folder.glob("*.log")]
        return sorted((int(match[1]), path) for match, path in found if match is not None)

    def _snapshots(self) -> list[Snapshot]:
        found = [(_SNAPSHOT_NAME.fullmatch(path.name), path) for path in self.folder.glob("*.checkpoint")]
        return sorted(Snapshot(int(match[1]), int(match[2]), path) for match, path in found if match is not None)

    def _snapshot_records(self, snapshot: Snapshot) -> Iterator[MetadataRecord]:
        ended = False
        with _Mapped(snapshot.path) as data:
            try:
                for batch in iterate_batches(data):
                    if ended:
                        raise BadMetadataLog(f"{snapshot.path} continues after its footer")
                    _check(batch, snapshot.path)
                    if batch.is_control:
                        records = batch.records(size_max=BATCH_BYTES_MAX)
                        ended = any(_control_type(record.key) == SNAPSHOT_FOOTER for record in records)
                    else:
                        yield from _decoded(batch, snapshot.path, 0)
            except InvalidBatch as error:
                raise BadMetadataLog(f"{snapshot.path} is damaged: {error}") from error
        if not ended:
            raise BadMetadataLog(f"{snapshot.path} has no footer: it is truncated")

    def _segment_records(self, path: Path, base_offset: int, *, is_last: bool) -> Iterator[MetadataRecord]:
        expected = base_offset
        with _Mapped(path) as data:
            position = 0
            try:
                for batch in iterate_batches(data):
                    if batch.base_offset != expected:
                        raise BadMetadataLog(f"{path}: offset {batch.base_offset} at byte {position}, not {expected}")
                    if is_last and position + batch.size_bytes == len(data) and not batch.crc_matches:
                        break
                    _check(batch, path)
                    if not batch.is_control:
                        yield from _decoded(batch, path, self.end_offset)
                    position = batch.position + batch.size_bytes
                    expected = batch.last_offset + 1
                    self.end_offset = max(self.end_offset, expected)
            except InvalidBatch as error:
                if not (is_last and _is_torn(data, position)):
                    raise BadMetadataLog(f"{path} is damaged at byte {position}: {error}") from error
            if is_last:
                self.torn_bytes = len(data) - position


class _Mapped:
    """Maps a file's bytes while they are read; an empty file gives empty bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> memoryview:
        with self._path.open("rb") as file:
            empty = file.seek(0, 2) == 0
            self._map = None if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map if self._map is not None else b"")
        return self._view

    def __exit__(self, *_: object) -> None:
        self._view.release()
        if self._map is not None:
            self._map.close()


def _check(batch: Batch, path: Path) -> None:
    if not batch.crc_matches:
        raise BadMetadataLog(f"{path} is damaged at byte {batch.position}: the checksum does not match")


def _is_torn(data: memoryview, position: int) -> bool:
    """Whether the bytes from `position` can be an unfinished write: a truncated batch, or zeros to the end."""
    rest = data[position:]
    try:
        if len(rest) < 12:
            return True
        (length,) = struct.unpack_from(">i", rest, 8)
        return (0 < length <= BATCH_BYTES_MAX and length + 12 > len(rest)) or not any(rest)
    finally:
        rest.release()


def _control_type(key: bytes | None) -> int:
    return int.from_bytes(key[2:4], signed=True) if key is not None and len(key) >= 4 else -1


def _decoded(batch: Batch, path: Path, from_offset: int) -> Iterator[MetadataRecord]:
    for record in batch.records(size_max=BATCH_BYTES_MAX):
        if record.offset < from_offset:
            continue
        try:
            yield decode_record(record.value)
        except BadMetadataRecord as error:
            raise BadMetadataLog(f"{path}: the record at offset {record.offset} cannot be read: {error}") from error
