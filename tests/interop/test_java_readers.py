"""Kafka's readers compared with our decoders: recorded verdicts, batches that we write, and random variants."""

from __future__ import annotations

import random
import shutil
import zlib
from collections.abc import Iterator

import codec_variants
import pytest
from foreign_tools import require
from java_readers import JavaReaders
from java_tools import KAFKA_JARS

from kafka_cy.records import compress

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]
LEVELS = {"gzip": (-1, 1, 6, 9), "snappy": (0,), "lz4": (1, 9, 12, 17), "zstd": (-5, 1, 3, 19)}


@pytest.fixture(scope="module")
def readers() -> Iterator[JavaReaders]:
    require(shutil.which("java"), "java")
    require(KAFKA_JARS.is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    started = JavaReaders()
    yield started
    started.close()


def test_recorded_verdicts(readers: JavaReaders) -> None:
    """Every stream, and a sample of the mutations, because all of them would take half a minute."""
    source = random.Random(11)
    for row in codec_variants.read_golden():
        stream = row.stream
        assert readers.read(stream.codec, stream.data) == row.verdict, stream.name
        mutated = list(codec_variants.mutations(stream))
        for index in source.sample(range(len(mutated)), min(20, len(mutated))):
            assert readers.read(stream.codec, mutated[index]) == row.mutations[index], (stream.name, mutated[index])


@pytest.mark.parametrize("codec", LEVELS)
def test_they_read_what_we_write(readers: JavaReaders, codec: str) -> None:
    source = random.Random(5)
    text = b"".join(b"record %d of a topic " % number for number in range(20_000))
    contents = [b"x", text, text[:100], bytes(1 << 20), source.randbytes(70_000), source.randbytes(3) * 100_000]
    for content in contents:
        for level in LEVELS[codec]:
            assert readers.read(codec, compress(content, codec, level)) == zlib.crc32(content), (level, len(content))
