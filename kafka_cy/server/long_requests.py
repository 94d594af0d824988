"""Long requests take turns: those whose body has many array elements, and those whose response does.

The way of a long request, each step a method of LongRequests or LongRequest:

1. `add_encoded` (from the dispatcher) or `add` (from a handler that calls `Request.respond_long`): it waits in the line of
   its client. A body with many elements waits undecoded, because decoding multiplies its size by up to 20.
2. `_start_next`: its turn comes. The clients take turns, and each has one request in work.
3. `_decode` on the thread, then the handler on the loop. The handler collects what the response shows, in slices, and
   waits for what has to be stored first. The thread is not occupied meanwhile.
4. `LongRequest.build`: the thread builds, encodes and sends the response. `LongRequest.end`: the next turn starts.

A commit of offsets that follows a long one on its connection waits in the line behind it, however short it is: otherwise the
later one would be stored first. That only happens where `kafkacy.connection.max.control.requests` is above 1.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.base.named_thread import NamedThread

if TYPE_CHECKING:
    from kafka_cy.api.context import Make, Prepare, Request
    from kafka_cy.network.control_request import ControlRequest
    from kafka_cy.server.control_loop import ControlLoop

MIB = 1 << 20
ELEMENTS_FEW = 1000  # array elements of a body that the loop decodes; this takes about a millisecond
IN_WORK_MAX = 32  # requests whose turn has come and that are not answered yet
IN_WORK_BYTES_MAX = 4 * MIB  # of their bodies, encoded; above it, no further turn starts
WAITING_BYTES_MAX = 128 * MIB  # of the requests that wait for their turn; a request above it costs its connection
WAITING_CLIENT_BYTES_MAX = 16 * MIB  # of one client's requests that wait, unless it has only one
WAITING_OVERHEAD_BYTES = 4096  # what a request that waits occupies in addition to its body
DECODED_BYTES_MAX = 20  # for each byte of a decoded body


class LongRequest:
    """The turn of one long request, and its place in the line before that.

    It does not refer to its Request, which refers to it: a request that its handler drops without a response ends its
    turn, and closes its connection, at once. Owner: the loop's thread; `end` may be called from any.
    """

    __slots__ = ("_line", "_owner", "close", "connection_id", "size", "start", "waiting_bytes")

    def __init__(
        self,
        owner: LongRequests,
        line: Line,
        size: int,
        waiting_bytes: int,
        start: Callable[[LongRequest], object] | None,
        close: Callable[[str], object] | None,
    ) -> None:
        """`size`: bytes of the encoded body; `waiting_bytes`: memory that the request occupies while it waits.

        `close` answers it by closing its connection.
        """
        self.size = size
        self.waiting_bytes = waiting_bytes
        self.start = start  # None, like `close`: its turn has come
        self.close = close
        self._owner = owner
        self.connection_id: int | None = None  # if others of its connection wait behind it
        self._line = [line]  # empty when the turn has ended; list.pop is atomic

    def build(self, request: Request[Any], make: Make) -> None:
        """Send the response that `make` returns, from the thread; then the turn ends."""
        try:
            self._owner.on_thread(partial(self._build, request, make))
        except RuntimeError as error:
            self._owner.fail(request, error)
            self.end()

    def _build(self, request: Request[Any], make: Make) -> None:
        try:
            if not request.responded:
                request.send(make())
        except Exception as error:  # noqa: BLE001 a fault costs only this request
            self._owner.fail(request, error)
        finally:
            self.end()

    def end(self) -> None:
        """Give the turn back; a second call does nothing."""
        try:
            line = self._line.pop()
        except IndexError:
            return
        self._owner.ended(line, self.size, self.connection_id)

    def __del__(self) -> None:
        if self.start is None:
            self.end()


class Line:
    """The requests of one client that wait, oldest first. Owner: the loop's thread. It exists while it has a request."""

    __slots__ = ("client", "in_work", "requests", "waiting_bytes")

    def __init__(self, client: str) -> None:
        self.client = client
        self.requests: deque[LongRequest] = deque()
        self.waiting_bytes = 0
        self.in_work = False


class LongRequests:
    """The long requests of one loop. Owner: the loop's thread.

    The thread `long-requests` starts with the first job; it does one job at a time. Limits: see the constants above.
    """

    def __init__(
        self,
        loop: ControlLoop,
        decode: Callable[[ControlRequest], Request[Any] | None],
        handle: Callable[[Request[Any]], object],
        fail: Callable[[Request[Any], Exception], object],
    ) -> None:
        """`decode` runs on the thread; it returns None after it closed the connection. `handle` runs on the loop.

        `fail` answers a request after an exception; any thread may call it.
        """
        self.fail = fail
        self._loop = loop
        self._decode_body = decode
        self._handle = handle
        self._lines: dict[str, Line] = {}
        self._turns: deque[Line] = deque()  # lines that wait and have no request in work
        self._waiting_bytes = 0
        self._in_work = 0
        self._in_work_bytes = 0
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: NamedThread | None = None
        self._stopping = False
        self._ordered: dict[int, int] = {}  # connection -> its requests that others wait behind, waiting or in work

    def add_encoded(self, control: ControlRequest, size: int, *, in_order: bool = False) -> None:
        """Decode and handle the request when its turn comes. `size`: bytes of its body, which `control` holds until then.

        `in_order`: `has_ordered` tells that it is there, until it was answered.
        """
        start = partial(self._start_encoded, control)
        turn = self._add(control.client_host, size, size + WAITING_OVERHEAD_BYTES, start, control.close)
        if in_order and turn is not None:
            turn.connection_id = control.connection_id
            self._ordered[control.connection_id] = self._ordered.get(control.connection_id, 0) + 1
        self._start_next()

    def has_ordered(self, connection_id: int) -> bool:
        """Whether a request of the connection, added with `in_order`, was not answered yet."""
        return connection_id in self._ordered

    def add(self, request: Request[Any], prepare: Prepare) -> None:
        """Respond to a decoded request when its turn comes: see Request.respond_long."""
        waiting_bytes = DECODED_BYTES_MAX * request.body_size + WAITING_OVERHEAD_BYTES
        start = partial(self._start_decoded, request, prepare)
        self._add(request.client_host, request.body_size, waiting_bytes, start, request.close)
        self._start_next()

    def stop(self) -> None:
        """End the thread after its current job, and close the connections of the requests that wait. The loop has ended."""
        self._stopping = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
        self._jobs = queue.SimpleQueue()  # a request in a job that was not begun closes its connection
        for line in self._lines.values():
            while line.requests:
                close = line.requests.popleft().close
                assert close is not None
                close("the broker shuts down")

    # -- lines and turns --

    def _add(
        self,
        client: str,
        size: int,
        waiting_bytes: int,
        start: Callable[[LongRequest], object],
        close: Callable[[str], object],
    ) -> LongRequest | None:
        """Put a request into the line of its client. None: the limits do not allow it, and its connection was closed."""
        line = self._lines.get(client)
        is_over = bool(self._waiting_bytes) and self._waiting_bytes + waiting_bytes > WAITING_BYTES_MAX
        if line is not None and line.requests and line.waiting_bytes + waiting_bytes > WAITING_CLIENT_BYTES_MAX:
            is_over = True
        if is_over:
            close("too many long requests wait")
            return None
        if line is None:
            line = self._lines[client] = Line(client)
        turn = LongRequest(self, line, size, waiting_bytes, start, close)
        line.requests.append(turn)
        line.waiting_bytes += waiting_bytes
        self._waiting_bytes += waiting_bytes
        if len(line.requests) == 1 and not line.in_work:
            self._turns.append(line)
        return turn

    def _start_next(self) -> None:
        while self._turns and self._in_work < IN_WORK_MAX and self._in_work_bytes < IN_WORK_BYTES_MAX:
            line = self._turns.popleft()
            turn = line.requests.popleft()
            line.in_work = True
            line.waiting_bytes -= turn.waiting_bytes
            self._waiting_bytes -= turn.waiting_bytes
            self._in_work += 1
            self._in_work_bytes += turn.size
            start, turn.start, turn.close = turn.start, None, None
            assert start is not None
            start(turn)

    def ended(self, line: Line, size: int, connection_id: int | None) -> None:
        """A request of this line has been answered. Any thread."""
        self._loop.call_soon_threadsafe(self._ended, line, size, connection_id)

    def _ended(self, line: Line, size: int, connection_id: int | None) -> None:
        if connection_id is not None:
            left = self._ordered.pop(connection_id) - 1
            if left:
                self._ordered[connection_id] = left
        self._in_work -= 1
        self._in_work_bytes -= size
        line.in_work = False
        if line.requests:
            self._turns.append(line)  # behind the other clients
        else:
            del self._lines[line.client]
        self._start_next()

    # -- the work of a turn --

    def _start_decoded(self, request: Request[Any], prepare: Prepare, turn: LongRequest) -> None:
        request.turn = turn
        try:
            prepare(partial(turn.build, request))
        except Exception as error:  # noqa: BLE001 a fault costs only this request
            self.fail(request, error)
            turn.end()

    def _start_encoded(self, control: ControlRequest, turn: LongRequest) -> None:
        try:
            self.on_thread(partial(self._decode, control, turn))
        except RuntimeError as error:
            control.close(str(error))
            turn.end()

    def _decode(self, control: ControlRequest, turn: LongRequest) -> None:
        request = self._decode_body(control)
        if request is None:
            turn.end()
        else:
            request.turn = turn
            self._loop.call_soon_threadsafe(self._handle, request)

    # -- the thread --

    def on_thread(self, job: Callable[[], object]) -> None:
        """Run `job` on the thread, after those that were added before. Raises RuntimeError if the thread cannot start."""
        if self._thread is None:
            thread = NamedThread(target=self._work, name="long-requests", daemon=True)
            thread.start()
            self._thread = thread  # only now: the next job tries again
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None or self._stopping:
                return
            try:
                job()
            except Exception as fault:  # noqa: BLE001 the loop reports it, and the thread continues
                self._loop.call_soon_threadsafe(_raise, fault)
            del job  # free the memory before the next job


def _raise(fault: Exception) -> None:
    raise fault
