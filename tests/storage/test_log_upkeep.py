"""The log manager's thread: if one task or one directory fails, the others continue."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.storage import checkpoints
from kafka_cy.storage.hosted_logs import HostedLogs
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log_manager import LogManager
from kafka_cy.storage.log_upkeep import PAUSE_MAX_S, PAUSE_MIN_S, PAUSE_OF_FLUSH_TIME, LogUpkeep
from tests.no_threads import forbid_threads
from tests.storage.batches import batch
from tests.storage.copies import copy_unless_renamed
from tests.waiting import wait_until

TOPIC_ID = bytes(16)


def manager(folder: Path, lines: list[str], **config: Any) -> LogManager:
    def warn(text: str, **details: object) -> None:
        lines.append(f"{text} {details}")

    return LogManager(
        [str(folder / "d1"), str(folder / "d2")], 1, "cluster", {"retention.ms": -1, **config}, warn=warn,
        retention_check_interval_ms=5, checkpoint_interval_ms=5,
    )  # fmt: skip


def test_an_offline_directory_does_not_hold_up_the_others(tmp_path: Path) -> None:
    lines: list[str] = []
    logs = manager(tmp_path, lines, **{"flush.ms": 1, "segment.bytes": 200})
    logs.start()
    dead = logs.create("dead", 0, TOPIC_ID, log_dir=str(tmp_path / "d1"))
    alive = logs.create("alive", 0, TOPIC_ID, log_dir=str(tmp_path / "d2"))
    dead.append(batch())
    logs._hosted.take_offline(str(tmp_path / "d1"), "a failed disk")
    dead.log.abandon()  # every flush of it gets an error
    for end in range(1, 6):
        alive.append(batch())
        wait_until(lambda: alive.log.recovery_point == end, "flush.ms")  # noqa: B023
    points = tmp_path / "d2" / checkpoints.RECOVERY_POINTS
    wait_until(lambda: checkpoints.read_offsets(str(points)) == {("alive", 0): 5}, "a checkpoint")
    logs.set_config("alive", {"retention.ms": 1, "segment.bytes": 200, "flush.ms": 1})
    wait_until(lambda: alive.log_start_offset == 5, "retention")
    logs.delete("alive", 0)
    assert lines == []
    logs.shutdown()


def test_a_failed_flush_holds_up_nobody(tmp_path: Path) -> None:
    """The error is repeated until the directory goes offline."""
    lines: list[str] = []
    logs = manager(tmp_path, lines, **{"flush.ms": 1})
    logs.start()
    failing = logs.create("a", 0, TOPIC_ID, log_dir=str(tmp_path / "d1"))
    alive = logs.create("b", 0, TOPIC_ID, log_dir=str(tmp_path / "d1"))
    failing.append(batch())
    failing.log.abandon()
    alive.append(batch())
    wait_until(lambda: alive.log.recovery_point == 1, "flush.ms")
    logs.shutdown()


@pytest.mark.parametrize("flush_ms", [0, 1])
def test_a_low_flush_ms_of_an_idle_topic_keeps_no_core_busy(
    flush_ms: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each turn looks at all partitions."""
    logs = manager(tmp_path, [], **{"flush.ms": 1 << 62})
    logs.start()
    logs.create("idle", 0, TOPIC_ID)
    upkeep = logs._upkeep
    upkeep.stop()  # its thread; the test takes the turns
    upkeep._next_retention = upkeep._next_producers_check = upkeep._next_checkpoint = float("inf")
    assert upkeep._pause_s() == PAUSE_MAX_S
    logs.set_config("idle", {"flush.ms": flush_ms})
    upkeep._flush_by_time()
    assert upkeep._pause_s() >= PAUSE_MIN_S
    times = iter([5.0, 5.25])
    monkeypatch.setattr(time, "thread_time", lambda: next(times))
    upkeep._flush_by_time()
    assert upkeep._pause_s() == 0.25 * PAUSE_OF_FLUSH_TIME
    logs.shutdown()


@pytest.mark.parametrize("error", [ValueError("bad"), RuntimeError("worse"), OSError(5, "disk"), KeyError("key")])
@pytest.mark.parametrize("work", ["apply_retention", "_flush_by_time", "_run_removals", "_pause_s"])
def test_an_exception_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str, error: Exception) -> None:
    calls = 0

    def fail(upkeep: object) -> None:
        nonlocal calls
        calls += 1
        raise error

    checkpoints_written = 0
    write = HostedLogs.write_checkpoints

    def count(hosted: HostedLogs) -> None:
        nonlocal checkpoints_written
        checkpoints_written += 1
        write(hosted)

    monkeypatch.setattr(LogUpkeep, work, fail)
    monkeypatch.setattr(HostedLogs, "write_checkpoints", count)
    lines: list[str] = []
    logs = manager(tmp_path, lines, **{"flush.ms": 2})
    logs.start()
    wait_until(lambda: calls > 5 and checkpoints_written > 5, "rounds after the exception")
    logs.shutdown()
    (line,) = lines  # the same error is not logged in each round
    assert repr(error) in str(line).replace('\\"', '"') or type(error).__name__ in line


def test_a_listener_that_fails_ends_nothing(tmp_path: Path) -> None:
    lines: list[str] = []

    def fail(path: str, reason: str, lost: list[HostedPartition]) -> None:
        raise ValueError("a listener")

    logs = manager(tmp_path, lines)
    logs._hosted.on_offline = fail
    logs.start()
    alive = logs.create("b", 0, TOPIC_ID, log_dir=str(tmp_path / "d2"))
    points = tmp_path / "d1" / checkpoints.RECOVERY_POINTS
    wait_until(points.exists, "the first checkpoints")
    (tmp_path / "d1").rename(tmp_path / "away")  # checkpoints can no longer be written
    wait_until(lambda: str(tmp_path / "d1") in logs.offline_dirs, "the directory is offline")
    alive.append(batch())
    alive.log.flush()
    kept = tmp_path / "d2" / checkpoints.RECOVERY_POINTS
    wait_until(lambda: checkpoints.read_offsets(str(kept)) == {("b", 0): 1}, "a checkpoint of the other directory")
    assert any("a listener" in line for line in lines)
    logs.shutdown()


def bytes_to_recover(folder: Path) -> int:
    """A start reads only the segments of each log from its recovery point on."""
    total = 0
    for log_dir in folder.glob("d?"):
        points = checkpoints.read_offsets(str(log_dir / checkpoints.RECOVERY_POINTS))
        for directory in log_dir.glob("t-?"):
            segments = sorted(directory.glob("*.log"))
            point = points.get(("t", int(directory.name[2:])), 0)
            first = max(i for i, segment in enumerate(segments) if int(segment.stem) <= max(point, int(segments[0].stem)))
            total += sum(segment.stat().st_size for segment in segments[first:])
    return total


def test_a_crash_loop_does_not_get_slower(tmp_path: Path) -> None:
    """Each start of a broker that writes two megabytes and is killed recovers only what was written after the previous start."""
    folder = tmp_path / "0"
    written = 0
    for round_number in range(1, 6):
        lines: list[str] = []
        logs = LogManager(
            [str(folder / "d1"), str(folder / "d2")], 1, "cluster", {"retention.ms": -1},
            warn=lambda text, **details: lines.append(text),  # noqa: B023
        )  # fmt: skip
        logs.start()
        for index in (0, 1):
            logs.create("t", index, TOPIC_ID, log_dir=str(folder / f"d{index + 1}"))
        if round_number > 1:
            wait_until(lambda: bytes_to_recover(folder) == 0, "checkpoints of what was recovered")  # noqa: B023
        for partition in logs.partitions.values():
            assert partition.log_end_offset == written
            for _ in range(20):
                partition.append(batch(size=100_000))
        written += 20
        crashed = tmp_path / str(round_number)
        shutil.copytree(folder, crashed, ignore=shutil.ignore_patterns(".lock"), copy_function=copy_unless_renamed)
        assert bytes_to_recover(crashed) < 5_000_000 and not lines
        logs.shutdown()
        folder = crashed


def test_small_logs_are_not_rolled_by_a_recovery(tmp_path: Path) -> None:
    lines: list[str] = []
    logs = manager(tmp_path, lines)
    logs.start()
    logs.create("t", 0, TOPIC_ID, log_dir=str(tmp_path / "d1")).append(batch())
    crashed = tmp_path / "crashed"
    for name in ("d1", "d2"):
        shutil.copytree(tmp_path / name, crashed / name, ignore=shutil.ignore_patterns("*checkpoint*"))
    logs.shutdown()
    logs = manager(crashed, lines)
    logs.start()
    points = crashed / "d1" / checkpoints.RECOVERY_POINTS
    wait_until(lambda: checkpoints.read_offsets(str(points)) == {("t", 0): 1}, "a checkpoint")
    assert len(list((crashed / "d1/t-0").glob("*.log"))) == 1
    logs.shutdown()


def test_a_process_that_may_not_have_more_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs are opened and closed by the threads that exist. Without the log manager's own thread the start fails, cleanly."""
    logs = manager(tmp_path, [])
    logs.start()
    for number in range(20):
        logs.create("t", number, TOPIC_ID).append(batch())
    logs.shutdown()
    logs = manager(tmp_path, [])
    with monkeypatch.context() as patch:
        forbid_threads(patch)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            logs.start({"t": (TOPIC_ID, 20)})
        assert len(logs.partitions) == 20
        logs.shutdown()


def test_idle_producers_are_forgotten_at_an_interval_of_their_own(tmp_path: Path) -> None:
    logs = LogManager(
        [str(tmp_path / "d1")], 1, "cluster", {"retention.ms": -1, "producer.id.expiration.ms": 1},
        retention_check_interval_ms=3_600_000, producers_check_interval_ms=5,
    )  # fmt: skip
    logs.start()
    partition = logs.create("t", 0, TOPIC_ID)
    partition.append(batch(producer_id=7, producer_epoch=0, base_sequence=0))
    wait_until(lambda: partition.log.producers() == [], "the producer's expiry")
    logs.shutdown()
