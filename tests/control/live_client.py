"""A client for requests that client libraries do not send: simple requests of non-flexible versions."""

from __future__ import annotations

import socket
import struct


def string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


class Client:
    """One connection; requests one at a time."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=60)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, api_key: int, version: int, body: bytes) -> None:
        request = struct.pack(">hhi", api_key, version, 1) + string("test") + body
        self.socket.sendall(struct.pack(">i", len(request)) + request)

    def receive(self) -> bytes:
        size = struct.unpack(">i", self._exactly(4))[0]
        return self._exactly(size)[4:]

    def call(self, api_key: int, version: int, body: bytes) -> bytes:
        self.send(api_key, version, body)
        return self.receive()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            assert part, "the broker closed the connection"
            data += part
        return data
