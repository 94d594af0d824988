"""The headers before these messages: request header 0 (only ControlledShutdown 0), 1 or 2; response header 0 or 1."""

from __future__ import annotations

import struct
from types import ModuleType

from kafka_cy.protocol.controller_messages import controlled_shutdown
from kafka_cy.protocol.controller_messages.wire import Input, Output

_request = struct.Struct(">hhi")


def request_header(api: ModuleType, version: int, correlation_id: int, client_id: str) -> bytes:
    """The header of a request; `api` is the module of the message."""
    out = Output(False)  # the client id is never compact
    out += _request.pack(api.API_KEY, version, correlation_id)
    if api is not controlled_shutdown or version > 0:
        out.string(client_id)
    if version >= api.FLEXIBLE_FROM:
        out.append(0)
    return bytes(out)


def response_header(api: ModuleType, version: int, correlation_id: int) -> bytes:
    """The header of a response."""
    header = struct.pack(">i", correlation_id)
    return header + b"\0" if version >= api.FLEXIBLE_FROM else header


def split_response(api: ModuleType, version: int, frame: bytes) -> tuple[int, bytes]:
    """The correlation id and the body of a response. Raises MalformedRequest."""
    given = Input(frame, version >= api.FLEXIBLE_FROM)
    correlation_id = given.int32()
    given.skip_tags()
    return correlation_id, frame[given.position :]


def split_request(api: ModuleType, version: int, frame: bytes) -> tuple[int, str | None, bytes]:
    """The correlation id, the client id and the body of a request of this version. Raises MalformedRequest."""
    given = Input(frame, False)
    _, _, correlation_id = given.fixed(_request)
    client_id = given.nullable_string() if api is not controlled_shutdown or version > 0 else None
    if version >= api.FLEXIBLE_FROM:
        given.tags()
    return correlation_id, client_id, frame[given.position :]
