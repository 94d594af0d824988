"""Settings that requests change in a cluster: each request hears of its own changes only."""

from __future__ import annotations

from typing import Any

from kafka_cy.cluster import znodes
from kafka_cy.cluster.config_writer import ConfigWriter
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.store import Create, Get, StoreError


class Store(EmbeddedStore):
    """Refuses changes of one path."""

    def __init__(self) -> None:
        super().__init__(None)
        self.refused = ""
        for path in ("/config", "/config/topics", "/config/users", znodes.CONFIG_CHANGES):
            self.multi([Create(path)])
        self.create(znodes.CONTROLLER, b"{}")

    def submit(self, operations: Any, done: Any) -> None:
        if any(each.path == self.refused for each in operations):
            done(None, StoreError("refused"))
        else:
            super().submit(operations, done)


def test_a_fault_is_that_of_its_request() -> None:
    store, stored, answers = Store(), [], []
    writer = ConfigWriter(store, MetadataCache(1), lambda *_: None, lambda *change: stored.append(change))
    store.refused = "/config/topics/a"
    first, second, third = writer.of_request(), writer.of_request(), writer.of_request()
    first.set_config("topics", "a", {"k": "1"})
    second.set_config("topics", "b", {"k": "2"})
    first.set_config("topics", "c", {"k": "3"})
    second.when_stored(lambda fault: answers.append(("second", fault)))
    first.when_stored(lambda fault: answers.append(("first", repr(fault))))
    third.when_stored(lambda fault: answers.append(("third", fault)))
    assert answers == [("second", None), ("first", "StoreError('refused')"), ("third", None)]
    assert [name for _, name, _ in stored] == ["b", "c"]
    nodes: list[Any] = []
    store.read([Get("/config/topics/a"), Get("/config/topics/b")], lambda found, _: nodes.extend(found or ()))
    assert nodes[0] is None and nodes[1].data == b'{"version":1,"config":{"k":"2"}}'
    assert len(store.children(znodes.CONFIG_CHANGES)) == 2
