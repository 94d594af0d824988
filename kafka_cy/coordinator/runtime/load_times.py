"""How long partitions of a coordinator's topic took to load, for metrics."""

from __future__ import annotations

from collections import deque

WINDOW_S = 30.0  # Kafka's partition-load-time-max and -avg tell of the last 30 seconds
KEPT_MAX = 100  # load times; older ones go


class LoadTimes:
    """Owner: the coordinator's thread; any thread may call `recent_ms`."""

    def __init__(self) -> None:
        self._loaded: deque[tuple[float, float]] = deque(maxlen=KEPT_MAX)  # when, and how many milliseconds it took

    def add(self, now_s: float, duration_s: float) -> None:
        """A partition was loaded."""
        self._loaded.append((now_s, duration_s * 1000))

    def recent_ms(self, now_s: float) -> list[float]:
        """The times of the last 30 seconds."""
        return [took_ms for at_s, took_ms in list(self._loaded) if now_s - at_s <= WINDOW_S]
