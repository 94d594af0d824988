"""The controller's events: one at a time, in order. Each is a coroutine that waits for the store without holding its thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
Handler = Callable[[], Coroutine[Any, Any, None]]


class Answer(Generic[T]):
    """What an event waits for: `set` or `fail` is called once, at once or later, on the same thread."""

    __slots__ = ("_error", "_resume", "_value", "is_done")

    def __init__(self) -> None:
        self.is_done = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._resume: Callable[[], None] | None = None

    def set(self, value: T) -> None:
        """The answer is there."""
        self._value = value
        self._finish()

    def fail(self, error: BaseException) -> None:
        """Raise an error where the answer is awaited."""
        self._error = error
        self._finish()

    def _finish(self) -> None:
        if self.is_done:
            raise RuntimeError("answered twice")
        self.is_done = True
        if self._resume is not None:
            resume, self._resume = self._resume, None
            resume()

    def when_done(self, resume: Callable[[], None]) -> None:
        """Call `resume` once the answer is there, which it is not yet."""
        self._resume = resume

    def __await__(self) -> Generator[Answer[T], None, T]:
        if not self.is_done:
            yield self
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


class _Event(NamedTuple):
    name: str
    handler: Handler
    queued_ms: float


class EventQueue:
    """Runs events in order, each to its end before the next begins, however long the store takes.

    Owner: the controller's thread. Limit: requests of clients and of brokers are refused before they become events, when too many
    wait (ClientRequests, Member); the events of the cluster itself (broker and topic changes, answers of brokers) are few and
    merge in their handlers.
    """

    def __init__(
        self,
        clock_ms: Callable[[], float],
        failed: Callable[[str, BaseException], None],
        timed: Callable[[str, float, float], None],
    ) -> None:
        """`failed(name, error)`: an event raised. `timed(name, waited ms, took ms)`: an event ended."""
        self._clock_ms = clock_ms
        self._failed = failed
        self._timed = timed
        self._events: deque[_Event] = deque()
        self._running: Coroutine[Any, Any, None] | None = None
        self._current: _Event | None = None
        self._begun_ms = 0.0
        self._driving = False
        self._waits = False  # the running event, for an answer

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return self._running is None and not self._events

    def put(self, name: str, handler: Handler) -> None:
        """Run an event after those that wait."""
        self._events.append(_Event(name, handler, self._clock_ms()))
        self._drive()

    def abandon(self) -> None:
        """Forget what waits, and end the event that runs where it waits. Called by an event itself, it only forgets."""
        self._events.clear()
        running = self._running
        if running is not None and self._waits:
            self._running, self._waits = None, False
            running.close()

    def _drive(self) -> None:
        """Run until there is nothing to run or the running event waits."""
        if self._driving:
            return
        self._driving = True
        try:
            while not self._waits and (self._running is not None or self._events):
                if self._running is None:
                    self._current = self._events.popleft()
                    self._begun_ms = self._clock_ms()
                    self._running = self._current.handler()
                self._step(self._running)
        finally:
            self._driving = False

    def _step(self, running: Coroutine[Any, Any, None]) -> None:
        """Run the event to its next wait or its end."""
        error: BaseException | None = None
        try:
            answer: Answer[Any] = running.send(None)
        except StopIteration:
            pass
        except Exception as raised:  # noqa: BLE001 the next event must run
            error = raised
        else:
            if not answer.is_done:
                self._waits = True
                answer.when_done(lambda: self._resume(running))
            return
        event, self._running, self._current = self._current, None, None
        assert event is not None
        self._timed(event.name, self._begun_ms - event.queued_ms, self._clock_ms() - self._begun_ms)
        if error is not None:
            self._failed(event.name, error)

    def _resume(self, running: Coroutine[Any, Any, None]) -> None:
        if self._running is running:  # else it was abandoned meanwhile
            self._waits = False
            self._drive()
