"""A leader that answers Fetch as a test says, and keeps what it was asked. It reads and writes through kio, not our code."""

from __future__ import annotations

import contextlib
import io
import queue
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

from tests.api_hot.kio_wire import build, is_flexible, plain

Answer = Callable[[dict[str, Any]], dict[str, Any] | None]  # None: the connection is closed


def encode_response(api_key: int, version: int, values: dict[str, Any]) -> bytes:
    """The body of a response, by kio; error codes are ints."""
    schema = load_response_schema(api_key, version)
    out = io.BytesIO()
    entity_writer(schema)(out, build(schema, typed(values)))
    return out.getvalue()


def typed(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: typed(each, key) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [typed(each) for each in value]
    return ErrorCode(value) if name == "error_code" else value


class FakeLeader:
    """One thread; requests of one connection after the other. `asked` has the decoded requests in their order."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: queue.Queue[dict[str, Any]] = queue.Queue()
        self.clients: list[tuple[int, str]] = []  # (version, client id) of each request
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                while self._one(connection):
                    pass

    def _one(self, connection: socket.socket) -> bool:
        head = _exactly(connection, 4)
        if head is None:
            return False
        frame = _exactly(connection, struct.unpack(">i", head)[0])
        if frame is None:
            return False
        api_key, version, correlation_id, size = struct.unpack(">hhih", frame[:10])
        assert api_key == 1
        self.clients.append((version, frame[10 : 10 + size].decode()))
        body = frame[10 + size + is_flexible(1, version) :]
        request, read = entity_reader(load_request_schema(1, version))(body, 0)
        assert read == len(body), "bytes after the request"
        values: dict[str, Any] = plain(request)
        self.asked.put(values)
        response = self.answer(values)
        if response is None:
            return False
        head = struct.pack(">i", correlation_id) + (b"\0" if is_flexible(1, version) else b"")
        data = head + encode_response(1, version, response)
        connection.sendall(struct.pack(">i", len(data)) + data)
        return True

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            return None
        data += part
    return data
