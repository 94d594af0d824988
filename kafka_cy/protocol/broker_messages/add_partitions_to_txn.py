"""AddPartitionsToTxn as the leader of partitions asks a transaction coordinator whether they are in transactions (KIP-890).

Versions 4 and 5, of brokers. An older broker is not asked.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kafka_cy.protocol.broker_messages.write_txn_markers import Partition, by_topic
from kafka_cy.protocol.controller_messages.wire import Input, Output

API_KEY = 24
VERSIONS = range(4, 6)
FLEXIBLE_FROM = 3
_producer = struct.Struct(">qh?")
_head = struct.Struct(">ih")
_error = struct.Struct(">ih")


class VerifiedTransaction(NamedTuple):
    """Partitions that shall be part of the producer's transaction already."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    partitions: Sequence[Partition]


class AddPartitionsToTxnRequest(NamedTuple):
    """Each transactional id is there once."""

    transactions: Sequence[VerifiedTransaction]

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(version >= FLEXIBLE_FROM)
        out.array_length(len(self.transactions))
        for each in self.transactions:
            out.string(each.transactional_id)
            out += _producer.pack(each.producer_id, each.producer_epoch, True)
            topics = by_topic(each.partitions)
            out.array_length(len(topics))
            for name, indexes in topics.items():
                out.string(name)
                out.int32s(indexes)
                out.no_tags()
            out.no_tags()
        out.no_tags()
        return bytes(out)


class AddPartitionsToTxnResponse(NamedTuple):
    """`error_code` is that of all transactions; else the errors of the partitions, by transactional id."""

    error_code: int
    errors: Mapping[str, Mapping[Partition, int]]

    @classmethod
    def decode(cls, version: int, data: bytes) -> AddPartitionsToTxnResponse:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, version >= FLEXIBLE_FROM)
        _, error_code = given.fixed(_head)
        errors: dict[str, dict[Partition, int]] = {}
        for _ in range(given.array_length(3)):
            found = errors.setdefault(given.string(), {})
            for _ in range(given.array_length(3)):
                name = given.string()
                for _ in range(given.array_length(7)):
                    index, error = given.fixed(_error)
                    given.skip_tags()
                    found[name, index] = error
                given.skip_tags()
            given.skip_tags()
        given.skip_tags()
        return cls(error_code, errors)
