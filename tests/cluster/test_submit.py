"""Submitted changes: in order, many in flight, one transaction for many, all or nothing."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.store import (
    ANY_VERSION,
    Create,
    Delete,
    NodeExistsError,
    NoNodeError,
    Set,
    StoreBroken,
    StoreError,
)
from tests.no_threads import forbid_threads


class Owner:
    """The test's thread is the owner: posted functions run while the test waits."""

    def __init__(self, path: Path | None) -> None:
        self.posted: queue.Queue[tuple[Callable[..., object], tuple[Any, ...]]] = queue.Queue()
        self.store = EmbeddedStore(
            str(path) if path else None, lambda function, *more: self.posted.put((function, more))
        )
        self.answers: list[tuple[str, Any]] = []

    def submit(self, name: str, *operations: Any) -> None:
        def done(results: Any, error: StoreError | None) -> None:
            self.answers.append((name, results if error is None else type(error)))

        self.store.submit(operations, done)

    def await_answers(self, count: int) -> list[tuple[str, Any]]:
        while len(self.answers) < count:
            function, more = self.posted.get(timeout=60)
            function(*more)
        return self.answers


class Gate:
    """Blocks the committing thread until it is opened, and counts transactions."""

    def __init__(self, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.sizes: list[int] = []
        self.fails = False
        persist = store._persist

        def gated(changes: Any) -> None:
            self.entered.set()
            assert self.open.wait(60)
            self.sizes.append(len(changes))
            if self.fails:
                raise StoreBroken("disk full")
            persist(changes)

        monkeypatch.setattr(store._pending, "_persist", gated)


def paths_in(path: Path) -> set[str]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        return {row[0] for row in connection.execute("SELECT path FROM nodes")}


def test_in_order_and_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(tmp_path / "m")
    gate = Gate(owner.store, monkeypatch)
    owner.submit("a", Create("/a"))
    assert gate.entered.wait(60)
    owner.submit("b", Create("/a/b", b"1"))
    owner.submit("again", Create("/a"))
    owner.submit("c", Set("/a/b", b"2", 0), Create("/a/c"))
    owner.submit("half", Delete("/a/c"), Delete("/none"))
    assert owner.store.get("/a/b").data == b"2"  # reads see what was submitted
    assert owner.store.find("/a/c") is not None
    assert owner.answers == []
    gate.open.set()
    assert owner.await_answers(5) == [
        ("a", ["/a"]),
        ("b", ["/a/b"]),
        ("again", NodeExistsError),
        ("c", [1, "/a/c"]),
        ("half", NoNodeError),
    ]
    assert gate.sizes == [1, 2]  # changes submitted while the disk was busy share one transaction
    owner.store.close()
    again = EmbeddedStore(str(tmp_path / "m"))
    assert (again.get("/a/b").data, again.get("/a/b").version, again.find("/a/c") is not None) == (b"2", 1, True)
    again.close()


def test_a_call_that_waits_comes_after_what_was_submitted(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "m")
    for number in range(50):
        owner.submit(str(number), Create(f"/n{number}"))
    owner.store.multi([Create("/last")])
    assert [name for name, _ in owner.answers] == [str(number) for number in range(50)]
    owner.submit("unanswered", Create("/closed"))
    owner.store.close()
    assert owner.answers[-1] == ("unanswered", ["/closed"])
    again = EmbeddedStore(str(tmp_path / "m"))
    assert len(again.children("/")) == 52
    again.close()


def test_a_failed_transaction_takes_back_all_later_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(tmp_path / "m")
    owner.store.create("/kept", b"0")
    gate = Gate(owner.store, monkeypatch)
    gate.fails = True
    owner.submit("a", Set("/kept", b"1"))
    assert gate.entered.wait(60)
    owner.submit("b", Create("/kept/b"))
    gate.open.set()
    assert owner.await_answers(2) == [("a", StoreBroken), ("b", StoreBroken)]
    assert owner.store.get("/kept")[:2] == (b"0", 0)
    assert owner.store.children("/kept") == []
    gate.fails = False
    owner.submit("c", Set("/kept", b"2", 0))
    assert owner.await_answers(3)[2] == ("c", [1])
    owner.store.close()


def test_watches_fire_before_the_answer() -> None:
    owner = Owner(None)
    owner.store.create("/a")
    seen: list[str] = []
    owner.store.get("/a", seen.append)
    owner.store.submit([Set("/a", b"x", ANY_VERSION)], lambda results, error: seen.append("done"))
    assert seen == []
    function, more = owner.posted.get(timeout=60)
    function(*more)
    assert seen == ["/a", "done"]
    owner.store.close()


def test_many_topics_are_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EmbeddedStore(str(tmp_path / "m"))
    cluster = ClusterMetadata(store, 1, lambda: 0)
    cluster.load("c" * 22)
    sizes: list[int] = []
    persist = store._persist
    monkeypatch.setattr(store, "_persist", lambda changes: (sizes.append(len(changes)), persist(changes)))
    announced: list[int] = []
    cluster.cache.add_listener(lambda change: announced.append(len(change.changed)))
    with cluster.topic_changes.batch():
        for number in range(100):
            cluster.topic_changes.create_topic(f"t{number}", [[1]], {})
        with pytest.raises(NodeExistsError):
            cluster.topic_changes.create_topic("t5", [[1]], {})
    assert (sizes, announced) == ([100], [100])
    assert "/brokers/topics/t99/partitions/0/state" in store._nodes
    store.close()


def test_a_batch_that_cannot_be_stored_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EmbeddedStore(str(tmp_path / "m"))
    cluster = ClusterMetadata(store, 1, lambda: 0)
    cluster.load("c" * 22)
    cluster.topic_changes.create_topic("old", [[1]], {"retention.ms": "1"})
    announced: list[Any] = []
    cluster.cache.add_listener(announced.append)

    def broken(changes: Any) -> None:
        raise StoreBroken("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_persist", broken)
        with pytest.raises(StoreBroken), cluster.topic_changes.batch():
            cluster.topic_changes.create_topic("new", [[1]], {})
            cluster.topic_changes.create_partitions("old", [[1], [1]])
    assert announced == []
    assert set(cluster.cache.topics) == {"old"}
    assert (len(cluster.cache.topics["old"].partitions), cluster.cache.topic_config("old")) == (
        1,
        {"retention.ms": "1"},
    )
    assert cluster.topic_changes.create_topic("new", [[1]], {}).name == "new"
    store.close()


def test_without_a_thread_the_owner_makes_changes_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(tmp_path / "m")
    with monkeypatch.context() as patch:
        forbid_threads(patch)
        owner.submit("a", Create("/a"))
        assert owner.answers == [("a", ["/a"])]
    owner.submit("b", Create("/b"))
    assert owner.await_answers(2)[1] == ("b", ["/b"])
    owner.store.close()
    assert paths_in(tmp_path / "m") >= {"/a", "/b"}


def test_a_fault_in_the_store_is_an_answer_and_the_thread_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner(tmp_path / "m")
    with monkeypatch.context() as patch:
        patch.setattr(owner.store._pending, "_persist", lambda changes: 1 // 0)
        owner.submit("a", Create("/a"))
        assert owner.await_answers(1) == [("a", StoreBroken)]
    assert owner.store.find("/a") is None
    owner.submit("b", Create("/a"))
    assert owner.await_answers(2)[1] == ("b", ["/a"])
    owner.store.close()


def test_a_fault_in_one_callback_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(tmp_path / "m")
    gate = Gate(owner.store, monkeypatch)
    owner.store.submit([Create("/a")], lambda results, error: 1 // 0)
    owner.submit("b", Create("/b"))
    gate.open.set()
    reported: list[str] = []
    while len(owner.answers) < 1 or not reported:
        function, more = owner.posted.get(timeout=60)
        try:
            function(*more)
        except ZeroDivisionError as error:
            reported.append(str(error))
    assert owner.answers == [("b", ["/b"])]
    owner.store.close()


def test_a_fault_in_a_watch_stops_neither_the_others_nor_who_made_the_change() -> None:
    owner, seen = Owner(None), list[str]()

    def faulty(path: str) -> None:
        seen.append(f"fault {path}")
        raise RuntimeError(f"a fault at {path}")

    owner.store.create("/a")
    for path in ("/a", "/b"):
        owner.store.find(path, faulty)
        owner.store.find(path, seen.append)
    owner.store.children("/", faulty)
    owner.store.children("/", seen.append)
    assert owner.store.multi([Set("/a", b"1"), Create("/b")]) == [1, "/b"]
    assert seen == ["fault /a", "/a", "fault /b", "/b", "fault /", "/"]
    for path in ("/a", "/b", "/"):
        function, more = owner.posted.get_nowait()
        with pytest.raises(RuntimeError, match=f"a fault at {path}$"):
            function(*more)
    assert owner.posted.empty()
