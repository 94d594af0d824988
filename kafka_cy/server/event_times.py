"""How long the events of a loop waited for its thread, and how long the thread worked on them."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from kafka_cy.base.duration_counts import DurationCounts

TIMES_KEPT = 1000


class EventRecorder(Protocol):
    """Of the events of a loop: requests, calls from other threads, and timers that are due. Written by the loop's thread."""

    def add(self, waited_s: float, worked_s: float) -> None:
        """Record one event."""


class EventTimes:
    """The latest ones. Written by the loop's thread, read by any."""

    def __init__(self) -> None:
        self.count = 0
        self.last_waited_ms: deque[float] = deque(maxlen=TIMES_KEPT)
        self.last_worked_ms: deque[float] = deque(maxlen=TIMES_KEPT)

    def add(self, waited_s: float, worked_s: float) -> None:
        """Record one event."""
        self.count += 1
        self.last_waited_ms.append(max(0.0, waited_s) * 1000)
        self.last_worked_ms.append(worked_s * 1000)


class EventCounts:
    """Histograms of all events, for a loop with many. Written by the loop's thread, read by any."""

    def __init__(self) -> None:
        self.waited = DurationCounts()
        self.worked = DurationCounts()

    def add(self, waited_s: float, worked_s: float) -> None:
        """Record one event."""
        self.waited.add(waited_s)
        self.worked.add(worked_s)
