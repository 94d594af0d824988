"""Decodes the records of a KRaft metadata log into named fields.

Kafka generates its own readers from JSON schemas (metadata/src/main/resources/common/metadata). This module has the
same schemas as tables, for the records whose content kafka-cy takes over. Every length is checked against the
remaining bytes before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

FRAME_VERSION: Final = 1  # AbstractApiMessageSerde.DEFAULT_FRAME_VERSION
VARINT_BYTES_MAX: Final = 5


class BadMetadataRecord(ValueError):
    """A record cannot be decoded; the text says why."""


class UnknownRecordVersion(BadMetadataRecord):
    """A known record in a version that this module does not know: Kafka is newer."""


class RecordReader:
    """Reads the fields of one record. `position` is a byte offset into `data`."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises BadMetadataRecord."""
        start = self.position
        if size < 0 or size > len(self.data) - start:
            raise BadMetadataRecord(f"{size} bytes are expected at byte {start}, but only {len(self.data) - start} are left")
        self.position = start + size
        return self.data[start : self.position]

    def varint(self) -> int:
        """An unsigned varint of 32 bits. Raises BadMetadataRecord."""
        value = 0
        for i in range(VARINT_BYTES_MAX):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                return value
        raise BadMetadataRecord(f"a varint at byte {self.position} is longer than {VARINT_BYTES_MAX} bytes")


Read = Callable[[RecordReader], Any]


def _fixed(layout: str) -> Read:
    unpacker = struct.Struct(">" + layout)

    def read(reader: RecordReader) -> Any:
        return unpacker.unpack(reader.take(unpacker.size))[0]

    return read


def _uuid(reader: RecordReader) -> UUID:
    return UUID(bytes=reader.take(16))


def _bytes(reader: RecordReader) -> bytes:
    size = reader.varint() - 1
    if size < 0:
        raise BadMetadataRecord(f"a value is missing at byte {reader.position}")
    return reader.take(size)


def _string(reader: RecordReader) -> str:
    raw = _bytes(reader)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadMetadataRecord(f"a string is not UTF-8: {raw[:40]!r}") from error


def _nullable(read: Read) -> Read:
    def read_or_none(reader: RecordReader) -> Any:
        start = reader.position
        if reader.varint() == 0:
            return None
        reader.position = start
        return read(reader)

    return read_or_none


def _array(read: Read) -> Read:
    def read_array(reader: RecordReader) -> list[Any]:
        count = reader.varint() - 1
        left = len(reader.data) - reader.position
        if count < 0 or count > left:
            raise BadMetadataRecord(f"an array of {count} elements has only {left} bytes")
        return [read(reader) for _ in range(count)]

    return read_array


INT8, INT16, INT32, INT64, FLOAT64, BOOL = (_fixed(layout) for layout in "bhiqd?")
INT32_ARRAY, UUID_ARRAY, STRING_ARRAY = _array(INT32), _array(_uuid), _array(_string)


class Field(NamedTuple):
    """One field; `since` is the first version of the record that has it."""

    name: str
    read: Read
    since: int = 0


class Tagged(NamedTuple):
    """One tagged field, with its default for records that omit it."""

    name: str
    read: Read
    default: Any


class Schema(NamedTuple):
    """One kind of record: versions 0 to `version_max` are understood."""

    name: str
    version_max: int
    fields: tuple[Field, ...]
    tagged: Mapping[int, Tagged] = {}


class MetadataRecord(NamedTuple):
    """One decoded record. `fields` is empty for a record whose content is not used (see IGNORED)."""

    name: str
    fields: dict[str, Any]


def _tagged_fields(reader: RecordReader, known: Mapping[int, Tagged]) -> dict[str, Any]:
    values = {field.name: field.default for field in known.values()}
    previous = -1
    for _ in range(reader.varint()):
        tag, content = reader.varint(), RecordReader(reader.take(reader.varint()))
        if tag <= previous:
            raise BadMetadataRecord(f"tag {tag} follows tag {previous}")
        previous = tag
        if tag in known:
            values[known[tag].name] = known[tag].read(content)
            if content.position != len(content.data):
                raise BadMetadataRecord(f"the tagged field {known[tag].name} has trailing bytes")
    return values


def _struct(fields: tuple[Field, ...]) -> Read:
    def read(reader: RecordReader) -> dict[str, Any]:
        values = {field.name: field.read(reader) for field in fields}
        _tagged_fields(reader, {})
        return values

    return read


_QUOTA_ENTITY = _struct((Field("type", _string), Field("name", _nullable(_string))))

#: Schemas of the decoded records, by api key.
SCHEMAS: Final[dict[int, Schema]] = {
    2: Schema("TopicRecord", 0, (Field("name", _string), Field("topic_id", _uuid))),
    3: Schema(
        "PartitionRecord",
        2,
        (
            Field("partition_id", INT32),
            Field("topic_id", _uuid),
            Field("replicas", INT32_ARRAY),
            Field("isr", INT32_ARRAY),
            Field("removing_replicas", INT32_ARRAY),
            Field("adding_replicas", INT32_ARRAY),
            Field("leader", INT32),
            Field("leader_epoch", INT32),
            Field("partition_epoch", INT32),
            Field("directories", UUID_ARRAY, since=1),
        ),
    ),
    4: Schema(
        "ConfigRecord",
        0,
        (
            Field("resource_type", INT8),
            Field("resource_name", _string),
            Field("name", _string),
            Field("value", _nullable(_string)),
        ),
    ),
    5: Schema(
        "PartitionChangeRecord",
        2,
        (Field("partition_id", INT32), Field("topic_id", _uuid)),
        {
            0: Tagged("isr", _nullable(INT32_ARRAY), None),
            1: Tagged("leader", INT32, -2),
            2: Tagged("replicas", _nullable(INT32_ARRAY), None),
            8: Tagged("directories", _nullable(UUID_ARRAY), None),
        },
    ),
    9: Schema("RemoveTopicRecord", 0, (Field("topic_id", _uuid),)),
    10: Schema(
        "DelegationTokenRecord",
        0,
        (
            Field("owner", _string),
            Field("requester", _string),
            Field("renewers", STRING_ARRAY),
            Field("issue_timestamp", INT64),
            Field("max_timestamp", INT64),
            Field("expiration_timestamp", INT64),
            Field("token_id", _string),
        ),
    ),
    11: Schema(
        "UserScramCredentialRecord",
        0,
        (
            Field("name", _string),
            Field("mechanism", INT8),
            Field("salt", _bytes),
            Field("stored_key", _bytes),
            Field("server_key", _bytes),
            Field("iterations", INT32),
        ),
    ),
    12: Schema("FeatureLevelRecord", 0, (Field("name", _string), Field("level", INT16))),
    14: Schema(
        "ClientQuotaRecord",
        0,
        (
            Field("entity", _array(_QUOTA_ENTITY)),
            Field("key", _string),
            Field("value", FLOAT64),
            Field("remove", BOOL),
        ),
    ),
    15: Schema(
        "ProducerIdsRecord",
        0,
        (Field("broker_id", INT32), Field("broker_epoch", INT64), Field("next_producer_id", INT64)),
    ),
    18: Schema(
        "AccessControlEntryRecord",
        0,
        (
            Field("id", _uuid),
            Field("resource_type", INT8),
            Field("resource_name", _string),
            Field("pattern_type", INT8),
            Field("principal", _string),
            Field("host", _string),
            Field("operation", INT8),
            Field("permission_type", INT8),
        ),
    ),
    19: Schema("RemoveAccessControlEntryRecord", 0, (Field("id", _uuid),)),
    22: Schema("RemoveUserScramCredentialRecord", 0, (Field("name", _string), Field("mechanism", INT8))),
    23: Schema("BeginTransactionRecord", 0, ()),
    24: Schema("EndTransactionRecord", 0, ()),
    25: Schema("AbortTransactionRecord", 0, ()),
    26: Schema("RemoveDelegationTokenRecord", 0, (Field("token_id", _string),)),
}

#: Records that a single broker does not need: the existing brokers and controllers, and their features.
IGNORED: Final[dict[int, str]] = {
    0: "RegisterBrokerRecord",
    1: "UnregisterBrokerRecord",
    7: "FenceBrokerRecord",
    8: "UnfenceBrokerRecord",
    17: "BrokerRegistrationChangeRecord",
    20: "NoOpRecord",
    21: "ZkMigrationStateRecord",
    27: "RegisterControllerRecord",
    28: "ClearElrRecord",
}


def decode_record(value: bytes | None) -> MetadataRecord:
    """Decode the value of one record: frame version, api key and version as varints, then the fields.

    A record of an unknown kind is named "unknown record N". Raises BadMetadataRecord.
    """
    if value is None:
        raise BadMetadataRecord("a record has no value")
    reader = RecordReader(value)
    frame_version, key, version = reader.varint(), reader.varint(), reader.varint()
    if frame_version != FRAME_VERSION:
        raise BadMetadataRecord(f"a record has frame version {frame_version}, only {FRAME_VERSION} is known")
    schema = SCHEMAS.get(key)
    if schema is None:
        return MetadataRecord(IGNORED.get(key, f"unknown record {key}"), {})
    if version > schema.version_max:
        raise UnknownRecordVersion(f"{schema.name} has version {version}, only 0 to {schema.version_max} are known")
    fields = {field.name: field.read(reader) for field in schema.fields if version >= field.since}
    fields.update(_tagged_fields(reader, schema.tagged))
    if reader.position != len(value):
        raise BadMetadataRecord(f"{schema.name} has {len(value) - reader.position} trailing bytes")
    return MetadataRecord(schema.name, fields)
