"""1000 varints of mixed sizes. Ours runs as a loop of the data plane, without the GIL; the others are called once per varint."""

from __future__ import annotations

import random
from array import array

import aiokafka.record.util
import kafka.record.util
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kafka_cy.records.wire_probe import sum_of_varints, varints_of

COUNT = 1000
VALUES = [random.Random(index).randint(-(2 ** (index % 31)), 2 ** (index % 31)) for index in range(COUNT)]
ENCODED = varints_of(array("i", VALUES))
OTHERS = {"kafka-python": kafka.record.util, "aiokafka (Cython)": aiokafka.record.util}


@pytest.mark.parametrize("name", ["kafka-cy", *OTHERS])
def test_read(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = "read 1000 varints"
    if name == "kafka-cy":
        assert benchmark(sum_of_varints, ENCODED) == sum(VALUES)
        return
    decode, data = OTHERS[name].decode_varint, bytearray(ENCODED)

    def read() -> int:
        total = position = 0
        for _ in range(COUNT):
            value, position = decode(data, position)
            total += value
        return total

    assert benchmark(read) == sum(VALUES)


@pytest.mark.parametrize("name", ["kafka-cy", *OTHERS])
def test_write(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = "write 1000 varints"
    if name == "kafka-cy":
        assert benchmark(varints_of, array("i", VALUES)) == ENCODED
        return
    encode = OTHERS[name].encode_varint

    def write() -> bytearray:
        data = bytearray()
        append = data.append
        for value in VALUES:
            encode(value, append)
        return data

    assert benchmark(write) == ENCODED
