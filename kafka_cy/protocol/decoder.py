"""Decodes requests from bytes to kio entities. Every length is checked against the remaining bytes before use."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from kafka_cy.protocol.schema import FieldSchema, entity_fields, is_flexible

Read = Callable[["Cursor"], Any]
Set = Callable[[Any, Any], None]
_TAGS_MAX = 1_000
ELEMENTS_MAX = 1 << 31
_STRING_BYTES_MAX = 0x7FFF


class MalformedRequest(Exception):
    """The bytes are not a message of this key and version; the connection must be closed."""


class TooManyElements(MalformedRequest):
    """The arrays of the message have more elements than the caller allows."""


class Cursor:
    """The decoder's position in a request body."""

    __slots__ = ("data", "elements_left", "end", "position")

    def __init__(
        self, data: bytes, position: int = 0, end: int | None = None, elements_max: int = ELEMENTS_MAX
    ) -> None:
        self.data = data
        self.elements_left = elements_max  # for all arrays together: a 1-byte element needs some 100 bytes of memory
        self.position = position
        self.end = len(data) if end is None else end

    def take(self, size: int) -> bytes:
        """Read the next `size` bytes."""
        start = self.position
        if size < 0 or size > self.end - start:
            raise MalformedRequest(f"{size} bytes expected at {start}, {self.end - start} left")
        self.position = start + size
        return self.data[start : self.position]

    def varint(self) -> int:
        """Read an unsigned varint of at most 5 bytes."""
        value = shift = 0
        while shift < 35:
            if self.position >= self.end:
                raise MalformedRequest("truncated varint")
            byte = self.data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise MalformedRequest("varint too long")


def _fixed(format_: str) -> Read:
    packer = struct.Struct(">" + format_)
    size, unpack = packer.size, packer.unpack_from

    def read(cursor: Cursor) -> Any:
        start = cursor.position
        if size > cursor.end - start:
            raise MalformedRequest(f"truncated at {start}")
        cursor.position = start + size
        return unpack(cursor.data, start)[0]

    return read


_int8, _int16, _int32, _int64 = _fixed("b"), _fixed("h"), _fixed("i"), _fixed("q")


def _read_uuid(cursor: Cursor) -> UUID | None:
    raw = cursor.take(16)
    return UUID(bytes=raw) if any(raw) else None


def _read_duration_i32(cursor: Cursor) -> timedelta:
    return timedelta(milliseconds=_int32(cursor))


_DURATION_MS_MIN, _DURATION_MS_MAX = (each // timedelta(milliseconds=1) for each in (timedelta.min, timedelta.max))


def _read_duration_i64(cursor: Cursor) -> timedelta:
    return timedelta(milliseconds=max(_DURATION_MS_MIN, min(_DURATION_MS_MAX, _int64(cursor))))


def _read_datetime(cursor: Cursor) -> datetime | None:
    milliseconds = _int64(cursor)
    if milliseconds < 0:
        return None
    return datetime.fromtimestamp(min(milliseconds, 253_402_300_799_000) / 1000, UTC)


_SCALARS: dict[str, Read] = {
    "int8": _int8,
    "int16": _int16,
    "int32": _int32,
    "int64": _int64,
    "uint8": _fixed("B"),
    "uint16": _fixed("H"),
    "uint32": _fixed("I"),
    "uint64": _fixed("Q"),
    "float64": _fixed("d"),
    "bool": lambda cursor: _int8(cursor) != 0,
    "error_code": _int16,
    "uuid": _read_uuid,
    "timedelta_i32": _read_duration_i32,
    "timedelta_i64": _read_duration_i64,
    "datetime_i64": _read_datetime,
}


def _compact_length(cursor: Cursor) -> int:
    return cursor.varint() - 1


def _sized(kafka_type: str, flexible: bool, optional: bool) -> Read:
    text = kafka_type == "string"
    read_length = _compact_length if flexible else _int16 if text else _int32

    def read(cursor: Cursor) -> Any:
        size = read_length(cursor)
        if size < 0:
            if optional:
                return None
            raise MalformedRequest(f"length {size} of a value that must not be null")
        if text and size > _STRING_BYTES_MAX:  # the compact form could hold more; Kafka also refuses it
            raise MalformedRequest(f"a string of {size} bytes, more than {_STRING_BYTES_MAX}")
        raw = cursor.take(size)
        return raw.decode("utf-8", "replace") if text else raw

    return read


def _array(item: Read, flexible: bool, optional: bool) -> Read:
    read_length = _compact_length if flexible else _int32
    is_int32 = item is _int32

    def read(cursor: Cursor) -> Any:
        count = read_length(cursor)
        if count < 0:
            if optional:
                return None
            raise MalformedRequest(f"array length {count}")
        if count > cursor.end - cursor.position:
            raise MalformedRequest(f"array of {count} elements in {cursor.end - cursor.position} bytes")
        cursor.elements_left -= count
        if cursor.elements_left < 0:
            raise TooManyElements("more array elements than kafkacy.control.request.max.elements")
        if is_int32:  # all at once: most long arrays are partition indexes
            return struct.unpack(f">{count}i", cursor.take(4 * count))
        return tuple([item(cursor) for _ in range(count)])

    return read


def _field_reader(field: FieldSchema, flexible: bool) -> Read:
    nullable = field.optional and not field.array
    if field.entity is not None:
        item = entity_reader(field.entity)
        if nullable and field.tag is None:
            item = _nullable_entity(item)
    elif field.kafka_type in ("string", "bytes", "records"):
        item = _sized(field.kafka_type, flexible, nullable)
    else:
        item = _SCALARS[field.kafka_type]
    return _array(item, flexible, field.optional) if field.array else item


def _nullable_entity(item: Read) -> Read:
    return lambda cursor: item(cursor) if _int8(cursor) >= 0 else None


def _read_tags(cursor: Cursor, readers: dict[int, tuple[Set, Read]], made: Any) -> None:
    count, previous = cursor.varint(), -1
    if count > _TAGS_MAX:
        raise MalformedRequest(f"{count} tagged fields")
    for _ in range(count):
        tag, size = cursor.varint(), cursor.varint()
        if tag <= previous:
            raise MalformedRequest(f"tag {tag} after tag {previous}")
        previous = tag
        if size > cursor.end - cursor.position:
            raise MalformedRequest(f"tag {tag} of {size} bytes, {cursor.end - cursor.position} left")
        known = readers.get(tag)
        if known is None:
            cursor.position += size
            continue
        inner = Cursor(cursor.data, cursor.position, cursor.position + size, cursor.elements_left)
        known[0](made, known[1](inner))
        cursor.elements_left = inner.elements_left
        if inner.position != inner.end:
            raise MalformedRequest(f"tag {tag} has trailing bytes")
        cursor.position = inner.end


@cache
def entity_reader(entity: type) -> Read:
    """Return a reader of one kio dataclass (created once per class)."""
    flexible = is_flexible(entity)
    new = object.__new__
    # Set the slots directly: a frozen dataclass's constructor costs several times as much.
    plain: list[tuple[Set, Read]] = []
    tagged: dict[int, tuple[Set, Read]] = {}
    defaults: list[tuple[Set, Any]] = []
    for field in entity_fields(entity):
        reader = _field_reader(field, flexible)
        set_field = getattr(entity, field.name).__set__
        if field.tag is None:
            plain.append((set_field, reader))
        else:
            tagged[field.tag] = (set_field, reader)
            empty = field.entity is not None and not field.array and field.default == {}
            defaults.append((set_field, None if empty else field.default))

    def read(cursor: Cursor) -> Any:
        made: Any = new(entity)
        for set_field, reader in plain:
            set_field(made, reader(cursor))
        if flexible:
            for set_field, default in defaults:
                set_field(made, default)
            _read_tags(cursor, tagged, made)
        return made

    return read
