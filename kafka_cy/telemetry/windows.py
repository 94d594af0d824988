"""Rates over the last minute and histograms of the last minutes, computed from scraped cumulative counters."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

WINDOW_S = 60.0
STEP_S = 5.0
COUNTS_WINDOW_S = 300.0


class Rates:
    """`rate(key, value, now)`: growth per second over the last minute, or since the value was first seen if later.

    Owner: the thread that scrapes. A value that shrank starts again. Memory: WINDOW_S / STEP_S marks a key.
    """

    def __init__(self) -> None:
        self._marks: dict[Hashable, deque[tuple[float, float]]] = {}

    def rate(self, key: Hashable, value: float, now: float, since: float | None = None) -> float:
        """`now` in seconds; `since`: when the counter was 0, if that is known."""
        marks = self._marks.get(key)
        if marks is None or marks[-1][1] > value:
            marks = self._marks[key] = deque(
                [(since if since is not None else now, 0.0 if since is not None else value)]
            )
        while len(marks) > 1 and marks[1][0] <= now - WINDOW_S:
            marks.popleft()
        at, before = marks[0]
        rate = (value - before) / (now - at) if now > at else 0.0
        if now - marks[-1][0] >= STEP_S:
            marks.append((now, value))
        return rate


class CountsWindow:
    """What a histogram has counted in the last COUNTS_WINDOW_S/2 to COUNTS_WINDOW_S seconds, as RequestMetrics does for requests.

    Owner: the thread that scrapes. Counts that shrank start again. Memory: two copies of the histogram.
    """

    def __init__(self) -> None:
        self._marks: list[tuple[float, list[int]]] = []

    def recent(self, counts: Sequence[int], now: float) -> list[int]:
        """`counts`: by bucket, since the start. `now` in seconds."""
        if not self._marks or any(map(int.__lt__, counts, self._marks[1][1])):
            self._marks = [(now, [0] * len(counts))] * 2
        older = self._marks[0][1]
        if now - self._marks[1][0] >= COUNTS_WINDOW_S / 2:
            self._marks = [self._marks[1], (now, list(counts))]
        return [count - before for count, before in zip(counts, older, strict=True)]
