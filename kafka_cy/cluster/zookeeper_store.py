"""The metadata store of a cluster: the tree is in ZooKeeper. See AsyncStore.

Requests wait in one queue, at most `zookeeper.max.in.flight.requests` are with ZooKeeper, and they are answered in order. When
the connection is lost, requests in flight fail (ConnectionLost, OutcomeUnknown) and the others wait for the connection.
When the session ends, all fail that are not answered. While a session goes on at another server, its watches are set again,
before any other request, and those whose nodes have changed meanwhile fire.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from kazoo.exceptions import NoAuthError as KazooNoAuth
from kazoo.exceptions import NodeExistsError as KazooNodeExists
from kazoo.exceptions import NoNodeError as KazooNoNode
from kazoo.protocol.states import KazooState

from kafka_cy.cluster.change_size import too_large
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.session_counts import CONNECTED, CONNECTING, SessionCounts
from kafka_cy.cluster.store import (
    ChangeTimes,
    Children,
    ConnectionLost,
    Create,
    Done,
    Exists,
    Get,
    Operation,
    OutcomeUnknown,
    ReadDone,
    Request,
    Rights,
    SessionEvent,
    SessionExpired,
    SessionListener,
    StoreError,
    Watch,
)
from kafka_cy.cluster.store_calls import CallLater
from kafka_cy.cluster.zookeeper_calls import Call, Ending
from kafka_cy.cluster.zookeeper_connection import (
    IN_FLIGHT_MOST,
    Answered,
    Event,
    StateChanged,
    Watched,
    ZooKeeperConnection,
)
from kafka_cy.cluster.zookeeper_requests import change_of, error_of, full_path, node_of, results_of, split_chroot
from kafka_cy.cluster.zookeeper_security import ZooKeeperSecurity, rights_of_all
from kafka_cy.cluster.zookeeper_watches import MISSING, Watches

EVENTS_A_TURN = 20  # handled before the owner's loop gets another turn: about a millisecond
WAITING_BYTES_MAX = 64 << 20  # of requests that wait for their turn, unless it is one call; further ones get ConnectionLost
DENIED_PAUSE_S_MAX = 30.0
START_AGAIN_MS = 1000
REFUSALS_MAX = 100  # reasons why there is no connection that are told apart


class ZooKeeperStore:
    """See AsyncStore. Owner: the thread that runs what `post` gets. Limits: WAITING_BYTES_MAX, and one entry per watched path.

    `in_flight_max`: zookeeper.max.in.flight.requests, of which IN_FLIGHT_MOST count.
    """

    def __init__(
        self,
        connect: str,
        post: Callable[..., object],
        call_later: CallLater,
        log: LineLog,
        *,
        session_timeout_ms: int = 18000,
        in_flight_max: int = 10,
        security: ZooKeeperSecurity | None = None,
    ) -> None:
        """`connect`: zookeeper.connect. `call_later`: on the owner's thread. Raises ValueError if `connect` is malformed."""
        self.change_times = ChangeTimes()
        self.session_counts = SessionCounts(CONNECTING)
        self._post, self._call_later, self._log = post, call_later, log
        self._hosts, self._chroot = split_chroot(connect)
        self._session_timeout_ms = session_timeout_ms
        self._in_flight_max = max(1, min(in_flight_max, IN_FLIGHT_MOST))
        self._listeners: list[SessionListener] = []
        self._calls: deque[Call] = deque()  # not answered, in order
        self._to_send: deque[Call] = deque()  # of these, with requests that were not handed to kazoo
        self._own: deque[Call] = deque()  # the store's own requests, which go before
        self._to_watch: deque[tuple[Watches, str]] = deque()  # watches to be set again, before any other request
        self._in_flight: deque[tuple[int, Call, int]] = deque()  # token, call, index of the request
        self._waiting_bytes = 0
        self._token = 0
        self._data_watches, self._child_watches = Watches(), Watches()
        self._session_id = 0
        self._connected = False
        self._chroot_exists = not self._chroot
        self._woken = False
        self._settling = False
        self._ending: Ending | None = None  # no further event is handled meanwhile
        self._closed = False
        self._is_failing = False  # to start a client; a line of the log has told so
        self._arrived = threading.Event()  # an event, for close()
        self._security = security or ZooKeeperSecurity()
        self._refusals: set[str] = set()  # reasons of failed handshakes that were told since there was a connection
        self._pause_s = 0.0  # before the next client connects, after ZooKeeper has not authenticated the last one
        self._connection = self._new_connection()

    # -- life

    def start(self) -> None:
        """Begin to connect; requests wait for it. Raises RuntimeError if the process may have no more threads."""
        self._connection.start()

    def wait_for_connection(self, timeout_ms: int) -> None:
        """Wait for the first connection (zookeeper.connection.timeout.ms). Main thread, at the start. Raises ConnectionLost."""
        if not self._connection.connected.wait(timeout_ms / 1000):
            why = "".join(f"; {each}" for each in sorted(self._refusals))
            raise ConnectionLost(f"no connection to ZooKeeper at {self._hosts} within {timeout_ms} ms{why}")

    def close(self) -> None:
        """See AsyncStore. Waits for at most the session time-out; what ZooKeeper has not answered by then is not known."""
        deadline = time.monotonic() + self._session_timeout_ms / 1000
        while self._connected and (self._in_flight or self._to_send) and self._arrived.wait(deadline - time.monotonic()):
            self._arrived.clear()
            self._handle_events()
        self._closed = True
        self._connection.close(max(1.0, deadline - time.monotonic()))
        while self._connection.events:
            event = self._connection.events.popleft()
            if isinstance(event, Answered):
                self._answered(event)
        self._fail_unanswered()
        for _ in range(len(self._calls)):  # who asks again because of the answer gets none: there would be no end
            self._deliver(self._calls.popleft())

    def _new_connection(self) -> ZooKeeperConnection:
        logger = logging.Logger("kazoo", logging.CRITICAL)
        return ZooKeeperConnection(
            self._hosts, self._session_timeout_ms, self._wake, logger, self._security, self._refused, self._pause_s
        )

    def _refused(self, why: str) -> None:
        """A thread of kazoo's: tell each reason once, until there is a connection."""
        if why not in self._refusals and len(self._refusals) < REFUSALS_MAX:
            self._refusals = self._refusals | {why}
            self._log.warning("no TLS connection to ZooKeeper; this is tried again", reason=why)

    # -- AsyncStore

    @property
    def session_id(self) -> int:
        """See AsyncStore."""
        return self._session_id

    def listen(self, listener: SessionListener) -> None:
        """See AsyncStore."""
        self._listeners.append(listener)

    def read(self, requests: Sequence[Request], done: ReadDone) -> None:
        """See AsyncStore. Watches of the first requests may fire before the answer, if many are read at once."""
        self._add(Call(list(requests), None, done))

    def submit(self, operations: Sequence[Operation], done: Done) -> None:
        """See AsyncStore."""
        self._add(Call((), list(operations), done))

    def _add(self, call: Call) -> None:
        self._calls.append(call)
        if self._closed:
            call.error = SessionExpired("the store is closed")
        elif self._waiting_bytes and self._waiting_bytes + call.size > WAITING_BYTES_MAX:
            call.error = ConnectionLost("too many requests wait for ZooKeeper")
        elif call.to_send:
            self._waiting_bytes += call.size
            self._to_send.append(call)
            self._pump()
        if not call.to_send and not call.pending:
            self._settle_later()

    # -- sending

    def _pump(self) -> None:
        """Hand requests to kazoo, as many as may be in flight."""
        while self._connected and len(self._in_flight) < self._in_flight_max:
            if not self._own and self._to_watch:
                self._watch_again(*self._to_watch.popleft())
            queue = self._own
            if not queue and self._chroot_exists:
                queue = self._to_send
            if not queue:
                return
            call = queue[0]
            if call.to_send and not self._send(call):
                return  # an event says why
            if not call.to_send:
                queue.popleft()
                if queue is self._to_send:
                    self._waiting_bytes -= call.size

    def _send(self, call: Call) -> bool:
        self._token += 1
        chroot = "" if call.own else self._chroot
        try:
            if call.change is not None:
                refusal = too_large(call.change, chroot)
                if refusal is not None:
                    raise refusal
                taken = self._connection.change(self._token, change_of(chroot, call.change, self._security.acl_of))
            else:
                request = call.requests[call.sent]
                taken = self._connection.read(self._token, request, full_path(chroot, request.path))
        except StoreError as error:
            call.error = error
            if not call.pending:
                self._settle_later()
            return True
        if taken:
            self._in_flight.append((self._token, call, call.sent))
            call.sent += 1
            call.pending += 1
        return taken

    # -- events

    def _wake(self) -> None:
        """Any thread: an event was added."""
        self._arrived.set()
        if not self._woken:
            self._woken = True
            self._post(self._handle_events)

    def _handle_events(self) -> None:
        self._woken = False
        if self._closed:
            return
        for _ in range(EVENTS_A_TURN):
            if self._ending is not None:
                self._end_session(self._ending)
                break
            if not self._connection.events:
                break
            self._handle(self._connection.events.popleft())
        if self._connection.events or self._ending is not None:
            self._wake()
        self._pump()

    def _handle(self, event: Event) -> None:
        if isinstance(event, Answered):
            self._answered(event)
        elif isinstance(event, Watched):
            path = event.path[len(self._chroot) :] or "/"
            self._fire(path, (self._child_watches if event.of_children else self._data_watches).fire(path))
        else:
            self._state_changed(event)

    def _answered(self, event: Answered) -> None:
        if not self._in_flight or self._in_flight[0][0] != event.token:
            return  # of a session that has ended
        _, call, index = self._in_flight.popleft()
        call.pending -= 1
        if event.error is None:
            self._pause_s = 0.0
        self.change_times.add(event.took_ms)
        if call.own:
            call.done(event)
            return
        try:
            if call.change is not None:
                self._take_results(call, event)
            else:
                call.answers.append(self._answer_of(call.requests[index], event))
        except StoreError as error:
            if call.error is None:
                call.error = error
                if call.sent < len(call.requests):  # the rest of a read is not sent; if there is none, it waits there no more
                    self._to_send.remove(call)
                    self._waiting_bytes -= call.size
        self._settle()

    def _take_results(self, call: Call, event: Answered) -> None:
        assert call.change is not None
        if event.error is not None:
            raise error_of(event.error, changes=True)
        call.answers = results_of(self._chroot, call.change, event.value)

    def _answer_of(self, request: Request, event: Answered) -> Any:
        """The answer to one request of a read; sets its watch. Raises StoreError."""
        if isinstance(request, Rights) and isinstance(event.error, KazooNoAuth):
            return []  # nobody but its creators may even see its ACL
        if event.error is not None and not isinstance(event.error, KazooNoNode):
            raise error_of(event.error, changes=False, path=request.path)
        missing = event.error is not None or event.value is None
        if isinstance(request, Children):
            if missing:
                return None
            names, stat = event.value
            if request.watch is not None:
                self._child_watches.add(request.path, request.watch, stat.pzxid)
            return sorted(names) if request.in_order else names
        if isinstance(request, Rights):
            return None if missing else rights_of_all(event.value[0])
        if missing:
            if isinstance(request, Exists) and request.watch is not None:
                self._data_watches.add(request.path, request.watch, MISSING)
            return None
        data, stat = event.value if isinstance(request, Get) else (None, event.value)
        if request.watch is not None:
            self._data_watches.add(request.path, request.watch, stat.mzxid)
        return node_of(data, stat)

    def _settle(self) -> None:
        """Answer calls that have all they wait for, in order; a few in a turn of the loop."""
        self._settling = False
        for _ in range(EVENTS_A_TURN if self._ending is None else 0):
            if not self._calls or self._calls[0].pending or self._calls[0].to_send:
                return
            self._deliver(self._calls.popleft())
        if self._calls and self._ending is None:
            self._settle_later()

    def _settle_later(self) -> None:
        if not self._settling:
            self._settling = True
            self._post(self._settle)

    def _deliver(self, call: Call) -> None:
        try:
            call.done(call.answers if call.error is None else None, call.error)
        except Exception as fault:  # noqa: BLE001 the owner's loop reports it
            self._post(_raise, fault)

    def _fire(self, path: str, watches: Sequence[Watch]) -> None:
        for watch in watches:
            try:
                watch(path)
            except Exception as fault:  # noqa: BLE001 the owner's loop reports it
                self._post(_raise, fault)

    # -- the session

    def _state_changed(self, event: StateChanged) -> None:
        self._connected = event.state == KazooState.CONNECTED
        counts = self.session_counts
        counts.state = CONNECTED if self._connected else CONNECTING
        if event.state == KazooState.SUSPENDED:
            counts.disconnects += 1
            self._own.clear()
            self._to_watch.clear()
            self._log.warning("the connection to ZooKeeper is lost", session=f"0x{self._session_id & (1 << 64) - 1:x}")
            self._tell(SessionEvent.SUSPENDED)
        elif self._connected:
            counts.sync_connects += 1
            self._refusals = set()
            again = event.session_id == self._session_id
            self._session_id = event.session_id
            self._log.info(
                "connected to ZooKeeper again" if again else "connected to ZooKeeper",
                session=f"0x{event.session_id & (1 << 64) - 1:x}",
            )
            self._connection.open(event.number)
            self._set_watches_again()
            self._find_chroot()
            self._tell(SessionEvent.CONNECTED)
        else:
            self._session_ended(event)

    def _session_ended(self, event: StateChanged) -> None:
        if event.denied:
            self.session_counts.auth_failures += 1
            self._pause_s = min(max(1.0, 2 * self._pause_s), DENIED_PAUSE_S_MAX)
            self._log.error("ZooKeeper did not authenticate this broker")
        had_session, self._session_id = self._session_id, 0
        if had_session:
            self.session_counts.expires += 1
            self._log.warning("the session in ZooKeeper has ended", session=f"0x{had_session & (1 << 64) - 1:x}")
        self._fail_unanswered()
        self._ending = Ending(len(self._calls), had_session != 0, event.closed)

    def _end_session(self, ending: Ending) -> None:
        """Answer what the ended session leaves, a few calls in a turn of the loop; then tell of its end, and go on."""
        for _ in range(min(EVENTS_A_TURN, ending.calls)):
            self._deliver(self._calls.popleft())
            ending.calls -= 1
        if ending.calls:
            return
        self._ending = None
        if ending.had_session:  # first of all: this broker's roles have ended, whatever becomes of the next client
            self._tell(SessionEvent.EXPIRED)
        if ending.closed:
            self._connection.close(0)
            self._connection = self._new_connection()
            self._start_again()
        self._settle()

    def _start_again(self) -> None:
        """Start the new client; if the process may have no more threads or descriptors, try again until it may."""
        if self._closed:
            return
        try:
            self._connection.start()
        except (OSError, RuntimeError) as error:
            if not self._is_failing:
                self._log.error("no connection to ZooKeeper can be begun; this is tried again", error=str(error))
            self._is_failing = True
            self._call_later(START_AGAIN_MS, self._start_again)
        else:
            self._is_failing = False

    def _fail_unanswered(self) -> None:
        """The session has ended: requests with kazoo may have been applied, the others were not."""
        for _, call, _ in self._in_flight:
            call.pending = 0
            if call.error is None:
                text = "the session in ZooKeeper has ended"
                call.error = OutcomeUnknown(text) if call.change is not None else SessionExpired(text)
        for call in self._calls:
            if call.error is None and (call.to_send or call.pending):
                call.error = SessionExpired("the session in ZooKeeper has ended")
        self._in_flight.clear()
        self._own.clear()
        self._to_watch.clear()
        self._to_send.clear()
        self._waiting_bytes = 0
        self._data_watches.clear()
        self._child_watches.clear()

    def _tell(self, event: SessionEvent) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception as fault:  # noqa: BLE001 the owner's loop reports it
                self._post(_raise, fault)

    # -- the store's own requests

    def _set_watches_again(self) -> None:
        """The session goes on: set its watches at this server. Those whose node has changed since they were set fire."""
        for watches in (self._data_watches, self._child_watches):
            self._to_watch += [(watches, path) for path in watches]

    def _watch_again(self, watches: Watches, path: str) -> None:
        kind = Children if watches is self._child_watches else Exists
        request = kind(full_path(self._chroot, path), _nothing)

        def answered(event: Answered) -> None:
            missing = isinstance(event.error, KazooNoNode) or (event.error is None and event.value is None)
            if event.error is not None and not missing:
                return  # the connection is lost again
            if missing:
                now = MISSING
            else:
                now = event.value[1].pzxid if watches is self._child_watches else event.value.mzxid
            if watches.changed(path, now):
                self._fire(path, watches.fire(path))

        self._own.append(Call([request], None, answered, own=True))

    def _find_chroot(self) -> None:
        """Create the chroot if it does not exist; requests wait until then."""
        if self._chroot_exists:
            return

        def found(event: Answered) -> None:
            if event.error is None and event.value is None:
                parts = self._chroot[1:].split("/")
                paths = ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]
                for path in paths:
                    self._own.append(Call((), [Create(path)], created if path == paths[-1] else _nothing, own=True))
            elif event.error is None:
                self._chroot_exists = True

        def created(event: Answered) -> None:
            if event.error is not None:
                return  # the connection is lost: the next one looks again
            (result,) = event.value
            if isinstance(result, Exception) and not isinstance(result, KazooNodeExists):
                self._log.error(f"ZooKeeper refuses to create the chroot {self._chroot}", error=type(result).__name__)
            self._chroot_exists = True

        self._own.append(Call([Exists(self._chroot)], None, found, own=True))


def _nothing(event: object) -> None:
    """For requests whose answer, and watches whose caller, is of no interest."""


def _raise(fault: Exception) -> None:
    raise fault
