"""The metadata store's interface: a tree of small versioned nodes, as ZooKeeper has it.

Every state change of the cluster is a conditional write on such a tree. One implementation keeps it in a local file
(`embedded_store`), another one speaks to ZooKeeper; nothing above knows which.
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
    """The node's version is not the expected one: somebody else changed it."""


class NotEmptyError(StoreError):
    """A node with children cannot be deleted."""


class StoreBroken(StoreError):
    """The store's own data cannot be read or written."""


class ConnectionLost(StoreError):
    """The store cannot be reached and the change was not sent: nothing was changed. It may be submitted again."""


class SessionExpired(StoreError):
    """The store has ended our session: ephemeral nodes are gone, and so is what they stood for (a broker, a controller).

    Nothing that was submitted in this session and not answered was changed, and nothing more will be.
    """


class OutcomeUnknown(StoreError):
    """The connection was lost after the change was sent: it was made, or not. Read before anything depends on it."""


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
Results = list[str | int | None]  # one for each operation: path, version, None
Done = Callable[[Results | None, StoreError | None], object]  # results, or what went wrong


class ChangeTimes:
    """How long changes took. Written by the control thread, read by any."""

    def __init__(self) -> None:
        self.count = 0
        self.last_ms: deque[float] = deque(maxlen=CHANGE_TIMES_KEPT)

    def add(self, took_ms: float) -> None:
        """One more change."""
        self.count += 1
        self.last_ms.append(took_ms)


class MetadataStore(Protocol):
    """All methods on the control thread. Watches fire once, after the change, with the path that changed."""

    change_times: ChangeTimes

    def get(self, path: str, watch: Watch | None = None) -> Node:
        """The node; NoNodeError. The watch fires when its data changes or it goes."""

    def find(self, path: str, watch: Watch | None = None) -> Node | None:
        """The node or None. The watch fires when it appears, changes or goes."""

    def children(self, path: str, watch: Watch | None = None) -> list[str]:
        """Names (not paths) of the children, sorted; NoNodeError. The watch fires when one comes or goes."""

    def create(self, path: str, data: bytes | None = None, *, ephemeral: bool = False, sequential: bool = False) -> str:
        """Create a node under an existing parent and return its path; NodeExistsError, NoNodeError."""

    def set(self, path: str, data: bytes | None, version: int = ANY_VERSION) -> int:
        """Replace the data if the version fits and return the new version; NoNodeError, BadVersionError."""

    def delete(self, path: str, version: int = ANY_VERSION) -> None:
        """Delete a childless node; NoNodeError, BadVersionError, NotEmptyError."""

    def multi(self, operations: Sequence[Operation]) -> list[str | int | None]:
        """All or nothing; one result per operation (path, version, None); raises the first failure."""

    def submit(self, operations: Sequence[Operation], done: Done) -> None:
        """As `multi`, without waiting: `done` is called on the same thread, later, when the change is durable or failed.

        Many changes may be under way. They are made in the order of the calls, and `done` is called in that order. Reads see
        a change at once in the embedded store, and after `done` in every store.
        """

    def together(self) -> AbstractContextManager[None]:
        """Store all changes that are made within it (`multi`, `create`, `set`, `delete`) as few transactions.

        A change is durable only after the end. StoreBroken at the end: none of them was made.
        """

    def close(self) -> None:
        """End the session: ephemeral nodes go. Changes that were submitted are made first."""
