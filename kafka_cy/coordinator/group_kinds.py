"""The kinds of groups, and which records of `__consumer_offsets` belong to which kind."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.records import GROUP_RECORDS as CONSUMER_RECORDS
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.records import GroupKey, OtherKey, Record, decode_record, encode_record
from kafka_cy.coordinator.runtime.record_schema import RecordTypes
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.records import GROUP_RECORDS as SHARE_RECORDS
from kafka_cy.coordinator.streams.group import StreamsGroup
from kafka_cy.coordinator.streams.records import GROUP_RECORDS as STREAMS_RECORDS

G = TypeVar("G", bound=Group)

#: The kinds whose records are described by RecordTypes. Classic groups and offsets have a codec of their own.
KINDS: Final[tuple[tuple[type[Group], RecordTypes], ...]] = (
    (ConsumerGroup, CONSUMER_RECORDS),
    (ShareGroup, SHARE_RECORDS),
    (StreamsGroup, STREAMS_RECORDS),
)

#: The class of a record's key -> the kind of group that the record belongs to.
GROUP_OF: Final[dict[type[Any], type[Group]]] = {GroupKey: ClassicGroup} | {
    key: group for group, types in KINDS for key in types.by_key
}
_ENCODED_BY: Final[dict[type[Any], RecordTypes]] = {key: types for _, types in KINDS for key in types.by_key}
_DECODED_BY: Final[dict[int, RecordTypes]] = {number: types for _, types in KINDS for number in types.by_number}


def of_kind(group: Group | None, kind: type[G]) -> G | None:
    """The group, if it is of that kind. All questions about the kind of a group are asked here."""
    return group if isinstance(group, kind) else None


def encode_any(record: Record) -> tuple[bytes, bytes | None]:
    """Key and value of a record of any kind as bytes. Raises BadRecord."""
    key, value = record
    types = _ENCODED_BY.get(type(key))
    return encode_record(record) if types is None else types.encode(key, value)


def decode_any(key: bytes, value: bytes | None) -> Record | None:
    """The opposite of encode_any; None for a type that is not known. Raises BadRecord."""
    record = decode_record(key, value)
    if not isinstance(record[0], OtherKey):
        return record
    types = _DECODED_BY.get(record[0].record_type)
    return types.decode(key, value) if types is not None else None
