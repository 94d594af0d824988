"""A store that answers without waiting, for steps that are written for one that does not (at the start, before there is a loop)."""

from __future__ import annotations

from collections.abc import Sequence

from kafka_cy.cluster.store import (
    Children,
    Done,
    Get,
    MetadataStore,
    Node,
    NoNodeError,
    Operation,
    ReadDone,
    Request,
    SessionListener,
    StoreError,
)


class StoreNow:
    """An AsyncStore over a MetadataStore: every answer comes within the call. Owner: the store's."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self.change_times, self.session_counts = store.change_times, store.session_counts

    @property
    def session_id(self) -> int:
        """See AsyncStore."""
        return self._store.session_id

    def read(self, requests: Sequence[Request], done: ReadDone) -> None:
        """See AsyncStore."""
        done([self._read(request) for request in requests], None)

    def _read(self, request: Request) -> Node | list[str] | None:
        try:
            if isinstance(request, Children):
                return self._store.children(request.path, request.watch)
            if isinstance(request, Get):
                return self._store.get(request.path, request.watch)
        except NoNodeError:
            return None
        return self._store.find(request.path, request.watch)

    def submit(self, operations: Sequence[Operation], done: Done) -> None:
        """See AsyncStore."""
        try:
            results = self._store.multi(operations)
        except StoreError as error:
            done(None, error)
        else:
            done(results, None)

    def listen(self, listener: SessionListener) -> None:
        """See AsyncStore: the session lasts as long as the process."""

    def close(self) -> None:
        """The store belongs to another one."""
