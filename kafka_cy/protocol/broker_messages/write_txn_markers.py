"""WriteTxnMarkers as a transaction coordinator sends it to the leaders of a transaction's partitions. Versions 0 and 1."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kafka_cy.protocol.controller_messages.wire import Input, Output

API_KEY = 27
VERSIONS = range(2)
FLEXIBLE_FROM = 1
_producer = struct.Struct(">qh?")
_epoch = struct.Struct(">i")
_id = struct.Struct(">q")
_error = struct.Struct(">ih")
Partition = tuple[str, int]


class TxnMarker(NamedTuple):
    """The outcome of one producer's transaction, and partitions that have to know."""

    producer_id: int
    producer_epoch: int
    committed: bool
    coordinator_epoch: int
    partitions: Sequence[Partition]


def by_topic(partitions: Iterable[Partition]) -> dict[str, list[int]]:
    """The same partitions, by topic."""
    topics: dict[str, list[int]] = {}
    for topic, index in partitions:
        topics.setdefault(topic, []).append(index)
    return topics


class WriteTxnMarkersRequest(NamedTuple):
    """A producer id may be there several times; the answers for it are one then."""

    markers: Sequence[TxnMarker]

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(version >= FLEXIBLE_FROM)
        out.array_length(len(self.markers))
        for marker in self.markers:
            out += _producer.pack(marker.producer_id, marker.producer_epoch, marker.committed)
            topics = by_topic(marker.partitions)
            out.array_length(len(topics))
            for name, indexes in topics.items():
                out.string(name)
                out.int32s(indexes)
                out.no_tags()
            out += _epoch.pack(marker.coordinator_epoch)
            out.no_tags()
        out.no_tags()
        return bytes(out)


class WriteTxnMarkersResponse(NamedTuple):
    """The errors of the partitions, by producer id."""

    errors: Mapping[int, Mapping[Partition, int]]

    @classmethod
    def decode(cls, version: int, data: bytes) -> WriteTxnMarkersResponse:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, version >= FLEXIBLE_FROM)
        errors: dict[int, dict[Partition, int]] = {}
        for _ in range(given.array_length(9)):
            found = errors.setdefault(given.fixed(_id)[0], {})
            for _ in range(given.array_length(2)):
                name = given.string()
                for _ in range(given.array_length(6)):
                    index, error = given.fixed(_error)
                    given.skip_tags()
                    found[name, index] = error
                given.skip_tags()
            given.skip_tags()
        given.skip_tags()
        return cls(errors)
