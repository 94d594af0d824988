"""How long the events of a loop waited for its thread, and how long the thread worked on them."""

from __future__ import annotations

from collections import deque

TIMES_KEPT = 1000


class EventTimes:
    """Written by the loop's thread, read by any. An event is a request, a call from another thread, or a timer that is due."""

    def __init__(self) -> None:
        self.count = 0
        self.last_waited_ms: deque[float] = deque(maxlen=TIMES_KEPT)
        self.last_worked_ms: deque[float] = deque(maxlen=TIMES_KEPT)

    def add(self, waited_s: float, worked_s: float) -> None:
        """Record one event."""
        self.count += 1
        self.last_waited_ms.append(max(0.0, waited_s) * 1000)
        self.last_worked_ms.append(worked_s * 1000)
