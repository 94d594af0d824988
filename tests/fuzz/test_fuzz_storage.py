"""Mutated files in the folder of a log: opening it, with or without recovery, returns a working log or raises an error.

KAFKA_CY_FUZZ_SECONDS sets the duration, KAFKA_CY_FUZZ_SEED the random seed (see test_fuzz_records.py).
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from kafka_cy.storage.checkpoints import read_offsets, read_properties
from kafka_cy.storage.log import OffsetOutOfRange, PartitionLog, StorageFailure
from kafka_cy.storage.log_dir import read_topic_id
from tests.storage.batches import TRANSACTIONAL, base_offset, batch, last_offset, marker, split

SECONDS = float(os.environ.get("KAFKA_CY_FUZZ_SECONDS", "2"))
SEED = int(os.environ.get("KAFKA_CY_FUZZ_SEED", "1"))
CONFIG = {"retention.ms": -1, "segment.bytes": 6000, "index.interval.bytes": 200, "flush.messages": 1 << 60}
SUFFIXES = (".log", ".index", ".timeindex", ".txnindex", ".snapshot", "leader-epoch-checkpoint")
EDGES = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0" * 8, b"\xff" * 8)


def make(folder: Path) -> None:
    """Segments, indexes, an aborted and an open transaction, snapshots, epochs."""
    folder.mkdir()
    log = PartitionLog(str(folder), CONFIG, clean=True)
    for i in range(150):
        producer = {"producer_id": 7 + i % 3, "producer_epoch": 0, "base_sequence": i // 3}
        attributes = TRANSACTIONAL if i % 3 == 0 else 0
        log.append(batch(1, size=40, timestamp_ms=1000 + i, attributes=attributes, **producer), leader_epoch=i // 60)
        if i % 30 == 29:
            log.append(marker(7, 0, commit=i % 60 == 29, timestamp_ms=1000 + i))
    log.close()


def mutate(source: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 5))):
        at = source.randrange(len(changed) + 1)
        kind = source.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << source.randrange(8)
        elif kind == 1:
            edge = source.choice(EDGES)
            changed[at : at + len(edge)] = edge
        elif kind == 2:
            del changed[at : at + source.choice((1, 8, 12, 100))]
        elif kind == 3:
            changed[at:at] = source.randbytes(source.choice((1, 8, 12, 61)))
        elif kind == 4:
            del changed[at:]
        else:
            changed[at:] = bytes(len(changed) - at)
    return bytes(changed)


def use(log: PartitionLog, source: random.Random, *, recovered: bool) -> None:
    """Do everything that a broker does with a log. A damaged folder that is trusted may fail a call, never the process."""
    offset, previous = log.log_start_offset, -1
    for _ in range(400):
        if offset >= log.log_end_offset:
            break
        data = log.read(offset, source.choice((1, 500, 10_000)))
        if not data:
            break
        if not recovered:
            offset += 1  # trusted data is not checked: Kafka would send it unchanged, too
            continue
        for one in split(data):
            assert base_offset(one) > previous
            previous = last_offset(one)
            offset = max(offset + 1, last_offset(one) + 1)
    for timestamp in (-1, 0, 1000, 1077, 5000, 1 << 62):
        log.offset_for_timestamp(timestamp)
    log.max_timestamp()
    log.aborted_transactions(0, 1 << 62)
    log.end_offset_for_epoch(source.randrange(4))
    log.producers()
    if log.log_end_offset < 1 << 40:
        end = log.log_end_offset
        assert log.append(batch()) == end
        assert not recovered or base_offset(log.read(end, 1)) == end
    if source.random() < 0.2:
        log.truncate_to(source.randrange(log.log_end_offset + 1))
    if source.random() < 0.2:
        log.delete_old_segments(now_ms=1 << 60)
    log.close()


def one_round(source: random.Random, seed: Path, folder: Path) -> None:
    shutil.copytree(seed, folder)
    for path in source.sample(sorted(folder.iterdir()), source.choice((1, 1, 2, 4))):
        if path.name.endswith(SUFFIXES):
            path.write_bytes(mutate(source, path.read_bytes()))
    clean = source.random() < 0.4
    recovery_point = source.choice((-1, 0, 77, 1 << 40))
    try:
        log = PartitionLog(str(folder), CONFIG, clean=clean, recovery_point=recovery_point, start_offset=source.choice((-1, 3)))
        use(log, source, recovered=not clean and recovery_point <= 0)
        again = PartitionLog(str(folder), CONFIG, recovery_point=0)
        use(again, source, recovered=True)
    except (StorageFailure, OffsetOutOfRange):
        pass
    finally:
        shutil.rmtree(folder)


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS + 120)
def test_mutated_folders(tmp_path: Path) -> None:
    source = random.Random(SEED)
    seed = tmp_path / "seed"
    make(seed)
    deadline = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < deadline:
        round_seed = source.randrange(1 << 32)
        try:
            one_round(random.Random(round_seed), seed, tmp_path / "t-0")
        except BaseException:
            print(f"seed {SEED}, round {rounds}, one_round(random.Random({round_seed}), ...)")
            raise
        rounds += 1
    print(f"{rounds} rounds from seed {SEED}")
    assert rounds > 0


TEXTS = (
    b"0\n3\nt 0 5\nu 1 7\nlong-name 12 9223372036854775807\n",
    b"#\nbroker.id=1\ncluster.id=abc\nversion=0\n",
    b"version: 0\ntopic_id: fns0qtmMSgCnkzTFhO_e5g",
)


@pytest.mark.fuzz
def test_mutated_text_files(tmp_path: Path) -> None:
    source = random.Random(SEED)
    deadline = time.monotonic() + min(SECONDS / 4, 20)
    path = tmp_path / "partition.metadata"
    while time.monotonic() < deadline:
        path.write_bytes(mutate(source, source.choice(TEXTS)))
        assert isinstance(read_offsets(str(path)), dict)
        assert len(read_topic_id(str(tmp_path))) == 16
        try:
            read_properties(str(path))
        except UnicodeDecodeError:
            pass  # LogDir refuses the directory with a message
