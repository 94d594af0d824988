"""Delays the next attempt to load a partition whose loading has failed, so that a bad record costs no endless loop of loads."""

from __future__ import annotations

DELAY_S_MIN = 1.0  # after the second failure in a row; the first one may have been a passing one, and delays nothing
DELAY_S_MAX = 300.0


class LoadFailures:
    """Owner: the coordinator's thread. Limit: one entry for each partition of the topic.

    Kafka: CoordinatorState.FAILED, which lasts until the partition gets a new leader epoch.
    """

    def __init__(self) -> None:
        self._failures: dict[int, tuple[int, float]] = {}  # failures in a row, and when the next attempt is allowed

    def failed(self, index: int, now_s: float) -> float:
        """Loading the partition failed. Returns the seconds until it may be tried again."""
        count = self._failures.get(index, (0, 0.0))[0] + 1
        delay_s = 0.0 if count == 1 else min(DELAY_S_MAX, DELAY_S_MIN * 2.0 ** min(count - 2, 30))
        self._failures[index] = (count, now_s + delay_s)
        return delay_s

    def allow(self, index: int, now_s: float) -> bool:
        """Whether the partition may be loaded now."""
        failure = self._failures.get(index)
        return failure is None or now_s >= failure[1]

    def loaded(self, index: int) -> None:
        """The partition was loaded."""
        self._failures.pop(index, None)

    def indexes(self) -> set[int]:
        """The partitions that could not be loaded when that was tried last; a copy, safe from any thread."""
        return set(self._failures)

    def clear(self) -> None:
        """The topic was deleted."""
        self._failures.clear()
