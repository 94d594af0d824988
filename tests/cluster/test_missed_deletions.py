"""What a member forgets that registers again: topics that were deleted meanwhile, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import Answers, Create, Done, Exists, Operation, ReadDone, Request, StoreError
from kafka_cy.cluster.store_calls import StoreCalls
from kafka_cy.cluster.topics import Topic
from kafka_cy.cluster.znode_formats import cluster_id_data
from kafka_cy.cluster.znodes import CONTAINERS, topic_path
from kafka_cy.protocol.controller_messages.update_metadata import UpdateMetadataTopic
from kafka_cy.server import missed_deletions
from kafka_cy.server.missed_deletions import AGAIN_MS, MissedDeletions
from tests.cluster.test_member_cache import new_cache, partition


class Session(EmbeddedStore):
    """Of ZooKeeper."""

    session_id = 1

    def __init__(self) -> None:
        super().__init__(None)
        self.multi([Create(path) for path in CONTAINERS])
        self.create("/cluster/id", cluster_id_data("c"))
        self.not_applied: set[str] = set()  # nodes that the server that is asked has not yet; it catches up with a change

    def read(self, requests: Sequence[Request], done: ReadDone) -> None:
        """See AsyncStore."""

        def filtered(answers: Answers | None, error: StoreError | None) -> None:
            for index, request in enumerate(requests):
                if answers is not None and isinstance(request, Exists) and request.path in self.not_applied:
                    answers[index] = None
            done(answers, error)

        super().read(requests, filtered)

    def submit(self, operations: Sequence[Operation], done: Done) -> None:
        """See AsyncStore."""
        self.not_applied.clear()
        super().submit(operations, done)


class Member:
    def __init__(self, *topics: str) -> None:
        self.store, self.cache = Session(), new_cache()
        self.cache.cluster_id = "c"
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.removed: list[str] = []
        self.lines: list[str] = []
        self.is_updated = False
        for index, name in enumerate(topics):
            self.store.create(topic_path(name))
            self.tell(name, index)
        self.missed = MissedDeletions(
            self.cache, lambda: StoreCalls(self.store, self._call_later), self._call_later, self._remove, self
        )

    def tell(self, name: str, number: int) -> None:
        self.cache.take(UpdateMetadataTopic(name, UUID(int=1 + number), (partition(0),)))

    def repeated(self, level: str, text: str, details: dict[str, Any]) -> None:
        self.lines.append(f"{text} {details}")

    def _call_later(self, delay_ms: float, call: Callable[[], object]) -> None:
        self.later.append((delay_ms, call))

    def _remove(self, topics: Sequence[Topic]) -> bool:
        if self.is_updated:
            return False
        for topic in topics:
            if self.cache.topics.get(topic.name) is topic:
                self.cache.remove_topic(topic)
                self.removed.append(topic.name)
        return True

    def run(self) -> None:
        """All that is due."""
        while any(delay_ms == 0 for delay_ms, _ in self.later):
            later, self.later = self.later, []
            for delay_ms, call in later:
                if delay_ms:
                    self.later.append((delay_ms, call))
                else:
                    call()

    def run_later(self) -> None:
        ((delay_ms, call),) = self.later
        assert delay_ms == AGAIN_MS
        self.later = []
        call()
        self.run()


def test_topics_that_are_not_stored_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed_deletions, "AT_ONCE", 2)
    monkeypatch.setattr(missed_deletions, "REMOVED_AT_ONCE", 2)
    names = [f"t{number}" for number in range(9)]
    member = Member(*names)
    for name in names[:7]:
        member.store.delete(topic_path(name))
    member.cache.logs.partitions["t3", 0] = object()  # type: ignore[union-attr]
    member.missed.look()
    member.run()
    assert member.removed == ["t0", "t1", "t2", "t4", "t5", "t6"]
    assert member.later == [] and member.lines == []
    member.missed.look()
    member.run()
    assert len(member.removed) == 6 and member.later == []


def test_a_deletion_that_had_begun_is_waited_for() -> None:
    member = Member("t", "other")
    member.store.create("/admin/delete_topics/t")
    member.missed.look()
    member.run()
    assert member.removed == []
    member.store.delete(topic_path("t"))
    member.store.delete("/admin/delete_topics/t")
    member.run_later()
    assert member.removed == ["t"] and member.later == []


def test_a_topic_of_which_the_controller_tells_meanwhile_stays() -> None:
    member = Member("t")
    member.store.delete(topic_path("t"))
    member.missed.look()
    member.tell("t", 5)
    member.run()
    assert member.removed == [] and list(member.cache.topics) == ["t"]


def test_a_topic_whose_creation_the_server_has_not_applied_stays() -> None:
    """Its committed offsets would go with it."""
    member = Member("t", "other")
    member.store.delete(topic_path("t"))
    member.missed.look()  # it has caught up and read the names of what is stored
    member.store.create(topic_path("new"))
    member.tell("new", 5)
    member.store.not_applied.add(topic_path("new"))
    member.run()
    assert member.removed == ["t"] and set(member.cache.topics) == {"other", "new"}


def test_while_an_update_is_taken_nothing_goes() -> None:
    member = Member("t")
    member.store.delete(topic_path("t"))
    member.is_updated = True
    member.missed.look()
    member.run()
    assert member.removed == []
    member.is_updated = False
    member.run_later()
    assert member.removed == ["t"] and member.later == []


@pytest.mark.parametrize("other", [None, cluster_id_data("other")])
def test_another_tree_says_nothing(other: bytes | None) -> None:
    """As of a ZooKeeper that was set up anew."""
    member = Member("t")
    member.store.delete(topic_path("t"))
    member.store.delete("/cluster/id")
    if other is not None:
        member.store.create("/cluster/id", other)
    member.missed.look()
    member.run()
    assert member.removed == [] and member.later == []


def test_a_session_that_ends_is_no_end() -> None:
    member = Member("t")
    member.store.delete(topic_path("t"))
    member.missed.look()
    member.store.session_id = 2  # within the first slice
    member.run()
    assert member.removed == [] and "tried again" in member.lines[0]
    member.missed.look()
    member.run_later()
    assert member.removed == ["t"] and member.later == []


def test_the_first_registration_looks_for_nothing() -> None:
    member = Member()
    member.missed.look()
    assert member.later == [] and member.lines == []
