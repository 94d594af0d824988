"""The log compared with a list of batches, with crashes at any byte."""

from __future__ import annotations

import bisect
import itertools
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.storage.log import OffsetOutOfRange, PartitionLog
from tests.storage.abandoned import abandon
from tests.storage.batches import base_offset, batch, last_offset, split
from tests.storage.copies import copy_unless_renamed

CONFIG = {"segment.bytes": 1500, "index.interval.bytes": 150, "retention.ms": -1}


class Model:
    """The expected contents of a log: its batches as read back after the append."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.batches: list[bytes] = []
        self.start = 0
        self.end = 0
        self.flushed = 0
        self.log = PartitionLog(str(directory), CONFIG, clean=True)

    def append(self, count: int, size: int) -> None:
        base = self.log.append(batch(count, size=size, timestamp_ms=1000 * self.end))
        assert base == self.end
        stored = self.log.read(base, 1)
        assert base_offset(stored) == base
        assert last_offset(stored) == base + count - 1
        self.batches.append(stored)
        self.end += count

    def expected(self, offset: int, bytes_max: int, offset_max: int) -> bytes:
        found = b""
        for stored in self.batches:
            if last_offset(stored) < offset:
                continue
            if last_offset(stored) >= min(offset_max, self.end) or (found and len(found) + len(stored) > bytes_max):
                break
            found += stored
        return found

    def read(self, offset: int, bytes_max: int, offset_max: int) -> None:
        if offset > self.end or offset < self.start:
            with pytest.raises(OffsetOutOfRange):
                self.log.read(offset, bytes_max)
            return
        got = self.log.read(offset, bytes_max, offset_max)
        expected = self.expected(offset, bytes_max, offset_max)
        assert expected.startswith(got)  # a read may end at a segment's end
        assert bool(got) == bool(expected and offset < min(offset_max, self.end))

    def read_all(self) -> None:
        offset, found = self.start, []
        while offset < self.end and (data := self.log.read(offset, 700)):
            found += split(data)
            offset = last_offset(found[-1]) + 1
        assert found == [b for b in self.batches if last_offset(b) >= self.start]

    def truncate(self, offset: int) -> None:
        self.log.truncate_to(offset)
        self.batches = [b for b in self.batches if last_offset(b) < offset]
        self.end = min(offset, self.end)
        self.start = min(self.start, self.end)
        self.flushed = min(self.flushed, self.end_of_batches())

    def end_of_batches(self) -> int:
        """A truncation may have left the end of the log after it; the files do not show that."""
        return last_offset(self.batches[-1]) + 1 if self.batches else 0

    def delete_records(self, offset: int) -> None:
        if self.start < offset <= self.end:
            assert self.log.delete_records(offset) == offset
            self.start = offset
            self.log.delete_old_segments(self.end)

    def check(self) -> None:
        assert self.log.log_end_offset == self.end
        assert self.log.log_start_offset == self.start

    def reopen_clean(self) -> None:
        self.log.close()
        self.log = PartitionLog(str(self.directory), CONFIG, start_offset=self.start, clean=True)
        assert self.end_of_batches() <= self.log.log_end_offset <= self.end
        self.end = self.log.log_end_offset
        self.flushed = self.end_of_batches()

    def end_of_log(self) -> None:
        """Check that no flush is still working in the folder."""
        abandon(self.log)

    def crash(self, how: str, random_: random.Random) -> None:
        """Continue from a copy of the files whose unflushed part is damaged."""
        copy = Path(tempfile.mkdtemp(dir=self.directory.parent))
        shutil.copytree(self.directory, copy, dirs_exist_ok=True, copy_function=copy_unless_renamed)
        self.end_of_log()
        damage(copy, how, random_, self)
        self.directory = copy
        self.log = PartitionLog(str(copy), CONFIG, start_offset=self.start, recovery_point=self.flushed)
        self.end = self.log.log_end_offset
        assert self.end >= self.flushed
        self.batches = [b for b in self.batches if last_offset(b) < self.end]
        if self.start >= self.end:  # the records left by the deletion are lost: the log restarts at the deletion's offset
            assert self.start == self.end
            self.batches = []
        # After a truncation inside a batch, the log's end lies behind the last batch: a new segment may begin there.
        new_segment = Path(self.directory, f"{self.end:020d}.log").exists()
        assert not self.batches or self.end in (self.end_of_batches(), self.flushed) or new_segment
        self.start = min(self.start, self.end)
        self.flushed = self.end_of_batches()


def covered(data: bytes, position: int) -> int:
    """`position`, or the position of the batch's CRC if nothing protects the byte.

    Unprotected are the leader epoch, and the base offset of a batch without neighbours or after a hole.
    """
    batches = split(data)
    starts = [0, *itertools.accumulate(len(each) for each in batches)]
    number = bisect.bisect_right(starts, position) - 1
    at = position - starts[number]
    neighbours = 0 < number < len(batches) - 1 and base_offset(batches[number]) == last_offset(batches[number - 1]) + 1
    return starts[number] + 17 if 12 <= at < 16 or (at < 8 and not neighbours) else position


def damage(copy: Path, how: str, random_: random.Random, model: Model) -> None:
    logs = sorted(copy.glob("*.log"))
    safe = sum(len(b) for b in model.batches if last_offset(b) < model.flushed and base_offset(b) >= int(logs[-1].stem))
    data = bytearray(logs[-1].read_bytes())
    if how == "cut" and len(data) > safe:
        del data[random_.randrange(safe, len(data)) :]
    elif how == "zeros":
        data += bytes(random_.randrange(1, 300))
    elif how == "flip" and len(data) > safe:
        data[covered(data, random_.randrange(safe, len(data)))] ^= 1 << random_.randrange(8)
    elif how == "garbage":
        data += random_.randbytes(100)
    logs[-1].write_bytes(data)
    for index in [*copy.glob("*.index"), *copy.glob("*.timeindex")]:
        if int(index.stem) >= int(logs[-1].stem) and random_.random() < 0.5:
            index.write_bytes(random_.randbytes(40))


OPERATIONS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 5), st.integers(0, 220)),
    st.tuples(st.just("append"), st.integers(1, 5), st.integers(0, 220)),
    st.tuples(st.just("append"), st.integers(1, 2), st.integers(0, 30)),
    st.tuples(st.just("read"), st.floats(0, 1.05), st.integers(0, 2000), st.floats(0, 1.05)),
    st.tuples(st.just("truncate"), st.floats(0, 1)),
    st.tuples(st.just("delete"), st.floats(0, 1)),
    st.just(("roll",)),
    st.just(("flush",)),
    st.just(("clean",)),
    st.tuples(st.just("crash"), st.sampled_from(["none", "cut", "zeros", "flip", "garbage"]), st.integers(0, 1 << 30)),
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(OPERATIONS, min_size=5, max_size=60))
def test_log_is_a_list_of_batches(operations: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder, "t-0")
        first.mkdir()
        model = Model(first)
        for operation in operations:
            run(model, operation)
            model.check()
        model.read_all()
        model.end_of_log()


def run(model: Model, operation: tuple) -> None:
    kind, *arguments = operation
    if kind == "append":
        model.append(*arguments)
    elif kind == "read":
        at, bytes_max, until = arguments
        model.read(int(at * model.end), bytes_max, int(until * model.end))
    elif kind == "truncate":
        offset = int(arguments[0] * model.end)
        if offset >= model.start:
            model.truncate(offset)
    elif kind == "delete":
        model.delete_records(int(arguments[0] * model.end))
    elif kind == "roll":
        model.log.roll()
    elif kind == "flush":
        model.log.flush()
        model.flushed = model.end_of_batches()
    elif kind == "clean":
        model.reopen_clean()
    else:
        model.crash(arguments[0], random.Random(arguments[1]))
