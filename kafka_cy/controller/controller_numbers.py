"""What the controller counts for metrics. Written by the controller's thread, read by any."""

from __future__ import annotations

from collections import deque

TIMES_KEPT = 1028  # as many as Kafka's histograms remember


class EventTimes:
    """The times of one kind of event."""

    __slots__ = ("count", "last_ms")

    def __init__(self) -> None:
        self.count = 0
        self.last_ms: deque[float] = deque(maxlen=TIMES_KEPT)

    def add(self, took_ms: float) -> None:
        """Record one event."""
        self.count += 1
        self.last_ms.append(took_ms)


class ControllerNumbers:
    """They go on over terms. `event_times` by Kafka's name of the event (ControllerStats: <name>RateAndTimeMs)."""

    def __init__(self) -> None:
        self.active = False
        self.leader_elections = 0
        self.unclean_elections = 0
        self.failed_events = 0
        self.queue_times = EventTimes()
        self.event_times: dict[str, EventTimes] = {}

    def event(self, name: str, waited_ms: float, took_ms: float) -> None:
        """An event ended."""
        self.queue_times.add(waited_ms)
        self.event_times.setdefault(name, EventTimes()).add(took_ms)
