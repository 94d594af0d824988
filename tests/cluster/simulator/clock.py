"""Virtual time: functions that are due, in order. A seed decides all that is random."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count
from math import inf


class Due:
    """A function that will be called."""

    __slots__ = ("cancelled", "function")

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Simulation:
    """The only clock, the only source of chance and the only scheduler of a simulated cluster."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ms = 0.0
        self.steps = 0
        self.changes = 0  # of what invariants look at
        self.after_step: list[Callable[[], object]] = []
        self._due: list[tuple[float, int, Due]] = []
        self._numbers = count()

    def call_later(self, delay_ms: float, function: Callable[[], object]) -> Due:
        """Call a function after some time."""
        due = Due(function)
        heapq.heappush(self._due, (self.now_ms + delay_ms, next(self._numbers), due))
        return due

    def clock_ms(self) -> float:
        return self.now_ms

    def step(self) -> bool:
        """Run the next function. False: there is none."""
        while self._due:
            at_ms, _, due = heapq.heappop(self._due)
            if due.cancelled:
                continue
            self.now_ms = max(self.now_ms, at_ms)
            due.function()
            self.steps += 1
            for check in self.after_step:
                check()
            return True
        return False

    def _next_ms(self) -> float:
        """When the next function is due; what was cancelled is forgotten, or a step would go beyond it."""
        while self._due and self._due[0][2].cancelled:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else inf

    def run_for(self, time_ms: float) -> None:
        """Run everything that is due within this time."""
        end_ms = self.now_ms + time_ms
        while self._next_ms() <= end_ms:
            self.step()
        self.now_ms = end_ms

    def run_until(self, condition: Callable[[], bool], limit_ms: float = 600_000) -> bool:
        """Run until a condition holds; False: it did not within the limit of virtual time."""
        end_ms = self.now_ms + limit_ms
        while not condition():
            if self._next_ms() > end_ms:
                return False
            self.step()
        return True
