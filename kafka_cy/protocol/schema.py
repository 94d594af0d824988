"""The fields of each message version, read once from kio's dataclasses.

kio supplies the names, types, tags and versions of Kafka's messages. Its own reader is not used on requests: it
reserves memory for an array before it checks the length, so a forged length would exhaust memory.
"""

from __future__ import annotations

import importlib
import sys
import typing
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal

Kind = Literal["request", "response"]


@dataclass(frozen=True, slots=True)
class FieldSchema:
    """One field: its Kafka type ('int32', 'string', ..., or 'entity') and how it is wrapped."""

    name: str
    kafka_type: str
    entity: type | None
    array: bool
    optional: bool
    tag: int | None
    default: Any


_IMPLICIT: dict[str, Any] = {
    "bool": False,
    "string": "",
    "bytes": b"",
    "records": b"",
    "uuid": None,
    "float64": 0.0,
    "datetime_i64": -1,
}


def _split_optional(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) in (UnionType, typing.Union):
        inner = [argument for argument in typing.get_args(annotation) if argument is not NoneType]
        return inner[0], True
    return annotation, False


@cache
def entity_fields(entity: type) -> tuple[FieldSchema, ...]:
    """Return the fields of a kio dataclass in wire order."""
    result = []
    for field in fields(entity):
        inner, optional = _split_optional(field.type)
        array = typing.get_origin(inner) is tuple
        if array:
            inner, _ = _split_optional(typing.get_args(inner)[0])
        nested = inner if hasattr(inner, "__dataclass_fields__") else None
        if nested is not None and is_flexible(nested) and not is_flexible(entity):
            nested = _not_flexible(nested)
        kafka_type = "entity" if nested is not None else str(field.metadata["kafka_type"])
        if field.default is not MISSING:
            default = field.default
        elif optional:
            default = None
        elif array:
            default = ()
        elif nested is not None:
            default = {}
        else:
            default = _IMPLICIT.get(kafka_type, 0)
        result.append(FieldSchema(field.name, kafka_type, nested, array, optional, field.metadata.get("tag"), default))
    return tuple(result)


@cache
def _kio_types() -> None:
    """Load kio's scalar types without hypothesis; if installed, importing it would cost a second of CPU time."""
    hidden = "hypothesis" not in sys.modules
    if hidden:
        sys.modules["hypothesis"] = None  # type: ignore[assignment]  # importing it raises ImportError, which kio expects
    try:
        importlib.import_module("kio.static.primitive")
    finally:
        if hidden:
            del sys.modules["hypothesis"]


# Versions that kio does not have: the next one, without compact lengths and tags. WriteTxnMarkers 0 comes from coordinators with
# inter.broker.protocol.version below 2.8.
_PLAIN = {(27, 0)}


@cache
def _not_flexible(entity: type) -> type:
    return type(entity.__name__, (entity,), {"__slots__": (), "__flexible__": False})


@cache
def message_class(api_key: int, version: int, kind: Kind) -> type:
    """Return the kio dataclass of a message; KeyError if kio does not know the key or version."""
    if (api_key, version) in _PLAIN:
        return _not_flexible(message_class(api_key, version + 1, kind))
    _kio_types()
    index = importlib.import_module("kio.schema.index")
    name = index.api_key_map[api_key]
    entity_type = importlib.import_module("kio.static.constants").EntityType
    path: str = index.schema_name_map[name][version][entity_type[kind]]
    module, _, class_name = path.partition(":")
    loaded: type = getattr(importlib.import_module(module), class_name)
    return loaded


def versions(api_key: int) -> list[int]:
    """Return all versions of an API that kio knows, in ascending order."""
    index = importlib.import_module("kio.schema.index")
    return sorted(index.schema_name_map[index.api_key_map[api_key]])


def is_flexible(entity: type) -> bool:
    """Whether the message has compact lengths and tagged fields."""
    return bool(entity.__flexible__)  # type: ignore[attr-defined]
