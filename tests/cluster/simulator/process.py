"""A process that can be stopped and continued (SIGSTOP, a virtual machine that is moved), and whose clock can jump."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from tests.cluster.simulator.clock import Due, Simulation

THREADS_MS = 2.0  # until another thread takes what is posted to it, at most


class Process:
    """One incarnation after the other. What arrives while it is stopped waits, in the order of each source."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.incarnation = 0
        self.up = False
        self.stopped = False
        self.clock_offset_ms = 0.0
        self._waiting: dict[str, deque[Callable[[], object]]] = {}

    def start(self) -> None:
        self.incarnation += 1
        self.up, self.stopped = True, False
        self._waiting.clear()

    def end(self) -> None:
        self.up = False
        self._waiting.clear()

    def clock_ms(self) -> float:
        """The process' clock."""
        return self.simulation.now_ms + self.clock_offset_ms

    def arrive(self, source: str, function: Callable[[], object]) -> None:
        """Something for this process: now, or when it continues."""
        if self.stopped or self._waiting.get(source):
            self._waiting.setdefault(source, deque()).append(function)
        else:
            function()

    def later(self, delay_ms: float, function: Callable[..., object], *arguments: Any) -> Due:
        """A timer of this incarnation."""
        incarnation = self.incarnation

        def due() -> None:
            if self.up and self.incarnation == incarnation and not timer.cancelled:
                function(*arguments)

        timer = self.simulation.call_later(delay_ms, lambda: self.arrive("timers", due))
        return timer

    def stop(self) -> None:
        """SIGSTOP."""
        self.stopped = True

    def proceed(self) -> None:
        """SIGCONT: what has waited comes in the order of each source, and those in any order."""
        if self.stopped:
            self.stopped = False
            self._one()

    def _one(self) -> None:
        if self.stopped or not self.up:
            return
        sources = [source for source, waiting in self._waiting.items() if waiting]
        if sources:
            source = self.simulation.random.choice(sources)
            function = self._waiting[source][0]
            function()
            if self._waiting.get(source):
                self._waiting[source].popleft()
            self.simulation.call_later(0.01, self._one)


class SimulatedLoop:
    """A control loop with a thread of its own (replica_manager.Loop)."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._posted: deque[Callable[[], object]] = deque()

    def now(self) -> float:
        return self._process.simulation.now_ms / 1000

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: Any) -> Any:
        return self._process.later(delay_s * 1000, function, *arguments)

    def call_soon_threadsafe(self, function: Callable[..., object], *arguments: Any) -> None:
        self._posted.append(lambda: function(*arguments))
        if len(self._posted) == 1:
            self._next()

    def _next(self) -> None:
        self._process.later(self._process.simulation.random.uniform(0, THREADS_MS), self._run)

    def _run(self) -> None:
        self._posted[0]()
        self._posted.popleft()
        if self._posted:
            self._next()

    def run_in_thread(self, work: Callable[[], object], done: Callable[[], object]) -> None:
        def ended() -> None:
            work()
            self._process.later(0.1, done)

        self._process.later(self._process.simulation.random.uniform(0, THREADS_MS), ended)
