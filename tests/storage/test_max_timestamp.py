"""ListOffsets with MAX_TIMESTAMP: the record with the largest timestamp of those that were not deleted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kafka_cy.records import Record, build_batch
from kafka_cy.storage.log import PartitionLog
from tests.storage.batches import TRANSACTIONAL, batch, marker


def times(*timestamps: int, compression: str = "none") -> bytes:
    return build_batch([Record(timestamp_ms=each, value=b"v" * 30) for each in timestamps], compression=compression)


@pytest.mark.parametrize("roll", [False, True])
def test_a_deleted_batch_had_the_largest(tmp_path: Path, roll: bool) -> None:
    log = PartitionLog(str(tmp_path), clean=True)
    log.append(batch(2, timestamp_ms=9000))
    log.append(batch(3, timestamp_ms=1000))
    if roll:
        log.roll()
        log.append(batch(1, timestamp_ms=500))
    assert log.max_timestamp() == (1, 9001, 0)
    log.delete_records(2)
    assert log.max_timestamp() == (4, 1002, 0)
    log.delete_records(log.log_end_offset)
    assert log.max_timestamp() is None


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_deleted_record_of_the_first_batch_had_the_largest(tmp_path: Path, compression: str) -> None:
    log = PartitionLog(str(tmp_path), clean=True)
    log.append(times(9000, 5, 7, 6, compression=compression))
    log.append(times(3))
    log.delete_records(1)
    assert log.max_timestamp() == (2, 7, 0)
    log.delete_records(3)
    assert log.max_timestamp() == (3, 6, 0)
    log.delete_records(4)
    assert log.max_timestamp() == (4, 3, 0)


@pytest.mark.parametrize("roll", [False, True])
def test_a_marker_counts_like_a_record(tmp_path: Path, roll: bool) -> None:
    """As in Kafka, by which a look-up by time finds control records, too (FileRecords.searchForTimestamp, offsetOfMaxTimestamp)."""
    log = PartitionLog(str(tmp_path), clean=True)
    log.append(batch(2, attributes=TRANSACTIONAL, producer_id=7, producer_epoch=0, base_sequence=0, timestamp_ms=1000))
    log.append(marker(7, 0, commit=True, timestamp_ms=5000))
    log.append(batch(1, timestamp_ms=3000))
    if roll:
        log.roll()
    assert log.max_timestamp() == (2, 5000, 0)
    assert log.offset_for_timestamp(1002) == (2, 5000, 0)
    log.delete_records(3)
    assert log.max_timestamp() == (3, 3000, 0)


@pytest.mark.parametrize("seed", range(10))
def test_it_is_the_first_of_the_largest(tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    log = PartitionLog(str(tmp_path), {"index.interval.bytes": 200}, clean=True)
    written: list[int] = []
    for _ in range(60):
        batch_times = [chosen.randrange(10 ** chosen.randint(1, 12)) for _ in range(chosen.randint(1, 5))]
        log.append(times(*batch_times, compression=chosen.choice(["none", "lz4"])))
        written += batch_times
        if chosen.random() < 0.1:
            log.roll()
    for start in range(len(written)):
        log.delete_records(start)
        largest = max(written[start:])
        assert log.max_timestamp() == (written.index(largest, start), largest, 0)
