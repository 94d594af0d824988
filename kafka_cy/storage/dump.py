"""`kafka-cy dump-log`: prints Kafka's files like kafka-dump-log."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from kafka_cy.records import Batch, Record, iterate_batches

Write = Callable[[str], object]
MARKERS = {0: "ABORT", 1: "COMMIT"}


def dump(
    paths: list[str],
    *,
    deep_iteration: bool = False,
    print_data_log: bool = False,
    verify_index_only: bool = False,
    index_sanity_check: bool = False,
    offsets_decoder: bool = False,
    write: Write = print,
) -> int:
    """Print each file; returns the number of index entries that do not match their log."""
    mismatches = 0
    for name in paths:
        path = Path(name)
        write(f"Dumping {path}")
        if path.suffix == ".log":
            _dump_log(path, deep_iteration, print_data_log, write)
        elif path.suffix == ".index":
            mismatches += _dump_index(path, verify_index_only, index_sanity_check, write)
        elif path.suffix == ".timeindex":
            mismatches += _dump_time_index(path, verify_index_only, index_sanity_check, write)
        elif path.suffix == ".txnindex":
            _dump_transactions(path, write)
        elif path.suffix == ".snapshot":
            _dump_snapshot(path, write)
        else:
            write(path.read_text(encoding="utf-8", errors="replace").rstrip("\n"))
    return mismatches


def _java(value: bool) -> str:
    return "true" if value else "false"


def _optional(value: int | None) -> str:
    return "OptionalLong.empty" if value is None or value < 0 else f"OptionalLong[{value}]"


def _dump_log(path: Path, deep: bool, data: bool, write: Write) -> None:
    write(f"Log starting offset: {int(path.stem)}")
    content = path.read_bytes()
    position = 0
    for batch in iterate_batches(content, allow_partial=True):
        kind = "LogAppendTime" if batch.is_log_append_time else "CreateTime"
        write(
            f"baseOffset: {batch.base_offset} lastOffset: {batch.last_offset} count: {batch.records_count}"
            f" baseSequence: {batch.base_sequence} lastSequence: {batch.last_sequence} producerId: {batch.producer_id}"
            f" producerEpoch: {batch.producer_epoch} partitionLeaderEpoch: {batch.leader_epoch}"
            f" isTransactional: {_java(batch.is_transactional)} isControl: {_java(batch.is_control)}"
            f" deleteHorizonMs: {_optional(batch.delete_horizon_ms)} position: {batch.position}"
            f" {kind}: {batch.max_timestamp_ms} size: {batch.size_bytes} magic: {batch.magic}"
            f" compresscodec: {batch.compression} crc: {batch.crc} isvalid: {_java(batch.crc_matches)}"
        )
        position = batch.position + batch.size_bytes
        if deep:
            for i, record in enumerate(batch.records()):
                write(_record_line(batch, record, i, data))
    if position < len(content):
        write(f"Found {len(content) - position} invalid bytes at the end of {path.name}")


def _record_line(batch: Batch, record: Record, i: int, data: bool) -> str:
    kind = "LogAppendTime" if batch.is_log_append_time else "CreateTime"
    sequence = -1 if batch.base_sequence < 0 else (batch.base_sequence + i) & 0x7FFFFFFF
    key_size = -1 if record.key is None else len(record.key)
    value_size = -1 if record.value is None else len(record.value)
    headers = ",".join(key for key, _ in record.headers)
    line = (
        f"| offset: {record.offset} {kind}: {record.timestamp_ms} keySize: {key_size} valueSize: {value_size}"
        f" sequence: {sequence} headerKeys: [{headers}]"
    )
    if batch.is_control and record.key is not None and record.value is not None:
        (marker,) = struct.unpack_from(">h", record.key, 2)
        if marker in MARKERS:
            (epoch,) = struct.unpack_from(">i", record.value, 2)
            line += f" endTxnMarker: {MARKERS[marker]} coordinatorEpoch: {epoch}"
    elif data:
        line += "" if record.key is None else f" key: {record.key.decode(errors='replace')}"
        line += "" if record.value is None else f" payload: {record.value.decode(errors='replace')}"
    return line


def _entries(path: Path, layout: str) -> Iterator[tuple[int, int]]:
    """Index entries up to the zero padding that Kafka leaves in an active index."""
    content = path.read_bytes()
    size = struct.calcsize(layout)
    for i, entry in enumerate(struct.iter_unpack(layout, content[: len(content) // size * size])):
        if i > 0 and not any(entry):
            return
        yield entry[0], entry[1]


def _batches_of(path: Path) -> list[Batch]:
    log = path.with_suffix(".log")
    return list(iterate_batches(log.read_bytes(), allow_partial=True)) if log.exists() else []


def _sane(path: Path, entry_size: int, write: Write) -> int:
    if path.stat().st_size % entry_size:
        write(f"{path} is not a whole number of entries.")
        return 1
    write(f"{path} passed sanity check.")
    return 0


def _dump_index(path: Path, verify_only: bool, sanity_only: bool, write: Write) -> int:
    if sanity_only:
        return _sane(path, 8, write)
    if path.stat().st_size == 0:
        write(f"{path} is empty.")
        return 0
    base = int(path.stem)
    at = {batch.position: batch for batch in _batches_of(path)}
    wrong = []
    for relative, position in _entries(path, ">iI"):
        if relative == 0 and position == 0:
            continue
        batch = at.get(position)
        if batch is None or not batch.base_offset <= base + relative <= batch.last_offset:
            wrong.append(f"  Index offset: {base + relative}, position: {position}")
        if not verify_only:
            write(f"offset: {base + relative} position: {position}")
    if wrong:
        write(f"Mismatches in :{path.absolute()}")
        for line in wrong:
            write(line)
    return len(wrong)


def _dump_time_index(path: Path, verify_only: bool, sanity_only: bool, write: Write) -> int:
    if sanity_only:
        return _sane(path, 12, write)
    base = int(path.stem)
    batches = _batches_of(path)
    wrong = []
    for timestamp, relative in _entries(path, ">qi"):
        if timestamp == 0 and relative == 0:
            continue
        offset = base + relative
        batch = next((b for b in batches if b.base_offset <= offset <= b.last_offset), None)
        if batch is None or batch.max_timestamp_ms != timestamp:
            wrong.append(f"  Index timestamp: {timestamp}, offset: {offset}")
        if not verify_only:
            write(f"timestamp: {timestamp} offset: {offset}")
    if wrong:
        write(f"Found timestamp mismatch in :{path.absolute()}")
        for line in wrong:
            write(line)
    return len(wrong)


def _dump_transactions(path: Path, write: Write) -> None:
    content = path.read_bytes()
    for entry in struct.iter_unpack(">hqqqq", content[: len(content) // 34 * 34]):
        version, producer, first, last, stable = entry
        write(
            f"version: {version} producerId: {producer} firstOffset: {first} lastOffset: {last}"
            f" lastStableOffset: {stable}"
        )


def _dump_snapshot(path: Path, write: Write) -> None:
    for entry in struct.iter_unpack(">qhiqiqiq", path.read_bytes()[10:]):
        producer, epoch, last_sequence, last_offset, delta, timestamp, coordinator, first = entry
        line = (
            f"producerId: {producer} producerEpoch: {epoch} coordinatorEpoch: {coordinator}"
            f" currentTxnFirstOffset: {_optional(first)} lastTimestamp: {timestamp} "
        )
        if last_offset >= 0:
            first_sequence = last_sequence - delta if last_sequence >= delta else last_sequence - delta + (1 << 31)
            line += (
                f"firstSequence: {first_sequence} lastSequence: {last_sequence} lastOffset: {last_offset}"
                f" offsetDelta: {delta} timestamp: {timestamp}"
            )
        write(line)
