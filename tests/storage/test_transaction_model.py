"""Transactions in a partition compared with a model: what is refused, the last stable offset, aborted ones, crashes."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.storage import transaction_table
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog, StorageFailure
from tests.storage.batches import TRANSACTIONAL, batch
from tests.storage.copies import copy_unless_renamed

TOPIC_ID = uuid.UUID(int=9)
CONFIG = {"segment.bytes": 700, "index.interval.bytes": 150, "retention.ms": -1}
OUT_OF_ORDER, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, COORDINATOR_FENCED, NOT_IN_TRANSACTION = 5, 7, 8, 17, 18


class Data(NamedTuple):
    """A batch of a producer; `gap`: its sequence is not the next one by that much; -1 repeats the last batch."""

    producer_id: int
    epoch: int
    gap: int
    count: int
    origin: str  # "client": not transactional


class End(NamedTuple):
    producer_id: int
    epoch: int
    coordinator_epoch: int
    commit: bool
    version: int


class Allow(NamedTuple):
    producer_id: int
    epoch: int  # -1: the coordinator forgets the producer


class Crash(NamedTuple):
    lost_bytes: int  # of the last segment


Step = Data | End | Allow | Crash


@dataclass
class Producer:
    epoch: int = -1
    coordinator_epoch: int = -1
    open_at: int | None = None
    last: tuple[int, int] | None = None  # sequence and count of the last batch

    @property
    def last_sequence(self) -> int:
        return self.last[0] + self.last[1] - 1 if self.last is not None else -1


@dataclass
class Model:
    """The rules of Kafka's ProducerAppendInfo, and of the transaction table."""

    producers: dict[int, Producer] = field(default_factory=dict)
    aborted: list[tuple[int, int]] = field(default_factory=list)
    end: int = 0

    def refuses(self, step: Data, sequence: int, allowed: dict[int, int]) -> int:
        known = self.producers.get(step.producer_id)
        if step.origin != "client":
            if known is not None and step.epoch < known.epoch:
                return INVALID_PRODUCER_EPOCH
            if known is None or known.open_at is None or known.epoch != step.epoch:
                if allowed.get(step.producer_id) != step.epoch:
                    return NOT_IN_TRANSACTION
                if step.origin == "transaction v2" and sequence != 0 and (known is None or known.last is None):
                    return OUT_OF_ORDER
        if known is None or (known.epoch == step.epoch and known.last == (sequence, step.count)):
            return 0
        if step.epoch < known.epoch:
            return INVALID_PRODUCER_EPOCH
        if sequence != (0 if step.epoch != known.epoch else known.last_sequence + 1):
            return OUT_OF_ORDER
        return INVALID_TXN_STATE if known.open_at is not None and step.origin == "client" else 0

    def refuses_end(self, step: End) -> int:
        known = self.producers.get(step.producer_id)
        if known is None:
            return 0
        if step.epoch < known.epoch or (step.version == 2 and step.epoch == known.epoch and known.open_at is not None):
            return INVALID_PRODUCER_EPOCH
        return COORDINATOR_FENCED if step.coordinator_epoch < known.coordinator_epoch else 0

    def _of_epoch(self, producer_id: int, epoch: int) -> Producer:
        known = self.producers.setdefault(producer_id, Producer())
        if known.epoch != epoch:
            known.epoch, known.last = epoch, None
        return known

    def add(self, step: Data | End, sequence: int) -> None:
        known = self._of_epoch(step.producer_id, step.epoch)
        if isinstance(step, Data):
            known.last = (sequence, step.count)
            if step.origin != "client" and known.open_at is None:
                known.open_at = self.end
            self.end += step.count
            return
        if known.open_at is not None and not step.commit:
            self.aborted.append((step.producer_id, known.open_at))
        known.open_at, known.coordinator_epoch = None, step.coordinator_epoch
        self.end += 1

    @property
    def stable(self) -> int:
        return min((known.open_at for known in self.producers.values() if known.open_at is not None), default=self.end)


class Run:
    """The partition and the model, step by step. `history`: what was appended, with the log's end after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.opened = 0
        self.history: list[tuple[int, Data | End, int]] = []
        self.allowed: dict[int, int] = {}
        transaction_table.clear()
        self.open(clean=True)

    def open(self, clean: bool) -> None:
        self.log = PartitionLog(str(self.folder), CONFIG, clean=clean)
        self.partition = HostedPartition(self.log, "t", TOPIC_ID, 0)
        end = self.partition.log_end_offset
        self.history = [each for each in self.history if each[0] <= end]
        self.model = Model()
        for _, step, sequence in self.history:
            self.model.add(step, sequence)

    def take(self, step: Step) -> None:
        if isinstance(step, Allow):
            if step.epoch < 0:
                transaction_table.remove(step.producer_id)
                self.allowed.pop(step.producer_id, None)
            else:
                assert transaction_table.set_partitions(step.producer_id, step.epoch, [(TOPIC_ID.bytes, 0)])
                self.allowed[step.producer_id] = step.epoch
        elif isinstance(step, Crash):
            self.crash(step.lost_bytes)
        else:
            self.append(step)
        self.check()

    def append(self, step: Data | End) -> None:
        sequence = 0
        if isinstance(step, Data):
            known = self.model.producers.get(step.producer_id)
            repeats = step.gap < 0 and known is not None and known.last is not None and known.epoch == step.epoch
            if repeats and known is not None and known.last is not None:
                sequence, count = known.last
                step = step._replace(count=count)
            elif known is not None and known.epoch == step.epoch:
                sequence = known.last_sequence + 1 + max(step.gap, 0)
            else:
                sequence = max(step.gap, 0)
            refused = self.model.refuses(step, sequence, self.allowed)
            duplicate = known is not None and known.epoch == step.epoch and known.last == (sequence, step.count)
        else:
            refused, duplicate = self.model.refuses_end(step), False
        assert self._append(step, sequence) == refused, (step, sequence, self.model)
        if refused == 0 and not duplicate:
            self.model.add(step, sequence)
            self.history.append((self.model.end, step, sequence))

    def _append(self, step: Data | End, sequence: int) -> int:
        try:
            if isinstance(step, End):
                self.partition.append_marker(*step)
            else:
                attributes = 0 if step.origin == "client" else TRANSACTIONAL
                data = batch(
                    step.count, producer_id=step.producer_id, producer_epoch=step.epoch, base_sequence=sequence,
                    attributes=attributes,
                )  # fmt: skip
                self.partition.append(data, origin=step.origin)
        except StorageFailure as failure:
            return failure.code
        return 0

    def crash(self, lost_bytes: int) -> None:
        """The broker is killed, and the last bytes of the last segment were not written."""
        self.opened += 1
        copy = self.folder.parent / f"{self.folder.name.partition('.')[0]}.{self.opened}"
        shutil.copytree(self.folder, copy, copy_function=copy_unless_renamed)
        last = max(copy.glob("*.log"))
        with last.open("r+b") as file:
            file.truncate(max(0, last.stat().st_size - lost_bytes))
        self.folder = copy
        self.open(clean=False)

    def check(self) -> None:
        assert self.partition.log_end_offset == self.model.end
        assert self.partition.last_stable_offset == self.model.stable
        assert self.log.aborted_transactions(0, self.model.end) == self.model.aborted
        found = {row[0]: (row[1], row[2], row[4], row[5]) for row in self.log.producers()}
        assert found == {
            producer_id: (
                known.epoch, known.last_sequence, known.coordinator_epoch, -1 if known.open_at is None else known.open_at
            )
            for producer_id, known in self.model.producers.items()
        }  # fmt: skip


IDS, EPOCHS = st.integers(1, 3), st.integers(0, 3)
STEPS = st.one_of(
    st.builds(Data, IDS, EPOCHS, st.sampled_from([0, 0, 0, 0, -1, 2]), st.integers(1, 3),
              st.sampled_from(["client", "transaction v1", "transaction v2"])),
    st.builds(End, IDS, EPOCHS, st.integers(0, 2), st.booleans(), st.sampled_from([1, 2])),
    st.builds(Allow, IDS, st.integers(-1, 3)),
    st.builds(Crash, st.integers(0, 200)),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=40))
def test_the_partition_agrees_with_the_model(steps: list[Step]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        run = Run(folder / "log")
        for step in steps:
            run.take(step)
        run.take(Crash(0))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a flush in the background may still write
        transaction_table.clear()


@pytest.mark.parametrize("commit", [True, False])
def test_a_marker_that_was_cut_anywhere(tmp_path: Path, commit: bool) -> None:
    """With any part of it missing, the transaction is open; whole, it has ended, with or without the index file."""
    run = Run(tmp_path / "log")
    run.take(Allow(1, 0))
    run.take(Data(1, 0, 0, 2, "transaction v2"))
    run.take(End(1, 1, 0, commit, 2))
    whole = run.folder
    history = list(run.history)
    for lost in range(80):
        run.folder, run.history = whole, list(history)
        run.take(Crash(lost))
        assert run.partition.last_stable_offset == (3 if lost == 0 else 0)
        if 0 < lost < 78:  # after the marker, the coordinator tries again
            run.take(End(1, 1, 0, commit, 2))
            assert run.partition.last_stable_offset == 3
    for index in whole.glob("*.txnindex"):
        index.unlink()
    run.folder, run.history = whole, list(history)
    run.take(Crash(0))
