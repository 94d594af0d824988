"""One ZooKeeper client of kazoo, without its callback threads: what happens becomes events in one queue, in order.

kazoo calls completions and watches on two threads, so their order is lost. Here both run on kazoo's connection thread, which
appends an event and goes on. The connection thread opens sockets, sends heartbeats and finds another server by itself.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, ConnectionDropped
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.states import EventType, KazooState, KeeperState, WatchedEvent
from kazoo.retry import KazooRetry

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.cluster.store import Children, Exists, Get, Request, Rights
from kafka_cy.cluster.zookeeper_security import ZooKeeperSecurity
from kafka_cy.network.tls_stream import TlsStream

RETRY_DELAY_S = 0.1  # between two rounds over all servers, growing
RETRY_DELAY_S_MAX = 1.0
IN_FLIGHT_MOST = 100  # fewer than the bytes that a socket pair holds, see _WakeSocket


class Answered(NamedTuple):
    """A request was answered, or its answer was lost."""

    token: int
    value: Any
    error: BaseException | None
    took_ms: float


class Watched(NamedTuple):
    """A watch of ZooKeeper fired. `path` is the whole path; `deleted`: the node itself was deleted."""

    path: str
    of_children: bool


class StateChanged(NamedTuple):
    """CONNECTED, SUSPENDED or LOST. `number` counts the changes. `closed`: kazoo has given up, and a new client is needed."""

    state: str
    number: int
    session_id: int = 0
    closed: bool = False
    denied: bool = False


Event = Answered | Watched | StateChanged


class _Reply:
    """What kazoo calls with the result of one request, on the connection thread (IAsyncResult, as far as it is used)."""

    def __init__(self, token: int, add: Callable[[Event], None]) -> None:
        self._token, self._add = token, add
        self._sent = time.perf_counter()
        self._answered = False

    def set(self, value: Any = None) -> None:
        """The answer has come."""
        self._answer(value, None)

    def set_exception(self, error: BaseException) -> None:
        """The request was refused, or its answer is lost."""
        self._answer(None, error)

    def _answer(self, value: Any, error: BaseException | None) -> None:
        if not self._answered:  # kazoo tells of a failed wake-up, and of the same request again when the connection ends
            self._answered = True
            self._add(Answered(self._token, value, error, (time.perf_counter() - self._sent) * 1000))


class _WakeSocket:
    """The socket that wakes kazoo's thread: one byte for each request. The sender must not wait for that thread.

    Bytes of requests that a lost connection has dropped stay in the socket. If it is full, it has more bytes than requests are
    in flight, and each byte sends one: the new byte is not needed.
    """

    def __init__(self, wrapped: socket.socket) -> None:
        wrapped.setblocking(False)
        self._wrapped = wrapped
        self.close = wrapped.close

    def send(self, data: bytes) -> int:
        """Wake the thread."""
        with contextlib.suppress(BlockingIOError):
            self._wrapped.send(data)
        return len(data)


class _Handler(SequentialThreadingHandler):  # type: ignore[misc]
    """kazoo's threads, sockets and time, without the two threads for callbacks."""

    def __init__(
        self,
        add: Callable[[Event], None],
        ended: Callable[[], None],
        transport: Any,
        refused: Callable[[str], object],
        pause_s: float,
    ) -> None:
        super().__init__()
        self._add, self._ended, self._pause_s = add, ended, pause_s
        self._transport, self._refused = transport, refused
        self.token = 0  # of the next request

    def start(self) -> None:
        self._running = True

    def stop(self) -> None:
        self._running = False

    def async_result(self) -> _Reply:
        return _Reply(self.token, self._add)

    def dispatch_callback(self, callback: Any) -> None:
        callback.func(*callback.args)

    def select(
        self, readers: Sequence[Any], writers: Sequence[Any], others: Sequence[Any], timeout: float | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """As select.select, for any number of the descriptor. kazoo's makes an epoll object for each call, four for a request."""
        poller = select.poll()
        for each in readers:
            poller.register(each, select.POLLIN)
        for each in writers:
            poller.register(each, select.POLLOUT)
        if any(isinstance(each, TlsStream) and each.pending() for each in readers):
            timeout = 0  # no poll sees what is decrypted already
        ready = {number for number, _ in poller.poll(None if timeout is None else timeout * 1000)}
        readable = [each for each in readers if each.fileno() in ready or (isinstance(each, TlsStream) and each.pending())]
        return readable, [each for each in writers if each.fileno() in ready], []

    def create_connection(
        self, address: tuple[str, int], hostname: str, timeout: float, **of_ssl: object
    ) -> socket.socket | TlsStream:
        """A connection, encrypted with our own TLS, not with kazoo's. Raises OSError."""
        if self._pause_s:
            self.sleep_func(self._pause_s)
            self._pause_s = 0.0
        deadline_s = time.monotonic() + timeout
        connection: socket.socket = super().create_connection(address=address, timeout=timeout)
        if self._transport is None:
            return connection
        stream = TlsStream(connection, self._transport, hostname)
        try:
            stream.shake_hands(deadline_s - time.monotonic())
        except OSError as error:
            stream.close()
            self._refused(f"{hostname}:{address[1]}: {error.strerror or error}")
            raise
        return stream

    def create_socket_pair(self) -> tuple[socket.socket, _WakeSocket]:
        reader, writer = super().create_socket_pair()
        return reader, _WakeSocket(writer)

    def spawn(self, func: Callable[..., object], *args: Any, **kwargs: Any) -> NamedThread:
        def run() -> None:
            try:
                func(*args, **kwargs)
            except Exception:  # noqa: BLE001 kazoo has logged it
                pass
            finally:
                self._ended()

        thread = NamedThread(target=run, name="zookeeper", daemon=True)
        thread.start()
        return thread


class ZooKeeperConnection:
    """A client and the queue of its events. One object serves one KazooClient; it is not started again.

    Threads: the owner sends, kazoo's connection thread adds events and calls `wake` after each. Lock: `_gate` is held while a
    request is handed to kazoo, and while the state changes: a request never goes to a session that the owner does not know of.
    Limit: the owner keeps at most IN_FLIGHT_MOST requests in flight.
    """

    def __init__(
        self,
        hosts: str,
        session_timeout_ms: int,
        wake: Callable[[], object],
        logger: logging.Logger,
        security: ZooKeeperSecurity,
        refused: Callable[[str], object],
        pause_s: float = 0.0,
    ) -> None:
        """`refused(why)`: a TLS handshake failed; on kazoo's thread. `pause_s`: before the first attempt to connect."""
        self.events: deque[Event] = deque()
        self.connected = threading.Event()
        self._wake = wake
        self._gate = threading.Lock()
        self._changes = 0  # of the state
        self._open_at = -1  # requests are taken while it equals `_changes`
        self._ended = False
        self._handler = _Handler(self._add, self._thread_ended, security.transport, refused, pause_s)
        retry = KazooRetry(
            max_tries=-1, delay=RETRY_DELAY_S, max_delay=RETRY_DELAY_S_MAX, sleep_func=self._handler.sleep_func
        )
        self._client = KazooClient(
            hosts=hosts,
            timeout=session_timeout_ms / 1000,
            handler=self._handler,
            connection_retry=retry,
            logger=logger,
            sasl_options=_sasl_options(security),
        )
        self._client.add_listener(self._state_changed)
        if security.login is not None:
            _keep_session_without_answer(self._client)

    def start(self) -> None:
        """Begin to connect. Raises RuntimeError if the process may have no more threads."""
        self._client.start_async()

    def open(self, number: int) -> None:
        """The owner has handled this change of the state: take requests, unless the state changed again."""
        with self._gate:
            self._open_at = number

    def read(self, token: int, request: Request, path: str) -> bool:
        """Hand over a read of the node at `path`; False: the state has changed, and an event says how."""
        with self._gate:
            if self._open_at != self._changes:
                return False
            self._handler.token = token
            if isinstance(request, Get):
                self._client.get_async(path, self._data_watch if request.watch is not None else None)
            elif isinstance(request, Exists):
                self._client.exists_async(path, self._data_watch if request.watch is not None else None)
            elif isinstance(request, Rights):
                self._client.get_acls_async(path)
            elif isinstance(request, Children):
                watch = self._child_watch if request.watch is not None else None
                self._client.get_children_async(path, watch, include_data=True)
            return True

    def change(self, token: int, operations: Sequence[Any]) -> bool:
        """Hand over a transaction; False: as for read()."""
        with self._gate:
            if self._open_at != self._changes:
                return False
            self._handler.token = token
            transaction = self._client.transaction()
            transaction.operations = list(operations)
            transaction.commit_async()
            return True

    def close(self, timeout_s: float) -> None:
        """End the session. Waits for at most `timeout_s`; if ZooKeeper cannot be reached, the session ends by its time-out."""
        with self._gate:
            self._changes += 1
            self._ended = True
        stopping = NamedThread(target=self._stop, name="zookeeper-stop", daemon=True)
        try:
            stopping.start()
        except RuntimeError:  # the process may have no more threads
            return
        stopping.join(timeout_s)

    def _stop(self) -> None:
        self._client.stop()
        self._client.close()

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self._wake()

    def _data_watch(self, event: WatchedEvent) -> None:
        if event.type != EventType.NONE:  # kazoo tells every watch of a lost connection
            self._add(Watched(event.path, False))

    def _child_watch(self, event: WatchedEvent) -> None:
        if event.type != EventType.NONE:
            self._add(Watched(event.path, True))

    def _state_changed(self, state: str) -> None:
        """kazoo's connection thread: the state of the session has changed."""
        keeper = self._client.client_state
        session_id = (self._client.client_id or (0, b""))[0] or 0
        denied = keeper == KeeperState.AUTH_FAILED
        self._change_state(state, session_id, denied or keeper == KeeperState.CLOSED, denied)

    def _thread_ended(self) -> None:
        """A fault in kazoo has ended its thread. A second event that says so does no harm."""
        self._change_state(KazooState.LOST, 0, True, False)

    def _change_state(self, state: str, session_id: int, closed: bool, denied: bool) -> None:
        (self.connected.set if state == KazooState.CONNECTED else self.connected.clear)()
        with self._gate:
            if self._ended:
                return
            self._changes += 1
            self.events.append(StateChanged(state, self._changes, session_id, closed, denied))
        self._wake()


def _keep_session_without_answer(client: KazooClient) -> None:
    """Let a connection that is lost during a login be lost only, if the client has logged in before.

    kazoo takes it as a refusal, and ends the session. But a server that refuses a password says so (AUTHFAILED), and one that is
    restarted closes connections.
    """
    connection, has_logged_in = client._connection, False
    log_in = connection._authenticate_with_sasl

    def try_to_log_in(host: str, timeout: float) -> None:
        nonlocal has_logged_in
        try:
            log_in(host, timeout)
        except AuthFailedError as error:
            if has_logged_in and isinstance(error.__cause__, ConnectionDropped):
                raise error.__cause__ from None
            raise
        has_logged_in = True

    connection._authenticate_with_sasl = try_to_log_in


def _sasl_options(security: ZooKeeperSecurity) -> dict[str, Any] | None:
    if security.login is None:
        return None
    from kafka_cy.cluster.zookeeper_digest import sasl_options  # needs an optional library

    return sasl_options(security.login)
