"""Decompression bombs are refused within bounded memory and time, whatever the settings of the topic."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import lz4.frame
import pytest
import snappy
import zstandard

from kafka_cy.records.api import crc32c
from kafka_cy.testing import Broker

from . import wire
from .wire import Connection, batch, list_offset, produce, ready_topic

UNPACKED_BYTES = 600 << 20
CHUNK = bytes(1 << 20)
MESSAGE_TOO_LARGE = 10
RSS_BYTES_MAX = 450 << 20  # the limit for a batch is 256 MiB
CONFIGS: dict[str, dict[str, object]] = {
    "as-produced": {},
    "recompressed": {"compression.type": "lz4"},
    "uncompressed": {"compression.type": "uncompressed"},
    "compacted": {"cleanup.policy": "compact"},
    "append-time": {"message.timestamp.type": "LogAppendTime"},
}


def varint(value: int) -> bytes:
    """A zigzag varint."""
    value <<= 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def record_start(value_size: int) -> bytes:
    """A record up to its value of `value_size` bytes; a byte 0 (no headers) has to follow the value."""
    inner = b"\0\0\0" + varint(1) + b"k" + varint(value_size)
    return varint(len(inner) + value_size + 1) + inner


def chunks(value_size: int) -> Iterator[bytes]:
    """The uncompressed records section with one record whose value is zeros."""
    yield record_start(value_size)
    for _ in range(value_size >> 20):
        yield CHUNK
    yield b"\0"


def gzip(value_size: int) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([packer.compress(each) for each in chunks(value_size)]) + packer.flush()


def zstd(value_size: int) -> bytes:
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    return b"".join([packer.compress(each) for each in chunks(value_size)]) + packer.flush()


def lz4_frame(value_size: int) -> bytes:
    packer = lz4.frame.LZ4FrameCompressor(block_linked=False, block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    return packer.begin() + b"".join([packer.compress(each) for each in chunks(value_size)]) + packer.flush()


def snappy_raw(value_size: int) -> bytes:
    return bytes(snappy.compress(b"".join(chunks(value_size))))


def snappy_lie(_: int) -> bytes:
    """A preamble that claims 4 GB, with no data after it."""
    return b"\xff\xff\xff\xff\x0f" + bytes(100)


def bomb(codec: int, records: bytes) -> bytes:
    """A batch of one record with the given compressed section."""
    data = bytearray(batch([b"x"])[: wire.RECORD_BATCH_OVERHEAD]) + records
    struct.pack_into(">i", data, 8, len(data) - 12)
    struct.pack_into(">h", data, wire.ATTRIBUTES_AT, codec)
    struct.pack_into(">I", data, wire.CRC_AT, crc32c(bytes(data[wire.ATTRIBUTES_AT :])))
    return bytes(data)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One topic for each way of processing produced batches; max.message.bytes is large enough for bombs."""
    with Broker(folder=tmp_path_factory.mktemp("bombs")) as started:
        for topic, config in CONFIGS.items():
            ready_topic(started.port, topic, 1, {"retention.ms": -1, "max.message.bytes": 16 << 20, **config})
        yield started


@pytest.mark.parametrize(
    ("codec", "make", "value_size", "errors"),
    [
        (1, gzip, UNPACKED_BYTES, {MESSAGE_TOO_LARGE}),
        (4, zstd, UNPACKED_BYTES, {MESSAGE_TOO_LARGE}),
        (3, lz4_frame, UNPACKED_BYTES, {MESSAGE_TOO_LARGE}),
        (2, snappy_raw, 300 << 20, {MESSAGE_TOO_LARGE}),
        (2, snappy_lie, 0, {-1, MESSAGE_TOO_LARGE}),
    ],
    ids=["gzip", "zstd", "lz4", "snappy", "snappy-lie"],
)
def test_bomb(broker: Broker, codec: int, make: Callable[[int], bytes], value_size: int, errors: set[int]) -> None:
    data = bomb(codec, make(value_size))
    connection = Connection(broker.port)
    before = {topic: list_offset(connection, topic, 0) for topic in CONFIGS}
    for topic in CONFIGS:
        assert produce(connection, topic, 0, data).error in errors, topic
        assert list_offset(connection, topic, 0) == before[topic]
    status = Path(f"/proc/{broker.pid}/status").read_text()
    peak = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))
    now = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS:"))
    assert produce(connection, "recompressed", 0, batch(compression="gzip")).error == 0
    assert peak < RSS_BYTES_MAX and now < 200 << 20, (peak >> 20, now >> 20)
    connection.close()
