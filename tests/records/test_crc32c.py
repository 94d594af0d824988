"""CRC32C: every kernel compared with PyPI's crc32c, at every size around the lane boundaries."""

from __future__ import annotations

import random
from collections.abc import Iterator

import crc32c as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.records.crc32c import checksum, choose_kernel, kernel_name

KERNELS = {"slicing-by-8": 1, "sse4.2": 2, "sse4.2 three lanes": 3}


@pytest.fixture(params=list(KERNELS))
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    if not choose_kernel(KERNELS[request.param]):
        pytest.skip("this CPU lacks it")
    assert kernel_name() == request.param
    yield request.param
    choose_kernel(0)


def test_check_value(kernel: str) -> None:
    assert checksum(b"123456789") == 0xE3069283
    assert checksum(b"") == 0


def test_sizes_and_alignments(kernel: str) -> None:
    data = random.Random(1).randbytes(70_000)
    edges = [lane * 3 + step for lane in (64, 256, 1024, 4096) for step in (-9, -1, 0, 1, 7, 8, 64)]
    for size in [*range(300), *edges, 16_384, 40_000, 65_536]:
        start = size % 9
        assert checksum(data[start : start + size]) == oracle.crc32c(data[start : start + size]), size


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_extend(first: bytes, second: bytes) -> None:
    assert checksum(second, checksum(first)) == oracle.crc32c(first + second)


def test_bytes_likes() -> None:
    data = b"kafka" * 100
    assert checksum(data) == checksum(bytearray(data)) == checksum(memoryview(data))
