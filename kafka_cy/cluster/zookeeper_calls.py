"""Calls of the metadata store in ZooKeeper that are not answered yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kafka_cy.cluster.store import Operation, Request, StoreError

REQUEST_OVERHEAD_BYTES = 200  # of one operation in memory, beside its path and data


class Call:
    """One call of read() or submit(). `own`: a request of the store itself, with a whole path; `done` gets the event."""

    __slots__ = ("answers", "change", "done", "error", "own", "pending", "requests", "sent", "size")

    def __init__(
        self,
        requests: Sequence[Request],
        change: Sequence[Operation] | None,
        done: Callable[..., object],
        own: bool = False,
    ) -> None:
        self.requests = requests
        self.change = change
        self.done = done
        self.own = own
        self.answers: list[Any] = []
        self.error: StoreError | None = None
        self.sent = 0  # requests handed to kazoo
        self.pending = 0  # of these, not answered
        data = sum(len(getattr(each, "data", None) or b"") + len(each.path) for each in change or requests)
        self.size = data + REQUEST_OVERHEAD_BYTES * len(change or requests)

    @property
    def to_send(self) -> int:
        """How many requests are still to be handed to kazoo."""
        if self.error is not None:
            return 0
        return (len(self.requests) if self.change is None else min(1, len(self.change))) - self.sent


class Ending:
    """A session that has ended: how many of its calls are not answered, whether there was one, and whether kazoo has given up."""

    __slots__ = ("calls", "closed", "had_session")

    def __init__(self, calls: int, had_session: bool, closed: bool) -> None:
        self.calls, self.had_session, self.closed = calls, had_session, closed
