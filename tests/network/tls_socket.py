"""A TLS client socket for one sending and one receiving thread at the same time, which Python's socket does not support."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

PART_BYTES = 65536


class TlsSocket:
    """`send`, `sendall`, `recv`, `close` like a socket; everything else is delegated to the plain socket."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        self.plain = plain
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.session_lock = threading.Lock()  # guards the session; never held while waiting for the socket
        self.order = threading.Lock()  # records are sent in the order in which they were created
        while True:
            try:
                self.session.do_handshake()
                self._send_made()
                return
            except ssl.SSLWantReadError:
                self._send_made()
                self._receive_more()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def _send_made(self) -> None:
        self.plain.sendall(self.outgoing.read())

    def _receive_more(self) -> None:
        data = self.plain.recv(PART_BYTES)
        with self.session_lock:
            if data:
                self.incoming.write(data)
            else:
                self.incoming.write_eof()

    def sendall(self, data: bytes) -> None:
        with self.order:
            for at in range(0, len(data), PART_BYTES):
                with self.session_lock:
                    self.session.write(data[at : at + PART_BYTES])
                self._send_made()

    def recv(self, size: int) -> bytes:
        while True:
            try:
                with self.session_lock:
                    return self.session.read(size)
            except ssl.SSLWantReadError:
                self._receive_more()
            except ssl.SSLZeroReturnError:
                return b""
