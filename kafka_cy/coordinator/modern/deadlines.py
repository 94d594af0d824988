"""Deadlines of the members of one group: sessions, and steps that a member has to take in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime

RENEW_AHEAD_S = 5.0  # deadlines that would come within this time are renewed, too: else each member had its own
Key = tuple[str, str]  # (what is awaited, member id)


class Deadlines:
    """One timer for all deadlines of a group, set for the earliest; a deadline that moves back costs no timer.

    What is due may have to wait until it is worked on. Until then a member can still answer: `set` and `cancel` take the key
    back, and `take` leaves it out. Owner: the coordinator's thread. Limit: a few keys for each member.
    """

    __slots__ = ("_due_s", "_group_id", "_handed_over", "_on_due", "_renewed_s", "_runtime", "_timer", "_timer_s")

    def __init__(
        self, runtime: CoordinatorRuntime[Any], group_id: str, on_due: Callable[[list[Key]], object],
        renewed_s: Callable[[Key], float],
    ) -> None:  # fmt: skip
        """`on_due` gets the keys whose time is over; it takes them (`take`) when it works on them. `renewed_s` tells until when a
        key was renewed elsewhere (by reactors); 0: it was not."""
        self._renewed_s = renewed_s
        self._runtime = runtime
        self._group_id = group_id
        self._on_due = on_due
        self._due_s: dict[Key, float] = {}
        self._handed_over: set[Key] = set()  # to on_due, and not taken yet
        self._timer: Any = None
        self._timer_s = 0.0  # when the timer fires

    def __contains__(self, key: Key) -> bool:
        """Whether the deadline lies ahead."""
        return key in self._due_s

    def is_set(self, key: Key) -> bool:
        """Whether the deadline lies ahead, or is over and not worked on yet."""
        return key in self._due_s or key in self._handed_over

    def set(self, key: Key, delay_ms: int) -> None:
        """Set the deadline, or move it."""
        due_s = self._runtime.loop.now() + delay_ms / 1000
        self._handed_over.discard(key)
        self._due_s[key] = due_s
        if self._timer is None or due_s < self._timer_s:
            self._start(due_s)

    def cancel(self, key: Key) -> None:
        """Forget the deadline, if there is one."""
        self._due_s.pop(key, None)
        self._handed_over.discard(key)

    def take(self, keys: Iterable[Key]) -> list[Key]:
        """Those of the keys that were due and that nobody has set or cancelled since. They are forgotten."""
        taken = [key for key in keys if key in self._handed_over]
        self._handed_over.difference_update(taken)
        return taken

    def stop(self) -> None:
        """Forget all deadlines."""
        self._due_s.clear()
        self._handed_over.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = due_s
        delay_s = max(due_s - self._runtime.loop.now(), 0.0)
        self._timer = self._runtime.call_later(self._group_id, delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now_s = self._runtime.loop.now() + 1e-6
        for key in [key for key, due_s in self._due_s.items() if due_s <= now_s + RENEW_AHEAD_S]:
            self._due_s[key] = max(self._due_s[key], self._renewed_s(key))
        due = [key for key, due_s in self._due_s.items() if due_s <= now_s]
        for key in due:
            del self._due_s[key]
        self._handed_over.update(due)
        if self._due_s:
            self._start(min(self._due_s.values()))
        if due:
            self._on_due(due)
