"""The cleaner threads of the log manager: when they work, what they leave on disk, and what they report."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kafka_cy.records import Record, build_batch, iterate_batches
from kafka_cy.storage.checkpoints import CLEANER_OFFSETS, read_offsets
from kafka_cy.storage.cleaner import clean
from kafka_cy.storage.compacted_logs import CompactedLogs
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import OffsetOutOfRange, StorageFailure
from kafka_cy.storage.log_manager import LogManager
from tests.storage.moves import wait_for_moves
from tests.storage.test_cleaner import contents, keyed
from tests.storage.test_concurrency import Stress
from tests.waiting import wait_until

TOPIC_ID = bytes(range(16))
GONE = 12  # STORAGE_DELETED
CLEANER: dict[str, Any] = {
    "log.cleaner.threads": 1,
    "log.cleaner.backoff.ms": 20,
    "log.cleaner.dedupe.buffer.size": 134217728,
    "log.cleaner.io.buffer.size": 524288,
    "log.cleaner.io.buffer.load.factor": 0.9,
    "log.cleaner.io.max.bytes.per.second": 1e300,
}
COMPACT: dict[str, Any] = {
    "cleanup.policy": ["compact"], "segment.bytes": 4000, "retention.ms": -1, "file.delete.delay.ms": 100,
}  # fmt: skip


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Callable[..., LogManager]]:
    """Log managers over tmp_path/d1 and d2; they are shut down after the test."""
    made: list[LogManager] = []

    def make(cleaner: dict[str, Any] | None = CLEANER, **others: Any) -> LogManager:
        dirs = [str(tmp_path / "d1"), str(tmp_path / "d2")]
        made.append(LogManager(dirs, 1, "cluster", {"retention.ms": -1}, cleaner_config=cleaner, **others))
        made[-1].start()
        return made[-1]

    yield make
    for logs in made:
        logs.shutdown()


def fill(partition: HostedPartition, rounds: int = 60, keys: int = 5) -> dict[str, str]:
    """Updates of a few keys, and the final value of each."""
    last = {}
    for i in range(rounds):
        partition.append(keyed((f"k{i % keys}", f"{i}" + "x" * 100)))
        last[f"k{i % keys}"] = f"{i}" + "x" * 100
    partition.log.roll()
    return last


def compacted(partition: HostedPartition) -> Callable[[], bool]:
    return lambda: len(contents(partition.log)) == len({key for _, key, _ in contents(partition.log)})


def test_a_dirty_log_is_cleaned_and_that_is_written_down(tmp_path: Path, manager: Callable[..., LogManager]) -> None:
    logs = manager()
    partition = logs.create("t", 0, TOPIC_ID, {**COMPACT, "min.cleanable.dirty.ratio": 1.0}, str(tmp_path / "d1"))
    last = fill(partition)
    logs.set_config("t", COMPACT)  # one round cleans it all
    folder = tmp_path / "d1" / "t-0"
    wait_until(compacted(partition), "compaction")
    assert {key: value for _, key, value in contents(partition.log)} == last
    end = partition.log_end_offset
    wait_until(lambda: read_offsets(str(tmp_path / "d1" / CLEANER_OFFSETS)) == {("t", 0): end}, "the checkpoint")
    assert read_offsets(str(tmp_path / "d2" / CLEANER_OFFSETS)) == {}
    wait_until(lambda: not list(folder.glob("*.deleted")), "removal of what was replaced")
    stats = logs.cleaner_stats()
    assert 0 < stats["cleaner_recopy_percent"] < 50
    assert stats["max_buffer_utilization_percent"] > 0
    assert stats["dead_thread_count"] == 0
    assert stats["uncleanable_partitions_count"] == {str(tmp_path / "d1"): 0, str(tmp_path / "d2"): 0}
    logs.shutdown()
    again = manager().partitions["t", 0]
    assert again.log.cleaner_offset == end
    assert {key: value for _, key, value in contents(again.log)} == last


def test_below_the_dirty_ratio_nothing_is_cleaned(manager: Callable[..., LogManager]) -> None:
    logs = manager()
    partition = logs.create("t", 0, TOPIC_ID, {**COMPACT, "min.cleanable.dirty.ratio": 0.0})
    for i in range(40):
        partition.append(keyed((f"once{i}", "x" * 100)))
    partition.log.roll()
    wait_until(lambda: partition.log.cleaner_offset == 40, "the first rounds")
    logs.set_config("t", COMPACT)
    partition.append(keyed(("once1", "y")))
    partition.log.roll()
    dirty = len(keyed(("once1", "y"))) / partition.log.size_bytes
    wait_until(lambda: logs.cleaner_stats()["max_dirty_percent"] == pytest.approx(100 * dirty), "the next look")
    assert partition.log.cleaner_offset == 40
    logs.set_config("t", {**COMPACT, "min.cleanable.dirty.ratio": 0.001})
    wait_until(lambda: partition.log.cleaner_offset == 41, "a round, now that less is enough")


def test_max_compaction_lag_is_kept_whatever_the_ratio(manager: Callable[..., LogManager]) -> None:
    logs = manager()
    config = {**COMPACT, "min.cleanable.dirty.ratio": 1.0, "max.compaction.lag.ms": 3_600_000}
    partition = logs.create("t", 0, TOPIC_ID, config)
    partition.append(keyed(("a", "1"), ("a", "2"), timestamp_ms=int(time.time() * 1000) - 7_200_000))
    partition.log.roll()
    wait_until(compacted(partition), "compaction")
    assert logs.cleaner_stats()["max_compaction_delay_s"] in (0, pytest.approx(3600, abs=120))


def test_the_high_watermark_bounds_what_is_cleaned(manager: Callable[..., LogManager]) -> None:
    logs = manager()
    # Any part of it may be flushed when a round starts; the rest must be enough for another round.
    config = {**COMPACT, "flush.messages": 1, "min.cleanable.dirty.ratio": 0.0}
    partition = logs.create("t", 0, TOPIC_ID, config)
    fill(partition)
    wait_until(lambda: partition.log.cleaner_offset == 60, "compaction of what is flushed")
    assert partition.high_watermark == 60


def test_no_cleaner_without_a_compacted_topic(manager: Callable[..., LogManager]) -> None:
    logs = manager()
    partition = logs.create("t", 0, TOPIC_ID, {**COMPACT, "cleanup.policy": ["delete"]})
    fill(partition)
    assert logs.cleaner_stats() == {}
    logs.set_config("t", COMPACT)
    wait_until(compacted(partition), "compaction, once the policy says so")


def test_a_disabled_cleaner_cleans_nothing(manager: Callable[..., LogManager]) -> None:
    logs = manager(None)
    partition = logs.create("t", 0, TOPIC_ID, COMPACT)
    fill(partition)
    logs.configure_cleaner(CLEANER)
    assert logs.cleaner_stats() == {}
    assert len(contents(partition.log)) == 60


def test_an_uncleanable_log_is_told_once_and_counted(tmp_path: Path, manager: Callable[..., LogManager]) -> None:
    told: list[tuple[str, str]] = []
    logs = manager(on_uncleanable=lambda partition, why: told.append((partition.topic, why)))
    bad = logs.create("bad", 0, TOPIC_ID, {**COMPACT, "min.cleanable.dirty.ratio": 1.0}, str(tmp_path / "d1"))
    last = fill(bad)
    path = tmp_path / "d1" / "bad-0" / f"{0:020d}.log"
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    logs.set_config("bad", COMPACT)
    good = logs.create("good", 0, TOPIC_ID, COMPACT, str(tmp_path / "d1"))
    fill(good)
    wait_until(lambda: told, "the word")
    wait_until(compacted(good), "compaction of the other topic")
    assert told == [("bad", "corrupt batch")]
    stats = logs.cleaner_stats()
    assert stats["uncleanable_partitions_count"] == {str(tmp_path / "d1"): 1, str(tmp_path / "d2"): 0}
    assert stats["uncleanable_bytes"][str(tmp_path / "d1")] == bad.log.size_bytes
    assert path.read_bytes() == data
    assert bad.log.read(bad.high_watermark - 1, 1)
    assert len(last) == 5
    logs.delete("bad", 0)
    assert logs.cleaner_stats()["uncleanable_partitions_count"][str(tmp_path / "d1")] == 0


def test_a_round_without_space_is_told_and_lets_others_have_their_turn(
    tmp_path: Path, manager: Callable[..., LogManager]
) -> None:
    seldom = {**CLEANER, "log.cleaner.backoff.ms": 3_600_000}  # the threads look when they are woken
    lines: list[tuple[str, dict[str, Any]]] = []
    logs = manager(seldom, warn=lambda text, **details: lines.append((text, details)))
    partitions = []
    for topic in ("full", "small"):
        partitions.append(logs.create(topic, 0, TOPIC_ID, {**COMPACT, "min.cleanable.dirty.ratio": 1.0}, str(tmp_path / "d1")))
        partitions[-1].append(keyed(("kept", "x")))  # in the first segment, so that there is something to write
        fill(partitions[-1])
    full, small = partitions
    (tmp_path / "d1" / "full-0" / f"{0:020d}.log.cleaned").symlink_to("/dev/full")
    logs.set_config("full", COMPACT)

    def woken(condition: Callable[[], bool], settings: dict[str, Any] = seldom) -> bool:
        logs.configure_cleaner(settings)
        return condition()

    wait_until(lambda: woken(lambda: bool(lines)), "the word", 20)
    told = {"topic": "full", "partition": 0, "error": "I/O error (No space left on device)", "logs": 1}
    assert lines == [("a log cannot be compacted now: it is tried again", told)]
    failing = "uncleanable_partitions_count"
    assert logs.cleaner_stats()[failing] == {str(tmp_path / "d1"): 1, str(tmp_path / "d2"): 0}
    logs.set_config("small", COMPACT)
    wait_until(lambda: woken(compacted(small)), "the turn of the other log", 20)
    assert full.log.cleaner_offset == -1
    assert full.log.uncleanable == ""
    wait_until(lambda: woken(compacted(full), CLEANER), "another try, after fewer milliseconds")
    wait_until(lambda: logs.cleaner_stats()[failing][str(tmp_path / "d1")] == 0, "the word")
    assert len(lines) == 1


def test_a_throttled_round_gives_way_to_a_shutdown(tmp_path: Path, manager: Callable[..., LogManager]) -> None:
    logs = manager({**CLEANER, "log.cleaner.io.max.bytes.per.second": 100.0, "log.cleaner.io.buffer.size": 8192})
    partition = logs.create("t", 0, TOPIC_ID, COMPACT, str(tmp_path / "d1"))
    last = fill(partition)  # more than a minute of reading
    wait_until(lambda: logs.cleaner_stats()["max_dirty_percent"] == 100, "the choice of the log")
    logs.shutdown()
    assert partition.log.cleaner_offset == -1
    assert not list((tmp_path / "d1" / "t-0").glob("*.cleaned"))
    again = manager().partitions["t", 0]
    assert {key: value for _, key, value in contents(again.log)} == last


def test_settings_change_while_it_runs(manager: Callable[..., LogManager]) -> None:
    logs = manager({**CLEANER, "log.cleaner.backoff.ms": 3_600_000})
    first = logs.create("a", 0, TOPIC_ID, COMPACT)
    wait_until(lambda: logs.cleaner_stats()["max_dirty_percent"] == 0, "the first look")
    fill(first)
    logs.configure_cleaner(CLEANER)  # wakes threads that would sleep for an hour
    wait_until(compacted(first), "compaction")
    logs.configure_cleaner({**CLEANER, "log.cleaner.threads": 3})
    partitions = [logs.create("b", i, TOPIC_ID, COMPACT) for i in range(6)]
    for partition in partitions:
        fill(partition)
    for partition in partitions:
        wait_until(compacted(partition), "compaction by three threads")
    assert logs.cleaner_stats()["dead_thread_count"] == 0


def cleaner_threads() -> int:
    count = 0
    for path in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            count += path.read_text().startswith("log-cleaner")
    return count


def test_who_changes_the_number_of_threads_does_not_wait_for_those_that_end(
    manager: Callable[..., LogManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be writing a segment. The last setting wins."""
    logs = manager()
    logs.create("a", 0, TOPIC_ID, COMPACT)
    wait_until(lambda: cleaner_threads() == 1, "the thread")
    opened, restarted, stop = threading.Event(), list[str](), CompactedLogs.restart_if_due

    def restart_if_due(compacted: CompactedLogs) -> None:
        if compacted._restart_due:
            assert opened.wait(60)
            restarted.append(threading.current_thread().name)
        stop(compacted)

    monkeypatch.setattr(CompactedLogs, "restart_if_due", restart_if_due)
    for count in (3, 5, 2):
        logs.configure_cleaner({**CLEANER, "log.cleaner.threads": count})
    wait_until(lambda: cleaner_threads() == 0, "the end of the thread")
    last = logs.create("b", 0, TOPIC_ID, COMPACT)  # starts none of those that are to end
    fill(last)
    assert cleaner_threads() == 0 and logs.cleaner_stats()["dead_thread_count"] == 0
    opened.set()
    wait_until(lambda: cleaner_threads() == 2 and compacted(last)(), "compaction by two threads")
    assert set(restarted) == {"log-manager"} and logs.cleaner_stats()["dead_thread_count"] == 0


def test_a_moved_log_is_cleaned_again_from_its_start(tmp_path: Path, manager: Callable[..., LogManager]) -> None:
    logs = manager()
    partition = logs.create("t", 0, TOPIC_ID, COMPACT, str(tmp_path / "d1"))
    last = fill(partition)
    wait_until(compacted(partition), "compaction")
    logs.move("t", 0, str(tmp_path / "d2"))
    wait_for_moves(logs)
    assert partition.log.directory == str(tmp_path / "d2/t-0")
    assert {key: value for _, key, value in contents(partition.log)} == last
    last |= fill(partition)
    wait_until(lambda: partition.log.cleaner_offset == partition.log_end_offset, "compaction at the new place")
    assert {key: value for _, key, value in contents(partition.log)} == last


def test_a_deleted_topic_is_let_go(tmp_path: Path, manager: Callable[..., LogManager]) -> None:
    logs = manager({**CLEANER, "log.cleaner.io.max.bytes.per.second": 100.0, "log.cleaner.io.buffer.size": 8192})
    partition = logs.create("t", 0, TOPIC_ID, COMPACT, str(tmp_path / "d1"))
    fill(partition)
    wait_until(lambda: logs.cleaner_stats()["max_dirty_percent"] == 100, "the choice of the log")
    logs.delete("t", 0)
    wait_until(lambda: not list((tmp_path / "d1").glob("t-0*")), "the folder's removal")
    fresh = logs.create("t", 0, bytes(16), COMPACT, str(tmp_path / "d1"))
    assert fresh.log.cleaner_offset == -1


class CleaningStress(Stress):
    """The same on a compacted log with a cleaner; each value contains the offset at which it was written."""

    CONFIG: ClassVar = {**COMPACT, "index.interval.bytes": 300, "delete.retention.ms": 0}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.done["clean"] = 0
        self.last: dict[str, int] = {}

    def append(self, source: random.Random) -> None:
        base, now_ms = self.log.log_end_offset, int(time.time() * 1000)
        count = source.randrange(1, 5)
        records = [
            Record(b"k%d" % source.randrange(40), b"%d" % (base + i) + b"x" * source.randrange(150), now_ms) for i in range(count)
        ]
        self.partition.append(build_batch(records, compression=source.choice(["none", "lz4"])))
        for i, record in enumerate(records):
            assert record.key is not None
            self.last[record.key.decode()] = base + i
        if source.random() < 0.1:
            time.sleep(0.0005)

    def read(self, source: random.Random) -> None:
        offset = source.randint(self.log.log_start_offset, self.partition.high_watermark)
        try:
            for _ in range(5):
                data = self.log.read(offset, source.choice([1, 700, 20_000]), self.partition.high_watermark)
                for one in iterate_batches(data):
                    assert one.last_offset >= offset
                    for record in one.records():
                        assert record.value is not None
                        assert record.value.startswith(b"%d" % record.offset)
                    offset = one.last_offset + 1
        except OffsetOutOfRange:
            assert offset < self.log.log_start_offset

    def clean(self, source: random.Random) -> None:
        try:
            clean(self.log, io_buffer_bytes=source.choice([8192, 524288]))
        except StorageFailure as failure:
            assert failure.code == GONE, failure  # retention deleted a segment that was being cleaned
        time.sleep(0.002)


def test_everything_at_once(tmp_path: Path) -> None:
    stress = CleaningStress(tmp_path)
    stress.work(["append", "read", "read", "search", "clean", "retain", "maintain"])
    stress.log.roll()
    clean(stress.log)
    start = stress.log.log_start_offset
    expected = {key: offset for key, offset in stress.last.items() if offset >= start}
    found = {key: offset for offset, key, _ in contents(stress.log) if offset >= start}
    assert found == expected
