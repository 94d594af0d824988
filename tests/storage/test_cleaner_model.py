"""Compaction compared with a model: after any appends, rolls, rounds and crashes, every key has its last committed value."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.records import Batch, Record, build_batch, iterate_batches
from kafka_cy.storage.cleaner import clean, cleanable
from kafka_cy.storage.log import PartitionLog
from tests.storage.batches import marker
from tests.storage.copies import copy_unless_renamed

TRANSACTIONAL = 0x10
RETENTION_MS = 1000
CONFIG: dict[str, Any] = {
    "cleanup.policy": ["compact"], "segment.bytes": 900, "index.interval.bytes": 150, "retention.ms": -1,
    "delete.retention.ms": RETENTION_MS,
}  # fmt: skip
CODECS = ["none", "none", "gzip", "snappy", "lz4", "zstd"]
PRODUCERS = [101, 102, 103]


@dataclass
class Written:
    """A record as it was appended."""

    record: Record
    producer: int = -1  # of its transaction
    outcome: str = "committed"  # "open", "aborted"


@dataclass
class Model:
    """The records written to a log, and those that must remain."""

    folder: Path
    records: dict[int, Written] = field(default_factory=dict)  # by offset
    open: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # producer id -> offsets
    sequences: dict[int, int] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    now_ms: int = 10_000
    end: int = 0
    clean_to: int = 0
    cleaned_since: dict[int, int] = field(default_factory=dict)  # tombstone offset -> first round that may have set its horizon

    def __post_init__(self) -> None:
        self.log = PartitionLog(str(self.folder), CONFIG, clean=True)

    # -- operations --

    def append(self, codec: str, keys: list[int], producer: int, source: random.Random) -> None:
        self.now_ms += source.randrange(20)
        records = [
            Record(
                b"key-%d" % key, None if source.random() < 0.25 else source.randbytes(source.randrange(40)),
                self.now_ms + source.randrange(-50, 50), (("h", b"x"),) if source.random() < 0.2 else (),
            )
            for key in keys
        ]  # fmt: skip
        fields: dict[str, Any] = {}
        if producer >= 0:
            fields = {
                "attributes": TRANSACTIONAL, "producer_id": producer, "producer_epoch": self.epochs[producer],
                "base_sequence": self.sequences.get(producer, 0),
            }  # fmt: skip
            self.sequences[producer] = self.sequences.get(producer, 0) + len(records)
        base = self.log.append(build_batch(records, compression=codec, **fields), origin="client", now_ms=self.now_ms)
        assert base == self.end
        for i, record in enumerate(records):
            outcome = "open" if producer >= 0 else "committed"
            self.records[base + i] = Written(record._replace(offset=base + i), producer, outcome)
            if producer >= 0:
                self.open[producer].append(base + i)
        self.end = base + len(records)

    def finish(self, producer: int, commit: bool) -> None:
        if self.open[producer]:
            assert self.log.append(self.marker(producer, commit)) == self.end
            self.end += 1
        for offset in self.open.pop(producer, []):
            self.records[offset].outcome = "committed" if commit else "aborted"

    def marker(self, producer: int, commit: bool) -> bytes:
        return marker(producer, self.epochs[producer], commit=commit, timestamp_ms=self.now_ms)

    def forget_producers(self) -> None:
        """All producers except those with an open transaction; they come back with a new epoch."""
        self.log.expire_producers(1 << 60)
        for producer in [producer for producer in self.sequences if not self.open[producer]]:
            del self.sequences[producer]
            self.epochs[producer] += 1

    def clean(self, map_keys: int, io_bytes: int) -> None:
        uncleanable = cleanable(self.log)["first_uncleanable"]
        done = clean(
            self.log, now_ms=self.now_ms, dedupe_buffer_bytes=24 * map_keys, io_buffer_bytes=io_bytes, load_factor=0.9
        )
        if done is None:
            return
        assert self.clean_to <= done["end_offset"] == self.log.cleaner_offset <= uncleanable
        self.clean_to = done["end_offset"]
        for offset, written in self.records.items():
            if offset < uncleanable and written.record.value is None:
                self.cleaned_since.setdefault(offset, self.now_ms)

    def reopen(self, how: str) -> None:
        offset, starts = self.log.cleaner_offset, self.log.log_start_offset
        if how == "crash":
            copy = Path(tempfile.mkdtemp(dir=self.folder.parent))
            shutil.copytree(self.folder, copy, dirs_exist_ok=True, copy_function=copy_unless_renamed)
            self.log.abandon()
            self.folder = copy
            self.log = PartitionLog(str(copy), CONFIG, start_offset=starts, recovery_point=0)
        else:
            self.log.close()
            self.log = PartitionLog(str(self.folder), CONFIG, start_offset=starts, clean=True)
        self.log.restore_cleaner_offset(offset)

    # -- checks --

    def batches(self) -> list[Batch]:
        found: list[Batch] = []
        offset = 0
        while offset < self.end:
            data = self.log.read(offset, 600)
            if not data:
                break
            for one in iterate_batches(data):
                assert one.base_offset >= offset
                found.append(one)
                offset = one.last_offset + 1
        return found

    def committed(self, batches: list[Batch]) -> list[Record]:
        """The records that a read_committed consumer sees, by the list of aborted transactions."""
        aborted = sorted(self.log.aborted_transactions(0, self.end), key=lambda pair: pair[1])
        in_aborted: set[int] = set()
        found: list[Record] = []
        for one in batches:
            while aborted and aborted[0][1] <= one.last_offset:
                in_aborted.add(aborted.pop(0)[0])
            if one.is_control:
                kind = [int.from_bytes(record.key[2:4], "big") for record in one.records() if record.key]
                if kind == [0]:
                    in_aborted.discard(one.producer_id)
            elif not (one.is_transactional and one.producer_id in in_aborted):
                found += one.records()
        stable = self.log.first_unstable_offset
        return [record for record in found if stable < 0 or record.offset < stable]

    def check(self) -> None:
        assert self.log.log_end_offset == self.end
        batches = self.batches()
        data = [record for one in batches if not one.is_control for record in one.records()]
        self.check_records(data)
        stable = self.log.first_unstable_offset if self.log.first_unstable_offset >= 0 else self.end
        expected = [w for offset, w in sorted(self.records.items()) if w.outcome == "committed" and offset < stable]
        committed = self.committed(batches)
        assert view(committed) == view([written.record for written in expected])
        self.check_compacted(committed, [written.record for written in expected])
        self.check_lookups([record for one in batches for record in one.records()])  # markers have a time, too

    def check_records(self, data: list[Record]) -> None:
        offsets = [record.offset for record in data]
        assert offsets == sorted(set(offsets))
        for record in data:
            assert record == self.records[record.offset].record
        for offset, written in self.records.items():
            if written.outcome == "aborted" and offset < self.clean_to:
                assert offset not in set(offsets), "aborted data of the clean part"
            if written.outcome == "open" or offset >= self.log.segments()[-1][0]:
                assert offset in set(offsets), "what may not be cleaned"

    def check_compacted(self, committed: list[Record], expected: list[Record]) -> None:
        last = {record.key: record.offset for record in expected}
        last_clean = {record.key: record.offset for record in expected if record.offset < self.clean_to}
        present = {record.offset for record in committed}
        for record in committed:
            if record.offset < self.clean_to:
                assert last_clean[record.key] == record.offset, "only the last of a key is left in the clean part"
        for record in expected:
            if record.offset not in present:
                is_last = last[record.key] == record.offset
                assert not is_last or record.value is None
                if is_last:
                    assert self.now_ms >= self.cleaned_since[record.offset] + RETENTION_MS, "a tombstone went too early"

    def check_lookups(self, records: list[Record]) -> None:
        for record in records[:: max(len(records) // 10, 1)]:
            first = next(iter(iterate_batches(self.log.read(record.offset, 1))))
            assert first.base_offset <= record.offset <= first.last_offset
            expected = next(each.offset for each in records if each.timestamp_ms >= record.timestamp_ms)
            found = self.log.offset_for_timestamp(record.timestamp_ms)
            assert found is not None
            assert found[0] == expected


def view(records: list[Record]) -> dict[bytes | None, bytes]:
    """Key -> value after all of them."""
    found: dict[bytes | None, bytes] = {}
    for record in records:
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = record.value
    return found


OPERATIONS = st.one_of(
    st.tuples(
        st.just("append"), st.sampled_from(CODECS), st.lists(st.integers(0, 12), min_size=1, max_size=9),
        st.sampled_from([-1, -1, *PRODUCERS]), st.integers(0, 1 << 30),
    ),
    st.tuples(
        st.just("append"), st.sampled_from(CODECS), st.lists(st.integers(0, 400), min_size=1, max_size=9),
        st.just(-1), st.integers(0, 1 << 30),
    ),
    st.tuples(st.just("finish"), st.sampled_from(PRODUCERS), st.booleans()),
    st.just(("roll",)),
    st.tuples(st.just("clean"), st.sampled_from([14, 40, 100_000]), st.sampled_from([100, 9000, 524288])),
    st.tuples(st.just("wait"), st.sampled_from([1, 400, 1100])),
    st.tuples(st.just("reopen"), st.sampled_from(["crash", "clean"])),
    st.just(("forget producers",)),
)  # fmt: skip


def run(model: Model, operation: tuple[Any, ...]) -> None:
    kind, *arguments = operation
    if kind == "append":
        codec, keys, producer, seed = arguments
        model.append(codec, keys, producer, random.Random(seed))
    elif kind == "finish":
        model.finish(*arguments)
    elif kind == "roll":
        model.log.roll()
    elif kind == "clean":
        model.clean(*arguments)
    elif kind == "wait":
        model.now_ms += arguments[0]
    elif kind == "reopen":
        model.reopen(arguments[0])
    else:
        model.forget_producers()


@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(st.lists(OPERATIONS, min_size=8, max_size=60))
def test_every_key_keeps_its_last_value(operations: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        first = Path(name, "t-0")
        first.mkdir()
        model = Model(first)
        for operation in operations:
            run(model, operation)
            if operation[0] in ("clean", "reopen"):
                model.check()
        for producer in PRODUCERS:
            model.finish(producer, commit=False)
        for _ in range(3):  # the horizon is set, then it passes
            model.log.roll()
            model.append("none", [1000], -1, random.Random(1))
            model.log.roll()
            model.clean(100_000, 524288)
            model.now_ms += RETENTION_MS
            model.check()
        left = [record for record in model.committed(model.batches()) if record.offset < model.clean_to]
        assert [record for record in left if record.value is None and record.key != b"key-1000"] == []
