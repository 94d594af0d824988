"""The metadata store's interface: a tree of small versioned nodes, as in ZooKeeper.

Every state change of the cluster is a conditional write to this tree. The implementation (`embedded_store`) keeps it
in a local file; one that talks to ZooKeeper is planned, and callers will not see the difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

ANY_VERSION = -1
CHANGE_TIMES_KEPT = 1028  # as many as Kafka's histograms remember


class StoreError(Exception):
    """Base of all errors of a metadata store."""


class NoNodeError(StoreError):
    """The path does not exist."""


class NodeExistsError(StoreError):
    """The path exists already."""


class BadVersionError(StoreError):
    """The node's version is not the expected one: another writer changed it."""


class NotEmptyError(StoreError):
    """A node with children cannot be deleted."""


class StoreBroken(StoreError):
    """The store's own data cannot be read or written."""


class ConnectionLost(StoreError):
    """The store cannot be reached and the change was not sent: nothing was changed. It may be submitted again."""


class SessionExpired(StoreError):
    """The store ended our session: ephemeral nodes are gone, and so are the roles they represent (broker, controller).

    Unanswered submissions of this session were not applied, and never will be.
    """


class OutcomeUnknown(StoreError):
    """The connection was lost after the change was sent: it may have been applied. Read before relying on either."""


class Node(NamedTuple):
    """One node: `version` counts changes of `data`, `created_id` orders creations (ZooKeeper's czxid)."""

    data: bytes | None
    version: int
    created_id: int
    ephemeral: bool


class Create(NamedTuple):
    """Part of a multi: create a node; `sequential` appends a ten-digit counter to the path."""

    path: str
    data: bytes | None = None
    ephemeral: bool = False
    sequential: bool = False


class Set(NamedTuple):
    """Part of a multi: replace a node's data if it has this version."""

    path: str
    data: bytes | None
    version: int = ANY_VERSION


class Delete(NamedTuple):
    """Part of a multi: delete a childless node if it has this version."""

    path: str
    version: int = ANY_VERSION


class Check(NamedTuple):
    """Part of a multi: fail the whole unless the node has this version."""

    path: str
    version: int


Operation = Create | Set | Delete | Check
Watch = Callable[[str], None]
Results = list[str | int | None]  # one per operation: path, version, None
Done = Callable[[Results | None, StoreError | None], object]  # results, or the error


class ChangeTimes:
    """How long changes took. Written by the controller's thread, read by any."""

    def __init__(self) -> None:
        self.count = 0
        self.last_ms: deque[float] = deque(maxlen=CHANGE_TIMES_KEPT)

    def add(self, took_ms: float) -> None:
        """Record one change."""
        self.count += 1
        self.last_ms.append(took_ms)


class MetadataStore(Protocol):
    """All methods on the controller's thread. Watches fire once, after the change, with the path that changed."""

    change_times: ChangeTimes

    def get(self, path: str, watch: Watch | None = None) -> Node:
        """The node. Raises NoNodeError. The watch fires when its data changes or it is deleted."""

    def find(self, path: str, watch: Watch | None = None) -> Node | None:
        """The node or None. The watch fires when it is created, changed or deleted."""

    def children(self, path: str, watch: Watch | None = None) -> list[str]:
        """Sorted names (not paths) of the children. Raises NoNodeError. The watch fires if one is added or deleted."""

    def create(self, path: str, data: bytes | None = None, *, ephemeral: bool = False, sequential: bool = False) -> str:
        """Create a node under an existing parent and return its path. Raises NodeExistsError, NoNodeError."""

    def set(self, path: str, data: bytes | None, version: int = ANY_VERSION) -> int:
        """Replace the data if the version matches; returns the new version. Raises NoNodeError, BadVersionError."""

    def delete(self, path: str, version: int = ANY_VERSION) -> None:
        """Delete a childless node. Raises NoNodeError, BadVersionError, NotEmptyError."""

    def multi(self, operations: Sequence[Operation]) -> list[str | int | None]:
        """All or nothing; one result per operation (path, version, None); raises the first failure."""

    def submit(self, operations: Sequence[Operation], done: Done) -> None:
        """Like `multi`, without waiting: `done` is called later on the same thread, once the change is durable or fails.

        Many changes may be in flight. They are applied in call order, and `done` is called in that order. Reads see
        a change at once in the embedded store, and after `done` in every store.
        """

    def together(self) -> AbstractContextManager[None]:
        """Store all changes made within the context (`multi`, `create`, `set`, `delete`) in few transactions.

        A change is durable only after the end. StoreBroken at the end: none of them was made.
        """

    def close(self) -> None:
        """Apply submitted changes, then end the session, which deletes its ephemeral nodes."""
