"""Mutated batches through every decoder of kafka_cy.records, in one process, for a bounded time.

Under `make fuzz` this runs on a build with the address and undefined-behaviour sanitizers, which turn a read past the
end into an abort. KAFKA_CY_FUZZ_SECONDS sets the duration, KAFKA_CY_FUZZ_SEED the random seed (printed on failure).
"""

from __future__ import annotations

import os
import random
import struct
import time
import zlib
from collections.abc import Callable

import pytest

from kafka_cy.records import InvalidBatch, Record, build_batch, compress, decompress, find_timestamp, validate
from kafka_cy.records import iterate_batches as batches_of
from kafka_cy.records.api import CODEC_NAMES, crc32c
from kafka_cy.records.wire_probe import read

SECONDS = float(os.environ.get("KAFKA_CY_FUZZ_SECONDS", "2"))
SEED = int(os.environ.get("KAFKA_CY_FUZZ_SEED", "1"))
UNPACKED_MAX = 100_000
EDGES = (0, 1, 0x7F, 0x80, 0xFF)
EDGES_32 = (0, 1, -1, -2, 2**31 - 1, -(2**31), 1 << 24, 60, 61)
WIRE_KINDS = ("int8", "int64", "uvarint", "varint", "varlong", "string", "bytes", "array", "tags", "raw")


def legacy(magic: int, codec: str) -> bytes:
    """A message set of magic 0 or 1, compressed or not."""

    def message(offset: int, attributes: int, key: bytes | None, value: bytes) -> bytes:
        body = struct.pack(">bb", magic, attributes) + (struct.pack(">q", 1000 + offset) if magic else b"")
        body += struct.pack(">i", -1) if key is None else struct.pack(">i", len(key)) + key
        body += struct.pack(">i", len(value)) + value
        return struct.pack(">qiI", offset, 4 + len(body), zlib.crc32(body)) + body

    inner = b"".join(message(offset, 0, b"key", b"value" * offset) for offset in range(4))
    return inner if codec == "none" else message(3, CODEC_NAMES.index(codec), None, compress(inner, codec))


def corpus() -> list[bytes]:
    plain = [Record(b"k%d" % i, b"v" * i, 1000 + i, (("h", b"x"), ("n", None)) if i % 3 else ()) for i in range(12)]
    long = [Record(None, b"x" * 5000, 1000 + i) for i in range(3)]
    batches = [build_batch(records, compression=codec) for records in (plain, long) for codec in CODEC_NAMES]
    batches.append(build_batch(plain, producer_id=1, producer_epoch=0, base_sequence=0, attributes=0x30))
    return batches + [legacy(magic, codec) for magic in (0, 1) for codec in ("none", "gzip", "snappy", "lz4")]


def mutate(source: random.Random, data: bytes) -> bytes:
    """Apply a few random edits; mostly with a corrected checksum, so that they reach the code after its check."""
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 4, 16))):
        at = source.randrange(len(changed)) if changed else 0
        kind = source.randrange(7)
        if kind == 0 and changed:
            changed[at] ^= 1 << source.randrange(8)
        elif kind == 1 and changed:
            changed[at] = source.choice(EDGES)
        elif kind == 2:
            del changed[at : at + source.choice((1, 4, 40))]
        elif kind == 3:
            changed[at:at] = source.randbytes(source.choice((1, 4, 40)))
        elif kind == 4 and len(changed) >= at + 4:
            struct.pack_into(">i", changed, at, source.choice(EDGES_32))
        elif kind == 5:
            del changed[at:]
        elif len(changed) > 65:
            start = source.randrange(61, len(changed))
            changed[start:start] = changed[at : at + 20]
    if len(changed) > 61 and source.random() < 0.8:
        if source.random() < 0.8:
            struct.pack_into(">i", changed, 8, len(changed) - 12)
        if changed[16] == 2:
            struct.pack_into(">I", changed, 17, crc32c(changed[21:]))
    return bytes(changed)


def read_everything(data: bytes) -> None:
    for batch in batches_of(data, allow_partial=True):
        _ = batch.crc_matches
        for decode in (lambda b: b.records(size_max=UNPACKED_MAX), lambda b: b.columns(size_max=UNPACKED_MAX)):
            try:
                decode(batch)
            except InvalidBatch:
                pass
        find_timestamp(batch.data, 1005, unpacked_bytes_max=UNPACKED_MAX)


def validate_every_way(data: bytes) -> None:
    for rules in (
        {},
        {"key_required": True, "timestamp_after_max_ms": 10, "timestamp_before_max_ms": 10, "now_ms": 1005},
        {"log_append_time": True, "compression": "lz4"},
        {"compression": "none", "message_bytes_max": 6000},
    ):
        try:
            valid = validate(data, unpacked_bytes_max=UNPACKED_MAX, **rules)
        except InvalidBatch:
            continue
        (batch,) = batches_of(valid.data)
        assert batch.crc_matches
        assert len(batch.records(size_max=UNPACKED_MAX)) == batch.records_count


def unpack_every_way(data: bytes) -> None:
    for codec in CODEC_NAMES:
        for body in (data, data[61:]):
            try:
                assert len(decompress(body, codec, size_max=UNPACKED_MAX)) <= UNPACKED_MAX
            except InvalidBatch:
                pass


def read_primitives(source: random.Random, data: bytes) -> None:
    fields = [(source.choice(WIRE_KINDS), source.random() < 0.5, source.randrange(9)) for _ in range(20)]
    _, _, left = read(data, fields)
    assert 0 <= left <= len(data)


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS + 120)
def test_mutated_batches() -> None:
    source = random.Random(SEED)
    seeds = corpus()
    checks: list[Callable[[bytes], None]] = [read_everything, validate_every_way, unpack_every_way]
    deadline = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < deadline:
        data = mutate(source, source.choice(seeds))
        for check in checks:
            try:
                check(data)
            except InvalidBatch:
                pass
            except BaseException:
                print(f"seed {SEED}, round {rounds}: {data.hex()}")
                raise
        read_primitives(source, data)
        rounds += 1
    print(f"{rounds} rounds from seed {SEED}")
    assert rounds > 0
