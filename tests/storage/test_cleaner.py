"""Log compaction: one round compared with the result of Apache Kafka 4.3.1."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.base.hash_probe import keyed_hash
from kafka_cy.records import Batch, Record, build_batch, iterate_batches
from kafka_cy.storage.cleaner import clean, cleanable
from kafka_cy.storage.log import PartitionLog, StorageFailure
from tests.storage.batches import base_offset, marker, split

TRANSACTIONAL = 0x10
RETENTION_MS = 1000
CONFIG: dict[str, Any] = {
    "cleanup.policy": ["compact"],
    "segment.bytes": 3000,
    "index.interval.bytes": 200,
    "retention.ms": -1,
    "delete.retention.ms": RETENTION_MS,
}
GOLDEN = json.loads((Path(__file__).parent / "golden_data" / "cleaner-stages.json").read_text())


def open_log(folder: Path, **config: Any) -> PartitionLog:
    return PartitionLog(str(folder), {**CONFIG, **{key.replace("_", "."): value for key, value in config.items()}}, clean=True)


def keyed(*pairs: tuple[str | None, str | None], timestamp_ms: int = 1000, **fields: Any) -> bytes:
    """A batch of (key, value); None is null."""
    records = [
        Record(None if key is None else key.encode(), None if value is None else value.encode(), timestamp_ms + i)
        for i, (key, value) in enumerate(pairs)
    ]
    return build_batch(records, **fields)


def batches_of(log: PartitionLog, bytes_max: int = 2000) -> list[Batch]:
    """All batches, read as a consumer reads them."""
    found: list[Batch] = []
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        data = log.read(offset, bytes_max)
        if not data:
            break
        for one in iterate_batches(data):
            assert one.last_offset >= offset, "batches come in order and never twice"
            found.append(one)
            offset = one.last_offset + 1
    return found


def contents(log: PartitionLog) -> list[tuple[int, str | None, str | None]]:
    """(offset, key, value) of the data records."""
    return [
        (record.offset, record.key and record.key.decode(), record.value and record.value.decode())
        for one in batches_of(log)
        if not one.is_control
        for record in one.records()
    ]


# -- against Kafka --


def golden_files(stage: dict[str, Any]) -> dict[str, bytes]:
    return {name: bytes.fromhex(text) for name, text in stage["files"].items()}


def golden_round_ms(stage: dict[str, Any], seen: set[int], retention_ms: int) -> int:
    """The time of Kafka's round, derived from a delete horizon that it set."""
    horizons = {
        one.delete_horizon_ms
        for name, data in golden_files(stage).items()
        if name.endswith(".log")
        for one in iterate_batches(data)
        if one.delete_horizon_ms is not None
    }
    fresh = horizons - seen
    seen |= horizons
    return max(fresh) - retention_ms if fresh else stage["now_ms"]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_every_byte_is_as_kafka_leaves_it(tmp_path: Path, name: str) -> None:
    stages = GOLDEN[name]["stages"]
    retention_ms = GOLDEN[name]["config"]["delete.retention.ms"]
    for file_name, data in golden_files(stages[0]).items():
        (tmp_path / file_name).write_bytes(data)
    log = PartitionLog(str(tmp_path), {**CONFIG, "delete.retention.ms": retention_ms, "segment.bytes": 1 << 30})
    seen: set[int] = set()
    for stage in stages[1:]:
        expected = golden_files(stage)
        end = log.log_end_offset
        for file_name in sorted(expected):
            for data in split(expected[file_name]) if file_name.endswith(".log") else ():
                if base_offset(data) >= end:
                    log.roll()
                    log.append(data, origin="replication")
        assert clean(log, now_ms=golden_round_ms(stage, seen, retention_ms))
        kept = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in {".log", ".txnindex"}}
        assert kept == expected, stage["stage"]
        assert log.cleaner_offset == log.segments()[-1][0]


# -- rules one by one --


def test_the_last_record_of_a_key_stays_at_its_offset(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(keyed(("a", "1"), ("b", "1"), ("a", "2")))
    log.append(keyed(("c", "1"), (None, "keyless")))
    log.append(keyed(("b", "2")))
    log.roll()
    log.append(keyed(("a", "3")))
    assert clean(log)
    assert contents(log) == [(2, "a", "2"), (3, "c", "1"), (5, "b", "2"), (6, "a", "3")]
    assert log.cleaner_offset == 6
    assert clean(log) is None, "nothing is dirty"
    log.roll()
    clean(log)
    assert contents(log) == [(3, "c", "1"), (5, "b", "2"), (6, "a", "3")]
    assert (log.log_start_offset, log.log_end_offset) == (0, 7)


def test_what_is_dirty(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for i in range(4):
        log.append(keyed(("k", str(i)), timestamp_ms=1000 * i))
        log.roll()
    size = len(keyed(("k", "0")))
    found = cleanable(log, now_ms=10_000)
    assert found == {
        "first_dirty": 0, "first_uncleanable": 4, "clean_bytes": 0, "dirty_bytes": 4 * size, "overdue_ms": 0,
    }  # fmt: skip
    assert cleanable(log, last_stable_offset=2)["first_uncleanable"] == 2
    log.settings.replace({**CONFIG, "min.compaction.lag.ms": 8500})
    assert cleanable(log, now_ms=10_000)["first_uncleanable"] == 2
    log.settings.replace({**CONFIG, "max.compaction.lag.ms": 3000})
    assert cleanable(log, now_ms=10_000)["overdue_ms"] == 6000  # the first batch with a timestamp above 0
    log.restore_cleaner_offset(2)
    found = cleanable(log, now_ms=10_000)
    assert (found["first_dirty"], found["clean_bytes"], found["dirty_bytes"]) == (2, 2 * size, 2 * size)
    log.restore_cleaner_offset(99)
    assert log.cleaner_offset == 2, "a checkpoint beyond the log's end is none"


def test_min_lag_and_the_open_transaction_are_not_touched(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(keyed(("a", "1"), ("a", "2")))
    log.roll()
    log.append(keyed(("a", "3"), attributes=TRANSACTIONAL, producer_id=7, producer_epoch=0, base_sequence=0))
    log.roll()
    log.append(keyed(("a", "4"), ("a", "5")))
    log.roll()
    assert cleanable(log)["first_uncleanable"] == 2
    clean(log)
    assert contents(log) == [(1, "a", "2"), (2, "a", "3"), (3, "a", "4"), (4, "a", "5")]


def test_tombstones_go_after_their_horizon(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(keyed(("a", "1"), ("b", "1")))
    log.append(keyed(("a", None), ("c", "1"), timestamp_ms=2000))
    for now_ms, expected in (
        (10_000, [(1, "b", "1"), (2, "a", None), (3, "c", "1")]),
        (10_999, [(1, "b", "1"), (2, "a", None), (3, "c", "1")]),
        (11_000, [(1, "b", "1"), (3, "c", "1")]),
    ):
        log.append(keyed(("x", str(now_ms))))
        log.roll()
        clean(log, now_ms=now_ms)
        assert [row for row in contents(log) if row[1] != "x"] == expected
    horizon = [one for one in batches_of(log) if one.delete_horizon_ms is not None]
    assert [(one.base_offset, one.delete_horizon_ms) for one in horizon] == [(2, 11_000)]
    assert [record.timestamp_ms for record in horizon[0].records()] == [2001], "timestamps stay true"


def test_a_retention_for_ever_does_not_wrap(tmp_path: Path) -> None:
    log = open_log(tmp_path, delete_retention_ms=2**63 - 1)
    log.append(keyed(("a", None)))
    log.roll()
    clean(log, now_ms=10_000)
    assert batches_of(log)[0].delete_horizon_ms == 2**63 - 1
    assert contents(log) == [(0, "a", None)]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_a_batch_that_loses_records_keeps_its_codec_and_its_place(tmp_path: Path, codec: str) -> None:
    log = open_log(tmp_path)
    headers = [("h", b"x"), ("null", None)]
    records = [Record(b"k%d" % (i % 3), b"v" * 50 + b"%d" % i, 5000 + i, headers) for i in range(30)]
    log.append(build_batch(records, compression=codec, producer_id=9, producer_epoch=2, base_sequence=5))
    log.append(keyed(("k2", "last")))
    log.roll()
    clean(log)
    one = batches_of(log)[0]
    assert (one.base_offset, one.last_offset, one.records_count) == (0, 29, 2)
    assert (one.compression, one.producer_id, one.producer_epoch, one.base_sequence) == (codec, 9, 2, 5)
    assert (one.base_timestamp_ms, one.max_timestamp_ms) == (5027, 5028)
    assert list(one.records()) == [r._replace(offset=i, headers=tuple(headers)) for i, r in enumerate(records)][27:29]


def test_log_append_time_stays(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    raw = bytearray(keyed(("a", "1"), ("a", "2"), ("b", None), timestamp_ms=100, attributes=8, max_timestamp_ms=777))
    log.append(bytes(raw))
    log.roll()
    clean(log, now_ms=10_000)
    one = batches_of(log)[0]
    assert (one.max_timestamp_ms, one.is_log_append_time, one.delete_horizon_ms) == (777, True, 11_000)
    assert [(r.offset, r.timestamp_ms) for r in one.records()] == [(1, 777), (2, 777)]


def test_aborted_records_go_and_hide_nothing(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    fields = {"attributes": TRANSACTIONAL, "producer_id": 7, "producer_epoch": 0}
    log.append(keyed(("a", "good")))
    log.append(keyed(("a", "aborted"), base_sequence=0, **fields))
    log.append(marker(7, 0, commit=False))
    log.append(keyed(("b", "committed"), base_sequence=1, **fields))
    log.append(marker(7, 0, commit=True))
    log.roll()
    clean(log, now_ms=10_000)
    assert contents(log) == [(0, "a", "good"), (3, "b", "committed")]
    assert log.aborted_transactions(0, 99) == [(7, 1)], "as long as the round saw data of it"
    assert [one.base_offset for one in batches_of(log) if one.is_control] == [2, 4]


def test_markers_are_carried_over_segments_and_groups(tmp_path: Path) -> None:
    """A transaction starts in one segment and ends in another, which is cleaned into a different group."""
    log = open_log(tmp_path, segment_bytes=600)
    fields = {"attributes": TRANSACTIONAL, "producer_id": 7, "producer_epoch": 0}
    log.append(keyed(("a", "aborted" * 40), base_sequence=0, **fields))
    log.roll()
    for i in range(3):
        log.append(keyed((f"other{i}", "x" * 400)))
        log.roll()
    log.append(keyed(("b", "aborted"), base_sequence=1, **fields))
    log.append(marker(7, 0, commit=False))
    log.append(keyed(("b", "good")))
    log.roll()
    stats = clean(log, now_ms=10_000)
    assert stats is not None and stats["segments_after"] > 2
    assert [key for _, key, _ in contents(log)] == ["other0", "other1", "other2", "b"]
    assert log.aborted_transactions(0, 99) == [(7, 0)]
    assert len([one for one in batches_of(log) if one.is_control]) == 1


def test_a_live_producers_last_batch_stays_as_an_empty_one(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(keyed(("a", "1"), producer_id=7, producer_epoch=0, base_sequence=0), origin="client")
    log.append(keyed(("a", "2"), ("a", "3"), producer_id=7, producer_epoch=0, base_sequence=1), origin="client")
    log.append(keyed(("a", "4")))
    log.roll()
    producers = log.producers()
    clean(log)
    assert [(one.base_offset, one.last_offset, one.records_count) for one in batches_of(log)] == [(1, 2, 0), (3, 3, 1)]
    log.close(flush=False)
    for path in tmp_path.glob("*.snapshot"):
        path.unlink()
    again = PartitionLog(str(tmp_path), CONFIG)
    assert again.producers() == producers, "what the batches tell is enough"
    again.append(keyed(("b", "1"), producer_id=7, producer_epoch=0, base_sequence=3), origin="client")
    again.expire_producers(1 << 60)
    again.roll()
    clean(again)
    assert [one.base_offset for one in batches_of(again)] == [3, 4]


def test_the_last_batch_of_a_round_stays(tmp_path: Path) -> None:
    """Otherwise the segment would not show how far the log had got."""
    log = open_log(tmp_path)
    log.append(keyed((None, "keyless"), timestamp_ms=9000))
    log.roll()
    clean(log)
    assert [(one.base_offset, one.records_count) for one in batches_of(log)] == [(0, 0)]
    assert log.max_timestamp() is None
    assert log.offset_for_timestamp(0) is None
    log.append(keyed(("a", "1"), timestamp_ms=500))
    assert log.max_timestamp() == (1, 500, 0), "the empty batch's timestamp is nobody's"


def test_small_segments_become_one_within_limits(tmp_path: Path) -> None:
    log = open_log(tmp_path, segment_bytes=1000)
    for i in range(40):
        log.append(keyed((f"k{i % 10}", "x" * 100)))
        log.roll()
    clean(log)
    size = len(keyed(("k0", "x" * 100)))
    sizes = [bytes_ for _, bytes_ in log.segments()]
    assert sum(sizes) == 10 * size
    # Groups are formed by the sizes before cleaning; each keeps its part of the last ten.
    assert len(sizes) == 40 // (1000 // size) + 1
    assert not list(tmp_path.glob("*.cleaned")) + list(tmp_path.glob("*.swap"))
    log.append(keyed(("end", "")))
    log.roll()
    clean(log)
    assert len(log.segments()) == 3
    snapshots = {int(path.stem) for path in tmp_path.glob("*.snapshot")}
    assert snapshots - {0} <= {base for base, _ in log.segments()}, "a snapshot stands at the start of a segment"


def test_segments_far_apart_stay_apart(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for base in (0, 2**31 - 1, 2**31 + 5):
        log.append(keyed((f"k{base}", "v"), base_offset=base), origin="replication")
        log.roll()
    clean(log)
    # The first two span 2^31 offsets, which one segment can hold; the third starts at 2^31.
    assert [base for base, _ in log.segments()] == [0, 2**31, 2**31 + 6]
    assert [offset for offset, _, _ in contents(log)] == [0, 2**31 - 1, 2**31 + 5]


def test_a_full_map_ends_the_round_early(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for i in range(60):
        log.append(keyed(*[(f"k{j}", f"{i}") for j in range(i, i + 5)]))
        log.roll()
    expected = {key: value for _, key, value in contents(log)}
    rounds = 0
    while clean(log, dedupe_buffer_bytes=24 * 30):
        rounds += 1
        assert {key: value for _, key, value in contents(log)} == expected
    assert rounds > 2
    assert len(contents(log)) == len(expected)


def test_a_batch_with_more_keys_than_the_map_takes(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(keyed(*[(f"k{j}", "v") for j in range(50)]))
    log.roll()
    before = contents(log)
    with pytest.raises(StorageFailure):
        clean(log, dedupe_buffer_bytes=24 * 10)
    assert contents(log) == before


@pytest.mark.parametrize("where", [70, 40, 10, 17])
def test_a_corrupt_batch_stops_the_round_and_nothing_is_lost(tmp_path: Path, where: int) -> None:
    log = open_log(tmp_path)
    for i in range(4):
        log.append(keyed(("a", "x" * 50 + str(i))))
    log.roll()
    log.append(keyed(("b", "1")))
    log.close()
    path = tmp_path / f"{0:020d}.log"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 + where] ^= 0x40
    path.write_bytes(data)
    again = open_log(tmp_path)
    with pytest.raises(StorageFailure, match="corrupt"):
        clean(again)
    assert path.read_bytes() == data
    assert not list(tmp_path.glob("*.cleaned"))


def test_deleted_records_and_truncation_move_what_is_dirty(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for i in range(8):
        log.append(keyed(("a", str(i)), (f"b{i}", "1")))
        log.roll()
    clean(log)
    assert log.cleaner_offset == 16
    log.truncate_to(9)
    assert log.cleaner_offset == 9
    log.delete_records(4)
    assert cleanable(log)["first_dirty"] <= 9
    log.truncate_fully(100)
    assert log.cleaner_offset == -1
    assert cleanable(log)["first_dirty"] == 100


def test_retention_of_a_compacted_and_deleted_topic(tmp_path: Path) -> None:
    log = open_log(tmp_path, cleanup_policy=["compact", "delete"], retention_ms=5000)
    for i in range(4):
        log.append(keyed((f"k{i}", "1"), ("a", str(i)), timestamp_ms=1000 * i))
        log.roll()
    log.settings.replace({**CONFIG, "cleanup.policy": ["compact", "delete"], "retention.ms": 5000, "segment.bytes": 100})
    clean(log, now_ms=5000)
    assert [offset for offset, _, _ in contents(log)] == [0, 2, 4, 6, 7]
    assert log.delete_old_segments(now_ms=7000) == 2
    assert [offset for offset, _, _ in contents(log)] == [4, 6, 7]


def test_nothing_is_replaced_while_it_is_held(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(keyed(("a", "1"), ("a", "2")))
    log.roll()
    log.hold_cleaning()
    with pytest.raises(StorageFailure):
        clean(log)
    assert len(contents(log)) == 2
    log.release_cleaning()
    clean(log)
    assert len(contents(log)) == 1


def legacy_message(offset: int, key: bytes | None, value: bytes | None, timestamp_ms: int) -> bytes:
    """A message of magic 1."""
    body = struct.pack(">bbq", 1, 0, timestamp_ms)
    for field in (key, value):
        body += struct.pack(">i", -1 if field is None else len(field)) + (field or b"")
    return struct.pack(">qiI", offset, len(body) + 4, zlib.crc32(body)) + body


def test_messages_of_magic_1(tmp_path: Path) -> None:
    messages = [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"c", None)]
    data = b"".join(legacy_message(i, key, value, 1000 + i) for i, (key, value) in enumerate(messages))
    (tmp_path / f"{0:020d}.log").write_bytes(data)
    log = PartitionLog(str(tmp_path), CONFIG)
    assert log.log_end_offset == 4
    log.roll()
    clean(log)
    assert contents(log) == [(1, "b", "1"), (2, "a", "2"), (3, "c", None)]
    assert {one.magic for one in batches_of(log)} == {1}


def test_a_last_message_of_magic_1_leaves_an_empty_batch(tmp_path: Path) -> None:
    data = legacy_message(0, b"a", b"1", 1000) + legacy_message(1, None, b"keyless", 1001)
    (tmp_path / f"{0:020d}.log").write_bytes(data)
    log = PartitionLog(str(tmp_path), CONFIG)
    log.roll()
    clean(log)
    assert [(one.magic, one.base_offset) for one in batches_of(log)] == [(1, 0), (2, 1)]
    assert contents(log) == [(0, "a", "1")]


def test_keys_are_told_apart_by_siphash() -> None:
    """Two of the authors' test vectors for 128 bits: key 00 01 .. 0f, data 00 01 .. ."""
    secret = bytes(range(16))
    assert keyed_hash(secret, b"").hex() == "a3817f04ba25a8e66df67214c7550293"
    assert keyed_hash(secret, b"\0").hex() == "da87c1d86b99af44347659119b22fc45"
    assert keyed_hash(secret, bytes(range(8))).hex() != keyed_hash(secret, bytes(range(9))).hex()
