"""The metadata store's interface: a tree of small versioned nodes, as in ZooKeeper.

Every state change of the cluster is a conditional write to this tree. `AsyncStore` is what every store offers: many requests
in flight, answers in the order of the calls. `zookeeper_store` keeps the tree in ZooKeeper. `embedded_store` keeps it in a
local file, and also answers without waiting (`MetadataStore`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, NamedTuple, Protocol

from kafka_cy.cluster.session_counts import SessionCounts

ANY_VERSION = -1
CHANGE_TIMES_KEPT = 1028  # as many as Kafka's histograms remember


class StoreError(Exception):
    """Base of all errors of a metadata store.

    `operation`: which operation of the change was refused, counted from 0; -1: none, or it is not known.
    """

    operation = -1


class NoNodeError(StoreError):
    """The path does not exist."""


class NoAuthError(StoreError):
    """The rights of the node do not allow this broker that."""


class NodeExistsError(StoreError):
    """The path exists already."""


class BadVersionError(StoreError):
    """The node's version is not the expected one: another writer changed it."""


class NotEmptyError(StoreError):
    """A node with children cannot be deleted."""


class NoChildrenForEphemeralsError(StoreError):
    """An ephemeral node cannot have children."""


class ChangeTooLarge(StoreError):
    """The store would not take a change of this size. It was not sent; to repeat it is useless."""


class StoreBroken(StoreError):
    """The store's own data cannot be read or written."""


class ConnectionLost(StoreError):
    """The store cannot be reached: a read was not answered, a change was not sent and changed nothing. Both may be repeated."""


class SessionExpired(StoreError):
    """The store ended our session: ephemeral nodes are gone, and so are the roles they represent (broker, controller).

    A change that gets this error was not applied, and never will be.
    """


class OutcomeUnknown(StoreError):
    """The connection was lost after the change was sent: it may have been applied. Read before relying on either."""


class Node(NamedTuple):
    """One node.

    `version` counts changes of `data`, `created_id` orders creations (ZooKeeper's czxid), `owner` is the session of an
    ephemeral node (0: it is not ephemeral), `created_ms` the store's clock at the creation (ZooKeeper's ctime; nodes that the
    embedded store reads from its file count as created at the start).
    """

    data: bytes | None
    version: int
    created_id: int
    owner: int = 0
    created_ms: int = 0

    @property
    def ephemeral(self) -> bool:
        """Whether the node ends with the session that created it."""
        return self.owner != 0


class Create(NamedTuple):
    """Part of a multi: create a node; `sequential` appends a ten-digit number to the path.

    The numbers of a parent increase. ZooKeeper counts all children that were ever created, the embedded store the sequential ones.
    """

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
Watch = Callable[[str], object]  # gets the path; the same watch set twice on a path fires once
Results = list[str | int | None]  # one per operation: path, version, None
Done = Callable[[Results | None, StoreError | None], object]  # results, or the error


class Get(NamedTuple):
    """Part of a read: the Node, or None. The watch fires when the node changes or is deleted; none is set on a missing node."""

    path: str
    watch: Watch | None = None


class Exists(NamedTuple):
    """Part of a read: the Node without its data, or None. The watch fires when the node is created, changed or deleted."""

    path: str
    watch: Watch | None = None


class Children(NamedTuple):
    """Part of a read: the sorted names of the children, or None if the node is missing (then no watch is set).

    The watch fires when a child is created or deleted, or the node itself is deleted. `in_order` False: the names come in any
    order, for a reader of many who needs a few; sorting 5,000 takes a millisecond.
    """

    path: str
    watch: Watch | None = None
    in_order: bool = True


class Rights(NamedTuple):
    """Part of a read of a store in ZooKeeper: what somebody who has not logged in may do with the node; None: it is missing."""

    path: str

    @property
    def watch(self) -> None:
        """No watch tells of a change."""


Request = Get | Exists | Children | Rights
Answers = list[Any]  # one per request: Node | None, list[str] | None
ReadDone = Callable[[Answers | None, StoreError | None], object]  # answers, or the error


class SessionEvent(Enum):
    """What happened to the session. The owner hears of it in one order with answers and watches."""

    CONNECTED = "connected"  # for the first time, again, or with a new session after EXPIRED
    SUSPENDED = "suspended"  # no connection; the session may still go on
    EXPIRED = "expired"  # ephemeral nodes and watches are gone; unanswered requests got their errors before


SessionListener = Callable[[SessionEvent], object]


class ChangeTimes:
    """How long changes took, and in ZooKeeper every request. Written by the controller's thread, read by any."""

    def __init__(self) -> None:
        self.count = 0
        self.last_ms: deque[float] = deque(maxlen=CHANGE_TIMES_KEPT)

    def add(self, took_ms: float) -> None:
        """Record one change."""
        self.count += 1
        self.last_ms.append(took_ms)


class AsyncStore(Protocol):
    """All methods on the owner's thread, and all functions given to the store are called on it.

    `done` is never called within the call (only stores made without a `post`, in tests, do that). Answers come in the order of
    the calls, reads and changes alike. Watches fire once, after the change, with the path; before an answer that shows
    the change. While there is no connection, requests wait for it, unless too many wait already: ConnectionLost.
    """

    change_times: ChangeTimes
    session_counts: SessionCounts

    @property
    def session_id(self) -> int:
        """The owner (Node.owner) of the ephemeral nodes that are created now; 0: there is no session yet."""

    def read(self, requests: Sequence[Request], done: ReadDone) -> None:
        """Read nodes; not a snapshot, other sessions may change nodes meanwhile. Errors: ConnectionLost, SessionExpired."""

    def submit(self, operations: Sequence[Operation], done: Done) -> None:
        """Make a change, all of it or nothing. `done` is called once it is durable, or with the first failure.

        Errors: those of nodes, ConnectionLost, SessionExpired, OutcomeUnknown. Many changes may be in flight.
        They are applied in call order. Reads that are called later see a change.
        """

    def listen(self, listener: SessionListener) -> None:
        """Call the listener for each later event of the session. The embedded store has none: its session cannot be lost."""

    def close(self) -> None:
        """Apply submitted changes, then end the session, which deletes its ephemeral nodes."""


class MetadataStore(AsyncStore, Protocol):
    """An AsyncStore that also answers without waiting. Watches as in AsyncStore."""

    @property
    def changes(self) -> int:
        """How many changes the tree has had."""

    def get(self, path: str, watch: Watch | None = None) -> Node:
        """The node. Raises NoNodeError. The watch fires when its data changes or it is deleted."""

    def find(self, path: str, watch: Watch | None = None) -> Node | None:
        """The node or None. The watch fires when it is created, changed or deleted."""

    def children(self, path: str, watch: Watch | None = None) -> list[str]:
        """Sorted names (not paths) of the children. Raises NoNodeError. The watch fires if one is added or deleted."""

    def children_count(self, path: str) -> int:
        """How many children the node has. Raises NoNodeError."""

    def create(self, path: str, data: bytes | None = None, *, ephemeral: bool = False, sequential: bool = False) -> str:
        """Create a node under an existing parent and return its path. Raises NodeExistsError, NoNodeError."""

    def set(self, path: str, data: bytes | None, version: int = ANY_VERSION) -> int:
        """Replace the data if the version matches; returns the new version. Raises NoNodeError, BadVersionError."""

    def delete(self, path: str, version: int = ANY_VERSION) -> None:
        """Delete a childless node. Raises NoNodeError, BadVersionError, NotEmptyError."""

    def multi(self, operations: Sequence[Operation]) -> list[str | int | None]:
        """All or nothing; one result per operation (path, version, None); raises the first failure."""

    def together(self) -> AbstractContextManager[None]:
        """Store all changes made within the context (`multi`, `create`, `set`, `delete`) in few transactions.

        A change is durable only after the end. StoreBroken at the end: none of them was made.
        """
