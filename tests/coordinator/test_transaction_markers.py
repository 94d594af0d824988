"""Markers that wait for a slow disk: the work for them, and what a fault of one costs the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kafka_cy.base.slices import Slices
from kafka_cy.coordinator.runtime.shard import Marker
from kafka_cy.coordinator.transactions.markers import Errors, MarkerWriter
from kafka_cy.coordinator.transactions.transaction import Partition
from kafka_cy.protocol.errors import ErrorCode

from .fakes import FakeLoop
from .transaction_fakes import LogPartition, TransactionCluster

MARKER = Marker(7, 0, 0, True, 2)
OFFLINE = 2


@dataclass
class CountingPartition(LogPartition):
    """Counts how often somebody looks at it."""

    looks: int = 0

    def watch(self) -> None:
        self.looks += 1


class Written:
    """A writer over partitions whose high watermark does not move."""

    def __init__(self, count: int) -> None:
        self.cluster = TransactionCluster(1, {"tt": 0})
        self.partitions: list[Partition] = [("tt", index) for index in range(count)]
        self.hosted = [CountingPartition(held=True) for _ in self.partitions]
        self.cluster.hosted.update(zip(self.partitions, self.hosted, strict=True))
        self.lines: list[str] = []
        self.loop = FakeLoop()
        faults: list[Exception] = []
        self.writer = MarkerWriter(
            self.cluster, Slices(self.loop, faults.append), lambda *_: None, lambda what, **_: self.lines.append(what)
        )
        self.errors: list[Errors] = []

    def write(self, *partitions: Partition, done: Any = None) -> None:
        self.writer.write(MARKER, partitions or self.partitions, done or self.errors.append)

    def stored(self) -> None:
        for each in self.hosted:
            each.high_watermark = each.log_end_offset

    def look(self) -> None:
        self.writer.look()
        self.loop.advance(0.0)


def test_the_work_is_linear_in_the_markers() -> None:
    written = Written(1000)
    written.write()
    written.loop.advance(0.0)
    assert sum(each.looks for each in written.hosted) <= 2 * len(written.hosted)
    written.look()
    assert not written.errors
    written.stored()
    written.look()
    assert written.errors == [dict.fromkeys(written.partitions, ErrorCode.NONE)]


def test_a_change_during_a_walk_is_seen() -> None:
    """The partition that the walk has passed was changed while it went on."""
    written = Written(1000)
    written.write()
    written.loop.advance(0.0)
    written.writer.look()
    written.stored()
    written.look()
    assert written.errors == [dict.fromkeys(written.partitions, ErrorCode.NONE)]


def test_many_markers_of_one_partition() -> None:
    written = Written(1)
    for _ in range(500):
        written.write()
    written.hosted[0].looks = 0
    written.look()
    assert written.hosted[0].looks <= 2 and not written.errors
    written.stored()
    written.look()
    assert written.errors == [{("tt", 0): ErrorCode.NONE}] * 500


def test_a_fault_costs_the_others_nothing() -> None:
    written = Written(3)

    def fault(errors: Errors) -> None:
        raise RuntimeError("of this one")

    written.write(("tt", 0), done=fault)
    written.write(("tt", 1))
    written.write(("tt", 0))
    written.stored()
    written.look()
    assert written.errors == [{("tt", 0): ErrorCode.NONE}, {("tt", 1): ErrorCode.NONE}]
    assert written.lines == ["a fault in what waited for a transaction marker"]


def test_a_partition_that_is_lost() -> None:
    written = Written(2)
    written.write()
    written.hosted[0].state = OFFLINE
    written.hosted[1].high_watermark = 1
    written.look()
    assert written.errors == [{("tt", 0): ErrorCode.NOT_LEADER_OR_FOLLOWER, ("tt", 1): ErrorCode.NONE}]


def test_a_fault_before_a_marker_is_an_answer() -> None:
    """The transaction is completed in another attempt; without an answer it would wait for this one for ever."""
    written = Written(2)

    def fault(producer_id: int) -> None:
        if not written.lines:
            raise RuntimeError("out of luck")

    written.writer.before_marker = fault
    written.write()
    written.stored()
    written.look()
    assert written.errors == [{("tt", 0): ErrorCode.UNKNOWN_SERVER_ERROR, ("tt", 1): ErrorCode.NONE}]
    assert written.lines == ["a transaction marker could not be written"]
