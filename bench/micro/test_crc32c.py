"""CRC32C of batches from 64 bytes to 1 MiB. zlib uses another polynomial; it shows the cost of a common checksum."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import crc32c
import pytest
from aiokafka.record.util import calc_crc32c
from pytest_benchmark.fixture import BenchmarkFixture

from kafka_cy.records.crc32c import checksum

CHECKSUMS: dict[str, Callable[[bytes], int]] = {
    "kafka-cy": checksum,
    "PyPI crc32c": crc32c.crc32c,
    "aiokafka (Cython)": calc_crc32c,
    "zlib crc32": zlib.crc32,
}


@pytest.mark.parametrize("name", CHECKSUMS)
@pytest.mark.parametrize("size", [64, 1024, 16_384, 1_048_576])
def test_crc32c(benchmark: BenchmarkFixture, name: str, size: int) -> None:
    benchmark.group = f"CRC32C of {size} bytes"
    data = random.Random(size).randbytes(size)
    found = benchmark(CHECKSUMS[name], data)
    assert found == (zlib.crc32(data) if name == "zlib crc32" else crc32c.crc32c(data))
