"""Calls another broker from a thread of its own, one request at a time: what the controller tells brokers, and is asked by them."""

from __future__ import annotations

import queue
import struct
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.network.broker_connection import BrokerConnection, BrokerConnectionError

API_VERSIONS = 18
BACKOFF_MS = 50
_row = struct.Struct(">hhh")


class Api(Protocol):
    """A module of protocol.controller_messages."""

    API_KEY: int
    FLEXIBLE_FROM: int
    VERSIONS: range


class Call(NamedTuple):
    """One request. `version` None: the newest that both know. `done` gets version and body of the response, or None.

    `unsupported` is called in the place of `done` if the broker does not know such requests; without it, `done` gets None.
    """

    host: str
    port: int
    api: Api
    version: int | None
    encode: Callable[[int], bytes]
    done: Callable[[tuple[int, bytes] | None], object]
    unsupported: Callable[[], object] | None = None
    newest: int | None = None  # with `version` None: not newer than this


class Unsupported(Exception):
    """The broker does not know the request, and the caller wants to hear of it."""


class BrokerCaller:
    """`call` and `close` from one thread; `done` is called on the caller's thread. Limit: what its user has in flight.

    Lock: `_lock` guards `_connection` and `_closed`, and is held while neither waits.
    """

    def __init__(
        self, name: str, client_id: str, timeout_ms: int, failed: Callable[[str], object], transport: Any
    ) -> None:
        """`failed(why)`: a request got no response; on the caller's thread. `transport`: see BrokerConnection."""
        self._name, self._client_id, self._timeout_ms, self._failed = name, client_id, timeout_ms, failed
        self._transport = transport
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._connection: BrokerConnection | None = None
        self._address = ("", 0)
        self._versions: dict[int, tuple[int, int]] | None = None  # of the connected broker
        self._closed = False
        self._thread: NamedThread | None = None

    def call(self, call: Call) -> None:
        """Send a request after those that wait. Raises RuntimeError: the process may have no more threads, and it is not sent."""
        if self._thread is None:
            thread = NamedThread(target=self._run, name=self._name, daemon=True)
            thread.start()
            self._thread = thread  # after a failed start, the next call tries again
        self._calls.put(call)

    def close(self) -> None:
        """End the thread; the `done` of what is not answered may be called with None or not at all."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.interrupt()
        self._calls.put(None)

    @property
    def has_ended(self) -> bool:
        """Whether the thread has ended, or was never started."""
        return self._thread is None or not self._thread.is_alive()

    def join(self) -> None:
        """Wait for the end of the thread, after close()."""
        if self._thread is not None:
            self._thread.join()

    # -- the thread --

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                answer = self._answer(call)
            except Unsupported:
                assert call.unsupported is not None
                call.unsupported()
                continue
            except Exception as error:  # noqa: BLE001 who asked must not wait for ever
                self._versions = None
                answer = None
                if not self._closed:
                    self._failed(str(error) if isinstance(error, BrokerConnectionError) else repr(error))
            call.done(answer)
        if self._connection is not None:
            self._connection.close()

    def _answer(self, call: Call) -> tuple[int, bytes] | None:
        connection = self._connected(call.host, call.port)
        if connection is None:
            return None
        version = call.version if call.version is not None else self._newest(connection, call)
        if version is None:
            if call.unsupported is not None:
                raise Unsupported
            self._failed(f"{connection.address} does not answer requests with API key {call.api.API_KEY}")
            return None
        flexible = version >= call.api.FLEXIBLE_FROM
        body = connection.request(
            call.api.API_KEY, version, call.encode(version), flexible=flexible, flexible_response=flexible
        )
        return version, body

    def _connected(self, host: str, port: int) -> BrokerConnection | None:
        """The connection to this address. None: the caller is closed."""
        with self._lock:
            if self._closed:
                return None
            if self._connection is None or self._address != (host, port):
                if self._connection is not None:
                    self._connection.close()
                self._address, self._versions = (host, port), None
                self._connection = BrokerConnection(
                    host, port, self._client_id, self._transport, timeout_ms=self._timeout_ms,
                    backoff_min_ms=BACKOFF_MS, backoff_max_ms=BACKOFF_MS,
                )  # fmt: skip
            return self._connection

    def _newest(self, connection: BrokerConnection, call: Call) -> int | None:
        """Ask which versions the broker knows, once for each connection."""
        if self._versions is None:
            body = connection.request(API_VERSIONS, 0, b"", flexible=False, flexible_response=False)
            self._versions = {key: (low, high) for key, low, high in _row.iter_unpack(_rows_of(body))}
        low, high = self._versions.get(call.api.API_KEY, (0, -1))
        newest = min(high, call.api.VERSIONS[-1] if call.newest is None else call.newest)
        return newest if newest >= max(low, call.api.VERSIONS[0]) else None


def _rows_of(body: bytes) -> bytes:
    """API key and versions of an ApiVersions response of version 0, without what does not fit."""
    rows = body[6:]
    return rows[: len(rows) - len(rows) % _row.size]
