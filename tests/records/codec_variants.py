"""Compressed streams, well-formed and not, for comparing our decoders with those that Kafka's Java code uses.

`streams()` builds them; `mutations()` derives many more from each. golden/java_readers.json.gz has the verdicts of Kafka's
readers on all of them; tests/interop/test_java_readers.py records them and compares them with Kafka's own classes.
"""

from __future__ import annotations

import gzip
import json
import random
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lz4.block
import snappy
import zstandard

GOLDEN = Path(__file__).parent / "golden" / "java_readers.json.gz"
CODEC_NUMBERS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TEXT = b"kafka " * 6 + b"a record of a topic, and then another record of a topic"
SMALL_BYTES_MAX = 200
SAMPLED = 150
KEPT_BYTES_MAX = 2000


@dataclass(frozen=True)
class Stream:
    """One compressed stream."""

    name: str
    codec: str
    data: bytes


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of Kafka's readers on a stream and its mutations: the CRC-32 of the content, or None if refused."""

    stream: Stream
    verdict: int | None
    mutations: list[int | None]


def noise(size: int, seed: int = 1) -> bytes:
    """Incompressible bytes."""
    return random.Random(seed).randbytes(size)


# ---- gzip ----


def deflate(data: bytes, level: int = 6) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def gzip_member(data: bytes, flags: int = 0, fields: bytes = b"", *, method: int = 8, level: int = 6) -> bytes:
    """A member whose header has `flags` and the optional `fields` after its fixed part."""
    header = bytes((0x1F, 0x8B, method, flags, 1, 2, 3, 4, 0, 255)) + fields
    return header + deflate(data, level) + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def header_crc(flags: int, fields: bytes = b"") -> bytes:
    header = bytes((0x1F, 0x8B, 8, flags, 1, 2, 3, 4, 0, 255)) + fields
    return fields + struct.pack("<H", zlib.crc32(header) & 0xFFFF)


def gzip_streams() -> Iterator[tuple[str, bytes]]:
    member = gzip_member(TEXT)
    empty = gzip_member(b"")
    all_fields = b"\x05\x00extra" + b"name\0" + b"comment\0"
    yield "plain", member
    yield "stored", gzip_member(TEXT, level=0)
    yield "empty", empty
    yield "nothing", b""
    yield "extra", gzip_member(TEXT, 0x04, b"\x05\x00extra")
    yield "extra too long", gzip_member(TEXT, 0x04, b"\xff\xffextra")
    yield "name", gzip_member(TEXT, 0x08, b"name\0")
    yield "name without end", member[:3] + b"\x08" + b"\1" * 30
    yield "comment", gzip_member(TEXT, 0x10, b"comment\0")
    yield "text", gzip_member(TEXT, 0x01)
    yield "header crc", gzip_member(TEXT, 0x02, header_crc(0x02))
    yield "header crc wrong", gzip_member(TEXT, 0x02, b"\0\0")
    yield "all fields", gzip_member(TEXT, 0x1F, header_crc(0x1F, all_fields))
    yield "reserved flags", gzip_member(TEXT, 0xE0)
    yield "other method", gzip_member(TEXT, method=7)
    yield "zlib", zlib.compress(TEXT)
    yield "raw deflate", deflate(TEXT)
    yield "two members", member + member
    yield "empty members", empty + member + empty + empty + member + empty
    yield "100 empty members", empty * 100 + member
    yield "damaged second member", member + member[:-9] + b"\0" + member[-8:]
    yield "cut second member", member + member[:-1]
    # Whether Java checks a short rest depends on its buffer of 8192 bytes.
    for size in (8150, 8170, 8180, 8187, 8190, 16360):
        yield f"rest behind {size}", gzip_member(noise(size), level=0) + member[:12]
        yield f"member behind {size}", gzip_member(noise(size), level=0) + member
    yield "large", gzip_member(noise(20_000) + bytes(100_000))


# ---- lz4 ----


def xxh32(data: bytes) -> int:
    """XXH32 with seed 0."""
    p1, p2, p3, p4, p5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
    mask = 0xFFFFFFFF

    def rotate(value: int, bits: int) -> int:
        return (value << bits | value >> (32 - bits)) & mask

    at, hashed = 0, p5
    if len(data) >= 16:
        lanes = [(p1 + p2) & mask, p2, 0, -p1 & mask]
        while len(data) - at >= 16:
            for lane, word in enumerate(struct.unpack_from("<4I", data, at)):
                lanes[lane] = rotate((lanes[lane] + word * p2) & mask, 13) * p1 & mask
            at += 16
        hashed = sum(rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True))
    hashed = (hashed + len(data)) & mask
    while len(data) - at >= 4:
        hashed = rotate((hashed + int.from_bytes(data[at : at + 4], "little") * p3) & mask, 17) * p4 & mask
        at += 4
    for byte in data[at:]:
        hashed = rotate((hashed + byte * p5) & mask, 11) * p1 & mask
    hashed = (hashed ^ hashed >> 15) * p2 & mask
    hashed = (hashed ^ hashed >> 13) * p3 & mask
    return hashed ^ hashed >> 16


def lz4_header(flags: int = 0x60, block: int = 0x40, fields: bytes = b"", *, wrong: int = 0) -> bytes:
    descriptor = bytes((flags, block)) + fields
    return b"\x04\x22\x4d\x18" + descriptor + bytes(((xxh32(descriptor) >> 8 & 0xFF) ^ wrong,))


def lz4_block(data: bytes, *, plain: bool = False, checksum: int | None = None) -> bytes:
    """A block; `checksum` is xored into the correct checksum; None writes no checksum."""
    body = data if plain else lz4.block.compress(data, store_size=False)
    size = struct.pack("<I", len(body) | (0x80000000 if plain else 0))
    return size + body + (b"" if checksum is None else struct.pack("<I", xxh32(body) ^ checksum))


def lz4_streams() -> Iterator[tuple[str, bytes]]:
    end = bytes(4)
    frame = lz4_header() + lz4_block(TEXT) + end
    content_size = struct.pack("<Q", len(TEXT))
    yield "plain", frame
    yield "nothing", b""
    yield "empty", lz4_header() + end
    yield "incompressible block", lz4_header() + lz4_block(TEXT, plain=True) + end
    yield "two blocks", lz4_header() + lz4_block(TEXT) + lz4_block(TEXT, plain=True) + end
    yield "block of nothing", lz4_header() + struct.pack("<I", 1) + b"\0" + lz4_block(TEXT) + end
    yield "plain block of nothing", lz4_header() + struct.pack("<I", 0x80000000) + lz4_block(TEXT) + end
    yield "no end mark", lz4_header() + lz4_block(TEXT)
    yield "content size", lz4_header(0x68, fields=content_size) + lz4_block(TEXT) + end
    yield "content size wrong", lz4_header(0x68, fields=bytes(8)) + lz4_block(TEXT) + end
    yield "content size missing", lz4_header(0x68)
    yield "content checksum", lz4_header(0x64) + lz4_block(TEXT) + end + struct.pack("<I", xxh32(TEXT))
    yield "content checksum wrong", lz4_header(0x64) + lz4_block(TEXT) + end + bytes(4)
    yield "content checksum missing", lz4_header(0x64) + lz4_block(TEXT) + end
    yield "content checksum cut", lz4_header(0x64) + lz4_block(TEXT) + end + bytes(3)
    yield "block checksum", lz4_header(0x70) + lz4_block(TEXT, checksum=0) + lz4_block(TEXT[:15], checksum=0) + end
    yield "block checksum wrong", lz4_header(0x70) + lz4_block(TEXT, checksum=1) + end
    yield "plain block checksum", lz4_header(0x70) + lz4_block(TEXT, plain=True, checksum=0) + end
    yield (
        "all flags",
        (lz4_header(0x7C, fields=content_size) + lz4_block(TEXT, checksum=0) + end + struct.pack("<I", xxh32(TEXT))),
    )
    yield "dependent blocks", lz4_header(0x40) + lz4_block(TEXT) + end
    yield "dictionary", lz4_header(0x61, fields=bytes(4)) + lz4_block(TEXT) + end
    yield "reserved flag", lz4_header(0x62) + lz4_block(TEXT) + end
    for version in (0x20, 0xA0, 0xE0):
        yield f"version flags {version:#x}", lz4_header(version) + lz4_block(TEXT) + end
    for block in (0, 0x10, 0x30, 0x50, 0x60, 0x70, 0x41, 0x48, 0xC0):
        yield f"block descriptor {block:#x}", lz4_header(block=block) + lz4_block(TEXT) + end
    yield "header checksum wrong", lz4_header(wrong=1) + lz4_block(TEXT) + end
    yield "two frames", frame + frame
    yield "skippable frame first", b"\x50\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc" + frame
    yield "old format", b"\x02\x21\x4c\x18" + lz4_block(TEXT)
    full, over = noise(65536), noise(65537)
    yield "full block", lz4_header() + lz4_block(full, plain=True) + end
    yield "block over its size", lz4_header() + lz4_block(over, plain=True) + end
    yield "block gives more than its size", lz4_header() + lz4_block(bytes(65537)) + end
    yield "block gives its size", lz4_header() + lz4_block(bytes(65536)) + end
    yield "large", lz4_header(block=0x70) + lz4_block(bytes(1 << 20)) + lz4_block(noise(9000)) + end


# ---- snappy ----

XERIAL_MAGIC = b"\x82SNAPPY\x00"


def xerial(*blocks: bytes, version: int = 1, compatible: int = 1) -> bytes:
    header = XERIAL_MAGIC + struct.pack(">ii", version, compatible)
    return header + b"".join(struct.pack(">i", len(block)) + block for block in blocks)


def snappy_streams() -> Iterator[tuple[str, bytes]]:
    block = bytes(snappy.compress(TEXT))
    nothing = bytes(snappy.compress(b""))
    stream = xerial(block)
    yield "raw", block
    yield "raw and more", block + b"\0"
    yield "raw short", bytes(snappy.compress(b"abc"))
    yield "raw empty", nothing
    yield "nothing", b""
    yield "xerial", stream
    yield "xerial of two blocks", xerial(block, block)
    yield "xerial without blocks", xerial()
    yield "xerial block of nothing", xerial(nothing, block)
    yield "xerial block without bytes", xerial(b"", block)
    yield "xerial 100 blocks of nothing", xerial(*[nothing] * 100, block)
    for version in (0, -1, 2, 0x01000000):
        yield f"xerial version {version}", xerial(block, version=version)
        yield f"xerial compatible version {version}", xerial(block, compatible=version)
        yield f"xerial then version {version}", stream + xerial(block, version=version)
    yield "xerial twice", stream + stream
    yield "xerial headers alone", stream + xerial() + xerial() + stream
    for size in (1, 2, 3, 4, 5, 15):
        yield f"xerial and {size} bytes of a header", stream + stream[:size]
        yield f"xerial and {size} zeros", stream + bytes(size)
    yield "xerial then a damaged header", stream + b"\x82SNAPPx\x00" + stream[8:]
    yield "xerial damaged", b"\x82SNAPPx\x00" + stream[8:]
    yield "xerial negative block", xerial() + struct.pack(">i", -2) + block
    yield "xerial block too long", xerial() + struct.pack(">i", len(block) + 1) + block
    yield "xerial huge block", xerial() + struct.pack(">i", 0x7FFFFFFF) + block
    yield "claims 4 GiB", b"\xff\xff\xff\xff\x0f" + bytes(30)
    yield "large", xerial(bytes(snappy.compress(noise(9000) + bytes(200_000))))


# ---- zstd ----


def zstd_frame(
    data: bytes,
    *,
    size: int | None = None,
    single: bool = False,
    window: int = 0x58,
    flags: int = 0,
    fields: bytes = b"",
) -> bytes:
    """A frame with `data` as one raw block. `size`: the content size field, of 4 bytes; `window` is the descriptor."""
    descriptor = flags | (0x80 if size is not None else 0) | (0x20 if single else 0)
    header = bytes((descriptor,)) + (b"" if single else bytes((window,))) + fields
    header += b"" if size is None else struct.pack("<I", size)
    return b"\x28\xb5\x2f\xfd" + header + (len(data) << 3 | 1).to_bytes(3, "little") + data


def skippable(data: bytes, kind: int = 0) -> bytes:
    return struct.pack("<II", 0x184D2A50 + kind, len(data)) + data


def zstd_streams() -> Iterator[tuple[str, bytes]]:
    sized = zstandard.ZstdCompressor().compress(TEXT)
    checked = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    unsized = packer.compress(TEXT) + packer.flush()
    empty = zstandard.ZstdCompressor().compress(b"")
    dictionary = zstandard.ZstdCompressionDict(noise(400), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    yield "sized", sized
    yield "unsized", unsized
    yield "checksum", checked
    yield "empty frame", empty
    yield "nothing", b""
    yield "two frames", sized + unsized
    yield "empty frames", empty * 3 + sized + empty
    yield "300 empty frames", empty * 300 + sized
    yield "skippable first", skippable(b"abc") + sized
    yield "skippable between", sized + skippable(b"", 15) + unsized
    yield "skippable last", sized + skippable(b"abcdef")
    yield "skippable alone", skippable(b"abc")
    yield "skippable cut", sized + skippable(b"abcdef")[:-1]
    yield "raw block", zstd_frame(TEXT)
    yield "raw block sized", zstd_frame(TEXT, size=len(TEXT))
    yield "raw block single segment", zstd_frame(TEXT, size=len(TEXT), single=True)
    yield "size too small", zstd_frame(TEXT, size=len(TEXT) - 1)
    yield "size too large", zstd_frame(TEXT, size=len(TEXT) + 1)
    yield "size of 4 GB", zstd_frame(TEXT, size=0xFFFFFFF0)
    yield "size of 4 GB, single segment", zstd_frame(TEXT, size=0xFFFFFFF0, single=True)
    yield "dictionary id 0", zstd_frame(TEXT, flags=1, fields=b"\0")
    yield "dictionary id 7", zstd_frame(TEXT, flags=1, fields=b"\7")
    yield "dictionary id 7 sized", zstd_frame(TEXT, size=len(TEXT), flags=1, fields=b"\7")
    yield "dictionary without id", zstandard.ZstdCompressor(dict_data=dictionary).compress(noise(400))
    yield "reserved bit", zstd_frame(TEXT, flags=0x08)
    yield "unused bit", zstd_frame(TEXT, flags=0x10)
    yield "checksum missing", zstd_frame(TEXT, flags=0x04)
    for exponent, mantissa in ((16, 0), (17, 0), (17, 1), (18, 0), (21, 7), (31, 7)):
        window = exponent << 3 | mantissa
        yield f"window 2^{exponent + 10} + {mantissa}", zstd_frame(TEXT, window=window)
        yield f"window 2^{exponent + 10} + {mantissa} sized", zstd_frame(TEXT, window=window, size=len(TEXT))
        many = noise(20_000)
        yield f"window 2^{exponent + 10} + {mantissa} for 20 kB", zstd_frame(many, window=window, size=len(many))
    yield "large", zstandard.ZstdCompressor().compress(noise(9000) + bytes(1 << 21))


def streams() -> list[Stream]:
    """All streams to compare."""
    sources = {"gzip": gzip_streams, "lz4": lz4_streams, "snappy": snappy_streams, "zstd": zstd_streams}
    return [Stream(name, codec, data) for codec, source in sources.items() for name, data in source()]


def mutations(stream: Stream) -> Iterator[bytes]:
    """The stream with flipped bits, truncated, without a byte, and with trailing data. The order is always the same."""
    data = stream.data
    size = len(data)
    source = random.Random(zlib.crc32(f"{stream.codec} {stream.name}".encode()))
    small = size <= SMALL_BYTES_MAX
    places = range(size) if small else sorted({*range(32), *source.sample(range(size), min(SAMPLED, size))})
    for place in places:
        for bit in range(8) if small else (source.randrange(8),):
            yield data[:place] + bytes((data[place] ^ 1 << bit,)) + data[place + 1 :]
        yield data[:place]
        yield data[:place] + data[place + 1 :]
    for tail in (b"\0", b"\xff", bytes(3), bytes(4), bytes(18), bytes(19), data[:2], data[:4], data[:12], data[:19]):
        yield data + tail


# ---- verdicts of Kafka's readers: one sign per mutation: "x" refused, "." same content as the original stream, or "<crc>"


def encode_verdicts(stream: Stream, verdict: int | None, of_mutations: list[int | None]) -> dict[str, object]:
    """A row of the golden file. Verdicts are the CRC-32 of the content, or None if refused. Large streams are rebuilt."""
    signs = ["x" if each is None else "." if each == verdict else f"<{each:x}>" for each in of_mutations]
    return {
        "name": stream.name,
        "codec": stream.codec,
        "data": b64encode(stream.data).decode() if len(stream.data) <= KEPT_BYTES_MAX else None,
        "crc": zlib.crc32(stream.data),
        "verdict": verdict,
        "mutations": "".join(signs),
    }


def decode_verdicts(row: dict[str, Any], data: bytes) -> Verdicts:
    """The reverse of encode_verdicts."""
    verdict: int | None = row["verdict"]
    found: list[int | None] = []
    signs = iter(row["mutations"])
    for sign in signs:
        if sign == "<":
            found.append(int("".join(iter(lambda: next(signs), ">")), 16))
        else:
            found.append(None if sign == "x" else verdict)
    return Verdicts(Stream(row["name"], row["codec"], data), verdict, found)


def read_golden() -> list[Verdicts]:
    """All rows, except large streams that the installed libraries compress to different bytes."""
    built = {(each.codec, each.name): each.data for each in streams()}
    rows = []
    for row in json.loads(gzip.decompress(GOLDEN.read_bytes())):
        data = built[row["codec"], row["name"]] if row["data"] is None else b64decode(row["data"])
        if zlib.crc32(data) == row["crc"]:
            rows.append(decode_verdicts(row, data))
    return rows


def write_golden(rows: list[dict[str, object]]) -> None:
    """Store the rows of encode_verdicts."""
    GOLDEN.write_bytes(gzip.compress(json.dumps(rows, indent=0).encode(), 9, mtime=0))
