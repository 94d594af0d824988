"""Rolling; retention by time, bytes and log start offset; DeleteRecords; delayed removal of files."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import OffsetOutOfRange, PartitionLog
from kafka_cy.storage.log_manager import LogManager
from kafka_cy.storage.removals import planned
from tests.storage.batches import batch
from tests.storage.copies import copy_unless_renamed
from tests.storage.moves import wait_for_moves
from tests.waiting import wait_until

NEVER: dict[str, Any] = {"retention.ms": -1}
TOPIC_ID = bytes(range(16))
HOUR_MS = 3_600_000


def open_log(folder: Path, **config: Any) -> PartitionLog:
    return PartitionLog(str(folder), {**NEVER, **{key.replace("_", "."): value for key, value in config.items()}}, clean=True)


def bases(log: PartitionLog) -> list[int]:
    return [base for base, _ in log.segments()]


def suffixes(folder: Path, suffix: str) -> list[int]:
    return sorted(int(path.name[:20]) for path in folder.glob(f"*{suffix}"))


def fill(log: PartitionLog, segments: int, *, timestamp_ms: int = 1000) -> None:
    """One batch in each segment, one second apart."""
    for i in range(segments):
        log.append(batch(timestamp_ms=timestamp_ms + 1000 * i), now_ms=timestamp_ms + 1000 * i)
        if i < segments - 1:
            log.roll()


def test_rolls_by_bytes(tmp_path: Path) -> None:
    size = len(batch())
    log = open_log(tmp_path, segment_bytes=3 * size)
    for _ in range(7):
        log.append(batch())
    assert log.segments() == [(0, 3 * size), (3, 3 * size), (6, size)]


def test_rolls_by_record_time_not_by_the_clock(tmp_path: Path) -> None:
    log = open_log(tmp_path, segment_ms=1000)
    log.append(batch(timestamp_ms=50_000), now_ms=0)
    log.append(batch(timestamp_ms=51_000), now_ms=10_000_000)
    assert bases(log) == [0]
    log.append(batch(timestamp_ms=51_001), now_ms=0)
    assert bases(log) == [0, 2]
    log.append(batch(timestamp_ms=1), now_ms=0)  # an older record does not roll
    assert bases(log) == [0, 2]


def test_jitter_rolls_earlier_and_differently(tmp_path: Path) -> None:
    waits = set()
    for i in range(12):
        folder = tmp_path / f"t-{i}"
        folder.mkdir()
        log = open_log(folder, segment_ms=1000, segment_jitter_ms=900)
        wait_ms = 0
        while len(bases(log)) == 1:
            wait_ms += 50
            log.append(batch(timestamp_ms=50_000 + wait_ms))
        assert 100 <= wait_ms - 50 <= 1050
        waits.add(wait_ms)
    assert len(waits) > 2


def test_rolls_when_an_index_is_full(tmp_path: Path) -> None:
    log = open_log(tmp_path, segment_index_bytes=64, index_interval_bytes=0)
    for i in range(60):
        log.append(batch(timestamp_ms=1000 + i))
    assert len(bases(log)) > 5
    for index in tmp_path.glob("*.index"):
        assert index.stat().st_size <= 64
    for index in tmp_path.glob("*.timeindex"):
        assert index.stat().st_size <= 64
    log.close()
    again = open_log(tmp_path)
    assert [again.offset_for_timestamp(1000 + i) for i in range(60)] == [(i, 1000 + i, 0) for i in range(60)]


def test_rolls_when_relative_offsets_would_overflow(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(batch(base_offset=5), origin="replication")
    log.append(batch(base_offset=5 + 2**31 - 1), origin="replication")
    log.append(batch(base_offset=5 + 2**31), origin="replication")
    assert bases(log) == [0, 5 + 2**31 - 1]
    assert log.log_end_offset == 5 + 2**31 + 1


def test_retention_by_time(tmp_path: Path) -> None:
    log = open_log(tmp_path, retention_ms=5000)
    fill(log, 4)
    log.flush()  # writes the indexes
    assert log.delete_old_segments(now_ms=6000) == 0
    assert log.delete_old_segments(now_ms=7001) == 2
    assert (bases(log), log.log_start_offset) == ([2, 3], 2)
    assert suffixes(tmp_path, ".log.deleted") == [0, 1]
    assert suffixes(tmp_path, ".index.deleted") == [0, 1]
    assert suffixes(tmp_path, ".timeindex.deleted") == [0, 1]
    assert suffixes(tmp_path, ".snapshot") == [2, 3]
    with pytest.raises(OffsetOutOfRange):
        log.read(1)
    assert log.epoch_of(2) == 0


def test_retention_by_time_takes_the_active_segment_too(tmp_path: Path) -> None:
    log = open_log(tmp_path, retention_ms=5000)
    fill(log, 2)
    assert log.delete_old_segments(now_ms=100_000) == 2
    assert (log.segments(), log.log_start_offset, log.log_end_offset) == ([(2, 0)], 2, 2)
    assert log.delete_old_segments(now_ms=100_000) == 0
    assert log.append(batch()) == 2
    log.close()
    again = open_log(tmp_path)
    assert (again.log_start_offset, again.log_end_offset) == (2, 3)


def test_retention_without_timestamps_counts_from_the_last_change(tmp_path: Path) -> None:
    log = open_log(tmp_path, retention_ms=5000)
    log.append(batch(timestamp_ms=-1))
    log.roll()
    now_ms = int(time.time() * 1000)
    assert log.delete_old_segments(now_ms=now_ms) == 0
    assert log.delete_old_segments(now_ms=now_ms + 60_000) == 1


def test_retention_by_bytes(tmp_path: Path) -> None:
    size = len(batch())
    log = open_log(tmp_path, retention_bytes=2 * size)
    fill(log, 5)
    assert log.delete_old_segments() == 3
    assert bases(log) == [3, 4]
    log.settings.replace({**NEVER, "retention.bytes": 2 * size - 1})
    assert log.delete_old_segments() == 0  # more may remain, but never less


def test_retention_stops_at_the_high_watermark(tmp_path: Path) -> None:
    log = open_log(tmp_path, retention_ms=0)
    fill(log, 4)
    assert log.delete_old_segments(high_watermark=2, now_ms=100_000) == 2
    assert bases(log) == [2, 3]


def test_a_compacted_topic_keeps_old_records_but_not_deleted_ones(tmp_path: Path) -> None:
    log = open_log(tmp_path, cleanup_policy=["compact"], retention_ms=0, retention_bytes=0)
    fill(log, 4)
    assert log.delete_old_segments(now_ms=100_000) == 0
    log.delete_records(2)
    assert log.delete_old_segments(now_ms=100_000) == 2


def test_delete_records(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for _ in range(3):
        log.append(batch(4))
        log.roll()
    assert log.delete_records(6) == 6
    assert log.delete_records(2) == 6
    with pytest.raises(OffsetOutOfRange):
        log.delete_records(13)
    with pytest.raises(OffsetOutOfRange):
        log.read(5)
    assert int.from_bytes(log.read(6, 1)[:8], "big") == 4  # the whole batch that contains it
    assert bases(log) == [0, 4, 8, 12]
    assert log.delete_old_segments() == 1
    assert bases(log) == [4, 8, 12]
    assert log.offset_for_timestamp(0) == (6, 1002, 0)
    log.close()
    again = PartitionLog(str(tmp_path), NEVER, start_offset=6, clean=True)
    assert (again.log_start_offset, again.log_end_offset) == (6, 12)


def test_delete_records_up_to_the_high_watermark(tmp_path: Path) -> None:
    partition = HostedPartition(open_log(tmp_path), "t", TOPIC_ID, 0)
    for _ in range(3):
        partition.append(batch(2))
    assert partition.delete_records(-1) == 6
    assert partition.log_start_offset == partition.high_watermark == 6
    assert partition.read(6) == b""


def manager(folder: Path, **config: Any) -> LogManager:
    values = {**NEVER, "file.delete.delay.ms": HOUR_MS, **config}
    logs = LogManager([str(folder)], 1, "cluster", values, retention_check_interval_ms=20)
    logs.start()
    return logs


def test_deleted_files_go_after_the_delay(tmp_path: Path) -> None:
    logs = manager(tmp_path, **{"segment.bytes": 200})
    partition = logs.create("t", 0, TOPIC_ID)
    for _ in range(6):
        partition.append(batch())
    reader = partition.log.read(0, 1)
    logs.set_config("t", {"retention.ms": 1, "segment.bytes": 200, "file.delete.delay.ms": HOUR_MS})
    folder, hosted = tmp_path / "t-0", logs._hosted
    wait_until(lambda: partition.log_start_offset == 6 and hosted.removals, "retention")
    assert len(list(folder.glob("*.log.deleted"))) == 3
    assert reader
    with hosted.mutex:
        assert list(hosted.removals) == [str(folder)]
        assert hosted.removals[str(folder)].due_s > time.monotonic() + HOUR_MS / 2000
        hosted.removals[str(folder)] = planned(0)  # an hour later
        hosted.next_removal = 0.0
    hosted.wake.set()
    wait_until(lambda: not list(folder.glob("*.deleted")), "removal of the files")
    assert suffixes(folder, ".log") == [6]
    logs.shutdown()
    again = manager(tmp_path)
    assert again.partitions["t", 0].log_start_offset == again.partitions["t", 0].log_end_offset == 6
    again.shutdown()


def test_leftovers_of_a_delayed_deletion_go_at_the_start(tmp_path: Path) -> None:
    log = open_log(tmp_path, retention_ms=5000)
    fill(log, 3)
    log.delete_old_segments(now_ms=7001)
    assert list(tmp_path.glob("*.deleted"))
    again = PartitionLog(str(tmp_path), NEVER, recovery_point=0)
    assert not list(tmp_path.glob("*.deleted"))
    assert bases(again) == [2]


def test_log_start_offset_survives_a_restart_and_is_not_another_topics(tmp_path: Path) -> None:
    logs = manager(tmp_path / "data", **{"file.delete.delay.ms": 60_000})
    partition = logs.create("t", 0, TOPIC_ID)
    partition.append(batch(10))
    partition.delete_records(7)
    logs.write_checkpoints()
    logs.delete("t", 0)
    new = logs.create("t", 0, bytes(16))
    new.append(batch(2))
    other = logs.create("u", 0, bytes(16))
    other.append(batch(10))
    other.delete_records(4)
    logs.write_checkpoints()
    logs.delete("t", 0)
    logs.create("t", 0, bytes(16)).append(batch(2))
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "data", copy, copy_function=copy_unless_renamed)
    again = manager(copy)
    assert (again.partitions["t", 0].log_start_offset, again.partitions["t", 0].log_end_offset) == (0, 2)
    assert (again.partitions["u", 0].log_start_offset, again.partitions["u", 0].log_end_offset) == (4, 10)
    again.shutdown()
    logs.shutdown()


def test_deleted_records_do_not_come_back_as_others(tmp_path: Path) -> None:
    """Deleted records were lost with the page cache: the log continues after them, so offsets are never reused."""
    log = open_log(tmp_path)
    log.append(batch(10))
    log.delete_records(7)
    (tmp_path / "00000000000000000000.log").write_bytes(b"")
    again = PartitionLog(str(tmp_path), NEVER, start_offset=7, recovery_point=0)
    assert (again.log_start_offset, again.log_end_offset) == (7, 7)
    assert again.append(batch()) == 7


@pytest.mark.parametrize("start", [-1, 9, 12, 0])
def test_a_move_copies_from_the_log_start_offset_on(tmp_path: Path, start: int) -> None:
    """Like Kafka's future replica; a log whose records are all deleted moves, too."""
    logs = LogManager([str(tmp_path / "d1"), str(tmp_path / "d2")], 1, "cluster", NEVER)
    logs.start()
    partition = logs.create("t", 0, TOPIC_ID, {}, str(tmp_path / "d1"))
    for _ in range(4):
        partition.append(batch(4))
    expected = partition.delete_records(start)
    size = partition.log.size_bytes // 4
    logs.move("t", 0, str(tmp_path / "d2"))
    wait_for_moves(logs)
    assert partition.log.directory == str(tmp_path / "d2/t-0")
    assert (partition.log.log_start_offset, partition.log.log_end_offset) == (expected, 16)
    assert partition.log.size_bytes == (4 - expected // 4) * size
    assert partition.append(batch()) == 16
    logs.shutdown()
