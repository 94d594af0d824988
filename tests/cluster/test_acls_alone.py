"""Stored ACLs of a broker by itself, which nobody else changes or reads."""

from __future__ import annotations

from kafka_cy.cluster.acl_formats import acl_path, change_of
from kafka_cy.cluster.change_notifications import KEPT_ALONE
from kafka_cy.cluster.embedded_store import EmbeddedStore
from tests.cluster.test_acl_store import LITERAL, PREFIXED, READ, TOPIC, started


def test_a_broker_by_itself_keeps_few_notifications() -> None:
    """However often ACLs change; so what a change costs does not grow. Those of before an update go step by step."""
    store = EmbeddedStore(None)
    started(store)
    kinds = [change_of(TOPIC), change_of(TOPIC._replace(pattern_type=PREFIXED))]
    for kind, told in kinds:
        for _ in range(2 * KEPT_ALONE):
            store.create(f"{kind.parent}/{kind.prefix}", told, sequential=True)
    broker = started(store, is_alone=True)
    resources = [TOPIC._replace(name=f"t{number}", pattern_type=kind) for number in range(40) for kind in (LITERAL, PREFIXED)]
    for _ in range(5):
        for change in (broker.add, broker.remove):
            assert change({each: [READ] for each in resources})[0] == (dict.fromkeys(resources), None)
    for kind, _ in kinds:
        names = store.children(kind.parent)
        assert len(names) == KEPT_ALONE and names[-1] == f"{kind.prefix}{2 * KEPT_ALONE + 400 - 1:010}", "the newest"


def test_a_broker_by_itself_does_not_read_what_it_has_written() -> None:
    """The ACLs of one resource may be many, and a change is made of all of them."""
    store, reads = EmbeddedStore(None), list[str]()
    broker = started(store, is_alone=True)
    read = store.read
    store.read = lambda requests, done: [reads.extend(each.path for each in requests), read(requests, done)]  # type: ignore
    assert broker.add({TOPIC: [READ]})[0] == ({TOPIC: None}, None) and broker.state == {TOPIC: {READ}}
    assert reads == [acl_path(TOPIC), change_of(TOPIC)[0].parent]
