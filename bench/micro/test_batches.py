"""Batches of 100 records of 100 bytes: build, validate and read, with each codec at its library's default level.

confluent-kafka is missing here: librdkafka reads and writes batches on its own threads, between a socket and a queue, and
has no call for it. Every test checks its result, so that a wrong implementation cannot appear fast.
"""

from __future__ import annotations

import random
from typing import Any

import aiokafka.record.default_records
import kafka.record.default_records
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kafka_cy.records import Record, build_batch, iterate_batches, validate

#: Codec numbers of the protocol, which the constructors of the other libraries take.
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
NOW_MS = 1_700_000_000_000
OTHERS: dict[str, Any] = {
    "kafka-python": kafka.record.default_records,
    "aiokafka (Cython)": aiokafka.record.default_records,
}
Rows = list[tuple[bytes | None, bytes | None, int]]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """100 records with keys, and values of 100 bytes that compress to about half."""
    generator = random.Random(1)
    words = [generator.randbytes(8).hex().encode() for _ in range(40)]
    return [
        Record(b"key-%d" % (index % 10), b" ".join(generator.choices(words, k=6))[:100], NOW_MS + index)
        for index in range(100)
    ]


def built_by(name: str, records: list[Record], codec: str) -> bytes:
    """A batch."""
    if name == "kafka-cy":
        return build_batch(records, compression=codec)
    builder = OTHERS[name].DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[codec],
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    for offset, record in enumerate(records):
        builder.append(offset, record.timestamp_ms, record.key, record.value, [])
    return bytes(builder.build())


def read_by(name: str, data: bytes) -> Rows:
    """The records of a batch as Python objects."""
    if name == "kafka-cy":
        (batch,) = iterate_batches(data)
        return [(record.key, record.value, record.timestamp_ms) for record in batch.records()]
    return [(each.key, each.value, each.timestamp) for each in OTHERS[name].DefaultRecordBatch(data)]


def valid_for(name: str, data: bytes) -> bool:
    """Whether the checksum and every record are valid: a broker checks this before it appends."""
    if name == "kafka-cy":
        return len(validate(data, now_ms=NOW_MS).data) == len(data)
    batch = OTHERS[name].DefaultRecordBatch(data)
    return bool(batch.validate_crc()) and sum(1 for _ in batch) > 0


@pytest.mark.parametrize("name", ["kafka-cy", *OTHERS])
@pytest.mark.parametrize("codec", CODECS)
def test_build(benchmark: BenchmarkFixture, records: list[Record], name: str, codec: str) -> None:
    benchmark.group = f"build a batch, {codec}"
    data = benchmark(built_by, name, records, codec)
    assert read_by("kafka-cy", data) == [(each.key, each.value, each.timestamp_ms) for each in records]


@pytest.mark.parametrize("name", ["kafka-cy", *OTHERS])
@pytest.mark.parametrize("codec", CODECS)
def test_validate(benchmark: BenchmarkFixture, records: list[Record], name: str, codec: str) -> None:
    benchmark.group = f"validate a batch, {codec}"
    data = build_batch(records, compression=codec)
    assert benchmark(valid_for, name, data)


@pytest.mark.parametrize("name", ["kafka-cy", *OTHERS])
@pytest.mark.parametrize("codec", CODECS)
def test_read(benchmark: BenchmarkFixture, records: list[Record], name: str, codec: str) -> None:
    benchmark.group = f"read a batch, {codec}"
    data = build_batch(records, compression=codec)
    assert benchmark(read_by, name, data) == [(each.key, each.value, each.timestamp_ms) for each in records]


@pytest.mark.parametrize("codec", CODECS)
def test_read_columns(benchmark: BenchmarkFixture, records: list[Record], codec: str) -> None:
    benchmark.group = f"read a batch, {codec}"
    (batch,) = iterate_batches(build_batch(records, compression=codec))
    assert benchmark(batch.columns).timestamps_ms.tolist() == [each.timestamp_ms for each in records]
