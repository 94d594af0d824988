"""Change notifications: sequential nodes by which a broker tells the others that a node has changed.

Every broker reads all notifications that it has not seen, in the order of their numbers. A notification names what changed; its
reader reads the changed node, so that a notification that is read twice does no harm. Old ones are deleted by whoever sees them.
Their numbers have no gaps, so that a reader finds out that some were deleted before it could read them: it was away for long, or a
clock is wrong. The numbers have one width, so that names in their order are also in that of the numbers: a change costs a reader
nearly the same, however many older ones there are.
The controller reads and deletes those of ISRs and log directories.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from itertools import islice
from typing import NamedTuple

from kafka_cy.cluster import znodes
from kafka_cy.cluster.change_formats import LogDirEvent
from kafka_cy.cluster.line_log import LineLog
from kafka_cy.cluster.store import (
    AsyncStore,
    Children,
    Create,
    Delete,
    Get,
    Node,
    NoNodeError,
    Operation,
    OutcomeUnknown,
    SessionEvent,
    SessionExpired,
)
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run

EXPIRY_MS = 15 * 60 * 1000
CROWDED_EXPIRY_MS = 2 * 60 * 1000  # more than most sessions of ZooKeeper last without their broker; others find the gap
KEPT_MAX = 5000  # those before them are crowded: ZooKeeper sends all names at once (jute.maxbuffer), and each change has them read
KEPT_ALONE = 100  # by a broker by itself, which nobody else reads
READ_AT_ONCE = 100  # notifications that are read together
DELETED_AT_ONCE = 100
AFTER_FAULT_MS = 1000.0


class Kind(NamedTuple):
    """Where the notifications of one kind are, and the name of each before its number."""

    parent: str
    prefix: str


CONFIGS = Kind(znodes.CONFIG_CHANGES, "config_change_")
ACLS = Kind("/kafka-acl-changes", "acl_changes_")
EXTENDED_ACLS = Kind("/kafka-acl-extended-changes", "acl_changes_")
ISRS = Kind("/isr_change_notification", "isr_change_")
LOG_DIRS = Kind("/log_dir_event_notification", "log_dir_event_")


async def notify(calls: StoreCalls, kind: Kind, data: bytes) -> None:
    """Write a notification; its parents are created on demand. If the reply is lost, it is written again. Raises StoreError."""
    while True:
        try:
            await calls.change(Create(f"{kind.parent}/{kind.prefix}", data, sequential=True))
        except NoNodeError:
            await calls.create_missing([kind.parent])
        except OutcomeUnknown:
            continue
        else:
            return


async def superfluous(calls: StoreCalls, kind: Kind, added: int, *, besides: Collection[Operation] = ()) -> list[Operation]:
    """For a broker by itself that adds so many: deletions that leave the newest KEPT_ALONE, or some of them. Raises StoreError.

    `besides`: deletions of other changes that are in work.
    """
    names = (await calls.read(Children(kind.parent)))[0] or ()
    old = (Delete(f"{kind.parent}/{name}") for name in names[: max(0, len(names) + added - KEPT_ALONE)])
    return list(islice((each for each in old if each not in besides), DELETED_AT_ONCE))


def tell_of_failed_log_dir(calls: StoreCalls, broker_id: int, log: LineLog) -> None:
    """Have the controller ask for the state of this broker's replicas (/log_dir_event_notification)."""

    def ended(result: None, fault: Exception | None) -> None:
        if fault is not None:  # in a new session the controller asks anyway
            log.warning("the controller cannot be told of a failed log directory", error=repr(fault))

    run(notify(calls, LOG_DIRS, LogDirEvent(broker_id).encode()), ended)


class ChangeNotifications:
    """Reads the notifications of one kind. Owner: the store's. Lifetime: the broker's. Limit: a name for each existing node.

    `handle(data)` gets each one once in a session, the existing ones first; in a new session it gets all again, because
    some may have been missed. What it raises is logged, and the next one follows. `missed()`: some were deleted, within a session,
    before they could be read, so everything has to be read.
    """

    def __init__(
        self,
        store: AsyncStore,
        kind: Kind,
        handle: Callable[[bytes | None], object],
        *,
        missed: Callable[[], object],
        kept_max: int = KEPT_MAX,
        wall_clock_ms: Callable[[], int],
        call_later: CallLater,
        log: LineLog,
    ) -> None:
        """`kept_max`: those before the newest ones stay for CROWDED_EXPIRY_MS only. Few, if any client can cause them."""
        self._kept_max = kept_max
        self._store, self._kind, self._handle, self._missed = store, kind, handle, missed
        self._wall_clock_ms, self._call_later, self._log = wall_clock_ms, call_later, log
        self._last = -1  # number of the last one that was handled
        self._follows = False  # what is there was listed in this session
        self._has_missed = False  # some, and that was not told yet
        self._known: deque[tuple[str, int]] = deque()  # those that were handled and may exist, oldest first: name, creation in ms
        self._sessions = 0  # that have ended
        self._reading = self._purging = False
        self._again = False

    def start(self) -> None:
        """Read what is there, and what comes."""
        self._store.listen(self._session_event)
        self._read()

    def _session_event(self, event: SessionEvent) -> None:
        if event is SessionEvent.EXPIRED:
            self._sessions += 1
            self._last, self._follows = -1, False
            self._known.clear()
            self._read()

    # -- reading --

    def _read(self) -> None:
        if self._reading:
            self._again = True
            return
        self._reading, self._again = True, False
        run(self._read_new(self._sessions), self._ended)

    def _on_change(self, path: str) -> None:
        """Watch of the parent."""
        self._read()

    def _ended(self, result: None, fault: Exception | None) -> None:
        self._reading = False
        if fault is not None and not isinstance(fault, SessionExpired):
            self._log.repeated("error", f"change notifications in {self._kind.parent} cannot be read: {fault!r}", {})
            self._call_later(AFTER_FAULT_MS, self._read)
            return
        if fault is None:
            self._purge()
        if self._again or fault is not None:
            self._read()

    async def _read_new(self, sessions: int) -> None:
        calls = StoreCalls(self._store, self._call_later)
        while (names := (await calls.read(Children(self._kind.parent, self._on_change, in_order=False)))[0]) is None:
            await calls.create_missing([self._kind.parent])
        self._forget_deleted(names)
        last = f"{self._kind.prefix}{self._last:010}"
        later = sorted([name for name in names if name > last])
        follows, self._follows = self._follows, True
        is_certain = self._last >= 0  # else an empty list was the first one, and nobody knows which number comes next
        for start in range(0, len(later), READ_AT_ONCE):
            numbered = [(self._number(name), name) for name in later[start : start + READ_AT_ONCE]]
            new = [(number, name) for number, name in numbered if number > self._last]
            nodes = await calls.read(*[Get(f"{self._kind.parent}/{name}") for _, name in new])
            if sessions != self._sessions:
                raise SessionExpired("the session has ended")
            for (number, name), node in zip(new, nodes, strict=True):
                self._has_missed |= follows and (node is None or number != self._last + 1)
                self._last = number
                if node is not None:
                    self._handle_one(name, node)
        if self._has_missed:
            self._has_missed = False
            if is_certain:
                self._log.repeated(
                    "warning",
                    f"change notifications in {self._kind.parent} were deleted before they were read, so everything is read", {},
                )  # fmt: skip
            self._missed()

    def _number(self, name: str) -> int:
        """-1: it is not a notification."""
        text = name.removeprefix(self._kind.prefix)
        return int(text) if text != name and text.isdecimal() else -1

    def _handle_one(self, name: str, node: Node) -> None:
        self._known.append((name, min(node.created_ms, self._wall_clock_ms())))
        try:
            self._handle(node.data)
        except Exception as fault:  # noqa: BLE001 a malformed notification must not hold up those after it
            self._log.error(f"change notification {self._kind.parent}/{name} failed: {fault!r}")

    # -- purging --

    def _forget_deleted(self, names: list[str]) -> None:
        """Others have deleted what comes before the first name."""
        first = min(names, default=None)
        while self._known and (first is None or self._known[0][0] < first):
            self._known.popleft()

    def _purge(self) -> None:
        """Delete what every broker has had the time to read; new ones are read meanwhile."""
        if not self._purging:
            self._purging = True
            run(self._delete_old(), self._purged)

    def _purged(self, result: None, fault: Exception | None) -> None:
        self._purging = False
        if fault is not None and not isinstance(fault, SessionExpired):
            self._log.repeated("error", f"old change notifications in {self._kind.parent} cannot be deleted: {fault!r}", {})

    async def _delete_old(self) -> None:
        calls = StoreCalls(self._store, self._call_later)
        while old := self._old(self._wall_clock_ms()):
            outcomes = await calls.try_changes([[Delete(f"{self._kind.parent}/{name}")] for name in old])
            for _, error in outcomes:
                if isinstance(error, OutcomeUnknown):
                    return  # the next one to be read has it tried again
                if error is not None and not isinstance(error, NoNodeError):
                    raise error
            while self._known and self._known[0][0] <= old[-1]:
                self._known.popleft()

    def _old(self, now_ms: int) -> list[str]:
        """Some of those to be deleted, oldest first.

        The newest one stays: without it, a reader that was away would not see that there were others.
        """
        old: list[str] = []
        crowded = len(self._known) - self._kept_max
        for place, (name, created_ms) in enumerate(islice(self._known, min(DELETED_AT_ONCE, max(0, len(self._known) - 1)))):
            if abs(now_ms - created_ms) <= (CROWDED_EXPIRY_MS if place < crowded else EXPIRY_MS):
                break  # those after it are younger; a clock that was set back by more than that does not make it stay
            old.append(name)
        return old
