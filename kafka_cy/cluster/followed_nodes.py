"""Keeps what a broker knows of some nodes in step with the store: all are read, then those that notifications name.

After the end of a session everything is read again, because notifications of meanwhile may be gone.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Final, Generic, TypeVar

from kafka_cy.cluster.change_notifications import ChangeNotifications, Kind
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.store import AsyncStore, SessionEvent, SessionExpired
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run
from kafka_cy.cluster.znode_formats import MALFORMED

AFTER_FAULT_MS: Final = 1000.0

Name = TypeVar("Name", bound=Hashable)


class FollowedNodes(Generic[Name]):
    """Owner: the store's. Lifetime: the broker's. Limit: a name for each node that was changed and is not read yet."""

    def __init__(
        self,
        store: AsyncStore,
        kind: Kind,
        what: str,
        *,
        name_of: Callable[[bytes | None], Name],
        read: Callable[[StoreCalls, Sequence[Name]], Coroutine[Any, Any, None]],
        read_all: Callable[[StoreCalls], Coroutine[Any, Any, None]],
        kept_max: int | None = None,
        wall_clock_ms: Callable[[], int],
        call_later: CallLater,
        log: LineLog,
    ) -> None:
        """`what`: of the log's lines. `name_of` says which node a notification names; it raises one of MALFORMED.

        `read(calls, names)` and `read_all(calls)` read nodes; both raise StoreError. `kept_max`: see ChangeNotifications.
        """
        self._store, self._what, self._call_later, self._log = store, what, call_later, log
        self._name_of, self._read, self._read_all = name_of, read, read_all
        self._notifications = ChangeNotifications(
            store, kind, self._notified, kept_max=kept_max, wall_clock_ms=wall_clock_ms, call_later=call_later, log=log
        )
        self._told: dict[Name, None] = {}  # that notifications have named, and that are not read yet
        self._following = False
        self._had_expired = False  # the session, since everything was read

    def start(self) -> None:
        """Everything was read: follow the notifications, which begin with those of the last minutes."""
        self._store.listen(self._session_event)
        self._notifications.start()

    def _session_event(self, event: SessionEvent) -> None:
        if event is SessionEvent.CONNECTED and self._had_expired:
            self._had_expired = False
            self._run_all()
        elif event is SessionEvent.EXPIRED:
            self._had_expired = True

    def _notified(self, data: bytes | None) -> None:
        try:
            name = self._name_of(data)
        except MALFORMED as error:
            self._log.error(f"a notification of changed {self._what} is malformed, so all are read: {error!r}")
            self._run_all()
            return
        self._told[name] = None
        self._follow()

    def _follow(self) -> None:
        """Read what notifications have named; those that come meanwhile are read together afterwards."""
        if not self._following:
            self._following = True
            run(self._read_told(StoreCalls(self._store, self._call_later)), self._followed)

    async def _read_told(self, calls: StoreCalls) -> None:
        while self._told:
            some = dict(self._told)
            self._told.clear()
            try:
                await self._read(calls, list(some))
            except Exception:
                self._told.update(some)
                raise

    def _followed(self, result: None, fault: Exception | None) -> None:
        self._following = False
        if fault is not None:
            self._failed(fault, self._follow)

    def _run_all(self) -> None:
        def ended(result: None, fault: Exception | None) -> None:
            if fault is not None:
                self._failed(fault, self._run_all)

        run(self._read_all(StoreCalls(self._store, self._call_later)), ended)

    def _failed(self, fault: Exception, again: Callable[[], object]) -> None:
        """Look again later, unless the session has ended: the next one reads everything."""
        if isinstance(fault, SessionExpired):
            self._had_expired = True
            return
        self._log.error(f"stored {self._what} cannot be read: {fault!r}")
        self._call_later(AFTER_FAULT_MS, again)
