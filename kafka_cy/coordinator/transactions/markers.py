"""Writes transaction markers to partitions of this broker, for the transaction coordinator and for WriteTxnMarkers.

Markers of `__consumer_offsets` go through the group coordinator, so that its offsets become visible with the marker.
Kafka: KafkaApis.handleWriteTxnMarkersRequest, TransactionMarkerChannelManager.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.coordinator.runtime.shard import Marker
from kafka_cy.coordinator.transactions.transaction import Partition
from kafka_cy.protocol.errors import NONE, ErrorCode
from kafka_cy.storage.hosted_partition import STATE_ONLINE
from kafka_cy.storage.log import StorageFailure

OFFSETS_TOPIC = "__consumer_offsets"
Errors = dict[Partition, ErrorCode]
Done = Callable[[Errors], object]
Stored = Callable[[ErrorCode], object]
EndOffsetTransaction = Callable[[int, Marker, Stored], object]  # CoordinatorRuntime.end_transaction of the group coordinator
# The group coordinator's errors are not the partition's (as in Kafka).
COORDINATOR_ERRORS = (
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.NOT_COORDINATOR,
)


class MarkerWriter:
    """Owner: the coordinator's thread. Limit: one entry for each marker that is not stored yet."""

    def __init__(
        self, cluster: Any, slices: Any, end_offset_transaction: EndOffsetTransaction, log: Callable[..., object]
    ) -> None:
        self._cluster = cluster
        self._slices = slices
        self._end_offset_transaction = end_offset_transaction
        self._log = log
        self.before_marker: Callable[[int], object] | None = None  # called with the producer id before a marker is appended
        self._waiting: dict[int, _Waiting] = {}  # by id() of the partition
        self._waiting_count = 0  # markers
        self._looking = False  # the slices hold a walk over `_waiting`
        self._look_again = False  # a partition that this walk has passed may have changed

    def write(self, marker: Marker, partitions: Sequence[Partition], done: Done) -> None:
        """Try once to write the marker to each partition, in slices if there are many.

        `done` gets the error of each partition when all markers that were written are stored.
        """
        results = _Results(partitions, done)
        if len(partitions) > AT_ONCE_MAX:
            self._slices.add(self._write_each(marker, partitions, results), results.finish)
            return
        try:
            for each in partitions:
                self._write_one(marker, each, results)
        finally:
            results.finish()

    def _write_each(self, marker: Marker, partitions: Sequence[Partition], results: _Results) -> Iterator[None]:
        for each in partitions:
            self._write_one(marker, each, results)
            yield

    def _write_one(self, marker: Marker, partition: Partition, results: _Results) -> None:
        topic, index = partition
        try:
            hosted = self._cluster.partition(topic, index)
            if hosted is None:
                results.add(partition, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
                return
            if self.before_marker is not None:
                self.before_marker(marker.producer_id)
            leader_since = hosted.leader_since_epoch
            if topic == OFFSETS_TOPIC:
                self._end_offset_transaction(index, marker, partial(_as_partition_error, partial(results.add, partition)))
                return
            offset = hosted.append_marker(
                marker.producer_id, marker.epoch, marker.coordinator_epoch, marker.committed, marker.transaction_version,
                leader_since=leader_since,
            )  # fmt: skip
        except StorageFailure as failure:
            results.add(partition, ErrorCode(failure.kafka_error_code))
        except Exception as fault:  # noqa: BLE001 the other partitions get their markers
            self._log("a transaction marker could not be written", topic=topic, partition=index, error=repr(fault))
            results.add(partition, ErrorCode.UNKNOWN_SERVER_ERROR)
        else:
            if hosted.high_watermark > offset and hosted.state == STATE_ONLINE and hosted.leader_since_epoch == leader_since:
                results.add(partition, NONE)
            else:
                self._when_stored(hosted, offset + 1, leader_since, partial(results.add, partition))

    def _when_stored(self, hosted: Any, end_offset: int, leader_since: int, stored: Stored) -> None:
        waiting = self._waiting.setdefault(id(hosted), _Waiting(hosted))
        waiting.markers.append((end_offset, leader_since, stored))
        self._waiting_count += 1
        hosted.watch()
        if hosted.high_watermark >= end_offset or hosted.state != STATE_ONLINE:  # it changed before it was watched
            self.look()

    def look(self) -> None:
        """Report the markers that have been stored; the loop calls it in every round. Many are looked at in slices."""
        if self._looking:
            self._look_again = True
        elif self._waiting_count > AT_ONCE_MAX:
            self._looking = True
            self._slices.add(self._report_each(), self._looked)
        elif self._waiting:
            for _ in self._report_each():
                pass

    def _looked(self) -> None:
        """The partitions that change from now on wake the loop, which calls `look`."""
        self._looking, again, self._look_again = False, self._look_again, False
        if again:
            self.look()

    def _report_each(self) -> Iterator[None]:
        for waiting in list(self._waiting.values()):
            yield from self._report(waiting)
            yield

    def _report(self, waiting: _Waiting) -> Iterator[None]:
        """Report the partition's markers that are stored; all, if the partition is lost."""
        hosted, markers = waiting.hosted, waiting.markers
        hosted.watch()
        while markers:
            end_offset, leader_since, stored = markers[0]
            error = NONE
            is_stored = hosted.high_watermark >= end_offset  # first: that of a follower says nothing about the marker
            if hosted.state != STATE_ONLINE or hosted.leader_since_epoch != leader_since:
                error = ErrorCode.NOT_LEADER_OR_FOLLOWER
            elif not is_stored:
                return
            markers.popleft()
            self._waiting_count -= 1
            try:
                stored(error)
            except Exception as fault:  # noqa: BLE001 the other markers are reported
                self._log("a fault in what waited for a transaction marker", error=repr(fault))
            yield
        if self._waiting.get(id(hosted)) is waiting:
            del self._waiting[id(hosted)]


class _Waiting:
    """The markers in one partition that are not stored yet, in the order of their offsets."""

    __slots__ = ("hosted", "markers")

    def __init__(self, hosted: Any) -> None:
        self.hosted = hosted
        self.markers: deque[tuple[int, int, Stored]] = deque()  # end offset, the leadership's first epoch, who waits


class _Results:
    """Collects the error of each partition; a second result for one changes nothing."""

    def __init__(self, partitions: Sequence[Partition], done: Done) -> None:
        self._missing = dict.fromkeys(partitions)
        self._errors: Errors = {}
        self._done: Done | None = done
        self._tried = False

    def add(self, partition: Partition, error: ErrorCode) -> None:
        if partition in self._missing:
            del self._missing[partition]
            self._errors[partition] = error
            if self._tried:
                self._end()

    def finish(self) -> None:
        """All partitions were tried; after a fault, those that were not are tried again later."""
        self._tried = True
        self._end()

    def _end(self) -> None:
        if not self._missing and self._done is not None:
            done, self._done = self._done, None
            done(self._errors)


def _as_partition_error(stored: Stored, error: ErrorCode) -> None:
    stored(ErrorCode.NOT_LEADER_OR_FOLLOWER if error in COORDINATOR_ERRORS else error)
