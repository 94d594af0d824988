"""The records of `__transaction_state`, byte for byte as Kafka stores them (TransactionLogKey, TransactionLogValue)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from kafka_cy.coordinator.runtime.record_reader import BadRecord, RecordReader
from kafka_cy.coordinator.runtime.record_schema import (
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    STRING_BYTES_MAX,
    FieldType,
    RecordType,
    RecordTypes,
    Struct,
    Tagged,
    array,
    unsigned_varint,
)

TRANSACTIONS_TOPIC = "__transaction_state"
NO_PRODUCER_ID = -1


class TransactionKey(NamedTuple):
    transactional_id: str


class _TopicPartitions(NamedTuple):
    topic: str
    partitions: tuple[int, ...]


class TopicPartitions(_TopicPartitions):
    """The partitions of one topic. It keeps its encoded form: each record of a transaction contains all of its topics."""

    @cached_property
    def encoded(self) -> bytes:
        """With compact lengths. Raises BadRecord."""
        out = bytearray()
        _TOPIC.write(out, self, flexible=True)
        return bytes(out)


class StoredTransaction(NamedTuple):
    """What is stored of a transactional id; `state` is a `states.State`. Times are wall-clock ms.

    `partitions` is None in the state Empty. `start_ms` is -1 in the state Empty. `next_producer_id` is the id that the producer
    gets at the end of the transaction, because its epoch is exhausted. `client_version` is the transaction version (0, or 2) of
    the request that caused the record.
    """

    producer_id: int
    producer_epoch: int
    timeout_ms: int
    state: int
    partitions: tuple[TopicPartitions, ...] | None
    last_update_ms: int
    start_ms: int
    previous_producer_id: int = NO_PRODUCER_ID
    next_producer_id: int = NO_PRODUCER_ID
    client_version: int = 0


def _write_numbers(out: bytearray, value: Sequence[int], flexible: bool) -> None:
    out += unsigned_varint(len(value) + 1) if flexible else struct.pack(">i", len(value))
    try:
        out += struct.pack(f">{len(value)}i", *value)
    except struct.error as error:
        raise BadRecord("a partition does not fit into four bytes") from error


def _read_numbers(reader: RecordReader) -> tuple[int, ...]:
    count = reader.nullable_count() or 0
    return struct.unpack(f">{count}i", reader.take(4 * count))


_NUMBERS = FieldType(_write_numbers, _read_numbers)  # as array(INT32), at once: a transaction may have thousands of partitions
_TOPIC = Struct(TopicPartitions, topic=STRING, partitions=_NUMBERS)
_TOPICS = array(_TOPIC.as_type, nullable=True)


def _write_topics(out: bytearray, value: tuple[TopicPartitions, ...] | None, flexible: bool) -> None:
    """As `_TOPICS`; topics that have been written before cost a copy of their bytes."""
    if value is None or not flexible:
        _TOPICS.write(out, value, flexible)
        return
    out += unsigned_varint(len(value) + 1)
    out += b"".join([each.encoded for each in value])


_PARTITIONS = FieldType(_write_topics, _TOPICS.read)

# -- writing: each transaction stores three records, so it is written out --

_KEY = struct.Struct(">hh")  # record type, size of the transactional id
_HEAD = struct.Struct(">hqhib")  # version, producer id, epoch, timeout, state
_TIMES = struct.Struct(">qqb")  # last update, start, number of tagged fields
_TAGGED_INT64, _TAGGED_INT16 = struct.Struct(">bbq"), struct.Struct(">bbh")  # tag, size, value
_NULL, _EMPTY = b"\0", b"\1"  # arrays with a compact length
TYPE_TRANSACTION, VERSION = 0, 1


def encode_transaction(record: tuple[TransactionKey, StoredTransaction | None]) -> tuple[bytes, bytes | None]:
    """Key and value as TRANSACTION_RECORDS.encode() gives them. Raises BadRecord."""
    (transactional_id,), value = record
    name = transactional_id.encode()
    if len(name) > STRING_BYTES_MAX:
        raise BadRecord(f"a string of {len(name)} bytes, of at most {STRING_BYTES_MAX}")
    key = _KEY.pack(TYPE_TRANSACTION, len(name)) + name
    return key, None if value is None else _encode_value(value)


def _encode_value(value: StoredTransaction) -> bytes:
    producer_id, epoch, timeout_ms, state, partitions, last_update_ms, start_ms, previous_id, next_id, client_version = value
    topics, tags, count = _NULL if partitions is None else _EMPTY, b"", 0
    if partitions:
        topics = unsigned_varint(len(partitions) + 1) + b"".join([each.encoded for each in partitions])
    try:
        if previous_id != NO_PRODUCER_ID:
            tags, count = _TAGGED_INT64.pack(0, 8, previous_id), 1
        if next_id != NO_PRODUCER_ID:
            tags, count = tags + _TAGGED_INT64.pack(1, 8, next_id), count + 1
        if client_version:
            tags, count = tags + _TAGGED_INT16.pack(2, 2, client_version), count + 1
        head = _HEAD.pack(VERSION, producer_id, epoch, timeout_ms, state)
        return head + topics + _TIMES.pack(last_update_ms, start_ms, count) + tags
    except struct.error as error:
        raise BadRecord(f"a field of a transaction does not fit: {error}") from error


# -- reading, and the description of both --


def _value(**tagged: Tagged) -> Struct:
    return Struct(
        StoredTransaction, producer_id=INT64, producer_epoch=INT16, timeout_ms=INT32, state=INT8, partitions=_PARTITIONS,
        last_update_ms=INT64, start_ms=INT64, **tagged,
    )  # fmt: skip


TRANSACTION_RECORDS = RecordTypes(
    RecordType(
        0,
        Struct(TransactionKey, transactional_id=STRING),
        {
            0: _value(),
            1: _value(
                previous_producer_id=Tagged(0, INT64, NO_PRODUCER_ID),
                next_producer_id=Tagged(1, INT64, NO_PRODUCER_ID),
                client_version=Tagged(2, INT16, 0),
            ),
        },
        writes=1,
        flexible_from=1,
    )
)
