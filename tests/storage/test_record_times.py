"""The exact time of a record, whatever its batch looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafka_cy.records import DELETE_HORIZON, LOG_APPEND_TIME, Record, build_batch
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog
from kafka_cy.storage.record_times import RecordTimes
from tests.storage.batches import batch, marker


def hosted(folder: Path, **config: Any) -> HostedPartition:
    log = PartitionLog(str(folder), {"retention.ms": -1, "index.interval.bytes": 50, **config}, clean=True)
    return HostedPartition(log, "t", bytes(16), 0)


def times(partition: HostedPartition, *offsets: int) -> list[int | None]:
    return RecordTimes().find([(partition, offset) for offset in offsets], 10)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_record_of_every_batch(tmp_path: Path, codec: str) -> None:
    partition = hosted(tmp_path, **{"segment.bytes": 400})
    expected = [1_000_000 + (i * 7919) % 5000 for i in range(60)]  # not in order
    for first in range(0, 60, 6):
        records = [Record(b"k", b"v" * 20, at) for at in expected[first : first + 6]]
        partition.append(build_batch(records, compression=codec))
    assert len(partition.log.segments()) > 3
    assert times(partition, *range(60)) == expected
    assert times(partition, 60, 1000) == [-1, -1]


def test_log_append_time(tmp_path: Path) -> None:
    partition = hosted(tmp_path)
    partition.append(batch(5, timestamp_ms=100, attributes=LOG_APPEND_TIME, max_timestamp_ms=777))
    assert times(partition, 0, 3) == [777, 777]


def test_delete_horizon_is_not_the_time_of_the_first_record(tmp_path: Path) -> None:
    """In a compacted batch with tombstones, the delete horizon replaces the timestamp of the first record (KAFKA-8522)."""
    partition = hosted(tmp_path)
    data = bytearray(build_batch([Record(b"k", None, 5000)], attributes=DELETE_HORIZON))
    data[63] = 0x05  # the record's time, after its length and attributes: three below the base
    partition.append(bytes(data))
    assert times(partition, 0) == [4997]


def test_control_batches_are_no_records(tmp_path: Path) -> None:
    partition = hosted(tmp_path)
    sent = {"attributes": 0x10, "producer_id": 7, "producer_epoch": 0, "base_sequence": 0}
    partition.append(batch(2, timestamp_ms=100, **sent))
    partition.append(marker(7, 0, commit=True, timestamp_ms=200))
    partition.append(batch(1, timestamp_ms=300))
    partition.append(batch(1, timestamp_ms=400, **{**sent, "base_sequence": 2}))
    partition.append(marker(7, 0, commit=False, timestamp_ms=500))
    assert times(partition, 1, 2, 3, 4, 5) == [101, 300, 300, 400, -1]


def test_deleted_records(tmp_path: Path) -> None:
    partition = hosted(tmp_path)
    partition.append(batch(10, timestamp_ms=100))
    partition.delete_records(4)
    assert times(partition, 0, 4, 5) == [104, 104, 105]


def test_only_below_the_high_watermark(tmp_path: Path) -> None:
    log = PartitionLog(str(tmp_path), {"retention.ms": -1}, clean=True)
    partition = HostedPartition(log, "t", bytes(16), 0, followers=[9])
    partition.append(batch(3, timestamp_ms=100))
    assert times(partition, 0) == [-1]
    partition.follower_fetched(9, 3)
    assert times(partition, 0) == [100]


def test_a_used_up_budget_leaves_the_rest_unknown(tmp_path: Path) -> None:
    partition = hosted(tmp_path)
    partition.append(batch(3))
    assert RecordTimes().find([(partition, 0)] * 3, -1) == [None] * 3


def test_a_closed_log_has_no_times(tmp_path: Path) -> None:
    partition = hosted(tmp_path)
    partition.append(batch(3))
    partition.log.close()
    assert times(partition, 0) == [-1]
