"""Appends to and reads from a partition's log, compared with the bare system calls on a file."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kafka_cy.records import Record, build_batch
from kafka_cy.storage.log import PartitionLog

SIZES = (100, 16_384)
BATCHES = 2000
READ_BYTES = 65_536
#: Number of appends: small enough for any disk (100 MB), and the same for both.
APPENDS = {"rounds": 5, "iterations": 1000, "warmup_rounds": 1}


def batch_of(size: int) -> bytes:
    """A batch with one record of `size` bytes, ready to append."""
    return build_batch([Record(value=random.Random(size).randbytes(size), timestamp_ms=1)])


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PartitionLog]:
    """An empty log, closed at the end."""
    folder = tmp_path / "topic-0"
    folder.mkdir()
    log = PartitionLog(str(folder))
    yield log
    log.close(flush=False)
    shutil.rmtree(folder)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """The file descriptor of an empty file."""
    descriptor = os.open(tmp_path / "plain", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)
    (tmp_path / "plain").unlink()


@pytest.mark.parametrize("size", SIZES)
def test_append(benchmark: BenchmarkFixture, log: PartitionLog, size: int) -> None:
    benchmark.group = f"append a batch with {size} bytes"
    data = batch_of(size)
    last = benchmark.pedantic(log.append, (data,), **APPENDS)
    assert log.log_end_offset == last + 1
    assert log.size_bytes == (last + 1) * len(data)


@pytest.mark.parametrize("size", SIZES)
def test_append_by_write(benchmark: BenchmarkFixture, file: int, size: int) -> None:
    benchmark.group = f"append a batch with {size} bytes"
    data = batch_of(size)
    assert benchmark.pedantic(os.write, (file, data), **APPENDS) == len(data)


@pytest.mark.parametrize("size", SIZES)
def test_read(benchmark: BenchmarkFixture, log: PartitionLog, size: int) -> None:
    benchmark.group = f"read up to 64 KiB of batches with {size} bytes, at random"
    data = batch_of(size)
    for _ in range(BATCHES):
        log.append(data)
    offsets = iter(random.Random(1).choices(range(BATCHES), k=1_000_000))
    found = benchmark(lambda: log.read(next(offsets), READ_BYTES))
    assert 0 < len(found) <= READ_BYTES
    assert len(found) % len(data) == 0


@pytest.mark.parametrize("size", SIZES)
def test_read_by_pread(benchmark: BenchmarkFixture, file: int, size: int) -> None:
    benchmark.group = f"read up to 64 KiB of batches with {size} bytes, at random"
    data = batch_of(size)
    for _ in range(BATCHES):
        os.write(file, data)
    offsets = iter(random.Random(1).choices(range(BATCHES), k=1_000_000))
    assert len(benchmark(lambda: os.pread(file, READ_BYTES, next(offsets) * len(data)))) > 0


def test_find_by_time(benchmark: BenchmarkFixture, log: PartitionLog) -> None:
    benchmark.group = "offset of a timestamp, 2000 batches of 16 KiB"
    for index in range(BATCHES):
        log.append(build_batch([Record(value=bytes(SIZES[1]), timestamp_ms=index)]))
    times = iter(random.Random(1).choices(range(BATCHES), k=1_000_000))
    found = benchmark(lambda: log.offset_for_timestamp(next(times)))
    assert found is not None
    assert found[0] == found[1]
