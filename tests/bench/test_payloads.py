"""The records of a load, and the resource usage of a process."""

from __future__ import annotations

import itertools
import os
import zlib
from pathlib import Path

import pytest

from kafka_cy.bench.payloads import PayloadError, Payloads
from kafka_cy.bench.process_sampler import Usage, usage
from kafka_cy.records import iterate_batches


def test_values_have_their_size_and_share_of_randomness() -> None:
    for share in (0.0, 0.25, 1.0):
        values = list(itertools.islice(Payloads(record_size=1000, random_bytes_ratio=share).values(), 50))
        assert {len(value) for value in values} == {1000}
        packed = len(zlib.compress(b"".join(values))) / 50_000
        assert share * 0.95 <= packed <= share + 0.1


def test_keys_follow_their_distribution() -> None:
    def keys(distribution: str) -> list[bytes | None]:
        return list(itertools.islice(Payloads(key_distribution=distribution, keys=4).key_stream(), 1000))

    assert set(keys("none")) == {None}
    assert keys("round-robin")[:5] == [b"00000000", b"00000001", b"00000002", b"00000003", b"00000000"]
    assert len(set(keys("random"))) == 4
    zipf = keys("zipf")
    assert zipf.count(b"00000000") > zipf.count(b"00000001") > zipf.count(b"00000003") > 0


def test_the_lines_of_a_file_are_payloads(tmp_path: Path) -> None:
    path = tmp_path / "payloads"
    path.write_bytes(b"one|two\n||three")
    payloads = Payloads(payload_file=str(path), payload_delimiter="|")
    assert list(itertools.islice(payloads.values(), 4)) == [b"one", b"two\n", b"three", b"one"]
    assert Payloads(payload_file=str(path)).lines() == [b"one|two", b"||three"]
    path.write_bytes(b"\n\n")
    with pytest.raises(PayloadError, match="contains no payloads"):
        Payloads(payload_file=str(path)).lines()


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_batches_are_whole_and_differ(compression: str) -> None:
    made = Payloads(record_size=30).batches(7, compression)
    assert len(set(made)) == len(made) > 1
    for data in made:
        [batch] = iterate_batches(data)
        assert (batch.records_count, batch.compression, batch.crc_matches) == (7, compression, True)


def test_usage_of_this_process_and_of_none() -> None:
    mine = usage(os.getpid())
    assert mine.cpu_s and mine.rss_bytes and mine.context_switches
    assert usage(None) == Usage() == usage(2**22 + 1)
