"""Reads for those who follow change notifications: everything when they begin and in each new session, and again after faults.

Notifications are deleted after some minutes (change_notifications.EXPIRY_MS). So what changed while nobody followed them is only
found by reading everything, after they are followed; so is what changed when some were missed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from kafka_cy.cluster.store import AsyncStore, SessionEvent, SessionExpired
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run

AFTER_FAULT_MS = 1000.0
Steps = Callable[[StoreCalls], Coroutine[Any, Any, None]]


class SessionReads:
    """Owner: the store's. Lifetime: the broker's."""

    def __init__(
        self, store: AsyncStore, read_all: Steps, call_later: CallLater, failed: Callable[[Exception], object]
    ) -> None:
        """`failed` gets the faults, but not the end of a session: the next one begins with `read_all`."""
        self._store, self._steps, self._call_later, self._on_failed = store, read_all, call_later, failed
        self.is_current = False  # everything was read since `start`
        self.fault: Exception | None = None  # of the last attempt to read everything
        self._had_expired = False  # the session, since everything was read
        self._reading = self._again = False  # everything is read now; and once more afterwards
        self._pausing = self._missed_more = False  # everything was read because of missed changes; and others were missed since

    def start(self) -> None:
        """Read everything, now and in each new session. Notifications are followed already."""
        self._store.listen(self._session_event)
        self.read_all()

    def _session_event(self, event: SessionEvent) -> None:
        if event is SessionEvent.CONNECTED and self._had_expired:
            self._had_expired = False
            self.read_all()
        elif event is SessionEvent.EXPIRED:
            self._had_expired = True

    def read_all(self) -> None:
        """Read everything; once more, if that is done already: what was read may have changed since."""
        if self._reading:
            self._again = True
            return
        self._reading, self._again = True, False
        run(self._read_all(StoreCalls(self._store, self._call_later)), self._ended)

    def missed(self) -> None:
        """Changes were missed: read everything, but not again within AFTER_FAULT_MS, however often some are missed."""
        if self._pausing:
            self._missed_more = True
            return
        self._pausing, self._missed_more = True, False
        self._call_later(AFTER_FAULT_MS, self._paused)
        self.read_all()

    def _paused(self) -> None:
        self._pausing = False
        if self._missed_more:
            self.missed()

    async def _read_all(self, calls: StoreCalls) -> None:
        await self._steps(calls)
        self.is_current = True

    def _ended(self, result: None, fault: Exception | None) -> None:
        self._reading = False
        self.fault = fault if not isinstance(fault, SessionExpired) else None
        if fault is not None:
            self.failed(fault, self.read_all)
        if self._again and (fault is None or isinstance(fault, SessionExpired)):
            self.read_all()

    def run(self, steps: Steps) -> None:
        """Run steps; again after a fault, unless the session has ended."""

        def ended(result: None, fault: Exception | None) -> None:
            if fault is not None:
                self.failed(fault, lambda: self.run(steps))

        run(steps(StoreCalls(self._store, self._call_later)), ended)

    def failed(self, fault: Exception, again: Callable[[], object]) -> None:
        """Do it again later, unless the session has ended: the next one reads everything."""
        if isinstance(fault, SessionExpired):
            self._had_expired = True
            return
        self._on_failed(fault)
        self._call_later(AFTER_FAULT_MS, again)
