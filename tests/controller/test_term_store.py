"""The store as a controller uses it, without a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka_cy.cluster.store import Get, NoAuthError
from kafka_cy.controller.term_store import READ_AT_ONCE, TermStore


def test_nodes_that_may_be_refused_are_read_some_at_a_time() -> None:
    """The controller's thread has other work, and the store a limit of what waits."""
    held: list[tuple[str, Any]] = []

    class Store:
        def read(self, requests: Sequence[Get], done: Any) -> None:
            (request,) = requests
            held.append((request.path, done))

    store: Any = Store()
    paths = [f"/{number}" for number in range(2 * READ_AT_ONCE + 1)]
    steps = TermStore(store, 1, lambda *_: None).read_allowed([Get(path) for path in paths])
    asked: list[int] = []
    while True:
        try:
            steps.send(None)
        except StopIteration as end:
            found = end.value
            break
        some = held.copy()
        held.clear()
        asked.append(len(some))
        for path, done in some:
            if path.endswith("7"):
                done(None, NoAuthError(path))
            else:
                done([path], None)
    assert asked == [READ_AT_ONCE, READ_AT_ONCE, 1]
    assert [str(each) if isinstance(each, NoAuthError) else each for each in found] == paths
    assert sum(isinstance(each, NoAuthError) for each in found) == 40
