"""Our decoders accept what Kafka's readers in Java accept, and refuse what they refuse.

A stored batch that the Java consumer cannot read stops it forever. The verdicts were recorded from Kafka 4.3.1's own
classes; tests/interop/test_java_readers.py checks them again.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import zlib

import codec_variants
import pytest
from codec_variants import Verdicts

from kafka_cy.records import InvalidBatch, decompress

XERIAL_HEAD = codec_variants.XERIAL_MAGIC[:4]
# From here on the library refuses all damaged blocks that zstd-jni 1.5.6 refuses.
STRICT_ZSTD = 10506


def zstd_version() -> int:
    """The version of the system's library, which we use."""
    return int(ctypes.CDLL(ctypes.util.find_library("zstd")).ZSTD_versionNumber())


def is_known(codec: str, data: bytes, verdict: int | None, found: int | None) -> bool:
    """Intentional differences: see snappy_codec.pyx for the first."""
    if codec == "snappy":
        damaged = [at for at in range(16, len(data) - 16) if data[at:].startswith(XERIAL_HEAD)]
        return found is None and any(data[at : at + 8] != codec_variants.XERIAL_MAGIC for at in damaged)
    return codec == "zstd" and verdict is None and zstd_version() < STRICT_ZSTD


def ours(codec: str, data: bytes) -> int | None:
    """The CRC-32 of the stream as we decompress it; None if we refuse it."""
    try:
        return zlib.crc32(decompress(data, codec))
    except InvalidBatch:
        return None


@pytest.mark.parametrize(
    "row", codec_variants.read_golden(), ids=lambda row: f"{row.stream.codec} {row.stream.name}".replace(" ", "-")
)
def test_same_verdicts(row: Verdicts) -> None:
    stream = row.stream
    found = ours(stream.codec, stream.data)
    assert found == row.verdict or stream.name == "xerial then a damaged header"
    mutated = list(codec_variants.mutations(stream))
    assert len(mutated) == len(row.mutations)
    differences = [
        (each, verdict, found)
        for each, verdict in zip(mutated, row.mutations, strict=True)
        if (found := ours(stream.codec, each)) != verdict
    ]
    unknown = [each for each in differences if not is_known(stream.codec, *each)]
    assert not unknown, f"{len(unknown)} of {len(mutated)}: {unknown[:2]}"
    assert len(differences) <= len(mutated) // 8 or found is None
