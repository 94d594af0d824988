"""Storing the acknowledgements of one request: a walk over its partitions. What they change is stored as few batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.fetch_requests import AcknowledgeRequest, FetchRequest, PartitionResult, Results, Rights
from kafka_cy.share.sessions import TopicPartition
from kafka_cy.share.share_partition import SharePartition
from kafka_cy.share.share_partitions import SharePartitions

STORED_AT_ONCE = 32  # share partitions whose changes are passed on together; the loop does so too, after each slice


class Acknowledging:
    """Owner: the loop's thread."""

    def __init__(
        self, partitions: SharePartitions, request: FetchRequest | AcknowledgeRequest, done: Callable[[Results], object]
    ) -> None:
        """`done` gets the partitions with their errors when everything is stored, or could not be."""
        self._partitions = partitions
        self._request = request
        self._done = done
        self._rights = Rights(request.reads)
        self._results: Results = {}
        self._pending: set[TopicPartition] = set()
        self._has_many = len(request.acknowledgements) > 1  # stored together
        self._is_walking = False  # in a step
        self._is_through = False

    def steps(self) -> Iterator[None]:
        """One partition in each. Later requests of the member find what these steps have changed."""
        for count, (partition, batches) in enumerate(self._request.acknowledgements.items(), 1):
            self._results[partition] = PartitionResult()
            self._pending.add(partition)
            self._is_walking = True
            try:
                self._acknowledge(partition, batches)
            except Exception as fault:  # noqa: BLE001 the other partitions have their turn
                self._partitions.on_fault(fault)
                self._stored(partition, ErrorCode.UNKNOWN_SERVER_ERROR)
            finally:
                self._is_walking = False
            if count % STORED_AT_ONCE == 0:
                self._partitions.write_collected()
            yield
        self._partitions.write_collected()
        self._is_through = True
        self._end()

    def _acknowledge(self, partition: TopicPartition, batches: Acknowledgements) -> None:
        stored = partial(self._stored, partition)
        if not self._rights.may(partition[0]):
            stored(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
            return
        if not batches.are_valid(self._request.is_renewal):
            stored(ErrorCode.INVALID_REQUEST)
            return
        error, share_partition = self._partitions.find(self._request.key.group_id, partition)
        if share_partition is None:
            stored(error)
        else:
            share_partition.when_ready(partial(self._ready, partition, share_partition, batches))

    def _ready(
        self, partition: TopicPartition, share_partition: SharePartition, batches: Acknowledgements, error: ErrorCode
    ) -> None:
        stored = partial(self._stored, partition)
        if error:
            stored(error)
            return
        is_together = self._has_many and self._is_walking  # later nobody would pass it on
        write = self._partitions.write_later if is_together else None
        try:
            share_partition.acknowledge(self._request.key.member_id, batches, stored, write)
        except Exception as fault:  # noqa: BLE001 the request would wait for good
            self._partitions.on_fault(fault)
            stored(ErrorCode.UNKNOWN_SERVER_ERROR)

    def _stored(self, partition: TopicPartition, error: ErrorCode) -> None:
        if partition not in self._pending:
            return  # a fault has come after the answer
        self._pending.remove(partition)
        result = self._results[partition]
        result.acknowledge_error = error
        if isinstance(self._request, AcknowledgeRequest):
            result.error = error
        self._end()

    def _end(self) -> None:
        if self._is_through and not self._pending:
            self._done(self._results)
