"""Keys and values of the records of `__consumer_offsets` that classic groups use, byte for byte as Kafka stores them.

Written: committed offsets (type 1, value version 4, or 1 when the request carried a retention time) and groups (type 2,
value version 3). Read: offset values 0-4, group values 0-4, key type 0 as 1. Records of other types (KIP-848, share and
streams groups) have the key `OtherKey`.
"""

from __future__ import annotations

import struct
import uuid
from typing import Any, NamedTuple

from kafka_cy.coordinator.runtime.record_reader import BadRecord, RecordReader
from kafka_cy.coordinator.runtime.record_schema import STRING_BYTES_MAX, unsigned_varint
from kafka_cy.coordinator.string_hash import java_string_hash

TYPE_OFFSET_OLD = 0
TYPE_OFFSET = 1
TYPE_GROUP = 2
TOPIC_ID_TAG = 0


class OffsetKey(NamedTuple):
    group_id: str
    topic: str
    partition: int


class GroupKey(NamedTuple):
    group_id: str


class OtherKey(NamedTuple):
    """A record of another kind of group."""

    record_type: int


class CommittedOffset(NamedTuple):
    """What a group committed for a partition. `expire_timestamp_ms` is -1 unless OffsetCommit v2-4 set a retention."""

    offset: int
    leader_epoch: int
    metadata: str
    commit_timestamp_ms: int
    expire_timestamp_ms: int = -1
    topic_id: uuid.UUID | None = None


class StoredMember(NamedTuple):
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    subscription: bytes
    assignment: bytes


class StoredGroup(NamedTuple):
    """The value of a group record. `state_timestamp_ms` is -1 when it is unknown (versions 0 and 1)."""

    protocol_type: str
    generation: int
    protocol: str | None
    leader: str | None
    state_timestamp_ms: int
    members: tuple[StoredMember, ...]


Key = OffsetKey | GroupKey | OtherKey
Record = tuple[Any, Any]  # (a key of any kind of group, its value); the value is None for a tombstone


def partition_of(key: str, partition_count: int) -> int:
    """The partition of an internal topic that a group id (or transactional id) belongs to."""
    value = java_string_hash(key)
    return 0 if value == -(1 << 31) else abs(value) % partition_count


# -- writing --


def fits(text: str) -> bool:
    """Whether the string fits into a record."""
    return len(text) * 4 <= STRING_BYTES_MAX or len(text.encode("utf-8")) <= STRING_BYTES_MAX


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    if len(data) > STRING_BYTES_MAX:
        raise BadRecord(f"a string of {len(data)} bytes, of at most {STRING_BYTES_MAX}")
    return struct.pack(">h", len(data)) + data


def _nullable_string(text: str | None) -> bytes:
    return b"\xff\xff" if text is None else _string(text)


def _bytes(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def offset_key(group_id: str, topic: str, partition: int) -> bytes:
    return struct.pack(">h", TYPE_OFFSET) + _string(group_id) + _string(topic) + struct.pack(">i", partition)


def group_key(group_id: str) -> bytes:
    return struct.pack(">h", TYPE_GROUP) + _string(group_id)


def offset_value(committed: CommittedOffset) -> bytes:
    """Version 1 for an offset with its own expiry, else version 4."""
    if committed.expire_timestamp_ms != -1:
        head = struct.pack(">hq", 1, committed.offset) + _string(committed.metadata)
        return head + struct.pack(">qq", committed.commit_timestamp_ms, committed.expire_timestamp_ms)
    metadata = committed.metadata.encode("utf-8")
    if len(metadata) > STRING_BYTES_MAX:
        raise BadRecord(f"a string of {len(metadata)} bytes, of at most {STRING_BYTES_MAX}")
    value = struct.pack(">hqi", 4, committed.offset, committed.leader_epoch)
    value += unsigned_varint(len(metadata) + 1) + metadata + struct.pack(">q", committed.commit_timestamp_ms)
    if committed.topic_id is None:
        return value + b"\x00"
    return value + b"\x01\x00\x10" + committed.topic_id.bytes


def encode_record(record: Record) -> tuple[bytes, bytes | None]:
    """Key and value as bytes. Raises BadRecord."""
    key, value = record
    if isinstance(key, OffsetKey):
        encoded = offset_key(key.group_id, key.topic, key.partition)
        return encoded, offset_value(value) if value is not None else None
    assert isinstance(key, GroupKey)
    return group_key(key.group_id), group_value(value) if value is not None else None


def decode_record(key_bytes: bytes, value_bytes: bytes | None) -> Record:
    """The key and, unless it is an OtherKey, the value of a record. Raises BadRecord."""
    key = read_key(key_bytes)
    if value_bytes is None or isinstance(key, OtherKey):
        return key, None
    return key, read_offset_value(value_bytes) if isinstance(key, OffsetKey) else read_group_value(value_bytes)


def group_value(group: StoredGroup) -> bytes:
    """Version 3."""
    parts = [
        struct.pack(">h", 3),
        _string(group.protocol_type),
        struct.pack(">i", group.generation),
        _nullable_string(group.protocol),
        _nullable_string(group.leader),
        struct.pack(">qi", group.state_timestamp_ms, len(group.members)),
    ]
    for member in group.members:
        parts += [
            _string(member.member_id),
            _nullable_string(member.instance_id),
            _string(member.client_id),
            _string(member.client_host),
            struct.pack(">ii", member.rebalance_timeout_ms, member.session_timeout_ms),
            _bytes(member.subscription),
            _bytes(member.assignment),
        ]
    return b"".join(parts)


# -- reading --


def read_key(key: bytes) -> Key:
    """Raises BadRecord."""
    reader = RecordReader(key)
    record_type = reader.int16()
    if record_type in (TYPE_OFFSET_OLD, TYPE_OFFSET):
        return OffsetKey(reader.string(), reader.string(), reader.int32())
    if record_type == TYPE_GROUP:
        return GroupKey(reader.string())
    return OtherKey(record_type)


def read_offset_value(value: bytes) -> CommittedOffset:
    """Versions 0 to 4. Raises BadRecord."""
    reader = RecordReader(value)
    version = reader.int16()
    if not 0 <= version <= 4:
        raise BadRecord(f"committed offset of version {version}")
    reader.flexible = version >= 4
    offset = reader.int64()
    leader_epoch = reader.int32() if version >= 3 else -1
    metadata = reader.string()
    commit_timestamp_ms = reader.int64()
    expire_timestamp_ms = reader.int64() if version == 1 else -1
    topic_id = reader.tags().get(TOPIC_ID_TAG, b"")
    known = len(topic_id) == 16 and any(topic_id)
    return CommittedOffset(
        offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms,
        uuid.UUID(bytes=topic_id) if known else None,
    )  # fmt: skip


def _read_member(reader: RecordReader, version: int) -> StoredMember:
    member_id = reader.string()
    instance_id = reader.nullable_string() if version >= 3 else None
    client_id, client_host = reader.string(), reader.string()
    rebalance_timeout_ms = reader.int32() if version >= 1 else -1
    session_timeout_ms = reader.int32()
    if rebalance_timeout_ms < 0:
        rebalance_timeout_ms = session_timeout_ms
    subscription, assignment = reader.byte_string(), reader.byte_string()
    reader.tags()
    return StoredMember(
        member_id,
        instance_id,
        client_id,
        client_host,
        rebalance_timeout_ms,
        session_timeout_ms,
        subscription,
        assignment,
    )


def read_group_value(value: bytes) -> StoredGroup:
    """Versions 0 to 4. Raises BadRecord."""
    reader = RecordReader(value)
    version = reader.int16()
    if not 0 <= version <= 4:
        raise BadRecord(f"group of version {version}")
    reader.flexible = version >= 4
    protocol_type, generation = reader.string(), reader.int32()
    protocol, leader = reader.nullable_string(), reader.nullable_string()
    state_timestamp_ms = reader.int64() if version >= 2 else -1
    members = tuple(_read_member(reader, version) for _ in range(reader.count()))
    return StoredGroup(protocol_type, generation, protocol, leader, state_timestamp_ms, members)
