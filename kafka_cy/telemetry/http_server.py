"""A small HTTP server for scrapers and probes: one thread, non-blocking sockets, every wait with a deadline.

A client that sends nothing, sends garbage or does not read takes one of CONNECTIONS_MAX slots until its deadline;
if all are taken, the oldest is closed. Responses are made on the same thread, one at a time. HTTP/1.1 with
`Connection: close`: bytes after the request are ignored. With a PageSecurity, connections are TLS and requests need a password.
"""

from __future__ import annotations

import selectors
import socket
import time
import zlib
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.network.listening import listening_socket
from kafka_cy.telemetry.page_thread import give_way

if TYPE_CHECKING:
    from kafka_cy.telemetry.page_security import PageSecurity
    from kafka_cy.telemetry.page_tls import TlsSocket

REQUEST_BYTES_MAX = 16384
CONNECTIONS_MAX = 64
REQUEST_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 15.0
CLOSING_TIMEOUT_S = 1.0  # after the response: further input is still read, because a reset could destroy the response
GZIP_BYTES_MIN = 512
RECEIVE_BYTES = 16384  # a TLS record
SEND_BYTES = 256 << 10  # in one turn: encrypting it takes less than a millisecond
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
    headers: str = ""  # further ones, each with its line end


class _Connection:
    __slots__ = ("address", "answer", "answered", "deadline", "received", "request", "sent_all", "shaking", "socket",
                 "watched")  # fmt: skip

    def __init__(self, client: socket.socket | TlsSocket, address: str, deadline: float) -> None:
        self.socket = client
        self.address = address
        self.watched = 0  # what the selector waits for
        self.request: HttpRequest | None = None  # whose password is being checked
        self.shaking = False  # another thread uses the socket: it must not be closed
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

    def __init__(
        self, listen: str, handle: Callable[[HttpRequest], HttpAnswer], name: str = "metrics",
        security: PageSecurity | None = None, public: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Bind. `public`: paths without a password. Raises OSError if the address is taken, ValueError if it is not an address."""
        host, port = parse_address(listen)
        self._listener = listening_socket(host, port, 64)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._waker, self._woken = socket.socketpair()  # ends the thread
        self._handle = handle
        self._security = security
        self._public = public
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
                selector.register(self._listener, EVENT_READ)
                selector.register(self._woken, EVENT_READ)
                beside = self._side_threads()
                for woken in beside:
                    selector.register(woken, EVENT_READ)
                while self._waker.fileno() >= 0:
                    for key, _ in selector.select(self._wait_s()):
                        if key.fileobj is self._listener:
                            self._accept()
                        elif key.fileobj in beside:
                            beside[key.fileobj]()
                        elif key.data is not None and key.data.socket.fileno() >= 0:
                            self._work(key.data)
                    now = time.monotonic()
                    for connection in [c for c in self._connections if c.deadline <= now]:
                        self._close(connection)
            except (OSError, ValueError):
                if self._waker.fileno() >= 0:
                    raise
                # stopped: stop() closed the listener
            for each in self._security.side_threads if self._security is not None else ():
                each.stop()

    def _side_threads(self) -> dict[Any, Callable[[], None]]:
        """What to do when one of these sockets is readable."""
        found: dict[Any, Callable[[], None]] = {}
        if self._security is not None and self._security.checks is not None:
            found[self._security.checks.woken] = self._take_checked
        if self._security is not None and self._security.handshakes is not None:
            found[self._security.handshakes.woken] = self._take_handshakes
        return found

    def _wait_s(self) -> float | None:
        if not self._connections:
            return None
        return max(0.0, min(c.deadline for c in self._connections) - time.monotonic())

    def _accept(self) -> None:
        """Accept one client."""
        try:
            accepted, peer = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            if self._waker.fileno() >= 0:
                self._make_room()  # out of descriptors: freeing one of ours may be enough
                time.sleep(0.05)
            return
        accepted.setblocking(False)
        if len(self._connections) >= CONNECTIONS_MAX and not self._make_room():
            accepted.close()
            return
        client: socket.socket | TlsSocket = accepted
        if self._security is not None:
            try:
                client = self._security.accept(accepted)
            except OSError:  # the client is gone
                accepted.close()
                return
        connection = _Connection(client, peer[0], time.monotonic() + REQUEST_TIMEOUT_S)
        self._connections.append(connection)
        self._watch(connection, EVENT_READ)

    def _watch(self, connection: _Connection, events: int) -> None:
        """Wait for these events of the socket; 0: for none."""
        if events == connection.watched:
            return
        if not events:
            self._selector.unregister(connection.socket)
        elif not connection.watched:
            self._selector.register(connection.socket, events, connection)
        else:
            self._selector.modify(connection.socket, events, connection)
        connection.watched = events

    def _make_room(self) -> bool:
        oldest = next((connection for connection in self._connections if not connection.shaking), None)
        if oldest is not None:
            self._close(oldest)
        return oldest is not None

    def _close(self, connection: _Connection) -> None:
        if connection.shaking:
            connection.deadline = time.monotonic() + ANSWER_TIMEOUT_S
            connection.sent_all = True  # closed when the handshake's thread gives it back
            return
        self._connections.remove(connection)
        self._watch(connection, 0)
        connection.socket.close()

    def _work(self, connection: _Connection) -> None:
        try:
            if self._security is not None and self._security.shake_hands(connection):
                connection.shaking = True
                self._watch(connection, 0)
            elif connection.sent_all:
                if not connection.socket.recv(RECEIVE_BYTES):
                    self._close(connection)
            elif connection.answered:
                self._send(connection)
            else:
                self._receive(connection)
        except (BlockingIOError, InterruptedError):
            self._watch(connection, getattr(connection.socket, "wants", connection.watched))  # TLS may wait for the other one
        except (OSError, RuntimeError):  # RuntimeError: the process may have no more threads
            self._close(connection)

    def _receive(self, connection: _Connection) -> None:
        data = connection.socket.recv(RECEIVE_BYTES)
        if not data:
            self._close(connection)
            return
        connection.received += data
        head, end, _ = connection.received.partition(b"\r\n\r\n")
        if end or len(connection.received) > REQUEST_BYTES_MAX:
            connection.received = bytearray()
            self._begin(connection, bytes(head) if end else None)
        else:
            self._watch(connection, EVENT_READ)

    def _begin(self, connection: _Connection, head: bytes | None) -> None:
        """Answer a request, or have its password checked."""
        connection.deadline = time.monotonic() + ANSWER_TIMEOUT_S
        request = parse_request(head) if head is not None else None
        if request is None:
            self._answer(connection, _encode(TOO_LARGE if head is None else NOT_HTTP, False, False))
        elif request.method not in ("GET", "HEAD"):
            self._answer(connection, _encode(ONLY_GET, False, False))
        elif self._security is None or request.path in self._public:
            self._answer(connection, self._page(request))
        else:
            judged = self._security.judge(request.headers.get("authorization", ""), connection)
            if judged is True:
                self._answer(connection, self._page(request))
            elif judged:
                self._answer(connection, _encode(judged, False, request.method == "HEAD"))
            else:
                connection.request = request
                self._watch(connection, 0)

    def _take_checked(self) -> None:
        """Answer the requests whose passwords have been checked."""
        assert self._security is not None
        for connection, refusal in self._security.results():
            request = connection.request
            if connection.socket.fileno() < 0:
                continue  # its deadline has passed, or it made room
            answer = self._page(request) if refusal is None else _encode(refusal, False, request.method == "HEAD")
            try:
                self._answer(connection, answer)
            except OSError:
                self._close(connection)

    def _take_handshakes(self) -> None:
        """Go on with connections whose handshake is done, waits for the client, or failed."""
        assert self._security is not None and self._security.handshakes is not None
        for connection, _, result in self._security.handshakes.results():
            connection.shaking = False
            if isinstance(result, OSError):
                self._security.failed(result, connection.address)
            if connection.sent_all or isinstance(result, OSError):
                self._close(connection)
            else:
                self._watch(connection, result or EVENT_READ)

    def _answer(self, connection: _Connection, answer: bytes) -> None:
        """Send it when the client can take it."""
        connection.answered = True
        connection.answer = memoryview(answer)
        self._watch(connection, EVENT_WRITE)

    def _send(self, connection: _Connection) -> None:
        """A part in each turn, and after the last one the end."""
        if connection.answer:
            sent = connection.socket.send(connection.answer[:SEND_BYTES])
            connection.answer = connection.answer[sent:]
        if connection.answer:
            self._watch(connection, EVENT_WRITE)
            return
        connection.socket.shutdown(socket.SHUT_WR)
        connection.sent_all = True
        connection.deadline = time.monotonic() + CLOSING_TIMEOUT_S
        self._watch(connection, EVENT_READ)

    def _page(self, request: HttpRequest) -> bytes:
        try:
            answer = self._handle(request)
        except Exception as error:  # noqa: BLE001 - a scrape must not end the thread
            answer = HttpAnswer(f"{error!r}\n".encode(), status="500 Internal Server Error")
        return _encode(answer, accepts_gzip(request), request.method == "HEAD")


NOT_HTTP = HttpAnswer(b"not HTTP\n", status="400 Bad Request")
ONLY_GET = HttpAnswer(b"only GET\n", status="405 Method Not Allowed")
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
    date = strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime())
    head = (
        f"HTTP/1.1 {answer.status}\r\nDate: {date}\r\nContent-Type: {answer.content_type}\r\nContent-Length: {len(body)}\r\n{more}"
        f"{answer.headers}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1", "replace") + (b"" if head_only else body)
