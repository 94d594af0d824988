"""Submitted changes of the embedded store that are not durable yet: many of them share one fsync."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kafka_cy.cluster.store import Done, Node, Results, StoreBroken, StoreError

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
    change: StoredChange | None  # None: refused, `error` says why
    error: StoreError | None
    done: Done


class PendingChanges:
    """Submitted changes in order. The owner adds and finishes them, the `metadata-store` thread makes them durable.

    Lock: `_lock` guards `_waiting` and `_failed`; the committing thread holds `_commit_lock` during a transaction.
    The thread starts with the first change. Limit: what the callers have in flight.
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
        self._stored: list[_Pending] = []  # durable, `done` not called yet
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def waits(self) -> bool:
        """Whether a submitted change exists whose `done` was not called."""
        with self._lock:
            return bool(self._waiting or self._stored or self._failed) or self._commit_lock.locked()

    def add(self, change: StoredChange | None, error: StoreError | None, done: Done) -> None:
        """Add a change. Thread: the owner's."""
        with self._lock:
            self._waiting.append(_Pending(change, error, done))
            if self._post is not None and self._thread is None:
                from kafka_cy.base.named_thread import NamedThread

                self._thread = NamedThread(target=self._run, name="metadata-store", daemon=True)
                self._thread.start()
            self._lock.notify()
        if self._post is None:
            self.commit()

    def commit(self) -> None:
        """Make all changes durable now and call their `done`. Thread: the owner's. Waits for the disk."""
        self._commit_waiting()
        self.finish()

    def finish(self) -> None:
        """Call `done` of durable and failed changes, in order. Thread: the owner's."""
        with self._lock:
            stored, self._stored = self._stored, []
            failed = None
            if self._failed is not None:
                failed = self._failed + self._waiting
                self._failed, self._waiting = None, []
        for each in stored:
            if each.change is not None:
                self._notify(each.change)
            each.done(each.change.results if each.change is not None else None, each.error)
        if failed is not None:
            # Later changes build on the lost ones, so they fail as well.
            self._take_back([each.change for each in failed if each.change is not None])
            for each in failed:
                each.done(None, each.error or StoreBroken("the metadata store could not write a change"))

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
            except StoreError as error:
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
