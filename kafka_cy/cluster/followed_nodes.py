"""Keeps what a broker knows of some nodes in step with the store: all are read, then those that notifications name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Generic, TypeVar

from kafka_cy.cluster.change_notifications import KEPT_MAX, ChangeNotifications, Kind
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.session_reads import SessionReads
from kafka_cy.cluster.store import AsyncStore
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run
from kafka_cy.cluster.znode_formats import MALFORMED

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
        kept_max: int = KEPT_MAX,
        wall_clock_ms: Callable[[], int],
        call_later: CallLater,
        log: LineLog,
    ) -> None:
        """`what`: of the log's lines. `name_of` says which node a notification names; it raises one of MALFORMED.

        `read(calls, names)` and `read_all(calls)` read nodes; both raise StoreError. `kept_max`: see ChangeNotifications.
        """
        self._store, self._what, self._call_later, self._log = store, what, call_later, log
        self._name_of, self._read = name_of, read
        self._reads = SessionReads(
            store, read_all, call_later, lambda fault: log.repeated("error", f"stored {what} cannot be read: {fault!r}", {})
        )
        self._notifications = ChangeNotifications(
            store, kind, self._notified, missed=self._reads.missed, kept_max=kept_max, wall_clock_ms=wall_clock_ms,
            call_later=call_later, log=log,
        )  # fmt: skip
        self._told: dict[Name, None] = {}  # that notifications have named, and that are not read yet
        self._following = False

    def start(self) -> None:
        """Follow the notifications. What changed since everything was read may have none any more, so it is read again."""
        self._notifications.start()
        self._reads.start()

    @property
    def is_current(self) -> bool:
        """Whether everything was read since `start`."""
        return self._reads.is_current

    @property
    def fault(self) -> Exception | None:
        """Why the last attempt to read everything has failed; the end of a session is none."""
        return self._reads.fault

    def _notified(self, data: bytes | None) -> None:
        try:
            name = self._name_of(data)
        except MALFORMED as error:
            self._log.error(f"a notification of changed {self._what} is malformed, so all are read: {error!r}")
            self._reads.read_all()
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
            self._reads.failed(fault, self._follow)
