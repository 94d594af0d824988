"""Long tasks on a control-plane loop in slices of a millisecond: requests and timers run between two slices."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any, Protocol

SLICE_S = 0.001  # time for long tasks in each turn of the loop, however many tasks there are


class Loop(Protocol):
    """The part of a control loop that `Slices` needs."""

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: Any) -> Any:
        """Run `function` on the loop's thread after `delay_s`."""


class Slices:
    """Runs long tasks step by step. Several tasks take turns; together they get one slice in each turn of the loop.

    Owner: the loop's thread. Limit: the callers bound the number of tasks.
    """

    def __init__(self, loop: Loop, on_fault: Callable[[Exception], object]) -> None:
        """`on_fault` is called with an exception in a step, which ends that task, or in a `done`."""
        self._loop = loop
        self._on_fault = on_fault
        self._works: deque[tuple[Iterator[object], Callable[[], object]]] = deque()
        self._busy = False  # a slice runs, or a timer is set for the next one

    def add(self, steps: Iterable[object], done: Callable[[], object] = lambda: None) -> None:
        """Add a task: each item of `steps` is one step, which has to be short. `done` is called at the end, even after a fault.

        A task shorter than a slice is complete when this returns, unless another task is running.
        """
        self._works.append((iter(steps), done))
        if not self._busy:
            self._run()

    def _run(self) -> None:
        """Run tasks for one slice."""
        self._busy = True
        deadline = monotonic() + SLICE_S
        while self._works:
            steps, done = self._works[0]
            if not self._step(steps):
                self._works.popleft()
                self._guard(done)
            if monotonic() >= deadline:
                break
        self._busy = bool(self._works)
        if self._busy:
            self._works.rotate(-1)
            self._loop.call_later(0, self._run)

    def _step(self, steps: Iterator[object]) -> bool:
        """Run one step. Returns False at the end of the task."""
        try:
            next(steps)
        except StopIteration:
            return False
        except Exception as fault:  # noqa: BLE001 the other tasks continue
            self._on_fault(fault)
            return False
        return True

    def _guard(self, done: Callable[[], object]) -> None:
        try:
            done()
        except Exception as fault:  # noqa: BLE001 the other tasks continue
            self._on_fault(fault)
