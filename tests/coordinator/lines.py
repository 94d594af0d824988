"""How much Python a step executes: what a test counts instead of its time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from kafka_cy.base import slices


class Lines:
    """Counts executed lines of this project. `largest`: of a call."""

    def __init__(self) -> None:
        self.largest = self.calls = self._now = 0

    def __call__(self, function: Callable[[], Any]) -> Any:
        before = sys.gettrace()
        self._now = 0
        sys.settrace(self._entered)
        try:
            return function()
        finally:
            sys.settrace(before)
            self.calls += 1
            self.largest = max(self.largest, self._now)

    def _entered(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if "kafka_cy" in frame.f_code.co_filename else None  # imports are others' lines

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._now += event == "line"
        return self._line

    def steps(self, task: Iterator[object]) -> None:
        over = object()
        while (step := self(lambda: next(task, over))) is not over:
            if isinstance(step, slices.Work):
                step.run()
