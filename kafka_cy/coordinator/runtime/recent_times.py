"""How long something took in the last 30 seconds: mean and maximum, for metrics (Kafka: Avg and Max of a sensor)."""

from __future__ import annotations

from typing import Final

SLOT_S: Final = 5.0
SLOTS: Final = 6  # 30 seconds
Slot = tuple[int, int, float, float]  # number of the slot since the clock's zero, how many, sum and maximum in ms


class RecentTimes:
    """Owner: one thread; any thread may call `mean_and_max_ms`. Limit: SLOTS."""

    def __init__(self) -> None:
        self._slots: list[Slot] = [(-1, 0, 0.0, 0.0)] * SLOTS

    def add(self, now_s: float, duration_s: float) -> None:
        """It took so long, and has ended now."""
        number, took_ms = int(now_s / SLOT_S), max(0.0, duration_s) * 1000
        known, count, total_ms, most_ms = self._slots[number % SLOTS]
        if known != number:
            count, total_ms, most_ms = 0, 0.0, 0.0
        self._slots[number % SLOTS] = (number, count + 1, total_ms + took_ms, max(most_ms, took_ms))

    def mean_and_max_ms(self, now_s: float) -> tuple[float, float]:
        """(0, 0) if there was none."""
        number = int(now_s / SLOT_S)
        recent = [slot for slot in list(self._slots) if number - SLOTS < slot[0] <= number and slot[1]]
        if not recent:
            return 0.0, 0.0
        return sum(slot[2] for slot in recent) / sum(slot[1] for slot in recent), max(slot[3] for slot in recent)
