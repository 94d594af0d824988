"""Writes records of a KRaft metadata log that no golden log has. A separate encoder, from Kafka's schemas."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

from kafka_cy.records import CONTROL, Record, build_batch

GOLDEN = Path(__file__).parent / "golden_data"
NO_TAGS = b"\0"


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str | None) -> bytes:
    return varint(0) if value is None else varint(len(value.encode()) + 1) + value.encode()


def int32s(values: Sequence[int]) -> bytes:
    return varint(len(values) + 1) + b"".join(struct.pack(">i", value) for value in values)


def uuids(values: Sequence[UUID]) -> bytes:
    return varint(len(values) + 1) + b"".join(value.bytes for value in values)


def frame(api_key: int, version: int, body: bytes = b"", tags: dict[int, bytes] | None = None) -> bytes:
    tagged = b"".join(varint(tag) + varint(len(data)) + data for tag, data in sorted((tags or {}).items()))
    return varint(1) + varint(api_key) + varint(version) + body + varint(len(tags or {})) + tagged


def topic(name: str, topic_id: UUID) -> bytes:
    return frame(2, 0, text(name) + topic_id.bytes)


def partition(
    topic_id: UUID, index: int, replicas: Sequence[int], isr: Sequence[int] | None = None, leader_epoch: int = 0,
    directories: Sequence[UUID] = (),
) -> bytes:  # fmt: skip
    body = struct.pack(">i", index) + topic_id.bytes + int32s(replicas) + int32s(replicas if isr is None else isr)
    body += int32s([]) + int32s([]) + struct.pack(">iii", replicas[0], leader_epoch, 0) + uuids(directories)
    return frame(3, 1, body)


def config(resource_type: int, resource: str, name: str, value: str | None) -> bytes:
    return frame(4, 0, struct.pack(">b", resource_type) + text(resource) + text(name) + text(value))


def remove_topic(topic_id: UUID) -> bytes:
    return frame(9, 0, topic_id.bytes)


BEGIN, END, ABORT = frame(23, 0), frame(24, 0), frame(25, 0)


def batch(values: Iterable[bytes], base_offset: int, *, compression: str = "none") -> bytes:
    records = [Record(None, value, 1) for value in values]
    return build_batch(records, base_offset=base_offset, leader_epoch=1, compression=compression)


def control_batch(control_type: int, base_offset: int) -> bytes:
    records = [Record(struct.pack(">hh", 0, control_type), b"\0\0\0", 1)]
    return build_batch(records, base_offset=base_offset, leader_epoch=1, attributes=CONTROL)


def write_log(folder: Path, values: Sequence[bytes], *, base_offset: int = 0) -> Path:
    """A `__cluster_metadata-0` with one segment, one batch for each record."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{base_offset:020d}.log"
    path.write_bytes(b"".join(batch([value], base_offset + i) for i, value in enumerate(values)))
    return path


def write_snapshot(folder: Path, values: Sequence[bytes], end_offset: int, *, footer: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{end_offset:020d}-0000000001.checkpoint"
    data = control_batch(3, 0) + batch(values, 1, compression="lz4")
    path.write_bytes(data + (control_batch(4, 1 + len(values)) if footer else b""))
    return path


def unpack_golden(folder: Path) -> Path:
    """The metadata folder that Apache Kafka 4.3.1 wrote (record_kraft_golden.py)."""
    with tarfile.open(GOLDEN / "kraft-metadata.tar.gz") as archive:
        archive.extraction_filter = getattr(
            tarfile, "data_filter", lambda member, path: member
        )  # Python 3.11.2 has none
        archive.extractall(folder)
    return folder / "__cluster_metadata-0"
