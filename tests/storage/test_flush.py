"""flush.messages=1 with group commit; flush.messages=N; flush.ms."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog
from kafka_cy.storage.log_manager import LogManager
from tests.storage.batches import batch
from tests.storage.failing_disk import preloaded

TOPIC_ID = bytes(range(16))


def hosted(folder: Path, **config: Any) -> HostedPartition:
    log = PartitionLog(str(folder), {"retention.ms": -1, **config}, clean=True)
    return HostedPartition(log, "t", TOPIC_ID, 0)


def wait_for(partition: HostedPartition, offset: int, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while partition.high_watermark < offset:
        assert time.monotonic() < deadline, (partition.high_watermark, offset)
        time.sleep(0.0002)


def test_high_watermark_follows_what_is_flushed(tmp_path: Path) -> None:
    partition = hosted(tmp_path, **{"flush.messages": 1})
    for i in range(20):
        partition.append(batch(3))
        wait_for(partition, 3 * (i + 1))
        assert partition.high_watermark <= partition.log.recovery_point
    assert partition.read(0)


def test_without_it_the_high_watermark_does_not_wait(tmp_path: Path) -> None:
    partition = hosted(tmp_path)
    partition.append(batch(3))
    assert (partition.high_watermark, partition.log.recovery_point) == (3, 0)


def test_flush_messages(tmp_path: Path) -> None:
    partition = hosted(tmp_path, **{"flush.messages": 10})
    for _ in range(3):
        partition.append(batch(3))
    time.sleep(0.05)
    assert partition.log.recovery_point == 0
    partition.append(batch(3))
    deadline = time.monotonic() + 60
    while partition.log.recovery_point != 12:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_changing_flush_messages_releases_who_waits(tmp_path: Path) -> None:
    partition = hosted(tmp_path)
    partition.append(batch())
    partition.log.settings.replace({"flush.messages": 1})
    partition.append(batch())
    wait_for(partition, 2)


def test_group_commit_serves_many_producers_with_few_syncs(tmp_path: Path) -> None:
    """Eight producers, each waiting for its own record: every sync serves all records appended before it started."""
    partition = hosted(tmp_path, **{"flush.messages": 1})
    rounds, producers = 40, 8

    def produce() -> None:
        for _ in range(rounds):
            wait_for(partition, partition.append(batch()) + 1)

    threads = [threading.Thread(target=produce) for _ in range(producers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert partition.high_watermark == partition.log.recovery_point == rounds * producers


COUNT_SYNCS = r"""
import sys, threading, time
from kafka_cy.storage.log import PartitionLog
from kafka_cy.storage.hosted_partition import HostedPartition
from tests.storage.batches import batch
log = PartitionLog(sys.argv[1], {"flush.messages": 1, "retention.ms": -1}, clean=True)
partition = HostedPartition(log, "t", bytes(16), 0)
def produce():
    for _ in range(50):
        end = partition.append(batch()) + 1
        while partition.high_watermark < end:
            time.sleep(0.0005)
threads = [threading.Thread(target=produce) for _ in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print(partition.high_watermark)
"""

SLOW_SYNC = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int count;
int fdatasync(int fd) { __sync_fetch_and_add(&count, 1); usleep(20000); return 0; }
__attribute__((destructor)) static void tell(void) {
    FILE *f = fopen(getenv("SYNC_COUNT_FILE"), "w"); fprintf(f, "%d", count); fclose(f);
}
"""


def test_producers_share_a_sync(tmp_path: Path) -> None:
    """With a disk that needs 20 ms: 8 producers x 50 records in far fewer than 400 syncs."""
    source, library, counted = tmp_path / "sync.c", tmp_path / "sync.so", tmp_path / "count"
    source.write_text(SLOW_SYNC)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    (tmp_path / "t-0").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", COUNT_SYNCS, str(tmp_path / "t-0")],
        env={**preloaded(library), "SYNC_COUNT_FILE": str(counted)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert ran.stdout.split() == ["400"]
    assert int(counted.read_text()) < 300


def test_flush_ms(tmp_path: Path) -> None:
    logs = LogManager([str(tmp_path)], 1, "cluster", {"flush.ms": 30})
    logs.start()
    partition = logs.create("t", 0, TOPIC_ID)
    partition.append(batch())
    deadline = time.monotonic() + 60
    while partition.log.recovery_point != 1:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    logs.shutdown()


def test_a_failed_sync_takes_the_log_offline(tmp_path: Path) -> None:
    """After a failed fsync the kernel drops the data that it could not write, so no more records are acknowledged."""
    source, library = tmp_path / "fail.c", tmp_path / "fail.so"
    source.write_text("#include <errno.h>\nint fdatasync(int fd) { errno = ENOSPC; return -1; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    (tmp_path / "t-0").mkdir()
    code = """
import sys, time
from kafka_cy.storage.log import PartitionLog, StorageFailure
from kafka_cy.storage.hosted_partition import HostedPartition
from tests.storage.batches import batch
log = PartitionLog(sys.argv[1], {"flush.messages": 1}, clean=True)
partition = HostedPartition(log, "t", bytes(16), 0)
partition.append(batch())
while not log.offline:
    time.sleep(0.001)
try:
    partition.append(batch())
except StorageFailure as failure:
    print(partition.high_watermark, failure.code, failure.error_number)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t-0")],
        env=preloaded(library),
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert ran.stdout.split() == ["0", "15", "28"]
