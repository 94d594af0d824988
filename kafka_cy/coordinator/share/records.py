"""The records of share groups in `__consumer_offsets`, and of share partitions in `__share_group_state` (KIP-932)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final, NamedTuple

from kafka_cy.coordinator.runtime.record_reader import BadRecord, RecordReader
from kafka_cy.coordinator.runtime.record_schema import (
    INT8,
    INT16,
    INT32,
    INT64,
    NULLABLE_STRING,
    STRING,
    UUID,
    FieldType,
    RecordType,
    RecordTypes,
    Struct,
    Tagged,
    array,
    unsigned_varint,
)
from kafka_cy.coordinator.share.state_batches import StateBatch, StateBatches

BATCH_BYTES: Final = 20  # of a state batch without tagged fields


class MemberKey(NamedTuple):
    """What a member is and wants."""

    group_id: str
    member_id: str


class Member(NamedTuple):
    rack_id: str | None
    client_id: str
    client_host: str
    subscribed_topic_names: tuple[str, ...]


class GroupKey(NamedTuple):
    """A share group's epoch. `metadata_hash` is that of the subscribed topics."""

    group_id: str


class Group(NamedTuple):
    epoch: int
    metadata_hash: int


class TargetMetadataKey(NamedTuple):
    """The group epoch that the target assignment belongs to."""

    group_id: str


class TargetMetadata(NamedTuple):
    assignment_epoch: int
    assignment_timestamp_ms: int = 0


class TargetMemberKey(NamedTuple):
    """The partitions that a member shall have."""

    group_id: str
    member_id: str


class TopicPartitions(NamedTuple):
    topic_id: uuid.UUID
    partitions: tuple[int, ...]


class TargetMember(NamedTuple):
    topic_partitions: tuple[TopicPartitions, ...]


class CurrentMemberKey(NamedTuple):
    """The partitions that a member has."""

    group_id: str
    member_id: str


class CurrentMember(NamedTuple):
    member_epoch: int
    previous_member_epoch: int
    state: int
    assigned_partitions: tuple[TopicPartitions, ...]


class StatePartitionsKey(NamedTuple):
    """Which share partitions of a group have state in `__share_group_state`."""

    group_id: str


class TopicPartitionsInfo(NamedTuple):
    topic_id: uuid.UUID
    topic_name: str
    partitions: tuple[int, ...]


class TopicInfo(NamedTuple):
    topic_id: uuid.UUID
    topic_name: str


class StatePartitions(NamedTuple):
    initializing_topics: tuple[TopicPartitionsInfo, ...]
    initialized_topics: tuple[TopicPartitionsInfo, ...]
    deleting_topics: tuple[TopicInfo, ...]


class SnapshotKey(NamedTuple):
    """The whole state of a share partition."""

    group_id: str
    topic_id: uuid.UUID
    partition: int


class UpdateKey(NamedTuple):
    """A change of the state of a share partition since its snapshot."""

    group_id: str
    topic_id: uuid.UUID
    partition: int


class Snapshot(NamedTuple):
    snapshot_epoch: int
    state_epoch: int
    leader_epoch: int
    start_offset: int
    create_timestamp_ms: int
    write_timestamp_ms: int
    state_batches: Sequence[StateBatch]
    delivery_complete_count: int = -1


class Update(NamedTuple):
    snapshot_epoch: int
    leader_epoch: int
    start_offset: int
    state_batches: Sequence[StateBatch]
    delivery_complete_count: int = -1


_TOPIC_PARTITIONS = Struct(TopicPartitions, topic_id=UUID, partitions=array(INT32)).as_type
_INFO = Struct(TopicPartitionsInfo, topic_id=UUID, topic_name=STRING, partitions=array(INT32)).as_type
_BATCH_ARRAY = array(
    Struct(StateBatch, first_offset=INT64, last_offset=INT64, delivery_state=INT8, delivery_count=INT16).as_type
)

def _write_batches(out: bytearray, batches: Sequence[StateBatch], flexible: bool) -> None:
    """As _BATCH_ARRAY, but a record may have thousands of them."""
    if not flexible:
        _BATCH_ARRAY.write(out, batches, flexible)
        return
    try:
        rows = batches if isinstance(batches, StateBatches) else StateBatches(batches)
    except OverflowError as error:
        raise BadRecord(f"a state batch does not fit: {error}") from error
    out += unsigned_varint(len(rows) + 1)
    out += rows.encoded()


def _read_batches(reader: RecordReader) -> StateBatches:
    start = reader.position
    if reader.flexible:
        count = reader.count()
        size = count * BATCH_BYTES
        found = StateBatches.decoded(reader.data[reader.position : reader.position + size])
        if found is not None and len(found) == count:
            reader.position += size
            return found
        reader.position = start  # some have tagged fields, or the last ones are missing
    return StateBatches(_BATCH_ARRAY.read(reader))


_BATCHES = FieldType(_write_batches, _read_batches)

MEMBER = RecordType(
    10,
    Struct(MemberKey, group_id=STRING, member_id=STRING),
    {
        0: Struct(
            Member, rack_id=NULLABLE_STRING, client_id=STRING, client_host=STRING, subscribed_topic_names=array(STRING)
        )
    },
)
GROUP = RecordType(11, Struct(GroupKey, group_id=STRING), {0: Struct(Group, epoch=INT32, metadata_hash=INT64)})
TARGET_METADATA = RecordType(
    12,
    Struct(TargetMetadataKey, group_id=STRING),
    {0: Struct(TargetMetadata, assignment_epoch=INT32, assignment_timestamp_ms=Tagged(0, INT64, 0))},
)
TARGET_MEMBER = RecordType(
    13,
    Struct(TargetMemberKey, group_id=STRING, member_id=STRING),
    {0: Struct(TargetMember, topic_partitions=array(_TOPIC_PARTITIONS))},
)
CURRENT_MEMBER = RecordType(
    14,
    Struct(CurrentMemberKey, group_id=STRING, member_id=STRING),
    {
        0: Struct(
            CurrentMember,
            member_epoch=INT32,
            previous_member_epoch=INT32,
            state=INT8,
            assigned_partitions=array(_TOPIC_PARTITIONS),
        )
    },
)
STATE_PARTITIONS = RecordType(
    15,
    Struct(StatePartitionsKey, group_id=STRING),
    {
        0: Struct(
            StatePartitions,
            initializing_topics=array(_INFO),
            initialized_topics=array(_INFO),
            deleting_topics=array(Struct(TopicInfo, topic_id=UUID, topic_name=STRING).as_type),
        )
    },
)
SNAPSHOT = RecordType(
    0,
    Struct(SnapshotKey, group_id=STRING, topic_id=UUID, partition=INT32),
    {
        0: Struct(
            Snapshot,
            snapshot_epoch=INT32,
            state_epoch=INT32,
            leader_epoch=INT32,
            start_offset=INT64,
            create_timestamp_ms=INT64,
            write_timestamp_ms=INT64,
            state_batches=_BATCHES,
            delivery_complete_count=Tagged(0, INT32, -1),
        )
    },
)
UPDATE = RecordType(
    1,
    Struct(UpdateKey, group_id=STRING, topic_id=UUID, partition=INT32),
    {
        0: Struct(
            Update,
            snapshot_epoch=INT32,
            leader_epoch=INT32,
            start_offset=INT64,
            state_batches=_BATCHES,
            delivery_complete_count=Tagged(0, INT32, -1),
        )
    },
)

GROUP_RECORDS = RecordTypes(MEMBER, GROUP, TARGET_METADATA, TARGET_MEMBER, CURRENT_MEMBER, STATE_PARTITIONS)
STATE_RECORDS = RecordTypes(SNAPSHOT, UPDATE)
