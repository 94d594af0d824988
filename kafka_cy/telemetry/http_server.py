"""A small HTTP server for scrapers and probes: one thread, non-blocking sockets, every wait with a deadline.

A client that sends nothing, sends garbage or does not read takes one of CONNECTIONS_MAX slots until its deadline;
if all are taken, the oldest is closed. Responses are made on the same thread, one at a time. HTTP/1.1 with
`Connection: close`: bytes after the request are ignored.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.network.listening import listening_socket

REQUEST_BYTES_MAX = 16384
CONNECTIONS_MAX = 64
REQUEST_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 15.0
CLOSING_TIMEOUT_S = 1.0  # after the response: further input is still read, because a reset could destroy the response
GZIP_BYTES_MIN = 512
NICE = 10  # a tenth of the weight of a thread at 0
GZIP_LEVEL = 1  # metrics shrink to a twentieth at any level


class HttpRequest(NamedTuple):
    """The parts of a request that handlers use. Header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


class HttpAnswer(NamedTuple):
    """A handler's response."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: str = "200 OK"


class _Connection:
    __slots__ = ("answer", "answered", "deadline", "received", "sent_all", "socket")

    def __init__(self, client: socket.socket, deadline: float) -> None:
        self.socket = client
        self.deadline = deadline
        self.received = bytearray()
        self.answer = memoryview(b"")
        self.answered = False
        self.sent_all = False


def parse_address(text: str, key: str = "kafkacy.metrics.listen") -> tuple[str, int]:
    """`host:port`, `[v6]:port` or `:port` (all addresses); raises ValueError."""
    host, separator, port = text.strip().rpartition(":")
    if not separator or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{key}={text}: must be HOST:PORT, or empty for no metrics")
    return host.strip("[]"), int(port)


class HttpServer:
    """Owner: its own daemon thread, from start() to stop(). `handle` is called on it, one request at a time."""

    def __init__(self, listen: str, handle: Callable[[HttpRequest], HttpAnswer], name: str = "metrics") -> None:
        """Bind. Raises OSError if the address is taken, ValueError if it is not an address."""
        host, port = parse_address(listen)
        self._listener = listening_socket(host, port, 64)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._waker, self._woken = socket.socketpair()  # ends the thread
        self._handle = handle
        self._connections: list[_Connection] = []  # oldest first
        self._thread = NamedThread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Close the listener. A response in progress is cut off when the process ends."""
        self._waker.close()  # first: it tells the thread why its listener was closed
        self._listener.close()

    # -- the thread --

    def _serve(self) -> None:
        give_way()
        with selectors.DefaultSelector() as selector:
            self._selector = selector
            try:
                selector.register(self._listener, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                while self._waker.fileno() >= 0:
                    for key, _ in selector.select(self._wait_s()):
                        if key.fileobj is self._listener:
                            self._accept()
                        elif key.data is not None and key.data.socket.fileno() >= 0:
                            self._work(key.data)
                    now = time.monotonic()
                    for connection in [c for c in self._connections if c.deadline <= now]:
                        self._close(connection)
            except (OSError, ValueError):
                if self._waker.fileno() >= 0:
                    raise
                # stopped: stop() closed the listener

    def _wait_s(self) -> float | None:
        if not self._connections:
            return None
        return max(0.0, min(c.deadline for c in self._connections) - time.monotonic())

    def _accept(self) -> None:
        """Accept one client."""
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            if self._waker.fileno() >= 0:
                self._make_room()  # out of descriptors: freeing one of ours may be enough
                time.sleep(0.05)
            return
        accepted.setblocking(False)
        if len(self._connections) >= CONNECTIONS_MAX:
            self._make_room()
        connection = _Connection(accepted, time.monotonic() + REQUEST_TIMEOUT_S)
        self._connections.append(connection)
        self._selector.register(accepted, selectors.EVENT_READ, connection)

    def _make_room(self) -> None:
        if self._connections:
            self._close(self._connections[0])

    def _close(self, connection: _Connection) -> None:
        self._connections.remove(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()

    def _work(self, connection: _Connection) -> None:
        try:
            if connection.sent_all:
                if not connection.socket.recv(65536):
                    self._close(connection)
            elif connection.answered:
                self._send(connection)
            else:
                self._receive(connection)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._close(connection)

    def _receive(self, connection: _Connection) -> None:
        data = connection.socket.recv(4096)
        if not data:
            self._close(connection)
            return
        connection.received += data
        head, end, _ = connection.received.partition(b"\r\n\r\n")
        if not end and len(connection.received) <= REQUEST_BYTES_MAX:
            return
        connection.received = bytearray()
        connection.answered = True
        connection.answer = memoryview(self._answer(bytes(head)) if end else _encode(TOO_LARGE, False, False))
        connection.deadline = time.monotonic() + ANSWER_TIMEOUT_S
        self._selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
        self._send(connection)

    def _send(self, connection: _Connection) -> None:
        while connection.answer:
            connection.answer = connection.answer[connection.socket.send(connection.answer) :]
        connection.sent_all = True
        connection.deadline = time.monotonic() + CLOSING_TIMEOUT_S
        connection.socket.shutdown(socket.SHUT_WR)
        self._selector.modify(connection.socket, selectors.EVENT_READ, connection)

    def _answer(self, head: bytes) -> bytes:
        request = parse_request(head)
        if request is None:
            return _encode(HttpAnswer(b"not HTTP\n", status="400 Bad Request"), False, False)
        if request.method not in ("GET", "HEAD"):
            return _encode(HttpAnswer(b"only GET\n", status="405 Method Not Allowed"), False, False)
        try:
            answer = self._handle(request)
        except Exception as error:  # noqa: BLE001 - a scrape must not end the thread
            answer = HttpAnswer(f"{error!r}\n".encode(), status="500 Internal Server Error")
        return _encode(answer, accepts_gzip(request), request.method == "HEAD")


def give_way() -> None:
    """Give the calling thread the lowest priority: on a busy machine only scrapes become slower."""
    if sys.platform == "linux":  # elsewhere priorities apply to whole processes
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


TOO_LARGE = HttpAnswer(b"the request is too large\n", status="431 Request Header Fields Too Large")


def parse_request(head: bytes) -> HttpRequest | None:
    """Parse the request line and headers (without the empty line); None if it is not HTTP/1."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith(("/", "http://")):
        return None
    target = words[1]
    if target.startswith("http://"):
        target = "/" + target[7:].partition("/")[2]
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return HttpRequest(words[0], path, query, headers)


def weights(text: str) -> dict[str, float]:
    """Weights by accepted type (lower case, without parameters) of an Accept or Accept-Encoding header."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, *parameters = (word.strip() for word in part.lower().split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        if name:
            found[name] = max(found.get(name, 0.0), weight)
    return found


def accepts_gzip(request: HttpRequest) -> bool:
    """Whether the client accepts a gzip body."""
    return weights(request.headers.get("accept-encoding", "")).get("gzip", 0.0) > 0


def _encode(answer: HttpAnswer, gzip: bool, head_only: bool) -> bytes:
    body, more = answer.body, ""
    if gzip and len(body) >= GZIP_BYTES_MIN:
        compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)  # releases the GIL
        body = compressor.compress(body) + compressor.flush()
        more = "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"
    head = (
        f"HTTP/1.1 {answer.status}\r\nContent-Type: {answer.content_type}\r\nContent-Length: {len(body)}\r\n{more}"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1", "replace") + (b"" if head_only else body)
