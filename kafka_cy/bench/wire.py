"""A blocking connection for the requests that the generators encode themselves, and the parts of flexible messages."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from kafka_cy.bench.requests import CLIENT_ID, string

TIMEOUT_S = 60.0
NO_TAGS = b"\0"
NULL = b"\0"  # of a compact string or array
HEADER_SIZE = 5  # of a flexible response, after its length: correlation id, tags


def uvarint(value: int) -> bytes:
    """An unsigned variable-length integer."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def compact(text: str) -> bytes:
    """A compact string."""
    data = text.encode()
    return uvarint(len(data) + 1) + data


def compact_array(elements: Sequence[bytes]) -> bytes:
    """A compact array of encoded elements."""
    return uvarint(len(elements) + 1) + b"".join(elements)


def flexible_request(api_key: int, version: int, body: bytes) -> bytes:
    """A complete request with a flexible header; its correlation id is 0."""
    rest = struct.pack(">hhi", api_key, version, 0) + string(CLIENT_ID) + NO_TAGS + body
    return struct.pack(">i", len(rest)) + rest


class Reader:
    """Reads a response from `at` on."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        """The next fields."""
        found = form.unpack_from(self.data, self.at)
        self.at += form.size
        return found

    def uvarint(self) -> int:
        """An unsigned variable-length integer."""
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def skip_compact(self) -> None:
        """Skip a compact string or bytes."""
        size = max(0, self.uvarint() - 1)
        self.at += size

    def string(self) -> bytes:
        """A string with an int16 length; empty for null."""
        size = max(0, int.from_bytes(self.data[self.at : self.at + 2], "big", signed=True))
        self.at += 2 + size
        return self.data[self.at - size : self.at]

    def count(self) -> int:
        """The number of elements of a compact array."""
        return max(0, self.uvarint() - 1)


class Wire:
    """One connection. Raises OSError when the broker hangs up. Owner: one thread."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> bytes:
        """Send a complete request; the response without its length."""
        self._socket.sendall(request)
        (size,) = struct.unpack(">i", self._read(4))
        return self._read(size)

    def _read(self, size: int) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise ConnectionResetError("closed")
            view = view[count:]
        return bytes(data)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
