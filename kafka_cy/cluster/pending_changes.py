"""What was submitted to the embedded store and is not answered yet: changes that are not durable, and reads behind them.

Many changes share one fsync.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kafka_cy.cluster.store import Done, Node, ReadDone, Results, StoreBroken, StoreError

Post = Callable[..., object]


class StoredChange(NamedTuple):
    """One change applied in memory: what it wrote, and the previous state."""

    results: Results
    nodes: list[tuple[str, Node | None]]  # None: deleted
    numbers: list[tuple[str, int]]  # of sequences
    undo: list[tuple[str, Node | None]]
    sequences_before: dict[str, int]
    touched: set[str]
    child_changes: set[str]


class _Pending(NamedTuple):
    change: StoredChange | None  # None: a read, or a refused change, of which `error` says why
    answer: list[Any] | None
    error: StoreError | None
    done: Done | ReadDone
    set_watches: Callable[[], None] | None = None  # of a read: its watches see the changes after it


class PendingChanges:
    """Submitted changes and reads in order. The owner adds and finishes them, the `metadata-store` thread makes changes durable.

    Lock: `_lock` guards `_waiting`, `_stored` and `_failed`; the committing thread holds `_commit_lock` during a transaction.
    The thread starts with the first change. While the process may not have another thread, the owner makes the changes
    durable itself. Limit: what the callers have in flight.
    """

    def __init__(
        self,
        persist: Callable[[Sequence[StoredChange]], None],
        take_back: Callable[[Sequence[StoredChange]], None],
        notify: Callable[[StoredChange], None],
        post: Post | None,
    ) -> None:
        self._persist, self._take_back, self._notify, self._post = persist, take_back, notify, post
        self._lock = threading.Condition()
        self._commit_lock = threading.Lock()
        self._waiting: list[_Pending] = []
        self._failed: list[_Pending] | None = None  # a transaction failed: its changes and all later ones fail
        self._stored: deque[_Pending] = deque()  # durable or read, `done` not called yet
        self._finishing = 0  # calls of finish() that are running, one within the other
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def waits(self) -> bool:
        """Whether something was submitted whose `done` was not called."""
        with self._lock:
            return bool(self._waiting or self._stored or self._failed) or self._commit_lock.locked()

    def add(self, change: StoredChange | None, error: StoreError | None, done: Done) -> None:
        """Add a change. Thread: the owner's."""
        answer = change.results if change is not None else None
        with self._lock:
            self._waiting.append(_Pending(change, answer, error, done))
            has_thread = self._has_thread()
            self._lock.notify()
        if not has_thread:
            self._commit_here()

    def add_read(self, answer: list[Any], set_watches: Callable[[], None], done: ReadDone) -> None:
        """Add a read, answered once the changes before it are durable. Thread: the owner's."""
        pending = _Pending(None, answer, None, done, set_watches)
        with self._lock:
            behind_changes = bool(self._waiting or self._failed) or self._commit_lock.locked()
            (self._waiting if behind_changes else self._stored).append(pending)
            self._lock.notify()
        if self._post is None or (behind_changes and self._thread is None):
            self._commit_here()
        elif not behind_changes:
            self._post(self.finish)

    def _commit_here(self) -> None:
        """Commit without the thread; within a `done`, after it: the calls would nest as deep as one request follows another."""
        if not self._finishing:
            self.commit()
        elif self._post is not None:
            self._post(self.commit)

    def _has_thread(self) -> bool:
        """Whether the thread runs; starts it if necessary."""
        if self._post is not None and self._thread is None:
            from kafka_cy.base.named_thread import NamedThread

            thread = NamedThread(target=self._run, name="metadata-store", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process may have no more threads
                return False
            self._thread = thread
        return self._thread is not None

    def commit(self) -> None:
        """Make all changes durable now and call their `done`. Thread: the owner's. Waits for the disk."""
        faults: list[Exception] = []
        while self.waits:
            self._commit_waiting()
            self._finish(faults)
        self.report(faults)

    def finish(self) -> None:
        """Call `done` of reads and of durable and failed changes, in order; a fault in one does not stop the others.

        Thread: the owner's.
        """
        faults: list[Exception] = []
        self._finish(faults)
        self.report(faults)

    def _finish(self, faults: list[Exception]) -> None:
        with self._lock:
            failed = None
            if self._failed is not None:
                failed = self._failed + self._waiting
                self._failed, self._waiting = None, []
        if failed is not None:
            # Later changes build on the lost ones, so they fail as well.
            self._take_back([each.change for each in failed if each.change is not None])
            error = StoreBroken("the metadata store could not write a change")
            with self._lock:
                self._stored += [_Pending(None, None, each.error or error, each.done) for each in failed]
        self._finishing += 1
        try:
            # What is added meanwhile is not done in this turn of the owner's loop.
            for _ in range(len(self._stored)):
                if self._stored:  # a `done` may have called commit()
                    self._answer(self._stored.popleft(), faults)
        finally:
            self._finishing -= 1

    def _answer(self, pending: _Pending, faults: list[Exception]) -> None:
        try:
            if pending.change is not None:
                self._notify(pending.change)
        except Exception as fault:  # noqa: BLE001 the caller reports it
            faults.append(fault)
        try:
            if pending.set_watches is not None:
                pending.set_watches()
            pending.done(pending.answer if pending.error is None else None, pending.error)
        except Exception as fault:  # noqa: BLE001 the caller reports it
            faults.append(fault)

    def report(self, faults: Sequence[Exception]) -> None:
        """Have the owner's loop report faults of callbacks; without a loop (tests), the first one is raised."""
        for each_fault in faults:
            if self._post is None:
                raise each_fault
            self._post(_raise, each_fault)

    def close(self) -> None:
        """Make waiting changes durable and end the thread. Thread: the owner's."""
        with self._lock:
            self._closed = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join()
        self.commit()

    def _commit_waiting(self) -> None:
        with self._commit_lock:
            with self._lock:
                if self._failed is not None:
                    return
                taken, self._waiting = self._waiting, []
            if not taken:
                return
            try:
                self._persist([each.change for each in taken if each.change is not None])
            except Exception as fault:  # noqa: BLE001 without an answer, the callers would wait for ever
                error = fault if isinstance(fault, StoreError) else StoreBroken(f"a fault in the metadata store: {fault!r}")
                with self._lock:
                    self._failed = [each._replace(error=each.error or error) for each in taken]
            else:
                with self._lock:
                    self._stored += taken

    def _run(self) -> None:
        assert self._post is not None
        while True:
            with self._lock:
                while (not self._waiting or self._failed is not None) and not self._closed:
                    self._lock.wait(1.0)
                if self._closed:
                    return
            self._commit_waiting()
            self._post(self.finish)


def _raise(fault: Exception) -> None:
    raise fault
