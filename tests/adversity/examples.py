"""A valid request for every API and version, encoded by kio, which shares no code with the broker."""

from __future__ import annotations

import dataclasses
import datetime
import io
import typing
import uuid
from typing import Any

from kio.index import load_request_schema
from kio.serial import entity_writer

from .wire import batch

TOPIC = "target"
# Values that keep a request harmless or fast where 1, "target" or false would not.
NAMED: dict[str, Any] = {
    "max_wait": 1, "timeout": 100, "acks": 1, "max_bytes": 1000, "partition_count": 1,
    # 0 is "unknown" in requests about ACLs: such a request closes its connection.
    "resource_type": 2, "resource_type_filter": 2, "resource_pattern_type": 3, "pattern_type_filter": 3,
    "operation": 3, "permission_type": 3,
}  # fmt: skip


def entity_type(hint: Any) -> Any:
    """The entity inside `tuple[X, ...]`, `X | None` or X; None for plain values."""
    for inner in typing.get_args(hint):
        found = entity_type(inner)
        if found is not None:
            return found
    return hint if dataclasses.is_dataclass(hint) else None


def is_array(hint: Any) -> bool:
    """Whether the type of a field is `tuple[X, ...]`, or that or None."""
    return typing.get_origin(hint) is tuple or any(is_array(inner) for inner in typing.get_args(hint))


def example_value(kafka_type: str, name: str) -> Any:
    """A plausible value of a scalar."""
    if kafka_type == "string":
        return TOPIC
    if kafka_type == "records":
        return batch()
    if kafka_type == "bytes":
        return b"some bytes"
    if kafka_type == "uuid":
        return uuid.UUID(int=77)
    if kafka_type == "bool":
        return False
    if kafka_type.startswith("timedelta"):
        return datetime.timedelta(milliseconds=NAMED.get(name, 100))
    if kafka_type.startswith("datetime"):
        return datetime.datetime.fromtimestamp(1_700_000_000, datetime.UTC)
    if kafka_type == "float64":
        return 1.0
    return NAMED.get(name, 0)


def example_entity(schema: type) -> Any:
    """An entity whose arrays have one element; tagged fields keep their defaults."""
    hints = typing.get_type_hints(schema)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        if "tag" in field.metadata:
            continue
        inner = entity_type(hints[field.name])
        element = example_value(field.metadata.get("kafka_type", ""), field.name) if inner is None else None
        if inner is not None:
            element = example_entity(inner)
        values[field.name] = (element,) if is_array(hints[field.name]) else element
    return schema(**values)


def example_request(api_key: int, version: int) -> bytes:
    """The body of a valid request."""
    schema = load_request_schema(api_key, version)
    buffer = io.BytesIO()
    entity_writer(schema)(buffer, example_entity(schema))
    return buffer.getvalue()
