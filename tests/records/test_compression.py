"""Codecs compared with independent implementations, in both directions; bombs, broken and random input."""

from __future__ import annotations

import gzip
import random
import struct
import tracemalloc
from collections.abc import Callable

import lz4.block
import lz4.frame
import pytest
import snappy
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kafka_cy.records import BatchErrorCode, InvalidBatch, compress, decompress

CODECS = ("gzip", "snappy", "lz4", "zstd")
XERIAL = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)


def unpack_xerial(data: bytes) -> bytes:
    assert data[:16] == XERIAL
    found, at = b"", 16
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        found += snappy.uncompress(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def unpack_zstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def pack_zstd_without_size(data: bytes) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush()


def pack_xerial(data: bytes, block: int = 1000) -> bytes:
    blocks = (snappy.compress(data[at : at + block]) for at in range(0, len(data), block))
    return XERIAL + b"".join(struct.pack(">i", len(packed)) + packed for packed in blocks)


UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "snappy": unpack_xerial,
    "lz4": lz4.frame.decompress,
    "zstd": unpack_zstd,
}
PACK: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("gzip", lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])),
    ("snappy", snappy.compress),
    ("snappy", pack_xerial),
    ("lz4", lambda data: lz4.frame.compress(data, block_linked=False)),
    ("lz4", lambda data: lz4.frame.compress(data, block_linked=False, content_checksum=True, store_size=True)),
    ("lz4", lambda data: lz4.frame.compress(data, block_linked=False, block_size=4, block_checksum=True)),
    ("zstd", zstandard.ZstdCompressor().compress),
    ("zstd", pack_zstd_without_size),
    ("zstd", lambda data: pack_zstd_without_size(data) + zstandard.ZstdCompressor(level=19).compress(data[:0] or b"")),
]
payloads = st.binary(max_size=2000) | st.builds(
    lambda part, times: part * times, st.binary(min_size=1, max_size=50), st.integers(1, 4000)
)


@pytest.mark.parametrize("codec", CODECS)
@given(data=payloads)
@example(data=b"")
@settings(max_examples=60)
def test_others_read_ours(codec: str, data: bytes) -> None:
    packed = compress(data, codec)
    assert UNPACK[codec](packed) == data
    assert decompress(packed, codec) == data


@pytest.mark.parametrize("index", range(len(PACK)))
@given(data=payloads)
@settings(max_examples=60)
def test_we_read_others(index: int, data: bytes) -> None:
    codec, pack = PACK[index]
    packed = pack(data)
    assert decompress(packed, codec, size_max=len(data)) == data
    if data:
        with pytest.raises(InvalidBatch) as refused:
            decompress(packed, codec, size_max=len(data) - 1)
        assert refused.value.code is BatchErrorCode.UNPACKS_TOO_LARGE


@pytest.mark.parametrize("codec, levels", [("gzip", range(-1, 10)), ("lz4", range(1, 18)), ("zstd", range(-5, 23))])
def test_levels(codec: str, levels: range) -> None:
    data = b"".join(b"record %d of a topic " % number for number in range(4000))
    for level in levels:
        assert UNPACK[codec](compress(data, codec, level)) == data


def test_lz4_is_framed_as_kafka_wants() -> None:
    packed = compress(b"kafka" * 50_000, "lz4")
    info = lz4.frame.get_frame_info(packed)
    assert not info["block_linked"]
    assert info["block_size"] == 64 * 1024
    assert not info["content_checksum"]


def test_lz4_with_linked_blocks_is_refused() -> None:
    with pytest.raises(InvalidBatch):
        decompress(lz4.frame.compress(b"kafka" * 50_000, block_linked=True), "lz4")


def test_xerial_versions_are_not_looked_at() -> None:
    packed = pack_xerial(b"kafka" * 1000)
    assert decompress(packed[:8] + struct.pack("<ii", 1, 1) + packed[16:], "snappy") == b"kafka" * 1000
    assert decompress(packed[:8] + struct.pack(">ii", 0, 0) + packed[16:], "snappy") == b"kafka" * 1000
    assert decompress(packed + packed, "snappy") == b"kafka" * 2000


BOMBS = {
    "gzip": lambda: gzip.compress(bytes(100 << 20)),
    "zstd": lambda: zstandard.ZstdCompressor(level=3).compress(bytes(100 << 20)),
    "lz4": lambda: lz4.frame.compress(bytes(100 << 20), block_linked=False),
    "snappy": lambda: pack_xerial(bytes(20 << 20), 1 << 20),
}


@pytest.mark.parametrize("codec", CODECS)
def test_bombs_stop_at_the_cap(codec: str) -> None:
    bomb = BOMBS[codec]()
    with pytest.raises(InvalidBatch) as refused:
        decompress(bomb, codec, size_max=1 << 20)
    assert refused.value.code is BatchErrorCode.UNPACKS_TOO_LARGE


def test_claimed_sizes_are_not_believed() -> None:
    claims_4_gib = b"\xff\xff\xff\xff\x0f" + b"\x00a"
    with pytest.raises(InvalidBatch) as refused:
        decompress(claims_4_gib, "snappy", size_max=1 << 40)
    assert refused.value.code is BatchErrorCode.BAD_COMPRESSION


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(max_size=400))
@settings(max_examples=200)
def test_random_bytes_are_refused_or_unpack(codec: str, data: bytes) -> None:
    try:
        assert len(decompress(data, codec, size_max=5000)) <= 5000
    except InvalidBatch:
        pass


@pytest.mark.parametrize("codec", CODECS)
def test_cut_and_flipped_input(codec: str) -> None:
    source = random.Random(7)
    data = b"".join(b"%d %d," % (number, source.getrandbits(16)) for number in range(3000))
    packed = compress(data, codec)
    cuts = {1, 5, len(packed) // 2, len(packed) - 1}
    if codec == "zstd":
        assert decompress(b"", codec) == b"", "no frame at all, as in zstd-jni"
    else:
        cuts.add(0)
    for cut in cuts:
        with pytest.raises(InvalidBatch):
            decompress(packed[:cut], codec)
    for _ in range(300):
        broken = bytearray(packed)
        broken[source.randrange(len(broken))] ^= 1 << source.randrange(8)
        try:
            decompress(broken, codec, size_max=1 << 20)
        except InvalidBatch:
            pass
        assert decompress(packed, codec) == data, "a refused stream must leave the context usable"


def test_python_side_leaks_nothing() -> None:
    data = b"kafka" * 1000
    packed = {codec: compress(data, codec) for codec in CODECS}
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            for codec in CODECS:
                decompress(packed[codec], codec)
        assert tracemalloc.get_traced_memory()[0] - before < 50_000
    finally:
        tracemalloc.stop()
