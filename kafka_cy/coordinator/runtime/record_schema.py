"""Describes the records of coordinators, and encodes and decodes them, byte for byte as Kafka does.

A key is an int16 record type and its fields; it never has compact lengths. A value is an int16 version and its fields. Keys,
values and the structs in them are NamedTuples; a `Struct` lists their fields in wire order. Example:

    OFFSET = RecordType(1, Struct(OffsetKey, group_id=STRING, topic=STRING, partition=INT32), {4: Struct(...)}, writes=4)

Kafka: the messages of `group-coordinator`, `transaction-coordinator` and `share-coordinator` ("type": "coordinator-key").
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kafka_cy.coordinator.runtime.record_reader import BadRecord, RecordReader

STRING_BYTES_MAX = 0x7FFF  # a string of a record, and of a response: its length is an int16


class FieldType(NamedTuple):
    """How values of a type are written and read; `flexible` says whether lengths are compact."""

    write: Callable[[bytearray, Any, bool], None]  # raises BadRecord when the value does not fit
    read: Callable[[RecordReader], Any]  # raises BadRecord


_ONE_BYTE = [bytes((value,)) for value in range(0x80)]


def unsigned_varint(value: int) -> bytes:
    """The value in groups of seven bits, the lowest first."""
    if 0 <= value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(layout: str) -> FieldType:
    packer = struct.Struct(">" + layout)

    def write(out: bytearray, value: int, flexible: bool) -> None:
        try:
            out += packer.pack(value)
        except struct.error as error:
            raise BadRecord(f"{value} does not fit into {packer.size} bytes") from error

    return FieldType(write, lambda reader: packer.unpack(reader.take(packer.size))[0])


INT8, INT16, UINT16, INT32, INT64 = _number("b"), _number("h"), _number("H"), _number("i"), _number("q")
_LAYOUTS = {INT8: "b", INT16: "h", UINT16: "H", INT32: "i", INT64: "q"}


def _write_length(out: bytearray, length: int, flexible: bool, layout: str) -> None:
    """The length of a string, byte string or array; -1 is null."""
    out += unsigned_varint(length + 1) if flexible else struct.pack(layout, length)


def _write_string(out: bytearray, value: str | None, flexible: bool) -> None:
    if value is None:
        raise BadRecord("a string is null")
    data = value.encode("utf-8")
    if len(data) > STRING_BYTES_MAX:
        raise BadRecord(f"a string of {len(data)} bytes, of at most {STRING_BYTES_MAX}")
    _write_length(out, len(data), flexible, ">h")
    out += data


def _write_nullable_string(out: bytearray, value: str | None, flexible: bool) -> None:
    if value is None:
        _write_length(out, -1, flexible, ">h")
    else:
        _write_string(out, value, flexible)


def _write_bytes(out: bytearray, value: bytes, flexible: bool) -> None:
    _write_length(out, len(value), flexible, ">i")
    out += value


def _write_uuid(out: bytearray, value: uuid.UUID, flexible: bool) -> None:
    out += value.bytes


STRING = FieldType(_write_string, RecordReader.string)
NULLABLE_STRING = FieldType(_write_nullable_string, RecordReader.nullable_string)
BYTES = FieldType(_write_bytes, RecordReader.byte_string)
UUID = FieldType(_write_uuid, lambda reader: uuid.UUID(bytes=reader.take(16)))


def array(of: FieldType, *, nullable: bool = False) -> FieldType:
    """An array; its value is a tuple, or None if it is nullable. Numbers are written and read all at once."""
    layout = _LAYOUTS.get(of)

    def write(out: bytearray, value: Sequence[Any] | None, flexible: bool) -> None:
        if value is None:
            if not nullable:
                raise BadRecord("an array is null")
            _write_length(out, -1, flexible, ">i")
            return
        _write_length(out, len(value), flexible, ">i")
        if layout is not None:
            try:
                out += struct.pack(f">{len(value)}{layout}", *value)
            except struct.error as error:
                raise BadRecord(f"a number does not fit: {error}") from error
            return
        for each in value:
            of.write(out, each, flexible)

    def read(reader: RecordReader) -> tuple[Any, ...] | None:
        count = reader.nullable_count()
        if count is None:
            return None if nullable else ()
        if layout is not None:
            data = reader.take(count * struct.calcsize(layout))
            return struct.unpack(f">{count}{layout}", data)
        return tuple(of.read(reader) for _ in range(count))

    return FieldType(write, read)


def nullable_struct(of: FieldType) -> FieldType:
    """A struct that may be None, as an ordinary field: an int8 says whether it follows (1) or is null (-1)."""

    def write(out: bytearray, value: Any, flexible: bool) -> None:
        out += b"\xff" if value is None else b"\x01"
        if value is not None:
            of.write(out, value, flexible)

    return FieldType(write, lambda reader: of.read(reader) if reader.take(1)[0] < 0x80 else None)


def nullable_struct_in_tag(of: FieldType) -> FieldType:
    """A struct that may be None, as a tagged field: an unsigned varint says whether it follows (1) or is null (0)."""

    def write(out: bytearray, value: Any, flexible: bool) -> None:
        out += b"\x00" if value is None else b"\x01"
        if value is not None:
            of.write(out, value, flexible)

    return FieldType(write, lambda reader: of.read(reader) if reader.unsigned_varint() else None)


class Tagged(NamedTuple):
    """A tagged field. It is left out when it equals `default`, and is `default` when it was left out.

    Where Kafka's schema has null as the default, Kafka's generator takes that as no default: null is written, and the empty
    array or struct is left out. `default` is that empty value then.
    """

    tag: int
    type: FieldType
    default: Any


class Struct:
    """The fields of a NamedTuple `made` in wire order; those of its fields that are not listed keep their defaults."""

    def __init__(self, made: type[Any], **fields: FieldType | Tagged) -> None:
        known: Sequence[str] = made._fields
        assert all(name in known for name in fields), f"{made.__name__} has no such field"
        self.made = made
        self.fields = [(name, each) for name, each in fields.items() if isinstance(each, FieldType)]
        self.tagged = sorted(
            ((name, each) for name, each in fields.items() if isinstance(each, Tagged)), key=lambda field: field[1].tag
        )

    def write(self, out: bytearray, value: Any, flexible: bool) -> None:
        """Append the struct. Raises BadRecord when a field does not fit."""
        for name, field in self.fields:
            field.write(out, getattr(value, name), flexible)
        if not flexible:
            return
        present = [(name, each) for name, each in self.tagged if getattr(value, name) != each.default]
        out += unsigned_varint(len(present))
        for name, each in present:
            data = bytearray()
            each.type.write(data, getattr(value, name), flexible)
            out += unsigned_varint(each.tag) + unsigned_varint(len(data)) + data

    def read(self, reader: RecordReader) -> Any:
        """The next struct; unknown tagged fields are skipped. Raises BadRecord."""
        values = {name: field.read(reader) for name, field in self.fields}
        tags = reader.tags()
        for name, each in self.tagged:
            data = tags.get(each.tag)
            values[name] = each.default if data is None else each.type.read(RecordReader(data, flexible=True))
        return self.made(**values)

    @property
    def as_type(self) -> FieldType:
        """The struct as the type of a field."""
        return FieldType(self.write, self.read)


class RecordType:
    """A type of record: its number, its key, and its value by version. Values are written in the version `writes`."""

    def __init__(
        self, number: int, key: Struct, values: Mapping[int, Struct], *, writes: int = 0, flexible_from: int = 0
    ) -> None:
        self.number = number
        self.key = key
        self.values = dict(values)
        self.writes = writes
        self.flexible_from = flexible_from

    def encode_key(self, key: Any) -> bytes:
        """Raises BadRecord when a field does not fit."""
        out = bytearray(struct.pack(">h", self.number))
        self.key.write(out, key, False)
        return bytes(out)

    def encode_value(self, value: Any) -> bytes | None:
        """None, the tombstone, stays None. Raises BadRecord when a field does not fit."""
        if value is None:
            return None
        out = bytearray(struct.pack(">h", self.writes))
        self.values[self.writes].write(out, value, self.writes >= self.flexible_from)
        return bytes(out)

    def decode_value(self, data: bytes | None) -> Any:
        """The value; None for a tombstone. Raises BadRecord, also for a version that is not known."""
        if data is None:
            return None
        reader = RecordReader(data)
        version = reader.int16()
        if version not in self.values:
            raise BadRecord(f"record type {self.number} has no version {version}")
        reader.flexible = version >= self.flexible_from
        return self.values[version].read(reader)


class RecordTypes:
    """The record types of one topic. A record's key names its type by its class."""

    def __init__(self, *types: RecordType) -> None:
        self.by_number = {each.number: each for each in types}
        self.by_key = {each.key.made: each for each in types}

    def encode(self, key: Any, value: Any) -> tuple[bytes, bytes | None]:
        """Key and value as bytes. Raises BadRecord."""
        record_type = self.by_key[type(key)]
        return record_type.encode_key(key), record_type.encode_value(value)

    def decode(self, key: bytes, value: bytes | None) -> tuple[Any, Any] | None:
        """The opposite of encode; None for a type that is not known. Raises BadRecord."""
        reader = RecordReader(key)
        record_type = self.by_number.get(reader.int16())
        if record_type is None:
            return None
        return record_type.key.read(reader), record_type.decode_value(value)
