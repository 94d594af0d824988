"""Watches of the ZooKeeper store, and what they had seen: a watch outlives the connection, as long as the session goes on."""

from __future__ import annotations

from collections.abc import Iterator

from kafka_cy.cluster.store import Watch

MISSING = -1  # seen: the node did not exist


class Watches:
    """Watches of one kind by path. Owner: the store's. Limit: one entry for each path that the owner watches."""

    def __init__(self) -> None:
        self._watches: dict[str, dict[Watch, None]] = {}
        self._seen: dict[str, int] = {}

    def add(self, path: str, watch: Watch, seen: int) -> None:
        """Set a watch. `seen`: the id of the last change that the answer shows."""
        self._watches.setdefault(path, {})[watch] = None
        self._seen[path] = seen

    def fire(self, path: str) -> list[Watch]:
        """Take the watches of a path; the caller calls them."""
        self._seen.pop(path, None)
        return list(self._watches.pop(path, ()))

    def changed(self, path: str, now: int) -> bool:
        """Whether a path that is still watched differs from what its watches had seen."""
        return path in self._seen and self._seen[path] != now

    def clear(self) -> None:
        """Drop all watches: the session has ended."""
        self._watches.clear()
        self._seen.clear()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._watches))

    def __len__(self) -> int:
        return len(self._watches)
