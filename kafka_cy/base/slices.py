"""Long tasks on a control-plane loop in slices of a millisecond: requests and timers run between two slices.

What has to wait for a disk, or only computes, may be a Work, which a task yields: it runs on another thread while the task
pauses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

R = TypeVar("R")
T = TypeVar("T")
OVER = object()
WAITS = object()  # yielded by a task that can do nothing before another one goes on: it gives the rest of its slice away
AT_ONCE_MAX = 32  # groups or keys of a request that is answered at once; more are worked on in slices
SLICE_S = 0.001  # time for long tasks in each turn of the loop, however many tasks there are


class Loop(Protocol):
    """The part of a control loop that `Slices` needs."""

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: Any) -> Any:
        """Run `function` on the loop's thread after `delay_s`."""

    def run_in_thread(self, work: Callable[[], object], done: Callable[[], object]) -> None:
        """Run `work` on another thread, then `done` on the loop's thread."""


class Work(Generic[R]):
    """A call that may wait for a disk, or that only computes. It touches nothing that may change meanwhile.

    A step of a task yields it; when the task continues, it takes the result.
    """

    def __init__(self, function: Callable[[], R]) -> None:
        self._function = function
        self._result: list[R] = []
        self._error: Exception | None = None

    def run(self) -> None:
        """Do the call. Raises nothing."""
        try:
            self._result.append(self._function())
        except Exception as error:  # noqa: BLE001 the task decides
            self._error = error

    def fail(self, error: Exception) -> None:
        """The call could not be made."""
        self._error = error

    def result(self) -> R:
        """What the call returned. Raises what the call raised."""
        if self._error is not None:
            raise self._error
        return self._result[0]


def in_work(function: Callable[[], R]) -> Generator[object, None, R]:
    """A part of a task that is a Work. Returns what it returned, raises what it raised."""
    work = Work(function)
    yield work
    return work.result()


def at_once(steps: Generator[object, None, R]) -> R:
    """Do a task here and now, with its works. Returns what it returns."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: R = end.value
            return result
        if isinstance(step, Work):
            step.run()


def each(items: Iterable[T], work: Callable[[T], object], on_fault: Callable[[Exception], object]) -> Iterator[None]:
    """A task that calls `work` for each item. A fault in one does not stop the others."""
    for item in items:
        try:
            work(item)
        except Exception as fault:  # noqa: BLE001 the other items have their turn
            on_fault(fault)
        yield


class Slices:
    """Runs long tasks step by step. Several tasks take turns; together they get one slice in each turn of the loop.

    Owner: the loop's thread. Limit: the callers bound the number of tasks.
    """

    def __init__(
        self, loop: Loop, on_fault: Callable[[Exception], object], clock: Callable[[], float] | None = None
    ) -> None:
        """`on_fault` is called with an exception in a step, which ends that task, or in a `done`. `clock`: in seconds, if it is
        not the monotonic one."""
        self._loop = loop
        self._clock = clock if clock is not None else monotonic
        self._on_fault = on_fault
        self._works: deque[tuple[Iterator[object], Callable[[], object]]] = deque()
        self._busy = False  # a slice runs, or a timer is set for the next one
        self.is_running = False  # a slice runs

    def add(self, steps: Iterable[object], done: Callable[[], object] = lambda: None) -> None:
        """Add a task: each item of `steps` is one step, which has to be short. `done` is called at the end, even after a fault.

        A task shorter than a slice is complete when this returns, unless another task is running or it yields a Work.
        """
        self._works.append((iter(steps), done))
        if not self._busy:
            self._run()

    def stop(self) -> None:
        """Drop all tasks without calling their `done`: a request in one closes its connection. The loop has ended."""
        self._works.clear()

    def _run(self) -> None:
        """Run tasks for one slice."""
        self._busy = self.is_running = True
        deadline = self._clock() + SLICE_S
        waiting = 0  # tasks in a row that can do nothing
        while self._works and waiting < len(self._works):
            steps, done = self._works[0]
            step = self._step(steps)
            if step is WAITS:
                waiting += 1
                self._works.rotate(-1)
                continue
            waiting = 0
            if isinstance(step, Work):
                self._works.popleft()
                self._pause(step, steps, done)
                continue
            if step is OVER:
                self._works.popleft()
                self._guard(done)
            if self._clock() >= deadline:
                break
        self._busy, self.is_running = bool(self._works), False
        if self._busy:
            self._works.rotate(-1)
            self._loop.call_later(0, self._run)

    def _step(self, steps: Iterator[object]) -> object:
        """Run one step. Returns OVER at the end of the task."""
        try:
            return next(steps, OVER)
        except Exception as fault:  # noqa: BLE001 the other tasks continue
            self._on_fault(fault)
            return OVER

    def _pause(self, work: Work[Any], steps: Iterator[object], done: Callable[[], object]) -> None:
        """The task continues when the work is done."""
        resume = partial(self.add, steps, done)
        try:
            self._loop.run_in_thread(work.run, resume)
        except Exception as error:  # noqa: BLE001 no thread can be started: the task decides
            work.fail(error)
            resume()

    def _guard(self, done: Callable[[], object]) -> None:
        try:
            done()
        except Exception as fault:  # noqa: BLE001 the other tasks continue
            self._on_fault(fault)
