"""Long requests take turns: those whose body has many array elements, and those whose response does.

The way of a long request, each step a method of LongRequests or LongRequest:

1. `add_encoded` (from the dispatcher) or `add` (from a handler that calls `Request.respond_long`): it waits in the line of
   its client. A body with many elements waits undecoded, because decoding multiplies its size by up to 20.
2. `_start_next`: its turn comes. The clients take turns, and each has one request in work.
3. `_decode` on the thread, then the handler on the loop. The handler collects what the response shows, in slices, and
   waits for what has to be stored first. The thread is not occupied meanwhile.
4. `LongRequest.build`: the thread builds, encodes and sends the response. `LongRequest.end`: the next turn starts.
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
    from kafka_cy.network.server import ControlRequest
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

    __slots__ = ("_line", "_owner", "size", "start", "waiting_bytes")

    def __init__(
        self,
        owner: LongRequests,
        line: Line,
        size: int,
        waiting_bytes: int,
        start: Callable[[LongRequest], object] | None,
    ) -> None:
        """`size`: bytes of the encoded body; `waiting_bytes`: memory that the request occupies while it waits."""
        self.size = size
        self.waiting_bytes = waiting_bytes
        self.start = start  # None: its turn has come
        self._owner = owner
        self._line = [line]  # empty when the turn has ended; list.pop is atomic

    def build(self, request: Request[Any], make: Make) -> None:
        """Send the response that `make` returns, from the thread; then the turn ends."""
        self._owner.on_thread(partial(self._build, request, make))

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
        self._owner.ended(line, self.size)

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

    def add_encoded(self, control: ControlRequest, size: int) -> None:
        """Decode and handle the request when its turn comes. `size`: bytes of its body, which `control` holds until then."""
        start = partial(self._start_encoded, control)
        if not self._add(control.client_host, size, size + WAITING_OVERHEAD_BYTES, start):
            control.close("too many long requests wait")

    def add(self, request: Request[Any], prepare: Prepare) -> None:
        """Respond to a decoded request when its turn comes: see Request.respond_long."""
        waiting_bytes = DECODED_BYTES_MAX * request.body_size + WAITING_OVERHEAD_BYTES
        start = partial(self._start_decoded, request, prepare)
        if not self._add(request.client_host, request.body_size, waiting_bytes, start):
            request.close("too many long requests wait")

    def stop(self) -> None:
        """End the thread after its current job."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()

    # -- lines and turns --

    def _add(self, client: str, size: int, waiting_bytes: int, start: Callable[[LongRequest], object]) -> bool:
        """Put a request into the line of its client. False: the limits do not allow it."""
        line = self._lines.get(client)
        if self._waiting_bytes and self._waiting_bytes + waiting_bytes > WAITING_BYTES_MAX:
            return False
        if line is None:
            line = self._lines[client] = Line(client)
        elif line.requests and line.waiting_bytes + waiting_bytes > WAITING_CLIENT_BYTES_MAX:
            return False
        line.requests.append(LongRequest(self, line, size, waiting_bytes, start))
        line.waiting_bytes += waiting_bytes
        self._waiting_bytes += waiting_bytes
        if len(line.requests) == 1 and not line.in_work:
            self._turns.append(line)
        self._start_next()
        return True

    def _start_next(self) -> None:
        while self._turns and self._in_work < IN_WORK_MAX and self._in_work_bytes < IN_WORK_BYTES_MAX:
            line = self._turns.popleft()
            turn = line.requests.popleft()
            line.in_work = True
            line.waiting_bytes -= turn.waiting_bytes
            self._waiting_bytes -= turn.waiting_bytes
            self._in_work += 1
            self._in_work_bytes += turn.size
            start, turn.start = turn.start, None
            assert start is not None
            start(turn)

    def ended(self, line: Line, size: int) -> None:
        """A request of this line has been answered. Any thread."""
        self._loop.call_soon_threadsafe(self._ended, line, size)

    def _ended(self, line: Line, size: int) -> None:
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
        self.on_thread(partial(self._decode, control, turn))

    def _decode(self, control: ControlRequest, turn: LongRequest) -> None:
        request = self._decode_body(control)
        if request is None:
            turn.end()
        else:
            request.turn = turn
            self._loop.call_soon_threadsafe(self._handle, request)

    # -- the thread --

    def on_thread(self, job: Callable[[], object]) -> None:
        """Run `job` on the thread, after those that were added before."""
        if self._thread is None:
            self._thread = NamedThread(target=self._work, name="long-requests", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            try:
                job()
            except Exception as fault:  # noqa: BLE001 the loop reports it, and the thread continues
                self._loop.call_soon_threadsafe(_raise, fault)
            del job  # free the memory before the next job


def _raise(fault: Exception) -> None:
    raise fault
