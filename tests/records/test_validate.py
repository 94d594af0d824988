"""What the broker checks and changes in a produced batch."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.records import (
    CONTROL,
    LOG_APPEND_TIME,
    BatchErrorCode,
    InvalidBatch,
    Record,
    build_batch,
    iterate_batches,
    validate,
)
from kafka_cy.records.api import CODEC_NAMES, crc32c

NOW = 1_700_000_000_000
RECORDS = [Record(b"k%d" % i, b"v" * i, NOW + i % 7, (("h", b"x"),) if i % 5 == 0 else ()) for i in range(100)]


def patched(data: bytes, at: int, form: str, value: int) -> bytes:
    """`data` with one field changed and the checksum corrected."""
    changed = bytearray(data)
    struct.pack_into(form, changed, at, value)
    struct.pack_into(">I", changed, 17, crc32c(changed[21:]))
    return bytes(changed)


def refusal(data: bytes, **rules: object) -> BatchErrorCode:
    with pytest.raises(InvalidBatch) as refused:
        validate(data, **{"now_ms": NOW, **rules})  # type: ignore[arg-type]
    return refused.value.code


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_a_good_batch_stays_as_it_is(codec: str) -> None:
    data = build_batch(RECORDS, compression=codec, producer_id=1, producer_epoch=0, base_sequence=0)
    valid = validate(data, now_ms=NOW)
    assert valid.data == data
    assert valid.max_timestamp_offset_delta == 6
    assert validate(data, key_required=True).data == data


@pytest.mark.parametrize("source", CODEC_NAMES)
@pytest.mark.parametrize("target", CODEC_NAMES)
def test_recompression(source: str, target: str) -> None:
    data = build_batch(RECORDS, compression=source)
    (batch,) = iterate_batches(validate(data, compression=target).data)
    assert batch.crc_matches
    assert batch.compression == target
    assert [record[:4] for record in batch.records()] == [record[:4] for record in RECORDS]


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_log_append_time(codec: str) -> None:
    (batch,) = iterate_batches(
        validate(build_batch(RECORDS, compression=codec), log_append_time=True, now_ms=NOW + 99).data
    )
    assert batch.crc_matches
    assert batch.is_log_append_time
    assert {record.timestamp_ms for record in batch.records()} == {NOW + 99}
    stamped = build_batch(RECORDS, compression=codec, attributes=LOG_APPEND_TIME)
    assert refusal(stamped, log_append_time=True) is BatchErrorCode.BAD_TIMESTAMP
    (batch,) = iterate_batches(validate(stamped).data)
    assert not batch.is_log_append_time
    assert batch.crc_matches


@pytest.mark.parametrize("codec", CODEC_NAMES)
@pytest.mark.parametrize("wrong", [-1, 0])
def test_a_missing_maximum_timestamp_is_found(codec: str, wrong: int) -> None:
    data = build_batch(RECORDS, compression=codec, max_timestamp_ms=wrong)
    (batch,) = iterate_batches(validate(data, now_ms=NOW).data)
    assert batch.max_timestamp_ms == NOW + 6
    assert batch.crc_matches


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_timestamp_limits(codec: str) -> None:
    data = build_batch(RECORDS, compression=codec)
    assert refusal(data, timestamp_after_max_ms=5) is BatchErrorCode.BAD_TIMESTAMP
    assert validate(data, now_ms=NOW, timestamp_after_max_ms=6, timestamp_before_max_ms=0)
    late = {"now_ms": NOW + 10, "timestamp_before_max_ms": 5}
    assert refusal(data, **late) is BatchErrorCode.BAD_TIMESTAMP
    assert validate(data, log_append_time=True, **late)  # type: ignore[arg-type]
    untimed = build_batch([Record(value=b"v")], compression=codec)
    assert validate(untimed, **late).data == untimed  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_keys_for_compacted_topics(codec: str) -> None:
    data = build_batch([*RECORDS[:3], Record(value=b"v", timestamp_ms=NOW), *RECORDS[:3]], compression=codec)
    with pytest.raises(InvalidBatch) as refused:
        validate(data, key_required=True)
    assert (refused.value.code, refused.value.record_index) == (BatchErrorCode.NO_KEY, 3)


def test_headers_that_are_refused() -> None:
    good = build_batch(RECORDS[:3])
    assert refusal(b"") is BatchErrorCode.NOT_ONE
    assert refusal(good + good) is BatchErrorCode.NOT_ONE
    assert refusal(good[:-1]) is BatchErrorCode.TRUNCATED
    assert refusal(good[:30]) is BatchErrorCode.TRUNCATED
    assert refusal(patched(good, 8, ">i", 48)) is BatchErrorCode.BAD_LENGTH
    assert refusal(patched(good, 8, ">i", -1)) is BatchErrorCode.BAD_LENGTH
    assert refusal(patched(good, 16, ">b", 1)) is BatchErrorCode.BAD_MAGIC
    assert refusal(good[:-1] + b"\x55") is BatchErrorCode.BAD_CRC
    assert refusal(patched(good, 57, ">i", 0)) is BatchErrorCode.BAD_COUNT
    assert refusal(patched(good, 57, ">i", 2)) is BatchErrorCode.BAD_COUNT
    assert refusal(patched(good, 23, ">i", 7)) is BatchErrorCode.BAD_COUNT
    assert refusal(patched(patched(good, 57, ">i", 2), 23, ">i", 1)) is BatchErrorCode.BAD_COUNT
    assert refusal(patched(patched(good, 57, ">i", 4), 23, ">i", 3)) is BatchErrorCode.BAD_COUNT
    assert refusal(patched(good, 0, ">q", 5)) is BatchErrorCode.BAD_COUNT
    assert refusal(patched(good, 21, ">h", CONTROL)) is BatchErrorCode.BAD_ATTRIBUTES
    assert refusal(patched(good, 21, ">h", 5)) is BatchErrorCode.BAD_ATTRIBUTES
    assert refusal(patched(good, 43, ">q", 5)) is BatchErrorCode.BAD_SEQUENCE
    assert refusal(good, message_bytes_max=len(good) - 1) is BatchErrorCode.TOO_LARGE
    packed = build_batch(RECORDS, compression="zstd")
    assert refusal(packed, produce_version=6) is BatchErrorCode.ZSTD_UNSUPPORTED
    assert refusal(packed, compression="none", message_bytes_max=1000) is BatchErrorCode.TOO_LARGE
    assert refusal(packed, unpacked_bytes_max=1000) is BatchErrorCode.UNPACKS_TOO_LARGE


def test_offset_deltas_must_count_up() -> None:
    for offsets in ((0, 2, 2), (1, 2, 2), (0, 0, 2)):
        data = bytearray(build_batch([Record(value=b"v")] * 3))
        starts = [61 + 8 * index for index in range(3)]
        assert len(data) == 61 + 24
        for start, offset in zip(starts, offsets, strict=True):
            data[start + 3] = offset * 2
        assert refusal(patched(bytes(data), 0, ">q", 0)) is BatchErrorCode.BAD_RECORD


def test_many_records_and_long_values() -> None:
    records = [Record(b"k" * (i % 90), b"v" * (i * 3 % 20_000), NOW + i * 37) for i in range(9000)]
    data = build_batch(records)
    valid = validate(data, message_bytes_max=1 << 30)
    assert valid.data == data
    assert valid.max_timestamp_offset_delta == 8999


@given(at=st.integers(61, 2_000), value=st.integers(0, 255), codec=st.sampled_from(CODEC_NAMES))
@settings(max_examples=200)
def test_the_walk_agrees_with_the_reader(at: int, value: int, codec: str) -> None:
    """A batch with one changed byte and a correct checksum: if validation accepts it, the reader must be able to read it."""
    data = build_batch(RECORDS[:20], compression=codec)
    changed = patched(data, 61 + (at - 61) % (len(data) - 61), ">B", value)
    (batch,) = iterate_batches(changed)
    try:
        valid = validate(changed, unpacked_bytes_max=1 << 20)
    except InvalidBatch:
        return
    (batch,) = iterate_batches(valid.data)
    records = batch.records()
    assert [record.offset for record in records] == list(range(20))
    assert batch.max_timestamp_ms == max(-1, *(record.timestamp_ms for record in records))
