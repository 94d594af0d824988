"""Requests and responses through kio's encoder and decoder: an oracle that shares no code with the broker."""

from __future__ import annotations

import dataclasses
import datetime
import io
import typing
from typing import Any

from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer


def plain(value: Any) -> Any:
    """A kio entity as nested dicts; durations in ms, timestamps in ms (None stays None), error codes as ints."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, datetime.timedelta):
        return value // datetime.timedelta(milliseconds=1)
    if isinstance(value, datetime.datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, ErrorCode):
        return int(value.value)
    return value


def element_type(hint: Any) -> Any:
    """The entity type inside `tuple[X, ...]`, `X | None` or X; None for plain values."""
    for inner in typing.get_args(hint):
        found = element_type(inner)
        if found is not None:
            return found
    return hint if dataclasses.is_dataclass(hint) else None


def build(schema: type, values: dict[str, Any]) -> Any:
    """An entity from nested dicts. Keys that the version lacks are dropped; missing ones take kio's defaults."""
    hints = typing.get_type_hints(schema)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        if field.name not in values:
            continue
        value = values[field.name]
        entity = element_type(hints[field.name])
        if isinstance(value, list | tuple):
            value = tuple(build(entity, each) if isinstance(each, dict) else each for each in value)
        elif isinstance(value, dict):
            value = build(entity, value)
        elif "timedelta" in str(field.metadata.get("kafka_type", "")):
            value = datetime.timedelta(milliseconds=value)
        arguments[field.name] = value
    return schema(**arguments)


def encode_request(api_key: int, version: int, values: dict[str, Any]) -> bytes:
    """The body of a request."""
    schema = load_request_schema(api_key, version)
    buffer = io.BytesIO()
    entity_writer(schema)(buffer, build(schema, values))
    return buffer.getvalue()


def is_flexible(api_key: int, version: int) -> bool:
    return bool(load_request_schema(api_key, version).__flexible__)


def decode_response(api_key: int, version: int, body: bytes) -> dict[str, Any]:
    """The body of a response. Raises AssertionError when bytes are left over."""
    reader = entity_reader(load_response_schema(api_key, version))
    value, size = reader(body, 0)
    assert size == len(body), f"{len(body) - size} bytes after the response: {body[size:size + 40].hex()}"
    result: dict[str, Any] = plain(value)
    return result
