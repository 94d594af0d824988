"""Settings that requests change in a cluster: each request hears of its own changes only."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.cluster import znodes
from kafka_cy.cluster.config_writer import ConfigWriter
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.store import Create, Get, OutcomeUnknown, StoreError
from kafka_cy.cluster.znode_formats import decode_config
from kafka_cy.config import BrokerConfig
from kafka_cy.server.password_renewal import renew_passwords


class Store(EmbeddedStore):
    """Refuses changes of one path."""

    def __init__(self) -> None:
        super().__init__(None)
        self.refused = ""
        for path in ("/config", "/config/topics", "/config/users", "/config/brokers", znodes.CONFIG_CHANGES):
            self.multi([Create(path)])
        self.create(znodes.CONTROLLER, b"{}")

    def submit(self, operations: Any, done: Any) -> None:
        if any(each.path == self.refused for each in operations):
            done(None, StoreError("refused"))
        else:
            super().submit(operations, done)


def test_a_fault_is_that_of_its_request() -> None:
    store, stored = Store(), []
    answers: list[tuple[str, object]] = []
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


PATH, PASSWORD, MEMBER = "/config/brokers/1", "ssl.key.password", {"zookeeper.connect": "h:1", "broker.id": "1"}


@pytest.mark.parametrize("moment", ["before", "while it is written", "before, and the answer is lost"])
def test_the_renewal_of_passwords_keeps_what_a_request_has_changed(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache does not know of that change yet."""
    old = BrokerConfig(MEMBER | {"password.encoder.secret": "old"}).passwords.encode_all({PASSWORD: "x"}, {})
    config = BrokerConfig(MEMBER | {"password.encoder.secret": "new", "password.encoder.old.secret": "old"})
    store, cache, stored = Store(), MetadataCache(1), []
    lines: list[str] = []
    cache.put_config("brokers", "1", old)
    store.create(PATH, znodes.config_data(old))
    submit, changed = store.submit, znodes.config_data(old | {"broker.rack": "of a request"})
    if moment != "while it is written":
        store.set(PATH, changed)

    def meanwhile(operations: Any, done: Any) -> None:
        monkeypatch.undo()
        if moment == "while it is written":
            store.set(PATH, changed)
        if "lost" in moment:
            submit(operations, lambda *_: done(None, OutcomeUnknown("lost")))
        else:
            submit(operations, done)

    monkeypatch.setattr(store, "submit", meanwhile)
    writer = ConfigWriter(store, cache, lambda *_: None, lambda *change: stored.append(change))
    log = SimpleNamespace(info=lambda *_, **__: lines.append("stored"), error=lambda *_, **more: lines.append(more["error"]))
    arrangement = SimpleNamespace(config_changes=writer, member=object())
    renew_passwords(SimpleNamespace(arrangement=arrangement, cluster=cache, config=config, log=log))  # type: ignore[arg-type]
    found = decode_config(store.get(PATH).data)
    expected = {PASSWORD: "x", "broker.rack": "of a request"}
    assert BrokerConfig(MEMBER | {"password.encoder.secret": "new"}).passwords.decode_all(found) == expected
    assert stored == [("brokers", "1", found)] and lines == ["stored"]
    assert len(store.children(znodes.CONFIG_CHANGES)) == 1
