"""A full disk and a failing disk: KAFKA_STORAGE_ERROR, other log directories keep working, no acknowledged record is lost."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kafka_cy.testing import Broker
from tests.waiting import wait_until

from .load import Content, read_log
from .wire import KAFKA_STORAGE_ERROR, Connection, batch, fetch, list_offset, produce, ready_topic

TOPIC = "stored"
PARTITIONS = 4
DISK_BYTES = 16 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    path = tmp_path / "small-disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        reason = f"no file system can be mounted: {mounted.stderr.strip()}"
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(reason)
        pytest.skip(reason)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=False)


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[[Path], Broker]]:
    """A broker with two log directories; the second one will fail."""
    made: list[Broker] = []

    def make(second: Path) -> Broker:
        first = tmp_path / "first"
        config = {"log.dirs": f"{first},{second}", "log.segment.bytes": 1048576, "log.retention.ms": -1}
        made.append(Broker(config, folder=tmp_path / "broker").start())
        ready_topic(made[-1].port, TOPIC, PARTITIONS)
        return made[-1]

    yield make
    for each in made:
        each.kill()


def partitions_in(directory: Path) -> list[int]:
    return sorted(int(path.name.rpartition("-")[2]) for path in directory.glob(f"{TOPIC}-*"))


class Writer:
    """Fills partitions and remembers the acknowledged records."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.acknowledged: dict[int, dict[int, Content]] = {index: {} for index in range(PARTITIONS)}
        self.count = 0

    def write(self, index: int, size: int = 30_000) -> int:
        """Produce one batch of two records; return the error code."""
        connection = Connection(self.port)
        values = [b"%d:" % (self.count + i) + b"." * size for i in range(2)]
        self.count += 2
        answer = produce(connection, TOPIC, index, batch(values))
        if answer.error == 0:
            self.acknowledged[index].update({answer.base_offset + i: (b"key", values[i]) for i in range(2)})
        connection.close()
        return answer.error

    def fill(self, indexes: list[int]) -> int:
        """Write to the partitions in turn until a write fails; return its error code."""
        for _ in range(2000):
            for index in indexes:
                error = self.write(index)
                if error:
                    return error
        raise AssertionError("the disk does not fill up")

    def check(self, indexes: list[int]) -> None:
        """Check that the logs have exactly the acknowledged records."""
        connection = Connection(self.port)
        for index in indexes:
            log = read_log(connection, TOPIC, index)
            assert sorted(log) == list(range(len(log)))
            for offset, content in self.acknowledged[index].items():
                assert log.get(offset) == content, (index, offset)
        connection.close()


def check_failed_directory(broker: Broker, writer: Writer, failed: list[int], good: list[int]) -> None:
    """Check that one directory is offline, and that the other one works for writing, reading and creating topics."""
    wait_until(lambda: "log directory failed and is offline" in broker.log_text(), "a log line")
    connection = Connection(broker.port)
    for index in failed:
        wait_until(lambda: writer.write(index, 100) == KAFKA_STORAGE_ERROR, "an offline partition")  # noqa: B023
        wait_until(lambda: fetch(connection, TOPIC, index, 0)[0] == KAFKA_STORAGE_ERROR, "the same")  # noqa: B023
    for index in good:
        assert writer.write(index) == 0
    writer.check(good)
    ready_topic(broker.port, "made-later", 3)
    assert produce(connection, "made-later", 2, batch()).error == 0
    connection.close()


def fill_up(path: Path) -> None:
    """Fill the file system to its last byte."""
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 100)


def test_disk_full(make_broker: Callable[[Path], Broker], small_disk: Path) -> None:
    """The full directory goes offline, as in Kafka; the other one keeps working. A restart with free space has all records."""
    broker = make_broker(small_disk)
    failing = partitions_in(small_disk)
    good = [index for index in range(PARTITIONS) if index not in failing]
    assert failing and good
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(6 << 20))
    writer = Writer(broker.port)
    assert writer.fill(failing) == KAFKA_STORAGE_ERROR
    assert writer.write(good[0]) == 0
    check_failed_directory(broker, writer, failing, good)
    assert "No space left on device" in broker.log_text()
    # The disk is still full: the broker starts anyway, at least with the other directory.
    broker.kill()
    fill_up(small_disk / "more-ballast")
    broker.start()
    writer.check(good)
    assert writer.write(good[0]) == 0
    for _ in range(5):
        writer.write(failing[0])
    broker.kill()
    ballast.unlink()
    (small_disk / "more-ballast").unlink()
    broker.start()
    writer.check(list(range(PARTITIONS)))
    assert all(writer.write(index) == 0 for index in range(PARTITIONS))
    broker.restart()
    writer.check(list(range(PARTITIONS)))


def wait_for_end(broker: Broker) -> int:
    """The exit code of a broker that ends by itself."""
    assert broker.process is not None
    code = broker.process.wait(30)
    broker.process = None
    return code


def test_the_only_disk_is_full(small_disk: Path, tmp_path: Path) -> None:
    """As in Kafka, the broker stops when its last log directory fails: a clear line, the exit code for broken data, no loss."""
    broker = Broker({"log.dirs": str(small_disk / "data"), "log.segment.bytes": 1048576}, folder=tmp_path / "broker")
    broker.start()
    try:
        ready_topic(broker.port, TOPIC, PARTITIONS)
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(8 << 20))
        writer = Writer(broker.port)
        assert writer.fill(list(range(PARTITIONS))) == KAFKA_STORAGE_ERROR
        assert wait_for_end(broker) == 3
        text = broker.log_text()
        assert "the broker stops: log directory" in text and "No space left on device" in text
        ballast.unlink()
        broker.start()
        writer.check(list(range(PARTITIONS)))
        assert all(writer.write(index) == 0 for index in range(PARTITIONS))
    finally:
        broker.kill()


def test_the_last_directory_fails(tmp_path: Path) -> None:
    """The broker cannot run without the directory that has the metadata (in Kafka: the metadata log directory)."""
    first, second = tmp_path / "first", tmp_path / "second"
    config = {"log.dirs": f"{first},{second}", "log.segment.bytes": 1048576}
    broker = Broker(config, folder=tmp_path / "broker").start()
    try:
        ready_topic(broker.port, TOPIC, PARTITIONS)
        writer = Writer(broker.port)
        failing = partitions_in(first)[0]
        assert writer.write(failing) == 0
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        assert writer.fill([failing]) == KAFKA_STORAGE_ERROR
        assert wait_for_end(broker) == 3
        assert f"log directory {first}, which contains the metadata, failed" in broker.log_text()
        broker.start()
        writer.check(list(range(PARTITIONS)))
    finally:
        broker.kill()


def test_full_disk_and_a_clean_shutdown(make_broker: Callable[[Path], Broker], small_disk: Path) -> None:
    """The shutdown neither hangs nor fails, and no record is lost, whether or not the shutdown counts as clean."""
    broker = make_broker(small_disk)
    failing = partitions_in(small_disk)
    writer = Writer(broker.port)
    assert writer.fill(failing) == KAFKA_STORAGE_ERROR
    fill_up(small_disk / "ballast")
    assert broker.terminate() == 0
    broker.start()
    writer.check(list(range(PARTITIONS)))
    broker.kill()
    subprocess.run(["mount", "-o", f"remount,size={4 * DISK_BYTES}", str(small_disk)], check=True)
    broker.start()
    writer.check(list(range(PARTITIONS)))
    assert writer.write(failing[0]) == 0


def test_write_error(make_broker: Callable[[Path], Broker], tmp_path: Path) -> None:
    """A write that fails for a reason other than a full disk (here: EFBIG, in the middle of a batch)."""
    second = tmp_path / "second"
    broker = make_broker(second)
    failing = partitions_in(second)
    good = [index for index in range(PARTITIONS) if index not in failing]
    writer = Writer(broker.port)
    assert writer.write(failing[0]) == 0
    limit = 400_000
    resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    assert writer.fill(failing[:1]) == KAFKA_STORAGE_ERROR
    resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    check_failed_directory(broker, writer, failing, good)
    assert broker.terminate() == 0
    broker.start()
    writer.check(list(range(PARTITIONS)))
    connection = Connection(broker.port)
    for index in range(PARTITIONS):
        end = list_offset(connection, TOPIC, index)[1]
        assert writer.write(index) == 0
        assert list_offset(connection, TOPIC, index) == (0, end + 2)
    connection.close()
