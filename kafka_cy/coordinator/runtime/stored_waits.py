"""Responses that wait until what they say is stored: until the high watermark has passed it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from kafka_cy.base.duration_counts import DurationCounts
from kafka_cy.protocol.errors import ErrorCode

Stored = Callable[[ErrorCode], object]  # called once: NONE, NOT_COORDINATOR (the partition was lost), or that it takes too long
NO_LIMIT: Final = math.inf
EXPIRED_AT_ONCE: Final = 32  # waits that end in one turn of the loop because they take too long


class Wait(NamedTuple):
    """One response."""

    end_offset: int  # that has to be stored
    number: int  # of the wait: they end in this order when they wait for the same offset
    since_s: float
    due_s: float
    send: Stored


class StoredWaits:
    """Those of one partition. Owner: the coordinator's thread. Limits: the requests that wait for the loop. Idle cost: none.

    Offsets come in their order, and all limited waits have the same timeout. So each of the two queues is in the order of
    offsets, and that of the limited ones in the order of due times as well: what ends is always at the front.
    Kafka: DeferredEventQueue, and the write timeout of CoordinatorRuntime (`offsets.commit.timeout.ms`).
    """

    __slots__ = ("_limited", "_loop", "_number", "_timeout_s", "_timer", "_times", "_unlimited")

    def __init__(self, loop: Any, timeout_s: float, times: DurationCounts) -> None:
        """`timeout_s`: infinite if nothing ends a wait. `times`: of the waits."""
        self._loop = loop
        self._times = times
        self._timeout_s = timeout_s
        self._timer: Any = None
        self._number = 0
        self._limited: deque[Wait] = deque()
        self._unlimited: deque[Wait] = deque()

    def __len__(self) -> int:
        return len(self._limited) + len(self._unlimited)

    def add(self, end_offset: int, send: Stored, *, limited: bool) -> None:
        """Offsets come in their order. `limited`: the wait ends with COORDINATOR_NOT_AVAILABLE after the timeout. What was
        appended stays, as in Kafka."""
        since_s = self._loop.now()
        due_s = since_s + self._timeout_s if limited else NO_LIMIT
        self._number += 1
        waits = self._limited if due_s < NO_LIMIT else self._unlimited
        waits.append(Wait(end_offset, self._number, since_s, due_s, send))
        if self._timer is None and self._limited:
            self._timer = self._loop.call_later(self._timeout_s, self._expire)

    def send_stored(self, high_watermark: int) -> None:
        """Call those that wait for what the high watermark has passed."""
        while (waits := self._first()) and waits[0].end_offset <= high_watermark:
            self._ended(waits).send(ErrorCode.NONE)
        if not self._limited:
            self._stop()

    def fail_each(self, error: ErrorCode, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        """Fail all. A task for slices; a fault in one response does not stop the rest."""
        self._stop()
        while waits := self._first():
            self._call(self._ended(waits).send, error, on_fault)
            yield

    def _ended(self, waits: deque[Wait]) -> Wait:
        """The first wait, which is over."""
        wait = waits.popleft()
        self._times.add(self._loop.now() - wait.since_s)
        return wait

    def _first(self) -> deque[Wait]:
        """The queue with the wait that ends first; empty if nothing waits."""
        if self._limited and self._unlimited:
            return min(self._limited, self._unlimited, key=_front)
        return self._limited or self._unlimited

    def _expire(self) -> None:
        """End the waits that are due, a few in each turn of the loop."""
        self._timer = None
        now_s = self._loop.now() + 1e-6
        late: list[Stored] = []
        while self._limited and len(late) < EXPIRED_AT_ONCE and self._limited[0].due_s <= now_s:
            late.append(self._ended(self._limited).send)
        if self._limited:
            self._timer = self._loop.call_later(self._limited[0].due_s - now_s, self._expire)
        faults: list[Exception] = []
        for send in late:
            self._call(send, ErrorCode.COORDINATOR_NOT_AVAILABLE, faults.append)
        if faults:
            raise faults[0]

    @staticmethod
    def _call(send: Stored, error: ErrorCode, on_fault: Callable[[Exception], object]) -> None:
        try:
            send(error)
        except Exception as fault:  # noqa: BLE001 the other responses have to leave
            on_fault(fault)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _front(waits: deque[Wait]) -> tuple[int, int]:
    return waits[0][:2]
