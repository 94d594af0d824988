"""Topic settings take effect, in a new log and at once in an open log."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from kafka_cy.storage.log import PartitionLog
from kafka_cy.storage.log_manager import LogManager
from tests.storage.batches import batch
from tests.waiting import wait_until

TOPIC_ID = bytes(range(16))
NEVER: dict[str, Any] = {"retention.ms": -1}


def open_log(folder: Path, **config: Any) -> PartitionLog:
    return PartitionLog(str(folder), {**NEVER, **{key.replace("_", "."): value for key, value in config.items()}}, clean=True)


def test_index_interval_bytes(tmp_path: Path) -> None:
    """An offset index entry is added when more bytes than this have been appended since the last entry."""
    entries = []
    for interval in (1, 1000, 100_000):
        folder = tmp_path / str(interval)
        folder.mkdir()
        log = open_log(folder, index_interval_bytes=interval)
        for _ in range(100):
            log.append(batch(1, size=100))
        log.close()
        entries.append((folder / f"{0:020}.index").stat().st_size // 8)
    size = len(batch(1, size=100))
    assert entries == [99, 99 // (1000 // size + 1), 0]


def test_segment_index_bytes(tmp_path: Path) -> None:
    """A full index rolls the segment; the setting takes effect at once in an open log."""
    log = open_log(tmp_path, index_interval_bytes=1, segment_index_bytes=80)
    for i in range(20):
        log.append(batch(timestamp_ms=1000 * i))
    first = log.segments()[1][0]
    assert first == 6  # Kafka counts the time index as full one entry early: 80 / 12 - 1 = 5 entries after the first batch
    log.settings.replace({**NEVER, "index.interval.bytes": 1, "segment.index.bytes": 1 << 20})
    before = len(log.segments())
    for i in range(20, 60):
        log.append(batch(timestamp_ms=1000 * i))
    assert len(log.segments()) == before


def test_segment_jitter_ms(tmp_path: Path) -> None:
    """A segment rolls up to this much before segment.ms, at a random time."""
    rolled_after = set()
    for i in range(30):
        folder = tmp_path / str(i)
        folder.mkdir()
        log = open_log(folder, segment_ms=10_000, segment_jitter_ms=5000)
        log.append(batch(timestamp_ms=0))
        for ms in range(4900, 10_200, 100):
            log.append(batch(timestamp_ms=ms))
            if len(log.segments()) > 1:
                rolled_after.add(ms)
                break
        else:
            raise AssertionError("segment.ms does not roll")
    assert min(rolled_after) > 4900
    assert len(rolled_after) > 5
    for i in range(30, 40):
        folder = tmp_path / str(i)
        folder.mkdir()
        log = open_log(folder, segment_ms=10_000)
        log.append(batch(timestamp_ms=0))
        log.append(batch(timestamp_ms=10_000))
        assert len(log.segments()) == 1
        log.append(batch(timestamp_ms=10_001))
        assert len(log.segments()) == 2


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_preallocate(tmp_path: Path) -> None:
    """The active segment has its full size allocated from the start (without a greater length); the unused rest is freed when
    it is rolled or closed, as in Kafka."""
    size = 4 << 20
    log = open_log(tmp_path, preallocate=True, segment_bytes=size)
    log.append(batch())
    path = tmp_path / f"{0:020}.log"
    assert allocated(path) >= size
    assert path.stat().st_size == len(batch())
    log.append(batch())
    log.roll()
    log.append(batch())
    log.flush()
    second = tmp_path / f"{2:020}.log"
    assert allocated(path) < size <= allocated(second)
    log.close()
    assert allocated(second) < size
    again = PartitionLog(str(tmp_path), NEVER, clean=True)
    assert (again.log_end_offset, len(again.segments())) == (3, 2)


def test_per_topic_delays(tmp_path: Path) -> None:
    """file.delete.delay.ms and flush.ms of the topic, not of the broker; a change takes effect at once."""
    logs = LogManager([str(tmp_path)], 1, "cluster", {"file.delete.delay.ms": 3_600_000, **NEVER})
    logs.start()
    quick = {**NEVER, "file.delete.delay.ms": 0, "flush.ms": 20}
    slow, fast = logs.create("slow", 0, TOPIC_ID), logs.create("fast", 0, TOPIC_ID, config=quick)
    for partition in (slow, fast):
        partition.append(batch())
    wait_until(lambda: fast.log.recovery_point == 1, "a flush")
    assert slow.log.recovery_point == 0
    logs.set_config("slow", {**NEVER, "flush.ms": 20})
    wait_until(lambda: slow.log.recovery_point == 1, "a flush, now that it is due")
    logs.set_config("slow", {**NEVER, "file.delete.delay.ms": 3_600_000})
    logs.delete("slow", 0)
    logs.delete("fast", 0)
    wait_until(lambda: not list(tmp_path.glob("fast-*")), "the folder's removal")
    assert list(tmp_path.glob("slow-*-delete"))
    logs.shutdown()


def test_segment_ms_counts_from_the_first_batch(tmp_path: Path) -> None:
    """Kafka's LogSegment.timeWaitedForRoll: by record timestamps if the first batch has one; otherwise, from the
    segment's creation by the clock, whatever comes later. Records without a time roll nothing after a first batch with one."""
    now = int(time.time() * 1000)
    for first_ms, next_ms, now_ms, rolls in (
        (-1, 5_000, now, False), (-1, 500_000, now, False), (-1, -1, now + 100_000, True), (-1, 500_000, now + 100_000, True),
        (5_000, 500_000, now, True), (5_000, -1, now + 100_000, False), (5_000, 5_500, now + 100_000, False),
    ):  # fmt: skip
        folder = tmp_path / f"{first_ms}_{next_ms}_{now_ms}"
        folder.mkdir()
        log = open_log(folder, segment_ms=60_000)
        log.append(batch(timestamp_ms=first_ms))
        log.append(batch(timestamp_ms=5_000 if first_ms < 0 else first_ms))
        log.append(batch(timestamp_ms=next_ms), now_ms=now_ms)
        assert (len(log.segments()) == 2) == rolls, (first_ms, next_ms, now_ms)
