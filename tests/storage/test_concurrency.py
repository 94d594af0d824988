"""Appends, reads, lookups, rolling, retention, flushes and DeleteRecords of one log, all at once, in threads without the GIL."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import OffsetOutOfRange, PartitionLog
from tests.storage.batches import base_offset, batch, last_offset, split

SECONDS = float(os.environ.get("KAFKA_CY_STRESS_SECONDS", "3"))
CONFIG: dict[str, Any] = {
    "segment.bytes": 6000, "index.interval.bytes": 300, "retention.bytes": 60_000, "retention.ms": -1, "flush.messages": 50,
}  # fmt: skip


class Stress:
    """Threads that run until the time is over and each has done some work; the first failure ends all."""

    CONFIG = CONFIG

    def __init__(self, folder: Path) -> None:
        self.log = PartitionLog(str(folder), self.CONFIG, clean=True)
        self.partition = HostedPartition(self.log, "t", bytes(16), 0)
        self.failures: list[BaseException] = []
        self.deadline = time.monotonic() + SECONDS
        self.done = dict.fromkeys(["append", "read", "search", "retain", "maintain"], 0)

    def run(self, name: str, step: Callable[[random.Random], None], seed: int) -> None:
        source = random.Random(seed)
        try:
            while not self.failures and (time.monotonic() < self.deadline or not self.enough()):
                step(source)
                self.done[name] += 1
        except Exception as error:  # noqa: BLE001 (raised again by the test)
            self.failures.append(error)

    def enough(self) -> bool:
        return all(self.done.values()) and self.log.log_start_offset > 0

    def append(self, source: random.Random) -> None:
        self.partition.append(batch(source.randrange(1, 4), size=source.randrange(200), timestamp_ms=int(time.time() * 1000)))
        if source.random() < 0.05:
            time.sleep(0.0005)

    def read(self, source: random.Random) -> None:
        offset = source.randint(self.log.log_start_offset, self.partition.high_watermark)
        expected = offset
        try:
            for _ in range(5):
                data = self.log.read(offset, source.choice([1, 1000, 20_000]), self.partition.high_watermark)
                for one in split(data):
                    first, last = base_offset(one), last_offset(one)
                    assert first == expected or first <= offset <= last, (first, offset)
                    expected = last + 1
                offset = expected
        except OffsetOutOfRange:
            assert offset < self.log.log_start_offset

    def search(self, source: random.Random) -> None:
        found = self.log.offset_for_timestamp(int(time.time() * 1000) - source.randrange(500))
        assert found is None or found[0] < self.log.log_end_offset
        self.log.max_timestamp()
        start = self.log.log_start_offset
        assert self.log.epoch_of(start) == 0 or self.log.log_start_offset > start
        _ = self.log.size_bytes, self.log.segments()

    def retain(self, source: random.Random) -> None:
        self.log.delete_old_segments(self.partition.high_watermark)
        if source.random() < 0.3:
            start, end = self.log.log_start_offset, self.partition.high_watermark
            self.log.delete_records(source.randint(start, start + (end - start) // 4))
        for path in Path(self.log.directory).glob("*.deleted"):
            path.unlink(missing_ok=True)
        time.sleep(0.002)

    def maintain(self, source: random.Random) -> None:
        source.choice([self.log.flush, self.log.roll, lambda: self.log.settings.replace(self.CONFIG)])()
        time.sleep(0.003)

    def work(self, names: list[str]) -> None:
        """Run one thread for each name. Raises the first failure."""
        threads = [
            threading.Thread(target=self.run, args=(name, getattr(self, name), seed)) for seed, name in enumerate(names)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]


def test_everything_at_once(tmp_path: Path) -> None:
    stress = Stress(tmp_path)
    stress.work(["append", "append", "read", "read", "search", "retain", "maintain"])
    log = stress.log
    end, start, batches = log.log_end_offset, log.log_start_offset, log.read(log.log_start_offset, 1)
    log.close()
    again = PartitionLog(str(tmp_path), CONFIG, start_offset=start, recovery_point=0)
    assert (again.log_start_offset, again.log_end_offset) == (start, end)
    assert again.read(start, 1) == batches


def test_a_reader_keeps_a_segment_that_is_deleted_and_unlinked(tmp_path: Path) -> None:
    """Reads that started before the deletion succeed: the descriptor stays open until the last reference is released."""
    log = PartitionLog(str(tmp_path), {**CONFIG, "retention.bytes": 0}, clean=True)
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            offset = log.log_start_offset
            try:
                log.read(offset, 5000)
                log.offset_for_timestamp(0)
            except OffsetOutOfRange:
                pass
            except Exception as error:  # noqa: BLE001 (the test tells it)
                failures.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        log.append(batch(2, size=500))
        log.roll()
        log.delete_old_segments()
        for path in tmp_path.glob("*.deleted"):
            path.unlink()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    log.flush()  # a roll leaves work to the flush, which keeps a reference to its segment until then
    opened = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]  # "... (deleted)" when it is unlinked
    assert not [path for path in opened if str(tmp_path) in path and "deleted" in path]
