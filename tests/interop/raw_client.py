"""Single raw requests to a broker, encoded and decoded by kio, which shares no code with the broker."""

from __future__ import annotations

import dataclasses
import datetime
import io
import socket
import struct
import typing
from typing import Any

from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

API_VERSIONS = 18
EMPTY: dict[str, Any] = {"bool": False, "string": "", "bytes": b"", "records": b"", "uuid": None}


class Closed(Exception):
    """The broker has closed the connection instead of answering."""


def _entity_type(hint: Any) -> Any:
    """The entity type inside `tuple[X, ...]`, `X | None` or X; None for plain values."""
    for inner in typing.get_args(hint):
        found = _entity_type(inner)
        if found is not None:
            return found
    return hint if dataclasses.is_dataclass(hint) else None


def build(schema: type, values: dict[str, Any]) -> Any:
    """An entity from nested dicts. Fields that the version lacks are dropped; missing fields are empty or 0."""
    hints = typing.get_type_hints(schema)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(schema):
        kafka_type = str(field.metadata.get("kafka_type", ""))
        entity = _entity_type(hints[field.name])
        if field.name not in values:
            if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING:
                continue
            text = str(hints[field.name])
            value: Any = [] if "tuple" in text.lower() else None if "None" in text else EMPTY.get(kafka_type, 0)
        else:
            value = values[field.name]
        if isinstance(value, list | tuple):
            value = tuple(build(entity, each) if isinstance(each, dict) else each for each in value)
        elif isinstance(value, dict):
            value = build(entity, value)
        elif "timedelta" in kafka_type and value is not None:
            value = datetime.timedelta(milliseconds=value)
        arguments[field.name] = value
    return schema(**arguments)


def plain(value: Any) -> Any:
    """An entity as nested dicts; durations and timestamps in ms, error codes as ints."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, datetime.timedelta):
        return value // datetime.timedelta(milliseconds=1)
    if isinstance(value, datetime.datetime):
        return round(value.timestamp() * 1000)
    return int(value.value) if isinstance(value, ErrorCode) else value


class RawClient:
    """One connection, which is reopened after the broker closes it. Used by one thread."""

    def __init__(self, address: str, client_id: str = "raw", timeout_s: float = 60.0) -> None:
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)
        self._client_id = client_id.encode()
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._correlation_id = 0

    def request(self, api_key: int, version: int, values: dict[str, Any]) -> dict[str, Any]:
        """Send, wait, decode. Raises Closed, or AssertionError when bytes are left over after the response."""
        schema = load_request_schema(api_key, version)
        body = io.BytesIO()
        entity_writer(schema)(body, build(schema, values))
        answer = self.request_bytes(api_key, version, body.getvalue(), flexible=bool(schema.__flexible__))
        if schema.__flexible__ and api_key != API_VERSIONS:
            answer = answer[1:]  # no tags in the response header
        value, size = entity_reader(load_response_schema(api_key, version))(answer, 0)
        assert size == len(answer), f"{len(answer) - size} bytes after the answer"
        result: dict[str, Any] = plain(value)
        return result

    def request_bytes(self, api_key: int, version: int, body: bytes, *, flexible: bool) -> bytes:
        """Send an encoded body; return the response after its correlation id."""
        self._correlation_id += 1
        header = struct.pack(">hhih", api_key, version, self._correlation_id, len(self._client_id)) + self._client_id
        frame = header + (b"\0" if flexible else b"") + body
        try:
            if self._socket is None:
                self._socket = socket.create_connection((self.host, self.port), timeout=self._timeout_s)
            self._socket.sendall(struct.pack(">i", len(frame)) + frame)
            (size,) = struct.unpack(">i", self._read(4))
            answer = self._read(size)
        except (Closed, ConnectionError) as error:
            self.close()
            raise Closed from error
        assert struct.unpack(">i", answer[:4]) == (self._correlation_id,)
        return answer[4:]

    def _read(self, size: int) -> bytes:
        assert self._socket is not None
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise Closed
            data += part
        return bytes(data)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
