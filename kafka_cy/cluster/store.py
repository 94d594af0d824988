"""The metadata store's interface: a tree of small versioned nodes, as ZooKeeper has it.

Every state change of the cluster is a conditional write on such a tree. One implementation keeps it in a local file
(`embedded_store`), another one speaks to ZooKeeper; nothing above knows which.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
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

    def close(self) -> None:
        """End the session: ephemeral nodes go."""
