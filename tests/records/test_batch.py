"""Record batches: golden bytes of a real Kafka, round trips, independent readers, broken input, time lookup."""

from __future__ import annotations

import json
import pickle
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatchBuilder

from kafka_cy.records import (
    LOG_APPEND_TIME,
    TRANSACTIONAL,
    BatchErrorCode,
    InvalidBatch,
    Record,
    build_batch,
    compress,
    find_timestamp,
    iterate_batches,
)
from kafka_cy.records.api import CODEC_NAMES

GOLDEN = json.loads((Path(__file__).parent / "golden" / "batches.json").read_text())

headers = st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8)), max_size=3).map(tuple)
records_of_any_kind = st.lists(
    st.builds(
        Record,
        key=st.none() | st.binary(max_size=100),
        value=st.none() | st.binary(max_size=300),
        timestamp_ms=st.integers(-1, 2**48),
        headers=headers,
        offset=st.just(-1),
    ),
    min_size=1,
    max_size=12,
)
codecs = st.sampled_from(CODEC_NAMES)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden["note"])
def test_golden_batches_read_and_build_again(golden: dict[str, object]) -> None:
    data = bytes.fromhex(str(golden["hex"]))
    (batch,) = iterate_batches(data)
    assert batch.crc_matches
    fields = ("attributes", "base_offset", "leader_epoch", "producer_id", "producer_epoch", "base_sequence")
    assert [getattr(batch, field) for field in fields] == [golden[field] for field in fields]
    records = batch.records()
    assert len(records) == batch.records_count == golden["count"]
    given_fields = {field: getattr(batch, field) for field in fields}
    assert build_batch(records, **given_fields) == data


@given(records=records_of_any_kind, codec=codecs, base_offset=st.integers(0, 2**60))
@settings(max_examples=60)
def test_round_trip(records: list[Record], codec: str, base_offset: int) -> None:
    data = build_batch(records, compression=codec, base_offset=base_offset, producer_id=7, producer_epoch=1)
    (batch,) = iterate_batches(data)
    assert batch.crc_matches
    assert (batch.compression, batch.base_offset, batch.producer_id) == (codec, base_offset, 7)
    assert batch.last_offset == base_offset + len(records) - 1
    assert batch.max_timestamp_ms == max(record.timestamp_ms for record in records)
    wanted = [record._replace(offset=base_offset + index) for index, record in enumerate(records)]
    assert batch.records() == wanted


@given(records=records_of_any_kind, codec=codecs)
@settings(max_examples=40)
def test_kafka_python_reads_ours(records: list[Record], codec: str) -> None:
    batch = DefaultRecordBatch(build_batch(records, compression=codec, base_offset=5))
    assert batch.validate_crc()
    assert [(r.key, r.value, r.timestamp, tuple(r.headers), r.offset) for r in batch] == [
        (*record[:4], 5 + index) for index, record in enumerate(records)
    ]


@given(records=records_of_any_kind, codec=st.integers(0, 4))
@settings(max_examples=40)
def test_we_read_kafka_python(records: list[Record], codec: int) -> None:
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 30)
    for index, record in enumerate(records):
        builder.append(index, max(record.timestamp_ms, 0), record.key, record.value, list(record.headers))
    (batch,) = iterate_batches(bytes(builder.build()))
    assert batch.crc_matches
    assert [record[:4] for record in batch.records()] == [
        (r.key, r.value, max(r.timestamp_ms, 0), r.headers) for r in records
    ]


@given(records=records_of_any_kind, codec=codecs)
@settings(max_examples=40)
def test_columns_say_the_same(records: list[Record], codec: str) -> None:
    (batch,) = iterate_batches(build_batch(records, compression=codec, base_offset=9))
    columns = batch.columns()
    assert columns.offsets.dtype == numpy.int64
    assert columns.offsets.tolist() == list(range(9, 9 + len(records)))
    assert columns.timestamps_ms.tolist() == [record.timestamp_ms for record in records]
    for position, size, record in zip(columns.value_positions, columns.value_sizes, records, strict=True):
        assert (None if size < 0 else columns.data[position : position + size]) == record.value
    for position, size, record in zip(columns.key_positions, columns.key_sizes, records, strict=True):
        assert (None if size < 0 else columns.data[position : position + size]) == record.key


def test_batches_follow_one_another_and_the_last_may_be_cut() -> None:
    data = b"".join(build_batch([Record(value=b"v")], base_offset=offset) for offset in range(3))
    assert [batch.base_offset for batch in iterate_batches(data)] == [0, 1, 2]
    for cut in (1, 20, len(data) // 3 - 1):
        assert [batch.base_offset for batch in iterate_batches(data[:-cut], allow_partial=True)] == [0, 1]
        with pytest.raises(InvalidBatch):
            list(iterate_batches(data[:-cut]))


def test_compacted_and_empty_batches() -> None:
    data = build_batch([Record(value=b"a", offset=12), Record(value=b"b", offset=15)], base_offset=10)
    (batch,) = iterate_batches(data)
    assert [record.offset for record in batch.records()] == [12, 15]
    assert batch.last_offset == 15
    empty = build_batch([], compression="zstd", base_offset=10, last_offset_delta=4, attributes=TRANSACTIONAL)
    (batch,) = iterate_batches(empty)
    assert (batch.records(), batch.last_offset, batch.is_transactional) == ([], 14, True)
    with pytest.raises(ValueError, match="does not fit"):
        build_batch([Record(value=b"a", offset=1)], base_offset=10)


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_every_flipped_bit_is_seen(codec: str) -> None:
    data = build_batch([Record(b"key", b"value", 5, (("h", b"1"),)) for _ in range(5)], compression=codec)
    for bit in range(17 * 8, len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        (batch,) = iterate_batches(broken)
        assert not batch.crc_matches, bit
        try:
            batch.records(size_max=1 << 16)
        except InvalidBatch:
            pass


@given(data=st.binary(max_size=300), magic=st.integers(0, 2))
@settings(max_examples=150)
def test_random_bytes_never_crash(data: bytes, magic: int) -> None:
    body = data[:4] + bytes([magic]) + data[4:]
    for candidate in (data, struct.pack(">qi", 0, len(body)) + body):
        try:
            for batch in iterate_batches(candidate):
                batch.records(size_max=10_000)
                find_timestamp(batch.data, 5, unpacked_bytes_max=10_000)
        except InvalidBatch:
            pass


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_find_timestamp(codec: str) -> None:
    source = random.Random(3)
    times = [source.randrange(100) for _ in range(50)]
    data = build_batch([Record(value=b"v", timestamp_ms=ms) for ms in times], compression=codec, base_offset=100)
    for target in range(0, 110, 7):
        for min_offset in (-1, 100, 120, 149, 150):
            matches = [(100 + i, ms) for i, ms in enumerate(times) if ms >= target and 100 + i >= min_offset]
            assert find_timestamp(data, target, min_offset=min_offset) == (matches[0] if matches else None)


def test_find_timestamp_with_log_append_time() -> None:
    records = [Record(value=b"v", timestamp_ms=ms) for ms in (1, 2, 3)]
    data = build_batch(records, base_offset=10, attributes=LOG_APPEND_TIME, max_timestamp_ms=77)
    assert find_timestamp(data, 50) == (10, 77)
    assert find_timestamp(data, 50, min_offset=11) == (11, 77)
    assert find_timestamp(data, 78) is None


def legacy_set(magic: int, codec: int) -> bytes:
    builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    for offset in range(6):
        builder.append(offset, 1000 + offset, b"k%d" % offset, b"v%d" % offset)
    data = bytes(builder.build())
    # When the broker appends a wrapper message, it sets the offset of its last message (outside the CRC).
    return struct.pack(">q", 5) + data[8:] if codec else data


@pytest.mark.parametrize("magic, codec", [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)])
def test_legacy_messages(magic: int, codec: int) -> None:
    data = legacy_set(magic, codec)
    batches = list(iterate_batches(data))
    assert all(batch.magic == magic and batch.crc_matches for batch in batches)
    found = [record for batch in batches for record in batch.records()]
    assert [(r.key, r.value, r.offset) for r in found] == [(b"k%d" % i, b"v%d" % i, i) for i in range(6)]
    assert [r.timestamp_ms for r in found] == [1000 + i if magic else -1 for i in range(6)]
    if magic == 1 and codec:
        assert find_timestamp(data, 1003) == (3, 1003)
        (batch,) = iterate_batches(struct.pack(">q", 1005) + data[8:])
        assert [r.offset for r in batch.records()] == list(range(1000, 1006))


def test_lz4_with_the_old_wrong_header_checksum() -> None:
    """Kafka before 0.10 included the magic in the checksum; any byte there must be accepted for magic 0."""
    packed = bytearray(compress(legacy_set(0, 0), "lz4"))
    packed[6] ^= 0x5A
    body = struct.pack(">bbii", 0, 3, -1, len(packed)) + packed
    message = struct.pack(">qiI", 5, 4 + len(body), zlib.crc32(body)) + body
    (batch,) = iterate_batches(message)
    assert batch.crc_matches
    assert [record.value for record in batch.records()] == [b"v%d" % i for i in range(6)]


def test_errors_are_named() -> None:
    data = bytearray(build_batch([Record(value=b"v")]))
    data[16] = 3
    with pytest.raises(InvalidBatch) as refused:
        list(iterate_batches(data))
    assert refused.value.code is BatchErrorCode.BAD_MAGIC
    with pytest.raises(InvalidBatch) as refused:
        list(iterate_batches(struct.pack(">qi", 0, -5) + bytes(data[12:])))
    assert refused.value.code is BatchErrorCode.BAD_LENGTH


@pytest.mark.parametrize("record", [[b"k", b"v", 1, (), -1], (b"k", b"v", 1, ())], ids=["list", "short"])
def test_what_is_no_record_is_not_written(record: Any) -> None:
    with pytest.raises(TypeError, match="a record must be a tuple of 5 fields"):
        build_batch([record])


def test_records_that_are_read_are_tuples_in_every_respect() -> None:
    (batch,) = iterate_batches(build_batch([Record(b"k", None, 5, (("h", b"x"),))]))
    (record,) = batch.records()
    assert (record, hash(record), pickle.loads(pickle.dumps(record))) == (tuple(record), hash(tuple(record)), record)
    assert record._replace(offset=7) == Record(b"k", None, 5, (("h", b"x"),), 7)
