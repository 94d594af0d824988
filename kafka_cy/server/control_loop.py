"""A control-plane loop: runs its queue's requests, timers, and calls from other threads on one thread.

One loop (controller) changes the metadata, one (coordinator) handles groups, one (admin) everything else.
State owned by a loop needs no locks. A loop never waits for another: it posts a call (`call_soon_threadsafe`), and the
other loop posts the result back.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.server.event_times import EventRecorder

WAIT_S_MAX = 1.0
CANCELLED_FEW = 1000  # cancelled timers that may wait for their time; more, if there are twice as many timers


class RequestSource(Protocol):
    """The source of requests that the loop waits on: the network server's control queue."""

    def take_requests(self, timeout_s: float) -> list[Any]:
        """Return the requests that arrived; blocks without the GIL and returns early on wake()."""

    def wake(self) -> None:
        """Make take_requests return; thread-safe."""


class NetworkQueue:
    """One of the network server's control queues, as a RequestSource."""

    def __init__(self, server: Any, index: int) -> None:
        self._server = server
        self._index = index

    def take_requests(self, timeout_s: float) -> list[Any]:
        """See RequestSource."""
        requests: list[Any] = self._server.take_requests(timeout_s, self._index)
        return requests

    def wake(self) -> None:
        """See RequestSource."""
        self._server.wake(self._index)


class NoRequests:
    """The source of a loop that gets calls from other threads only."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def take_requests(self, timeout_s: float) -> list[Any]:
        """See RequestSource."""
        self._woken.wait(timeout_s)
        self._woken.clear()
        return []

    def wake(self) -> None:
        """See RequestSource."""
        self._woken.set()


class Timer:
    """A pending call; `cancel()` makes it a no-op. Owner: the loop's thread."""

    __slots__ = ("_timers", "arguments", "due", "function", "interval_s", "order")

    def __init__(
        self, timers: Timers, due: float, order: int, function: Callable[..., object], arguments: tuple[Any, ...]
    ) -> None:
        self._timers = timers
        self.due = due
        self.order = order
        self.function: Callable[..., object] | None = function
        self.arguments = arguments
        self.interval_s: float | None = None  # set for repeated calls

    def cancel(self) -> None:
        """Cancel the call."""
        if self.function is not None:
            self.function = None
            self.arguments = ()
            self._timers.cancelled()

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.order) < (other.due, other.order)


class Timers:
    """The pending calls of a loop, as a heap. Owner: the loop's thread.

    A cancelled timer stays in it, but not until its time, which clients may have chosen: when more than half are cancelled, all
    of these are removed.
    """

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._cancelled = 0  # timers that were cancelled since the last removal; some of them may not be in the heap

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, timer: Timer) -> None:
        """Add a timer."""
        heapq.heappush(self._heap, timer)

    def pop_due(self, now: float) -> Timer | None:
        """Remove and return the first timer, if its time has come."""
        return heapq.heappop(self._heap) if self._heap and self._heap[0].due <= now else None

    def next_due(self) -> float | None:
        """When the first timer that was not cancelled is due."""
        while self._heap and self._heap[0].function is None:
            heapq.heappop(self._heap)
        return self._heap[0].due if self._heap else None

    def clear(self) -> None:
        """Drop all timers."""
        self._heap.clear()

    def cancelled(self) -> None:
        """A timer was cancelled."""
        self._cancelled += 1
        if self._cancelled > max(CANCELLED_FEW, len(self._heap) // 2):
            self._heap = [timer for timer in self._heap if timer.function is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0


class ControlLoop:
    """Runs requests, timers and calls from other threads, one at a time, on the thread of `run()`.

    `event_times` records how long each waited and took; None: nothing is measured.
    """

    def __init__(self, on_error: Callable[[str, BaseException], None], event_times: EventRecorder | None = None) -> None:
        self.event_times = event_times
        self._source: RequestSource | None = None
        self._handle: Callable[[Any], None] | None = None
        self._look: Callable[[], None] = lambda: None
        self._on_error = on_error
        self._timers = Timers()
        self._order = 0
        self._soon: deque[tuple[float, Callable[..., object], tuple[Any, ...]]] = deque()
        self._workers: list[NamedThread] = []  # of run_in_thread
        self._stopped = False
        self._closed = False

    def attach(
        self, source: RequestSource, handle: Callable[[Any], None], look: Callable[[], None] = lambda: None
    ) -> None:
        """Set the queue to wait on, the function that receives each request, and one called in every round."""
        self._source, self._handle, self._look = source, handle, look

    now = staticmethod(time.monotonic)  # seconds; it is called several times for each request, so not through a method of ours

    def wall_clock_ms(self) -> int:
        """Return milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: Any) -> Timer:
        """Run `function` on this thread after `delay_s`; call this only from this thread."""
        self._order += 1
        timer = Timer(self._timers, self.now() + max(0.0, delay_s), self._order, function, arguments)
        self._timers.push(timer)
        return timer

    def repeat(self, interval_s: float, function: Callable[..., object], *arguments: Any) -> Timer:
        """Run `function` every `interval_s` on this thread until the timer is cancelled; call this only from this thread.

        The next call is due `interval_s` after the previous one ends. An exception is reported and does not stop it.
        """
        timer = self.call_later(interval_s, function, *arguments)
        timer.interval_s = interval_s
        return timer

    def call_soon_threadsafe(self, function: Callable[..., object], *arguments: Any) -> None:
        """Run `function` on this thread as soon as possible; callable from any thread."""
        self._soon.append((self.now(), function, arguments))
        if self._closed:
            self._soon.clear()
        if self._source is not None:
            self._source.wake()

    def run_in_thread(self, work: Callable[[], object], done: Callable[[], object]) -> None:
        """Run `work`, which raises nothing, on a thread of its own, then `done` on this loop's thread.

        Call this only from this thread. The callers bound the number of threads. Raises RuntimeError if no thread starts.
        """

        def both() -> None:
            work()
            self.call_soon_threadsafe(done)

        self._workers = [thread for thread in self._workers if thread.is_alive()]
        thread = NamedThread(target=both, name="loop-work", daemon=True)
        thread.start()
        self._workers.append(thread)

    def join_workers(self) -> None:
        """Wait for the threads of run_in_thread; the loop has ended."""
        for thread in self._workers:
            thread.join()

    def run(self) -> None:
        """Work until stop()."""
        assert self._source is not None and self._handle is not None
        while not self._stopped:
            requests = deque(self._source.take_requests(self._wait_s()))
            while requests:
                if self._soon:
                    self._run_soon()  # before a request that was sent after what was posted
                since = requests[0].received_ns / 1e9 if self.event_times is not None else 0.0
                # Nothing here refers to the request: when the handler drops it, its connection closes at once.
                self._run_event(since, self._handle, (requests.popleft(),))
                self._run_timers()  # many requests must not delay timers
            self._guard(self._look, ())
            self.run_pending()

    @property
    def posted_count(self) -> int:
        """Calls from other threads that wait; any thread may ask."""
        return len(self._soon)

    @property
    def is_stopped(self) -> bool:
        """Whether stop() was called."""
        return self._stopped

    def stop(self) -> None:
        """Make run() return after the current round; callable from any thread or signal handler."""
        self._stopped = True
        if self._source is not None:
            self._source.wake()

    def close(self) -> None:
        """Drop what was posted but not run, also later, and all timers: a request in it closes its connection.

        The loop has ended. Without this, the connections of such requests would delay the shutdown.
        """
        self._closed = True
        self._soon.clear()
        self._timers.clear()

    def run_pending(self) -> None:
        """Run one round of due timers and calls from other threads."""
        if self._soon:
            self._run_soon()
        self._run_timers()

    def _run_soon(self) -> None:
        for _ in range(len(self._soon)):
            self._run_event(*self._soon.popleft())

    def _run_timers(self) -> None:
        now = self.now()
        while (timer := self._timers.pop_due(now)) is not None:
            if timer.function is not None:
                self._run_event(timer.due, timer.function, timer.arguments)
            if timer.function is not None and timer.interval_s is not None:  # the call may have cancelled it
                timer.due = self.now() + timer.interval_s
                self._timers.push(timer)

    def _wait_s(self) -> float:
        if self._soon or self._stopped:
            return 0.0
        due = self._timers.next_due()
        if due is None:
            return WAIT_S_MAX
        wait_s = due - self.now()
        return 0.0 if wait_s < 0.0 else wait_s if wait_s < WAIT_S_MAX else WAIT_S_MAX

    def _run_event(self, since: float, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        """`since`: when it could have run, in monotonic seconds."""
        if self.event_times is None:
            self._guard(function, arguments)
            return
        begun = self.now()
        self._guard(function, arguments)
        self.event_times.add(begun - since, self.now() - begun)

    def _guard(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 a fault ends this piece of work, not the broker
            self._on_error(getattr(function, "__qualname__", repr(function)), error)
