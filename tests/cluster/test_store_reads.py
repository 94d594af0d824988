"""Reads of the embedded store through the asynchronous interface: in order with changes, watches that see what comes later."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.cluster.embedded_store import SESSION_ID, EmbeddedStore
from kafka_cy.cluster.store import (
    BadVersionError,
    Check,
    Children,
    Create,
    Delete,
    Exists,
    Get,
    NoChildrenForEphemeralsError,
    Set,
    StoreBroken,
    StoreError,
)


class Owner:
    """The test's thread is the owner: posted functions run while the test waits. `seen` has answers and watches in order."""

    def __init__(self, path: Path | None = None, post: bool = True) -> None:
        self.posted: queue.Queue[tuple[Callable[..., object], tuple[Any, ...]]] = queue.Queue()
        poster = (lambda function, *more: self.posted.put((function, more))) if post else None
        self.store = EmbeddedStore(str(path) if path else None, poster, lambda: 77)
        self.seen: list[Any] = []

    def done(self, name: str) -> Callable[[Any, StoreError | None], object]:
        return lambda answer, error: self.seen.append((name, answer if error is None else type(error)))

    def wait_for(self, count: int) -> list[Any]:
        while len(self.seen) < count:
            function, more = self.posted.get(timeout=60)
            function(*more)
        return self.seen


def test_answers_have_one_order_and_none_comes_within_the_call() -> None:
    owner = Owner()
    owner.store.submit([Create("/a", b"1"), Create("/a/c"), Create("/a/b", ephemeral=True)], owner.done("create"))
    owner.store.read(
        [Get("/a"), Exists("/a"), Children("/a"), Get("/x"), Exists("/x"), Children("/x")], owner.done("read")
    )
    owner.store.submit([Set("/a", b"2", 5)], owner.done("refused"))
    owner.store.read([Get("/a/b")], owner.done("last"))
    assert owner.seen == []
    created, read, refused, last = owner.wait_for(4)
    assert created == ("create", ["/a", "/a/c", "/a/b"])
    node, stat, *others = read[1]
    assert (node.data, node.version, node.owner, node.created_ms) == (b"1", 0, 0, 77)
    assert stat == node._replace(data=None)
    assert others == [["b", "c"], None, None, None]
    assert refused == ("refused", BadVersionError)
    assert (last[1][0].owner, last[1][0].ephemeral) == (SESSION_ID, True) and owner.store.session_id == SESSION_ID
    owner.store.close()


def test_a_read_alone_is_posted() -> None:
    owner = Owner()
    owner.store.create("/a")
    owner.store.read([Exists("/a")], owner.done("read"))
    assert owner.seen == []
    assert owner.wait_for(1)[0][1][0].version == 0
    owner.store.close()


def test_watches_of_a_read_see_later_changes_only() -> None:
    owner = Owner()
    store = owner.store
    store.submit([Create("/a", b"1")], owner.done("create"))
    watch = owner.seen.append
    store.read([Get("/a", watch), Get("/a", watch), Get("/x", watch), Exists("/y", watch)], owner.done("read"))
    store.submit([Set("/a", b"2")], owner.done("set"))
    store.submit([Create("/x"), Create("/y")], owner.done("others"))
    owner.wait_for(6)
    assert [each if isinstance(each, str) else each[0] for each in owner.seen] == [
        "create", "read", "/a", "set", "/y", "others",
    ]  # fmt: skip
    assert owner.seen[1][1][0].data == b"1"
    store.close()


def test_watches_of_children() -> None:
    owner = Owner(post=False)
    store = owner.store
    store.submit([Create("/a")], owner.done("create"))
    store.read([Children("/a", owner.seen.append), Children("/none", owner.seen.append)], owner.done("read"))
    store.submit([Set("/a", b"no child")], owner.done("set"))
    store.submit([Create("/a/b")], owner.done("child"))
    store.submit([Delete("/a/b")], owner.done("not watched"))
    store.read([Children("/a", owner.seen.append)], owner.done("read"))
    store.submit([Delete("/a")], owner.done("gone"))
    names = [each if isinstance(each, str) else each[0] for each in owner.seen]
    assert names == ["create", "read", "set", "/a", "child", "not watched", "read", "/a", "gone"]


def test_what_an_answer_asks_comes_after_what_was_asked_before() -> None:
    for post in (True, False):
        owner = Owner(post=post)
        store = owner.store

        def first(answer: Any, error: StoreError | None, owner: Owner = owner) -> None:
            owner.seen.append("first")
            owner.store.read([Exists("/")], lambda *_: owner.seen.append("third"))
            owner.store.submit([Create("/c")], lambda *_: owner.seen.append("fourth"))

        store.submit([Create("/a")], first)
        store.read([Exists("/a")], lambda *_, owner=owner: owner.seen.append("second"))
        owner.wait_for(4)
        assert owner.seen == (
            ["first", "second", "third", "fourth"] if post else ["first", "third", "fourth", "second"]
        )
        store.close()


def test_a_long_chain_of_requests_does_not_nest() -> None:
    owner = Owner(post=False)
    left = [5000]

    def again(answer: Any, error: StoreError | None) -> None:
        assert error is None
        left[0] -= 1
        if left[0]:
            owner.store.read([Exists("/")], again)

    owner.store.read([Exists("/")], again)
    assert left == [0]


def test_a_waiting_call_answers_first_what_was_asked_before_it() -> None:
    owner = Owner()
    owner.store.create("/a", b"1")

    def first(answer: Any, error: StoreError | None) -> None:
        owner.store.read([Get("/a", owner.seen.append)], owner.done("read"))
        owner.store.set("/a", b"2")
        owner.seen.append("set")

    owner.store.submit([Create("/b")], first)
    owner.wait_for(3)
    assert owner.seen[0][1][0].data == b"1" and owner.seen[1:] == ["/a", "set"]
    owner.store.close()


def test_a_read_of_what_could_not_be_stored_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(tmp_path / "m")
    opened = threading.Event()

    def broken(changes: Any) -> None:
        assert opened.wait(60)
        raise StoreBroken("disk full")

    monkeypatch.setattr(owner.store._pending, "_persist", broken)
    owner.store.submit([Create("/a")], owner.done("create"))
    owner.store.read([Get("/a", owner.seen.append)], owner.done("read"))
    opened.set()
    assert owner.wait_for(2) == [("create", StoreBroken), ("read", StoreBroken)]
    owner.store.read([Get("/a")], owner.done("again"))
    assert owner.wait_for(3)[2] == ("again", [None])
    owner.store.close()


def test_an_error_says_which_operation_was_refused() -> None:
    store = EmbeddedStore(None)
    store.create("/e", ephemeral=True)
    failures: list[StoreError | None] = []
    store.submit([Check("/", 5), Create("/a")], lambda results, error: failures.append(error))
    store.submit([Create("/a"), Create("/e/child")], lambda results, error: failures.append(error))
    assert [(type(each), each.operation) for each in failures if each is not None] == [
        (BadVersionError, 0),
        (NoChildrenForEphemeralsError, 1),
    ]
    assert store.find("/a") is None
