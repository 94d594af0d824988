"""Markers for partitions that other brokers lead: a queue for each broker, of which one request at a time is under way.

Kafka: TransactionMarkerChannelManager. What cannot be written now is tried again by `completion`, which looks for the leaders anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.coordinator.runtime.shard import Marker
from kafka_cy.coordinator.transactions.broker_calls import BrokerCalls
from kafka_cy.coordinator.transactions.limits import PARTITIONS_MAX
from kafka_cy.coordinator.transactions.markers import Done, Errors, MarkerWriter
from kafka_cy.coordinator.transactions.transaction import Partition
from kafka_cy.protocol.broker_messages import write_txn_markers
from kafka_cy.protocol.broker_messages.write_txn_markers import (
    TxnMarker,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)
from kafka_cy.protocol.errors import ErrorCode

MARKERS_MAX = 1000  # of a request


class _Entry(NamedTuple):
    marker: Marker
    partitions: Sequence[Partition]
    done: Done


class MarkerChannels:
    """Owner: the coordinator's thread. Limit: of each producer id one marker under way to a broker, and one that waits.

    A later marker of a producer id takes the place of one that waits: its transaction was loaded anew, and nobody waits for the
    answer to the earlier one.
    """

    def __init__(
        self,
        calls: BrokerCalls,
        slices: Any,
        on_fault: Callable[[Exception], object],
        version: int = write_txn_markers.VERSIONS[-1],
    ) -> None:
        """`version`: of the requests, by inter.broker.protocol.version; it is not negotiated."""
        self._calls, self._version = calls, version
        self._slices = slices
        self._on_fault = on_fault
        self._queues: dict[int, dict[int, _Entry]] = {}  # by broker with a request under way; what waits, by producer id

    def write(self, broker_id: int, marker: Marker, partitions: Sequence[Partition], done: Done) -> None:
        """Send the marker to the leader of these partitions. `done` gets the error of each, later."""
        entry, queue = _Entry(marker, partitions, done), self._queues.get(broker_id)
        if queue is not None:
            queue[marker.producer_id] = entry
        else:
            self._queues[broker_id] = {marker.producer_id: entry}
            self._send(broker_id)

    def _send(self, broker_id: int) -> None:
        """Send what waits, as far as one request takes it."""
        queue = self._queues[broker_id]
        if not queue:
            del self._queues[broker_id]
            return
        batch: dict[int, _Entry] = {}
        size = 0
        for producer_id, entry in queue.items():
            size += len(entry.partitions)
            if batch and (size > PARTITIONS_MAX or len(batch) >= MARKERS_MAX):
                break
            batch[producer_id] = entry
        for producer_id in batch:
            del queue[producer_id]
        request = WriteTxnMarkersRequest(
            [
                TxnMarker(each.producer_id, each.epoch, each.committed, each.coordinator_epoch, partitions)
                for each, partitions, _ in batch.values()
            ]
        )
        answered = partial(self._answered, broker_id, batch)
        self._calls.send(broker_id, write_txn_markers, self._version, request, WriteTxnMarkersResponse, answered)

    def _answered(self, broker_id: int, batch: dict[int, _Entry], response: WriteTxnMarkersResponse | None) -> None:
        answers = response.errors if isinstance(response, WriteTxnMarkersResponse) else {}
        self._slices.add(self._report(batch, answers), partial(self._send, broker_id))

    def _report(self, batch: dict[int, _Entry], answers: Any) -> Iterator[None]:
        for producer_id, entry in batch.items():
            found = answers.get(producer_id, {})
            try:
                entry.done({each: error_of(found.get(each)) for each in entry.partitions})
            except Exception as fault:  # noqa: BLE001 the other transactions go on
                self._on_fault(fault)
            yield


class MarkerRouter:
    """Sends each marker to where its partitions are led. Owner: the coordinator's thread. As MarkerWriter for `completion`."""

    def __init__(self, cluster: Any, slices: Any, here: MarkerWriter, channels: MarkerChannels) -> None:
        self._cluster = cluster
        self._slices = slices
        self._here = here
        self._channels = channels

    def write(self, marker: Marker, partitions: Sequence[Partition], done: Done) -> None:
        """Try once to write the marker to each partition. `done` gets the error of each when all have been tried."""
        by_broker: dict[int, list[Partition]] = {}

        def split() -> Iterator[None]:
            for each in partitions:
                by_broker.setdefault(self._leader(each), []).append(each)
                yield

        def send() -> None:
            gathered = _Gathered(len(by_broker), done)
            for broker_id, some in by_broker.items():
                if broker_id == self._cluster.broker_id:
                    self._here.write(marker, some, gathered.add)
                elif broker_id < 0:
                    gathered.add(dict.fromkeys(some, ErrorCode.LEADER_NOT_AVAILABLE))
                else:
                    self._channels.write(broker_id, marker, some, gathered.add)

        if len(partitions) > AT_ONCE_MAX:
            self._slices.add(split(), send)
        else:
            for _ in split():
                pass
            send()

    def _leader(self, partition: Partition) -> int:
        name, index = partition
        if self._cluster.partition(name, index) is not None:
            return int(self._cluster.broker_id)
        topic = self._cluster.topics.get(name)
        return topic.partitions[index].leader if topic is not None and index < len(topic.partitions) else -1


class _Gathered:
    """The errors of several parts of a transaction's partitions; `done` is called once, with all."""

    def __init__(self, parts: int, done: Done) -> None:
        self._left = parts
        self._errors: Errors = {}
        self._done: Callable[[Errors], object] = done
        if not parts:
            done({})

    def add(self, errors: Errors) -> None:
        self._errors |= errors
        self._left -= 1
        if not self._left:
            self._done(self._errors)


def error_of(code: int | None) -> ErrorCode:
    """What another broker has answered about a partition; a partition that it left out is tried again."""
    if code is None:
        return ErrorCode.NETWORK_EXCEPTION
    try:
        return ErrorCode(code)
    except ValueError:
        return ErrorCode.UNKNOWN_SERVER_ERROR
