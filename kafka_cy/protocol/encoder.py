"""Encodes responses from plain nested dicts to bytes.

A key that the version lacks is dropped; a missing key takes the schema's default. Durations are ints in milliseconds
(or timedelta), ids are UUID or None, error codes are ints.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from kafka_cy.protocol.schema import FieldSchema, entity_fields, is_flexible

Write = Callable[[bytearray, Any], None]
_MILLISECOND = timedelta(milliseconds=1)


def write_varint(out: bytearray, value: int) -> None:
    """Append an unsigned varint."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _fixed(format_: str) -> Write:
    pack = struct.Struct(">" + format_).pack

    def write(out: bytearray, value: Any) -> None:
        out += pack(value)

    return write


def _duration(inner: Write) -> Write:
    def write(out: bytearray, value: Any) -> None:
        inner(out, value // _MILLISECOND if isinstance(value, timedelta) else value)

    return write


def _write_datetime(out: bytearray, value: Any) -> None:
    if value is None:
        value = -1
    elif isinstance(value, datetime):
        value = round(value.timestamp() * 1000)
    out += struct.pack(">q", value)


def _write_uuid(out: bytearray, value: Any) -> None:
    out += bytes(16) if value is None else value.bytes


RESPONSE_BYTES_MAX = 128 << 20


class ResponseTooLarge(Exception):
    """A small request asked for more than a response may hold; the connection must be closed."""


class Output(bytearray):
    """The bytes of a response, and every error code in them."""

    def __init__(self, error_codes: list[int]) -> None:
        super().__init__()
        self.error_codes = error_codes


_pack_int16 = struct.Struct(">h").pack


def _write_error_code(out: bytearray, value: int) -> None:
    if isinstance(out, Output):
        out.error_codes.append(value)
    out += _pack_int16(value)


_SCALARS: dict[str, Write] = {
    "int8": _fixed("b"),
    "int16": _fixed("h"),
    "int32": _fixed("i"),
    "int64": _fixed("q"),
    "uint8": _fixed("B"),
    "uint16": _fixed("H"),
    "uint32": _fixed("I"),
    "uint64": _fixed("Q"),
    "float64": _fixed("d"),
    "bool": _fixed("?"),
    "error_code": _write_error_code,
    "uuid": _write_uuid,
    "timedelta_i32": _duration(_fixed("i")),
    "timedelta_i64": _duration(_fixed("q")),
    "datetime_i64": _write_datetime,
}


def _sized(kafka_type: str, flexible: bool, optional: bool) -> Write:
    format_ = ">h" if kafka_type == "string" else ">i"

    def write(out: bytearray, value: Any) -> None:
        if value is None:
            if not optional:
                value = b""  # null in a version without null
            else:
                out += b"\0" if flexible else struct.pack(format_, -1)
                return
        raw = value.encode() if isinstance(value, str) else value
        if flexible:
            write_varint(out, len(raw) + 1)
        else:
            out += struct.pack(format_, len(raw))
        out += raw

    return write


def _array(item: Write, flexible: bool, optional: bool) -> Write:
    def write(out: bytearray, value: Any) -> None:
        if value is None:
            if optional:
                out += b"\0" if flexible else struct.pack(">i", -1)
                return
            value = ()
        if flexible:
            write_varint(out, len(value) + 1)
        else:
            out += struct.pack(">i", len(value))
        for element in value:
            item(out, element)
            if len(out) > RESPONSE_BYTES_MAX:
                raise ResponseTooLarge(f"a response of more than {RESPONSE_BYTES_MAX} bytes")

    return write


def _nullable_entity(item: Write) -> Write:
    def write(out: bytearray, value: Any) -> None:
        if value is None:
            out.append(0xFF)
        else:
            out.append(1)
            item(out, value)

    return write


def _field_writer(field: FieldSchema, flexible: bool) -> Write:
    nullable = field.optional and not field.array
    if field.entity is not None:
        item = entity_writer(field.entity)
        if nullable and field.tag is None:
            item = _nullable_entity(item)
    elif field.kafka_type in ("string", "bytes", "records"):
        item = _sized(field.kafka_type, flexible, nullable)
    else:
        item = _SCALARS[field.kafka_type]
    return _array(item, flexible, field.optional) if field.array else item


def _write_tags(out: bytearray, values: Mapping[str, Any], tagged: list[tuple[FieldSchema, Write]]) -> None:
    parts = []
    for field, write in tagged:
        value = values.get(field.name, field.default)
        if value is None or value == field.default or (field.array and not value):
            continue
        payload = Output(out.error_codes) if isinstance(out, Output) else bytearray()
        write(payload, value)
        parts.append((field.tag or 0, payload))
    write_varint(out, len(parts))
    for tag, payload in parts:
        write_varint(out, tag)
        write_varint(out, len(payload))
        out += payload


@cache
def entity_writer(entity: type) -> Write:
    """Return a writer of one kio dataclass's layout from a dict (created once per class)."""
    flexible = is_flexible(entity)
    plain = [(f.name, f.default, _field_writer(f, flexible)) for f in entity_fields(entity) if f.tag is None]
    tagged = [(f, _field_writer(f, flexible)) for f in entity_fields(entity) if f.tag is not None]
    tagged.sort(key=lambda pair: pair[0].tag or 0)

    def write(out: bytearray, values: Any) -> None:
        for name, default, write_field in plain:
            write_field(out, values.get(name, default))
        if flexible:
            _write_tags(out, values, tagged)

    return write
