"""A log that is a list of (leader epoch, value). It outlives the process; a power cut takes what was not flushed."""

from __future__ import annotations

from collections.abc import Callable
from errno import EIO
from typing import Protocol

from kafka_cy.storage.leader_epochs_probe import LeaderEpochsProbe
from kafka_cy.storage.log_failure import StorageFailure
from tests.cluster.simulator.clock import Simulation

Record = tuple[int, int]  # leader epoch, value
OFFLINE = 15  # STORAGE_OFFLINE


class Disk(Protocol):
    """Where a log is."""

    broken: bool


class SimulatedLog:
    """Its epochs are kept by the broker's own code. Changes raise StorageFailure when the disk is broken."""

    def __init__(self, simulation: Simulation, topic_id: bytes, disk: Disk, number: int) -> None:
        """`number`: of all logs of the broker."""
        self._simulation = simulation
        self.topic_id = topic_id  # partition.metadata
        self.disk = disk
        self.number = number
        self.start = 0
        self.records: list[Record] = []  # from `start` on
        self.epochs = LeaderEpochsProbe()
        self.flushed = 0
        self.stored_high_watermark = 0  # replication-offset-checkpoint
        self.offline = False  # for the process that runs: the disk has refused a change
        self.failed_errno = 0
        self.on_failure: Callable[[], object] = lambda: None

    @property
    def end(self) -> int:
        return self.start + len(self.records)

    @property
    def latest_epoch(self) -> int:
        return self.epochs.latest

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        return self.epochs.end_offset_for(epoch, self.end)

    def below(self, offset: int) -> list[Record]:
        """The records below an offset."""
        return self.records[: max(0, offset - self.start)]

    def begin_epoch(self, epoch: int) -> None:
        """A leader's epoch begins at the end; in memory only."""
        if epoch > self.epochs.latest:
            self.epochs.assign(epoch, self.end)

    def append(self, record: Record) -> None:
        self._change()
        self.epochs.assign(record[0], self.end)
        self.records.append(record)

    def truncate(self, offset: int) -> None:
        """Keep what is below."""
        self._change()
        self._keep_below(offset)

    def begin_at(self, offset: int) -> None:
        """Drop everything; the log begins at an offset."""
        self._change()
        self.records.clear()
        self.epochs = LeaderEpochsProbe()
        self.start = self.flushed = self.stored_high_watermark = offset

    def raise_start(self, offset: int) -> None:
        """Drop what is below."""
        if offset > self.start:
            self._change()
            del self.records[: offset - self.start]
            self.start = offset
            self.epochs.truncate_start(offset)

    def flush(self) -> None:
        if not self.disk.broken:
            self.flushed = self.end

    def lose_tail(self) -> None:
        """The power is cut: a part of what is not flushed is lost."""
        self._keep_below(self._simulation.random.randint(min(self.flushed, self.end), self.end))

    def recover(self) -> None:
        """A start after a crash: epochs without records may be lost, the others are in the batches."""
        self.offline = False
        self.epochs = LeaderEpochsProbe()
        for offset, (epoch, _) in enumerate(self.records, self.start):
            self.epochs.assign(epoch, offset)
        self.stored_high_watermark = max(min(self.stored_high_watermark, self.end), self.start)

    def _change(self) -> None:
        self._simulation.changes += 1
        if self.offline or self.disk.broken:
            if not self.offline:
                self.offline, self.failed_errno = True, EIO
                self.on_failure()
            raise StorageFailure("the disk is broken", OFFLINE, EIO)

    def _keep_below(self, offset: int) -> None:
        self._simulation.changes += 1
        del self.records[max(0, offset - self.start) :]
        self.start = min(self.start, offset)
        self.epochs.truncate_end(offset)
        self.flushed = min(self.flushed, self.end)
        self.stored_high_watermark = min(self.stored_high_watermark, self.end)
