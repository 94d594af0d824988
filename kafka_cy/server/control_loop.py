"""A control-plane loop: runs its queue's requests, timers, and calls from other threads on one thread.

One loop (controller) changes the metadata, one (coordinator) handles groups, one (admin) everything else.
State owned by a loop needs no locks. A loop never waits for another: it posts a call (`call_soon_threadsafe`), and the
other loop posts the result back.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from kafka_cy.base.named_thread import NamedThread

WAIT_S_MAX = 1.0


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


class Timer:
    """A pending call; `cancel()` makes it a no-op."""

    __slots__ = ("arguments", "due", "function", "interval_s", "order")

    def __init__(self, due: float, order: int, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.due = due
        self.order = order
        self.function: Callable[..., object] | None = function
        self.arguments = arguments
        self.interval_s: float | None = None  # set for repeated calls

    def cancel(self) -> None:
        """Cancel the call."""
        self.function = None
        self.arguments = ()

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.order) < (other.due, other.order)


class ControlLoop:
    """Runs requests, timers and calls from other threads, one at a time, on the thread of `run()`."""

    def __init__(self, on_error: Callable[[str, BaseException], None]) -> None:
        self._source: RequestSource | None = None
        self._handle: Callable[[Any], None] | None = None
        self._look: Callable[[], None] = lambda: None
        self._on_error = on_error
        self._timers: list[Timer] = []
        self._order = 0
        self._soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._workers: list[NamedThread] = []  # of run_in_thread
        self._stopped = False

    def attach(
        self, source: RequestSource, handle: Callable[[Any], None], look: Callable[[], None] = lambda: None
    ) -> None:
        """Set the queue to wait on, the function that receives each request, and one called in every round."""
        self._source, self._handle, self._look = source, handle, look

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def wall_clock_ms(self) -> int:
        """Return milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: Any) -> Timer:
        """Run `function` on this thread after `delay_s`; call this only from this thread."""
        self._order += 1
        timer = Timer(self.now() + max(0.0, delay_s), self._order, function, arguments)
        heapq.heappush(self._timers, timer)
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
        self._soon.append((function, arguments))
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
                self._run_soon()  # before a request that was sent after what was posted
                self._guard(self._handle, (requests.popleft(),))  # keeps no reference: a dropped request closes now
                self._run_timers()  # many requests must not delay timers
            self._guard(self._look, ())
            self.run_pending()

    def stop(self) -> None:
        """Make run() return after the current round; callable from any thread or signal handler."""
        self._stopped = True
        if self._source is not None:
            self._source.wake()

    def run_pending(self) -> None:
        """Run one round of due timers and calls from other threads."""
        self._run_soon()
        self._run_timers()

    def _run_soon(self) -> None:
        for _ in range(len(self._soon)):
            function, arguments = self._soon.popleft()
            self._guard(function, arguments)

    def _run_timers(self) -> None:
        if not self._timers:
            return
        now = self.now()
        while self._timers and self._timers[0].due <= now:
            timer = heapq.heappop(self._timers)
            if timer.function is not None:
                self._guard(timer.function, timer.arguments)
            if timer.function is not None and timer.interval_s is not None:  # the call may have cancelled it
                timer.due = self.now() + timer.interval_s
                heapq.heappush(self._timers, timer)

    def _wait_s(self) -> float:
        while self._timers and self._timers[0].function is None:
            heapq.heappop(self._timers)
        if self._soon or self._stopped:
            return 0.0
        if not self._timers:
            return WAIT_S_MAX
        return min(WAIT_S_MAX, max(0.0, self._timers[0].due - self.now()))

    def _guard(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 a fault ends this piece of work, not the broker
            self._on_error(getattr(function, "__qualname__", repr(function)), error)
