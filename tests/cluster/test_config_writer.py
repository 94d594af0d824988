"""Settings that requests change in a cluster: each change is made of what ZooKeeper holds, and told to all in one transaction."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.cluster import config_writer, znodes
from kafka_cy.cluster.config_changes import ChangeRefused
from kafka_cy.cluster.config_writer import AT_ONCE, ATTEMPTS_MAX, ConfigWriter, WaitingChanges
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.metadata_cache import MetadataCache
from kafka_cy.cluster.store import BadVersionError, Create, OutcomeUnknown, StoreError
from kafka_cy.cluster.znode_formats import decode_config
from kafka_cy.config import BrokerConfig
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server.password_renewal import renew_passwords


class Store(EmbeddedStore):
    """Refuses changes of one path; `meanwhile` runs before the next change, `lost` loses the answer to it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.refused = ""
        self.meanwhile: list[Callable[[], object]] = []
        self.lost = 0
        self.held: list[Callable[[], object]] | None = None  # answers to reads, which the test gives later
        for path in ("/config", "/config/topics", "/config/users", "/config/brokers", znodes.CONFIG_CHANGES):
            self.multi([Create(path)])
        self.create(znodes.CONTROLLER, b"{}")

    def read(self, requests: Any, done: Any) -> None:
        held = self.held
        if held is not None:
            super().read(requests, lambda *answer: held.append(lambda: done(*answer)))
        else:
            super().read(requests, done)

    def submit(self, operations: Any, done: Any) -> None:
        if any(each.path == self.refused for each in operations):
            done(None, StoreError("refused"))
            return
        if self.meanwhile:
            self.meanwhile.pop(0)()
        if self.lost:
            self.lost -= 1
            super().submit(operations, lambda *_: done(None, OutcomeUnknown("lost")))
        else:
            super().submit(operations, done)

    def config(self, entity: str) -> dict[str, str]:
        return decode_config(self.get(f"/config/{entity}").data)

    def answer(self) -> None:
        held, self.held = self.held, None
        for each in held or ():
            each()

    @property
    def told(self) -> int:
        return len(self.children(znodes.CONFIG_CHANGES))


class Broker:
    """One that has heard of nothing that others have changed."""

    def __init__(self, store: Store) -> None:
        self.stored: list[tuple[str, str, dict[str, str]]] = []
        self.cache = MetadataCache(1)
        self.writer = ConfigWriter(store, self.cache, lambda *_: None, lambda *change: self.stored.append(change))
        self.faults: list[object] = []

    def set(self, entity: str, **values: str) -> None:
        self.change(entity, lambda before: {**before, **values})

    def change(self, entity: str, edit: Any) -> None:
        kind, _, name = entity.partition("/")
        self.writer.change(kind, name, edit, self.faults.append)


@pytest.fixture
def store() -> Store:
    return Store()


def test_two_brokers_keep_what_both_have_changed(store: Store) -> None:
    """Both have read the node before either of them writes it."""
    first, second = Broker(store), Broker(store)
    store.create("/config/topics/t", znodes.config_data({"old": "1"}))
    store.held = []
    first.set("topics/t", a="1")
    second.set("topics/t", b="2")
    store.answer()
    assert store.config("topics/t") == {"old": "1", "a": "1", "b": "2"} and store.told == 2
    assert (first.stored, second.stored[0][2]) == ([("topics", "t", {"old": "1", "a": "1"})], store.config("topics/t"))


def test_two_brokers_create_the_same_node(store: Store) -> None:
    first, second = Broker(store), Broker(store)
    store.held = []
    first.set("users/a", x="1")
    second.set("users/a", y="2")
    store.answer()
    assert store.config("users/a") == {"x": "1", "y": "2"} and store.told == 2


def test_node_and_notification_are_one_transaction(store: Store) -> None:
    """Neither is there without the other."""
    broker = Broker(store)
    store.refused = f"{znodes.CONFIG_CHANGES}/config_change_"
    broker.set("topics/t", a="1")
    assert store.find("/config/topics/t") is None and store.told == 0
    store.refused = ""
    broker.set("topics/t", a="1")
    assert store.config("topics/t") == {"a": "1"} and store.told == 1
    (name,) = store.children(znodes.CONFIG_CHANGES)
    assert store.get(f"{znodes.CONFIG_CHANGES}/{name}").data == b'{"version":2,"entity_path":"topics/t"}'
    broker.set("topics/t", a="1")
    assert store.told == 2, "a client that tries again has all brokers told again, as with Kafka"


def test_what_is_above_the_nodes_is_created(store: Store) -> None:
    store.delete(znodes.CONFIG_CHANGES)
    broker = Broker(store)
    broker.set("users/a/clients/b", x="1")
    assert store.config("users/a/clients/b") == {"x": "1"} and store.told == 1 and broker.faults == [None]


def test_a_lost_answer_is_looked_for(store: Store) -> None:
    """A deletion that was made is not refused because it was made."""
    broker = Broker(store)
    store.create("/config/users/a", znodes.config_data({"x": "1"}))

    def without(before: dict[str, str]) -> dict[str, str]:
        if before.pop("x", None) is None:
            raise ChangeRefused(ErrorCode.RESOURCE_NOT_FOUND, "gone")
        return before

    store.lost = 1
    broker.change("users/a", without)
    assert broker.faults == [None] and store.config("users/a") == {} and store.told == 1
    assert broker.stored == [("users", "a", {})]
    broker.change("users/a", without)
    assert isinstance(broker.faults[1], ChangeRefused)


def test_a_lost_answer_before_another_change_leaves_the_outcome_open(store: Store) -> None:
    broker, other = Broker(store), Broker(store)
    store.create("/config/users/a", znodes.config_data({"x": "1"}))
    refused: list[bool] = []

    def once(before: dict[str, str]) -> dict[str, str]:
        if refused:
            raise ChangeRefused(ErrorCode.RESOURCE_NOT_FOUND, "gone")
        refused.append(True)
        store.meanwhile.append(lambda: None)
        return {}

    read, reads = store.read, iter([lambda: None, lambda: other.set("users/a", y="2")])
    store.read = lambda *arguments: (next(reads, lambda: None)(), read(*arguments))[1]  # type: ignore[method-assign]
    store.lost = 1
    broker.change("users/a", once)
    assert isinstance(broker.faults[0], OutcomeUnknown) and store.config("users/a") == {"y": "2"}


def test_others_that_are_always_faster_end_the_change(store: Store) -> None:
    broker = Broker(store)
    store.create("/config/topics/t", b"{}")
    store.meanwhile = [lambda: store.set("/config/topics/t", b"{}")] * (ATTEMPTS_MAX + 1)
    broker.set("topics/t", a="1")
    assert isinstance(broker.faults[0], BadVersionError) and len(store.meanwhile) == 1


def test_what_is_known_counts_for_a_malformed_node(store: Store) -> None:
    broker = Broker(store)
    store.create("/config/topics/t", b"{")
    broker.cache.put_config("topics", "t", {"old": "1"})
    broker.set("topics/t", a="1")
    assert store.config("topics/t") == {"old": "1", "a": "1"}


def test_what_zookeeper_would_not_take_is_not_sent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_writer, "NODE_BYTES_MAX", 100)
    broker = Broker(store)
    broker.set("topics/t", a="1" * 100)
    assert isinstance(broker.faults[0], ChangeRefused) and store.find("/config/topics/t") is None


def test_requests_take_turns(store: Store) -> None:
    """A large one holds up no other; some changes are in work at the same time."""
    broker = Broker(store)
    large, small = WaitingChanges(broker.writer), WaitingChanges(broker.writer)
    store.held = []
    for number in range(3 * AT_ONCE):
        large.add("topics", f"t{number}", lambda before: before | {"a": "1"}, broker.faults.append)
    small.add("topics", "small", lambda before: before | {"a": "1"}, broker.faults.append)
    assert len(store.held) == AT_ONCE
    store.answer()
    names = [name for _, name, _ in broker.stored]
    assert names.index("small") <= AT_ONCE + 1 and len(names) == 3 * AT_ONCE + 1
    store.held = []
    for number in range(AT_ONCE + 5):
        large.add("topics", f"u{number}", lambda before: before | {"a": "1"}, broker.faults.append)
    assert large.drop() == 5 and large.drop() == 0
    store.answer()
    assert len(store.children("/config/topics")) == 4 * AT_ONCE + 1


def test_changes_of_one_entity_follow_each_other(store: Store) -> None:
    """However many clients change it at once, none loses against others of this broker. Other entities are changed meanwhile."""
    broker = Broker(store)
    answers: deque[Callable[[], object]] = deque()  # in the order of the questions, as those of ZooKeeper
    read, submit = store.read, store.submit
    calls = SimpleNamespace(
        read=lambda *call: answers.append(lambda: read(*call)), submit=lambda *call: answers.append(lambda: submit(*call)),
        session_id=store.session_id,
    )  # fmt: skip
    broker.writer = ConfigWriter(calls, broker.cache, lambda *_: None, lambda *change: broker.stored.append(change))  # type: ignore[arg-type]
    for number in range(10 * AT_ONCE):
        broker.change("topics/t", lambda before, number=number: before | {"order": before.get("order", "") + f"{number} "})
    broker.set("topics/other", a="1")
    count = 0
    while answers:
        answers.popleft()()
        count += 1
    assert broker.faults == [None] * (10 * AT_ONCE + 1) and count == 2 * len(broker.faults)
    assert store.config("topics/t") == {"order": "".join(f"{number} " for number in range(10 * AT_ONCE))}
    assert [name for _, name, _ in broker.stored].index("other") <= 1


def test_a_fault_of_a_listener_is_the_outcome(store: Store) -> None:
    broker = Broker(store)
    broker.writer = ConfigWriter(store, broker.cache, lambda *_: None, lambda *_: 1 // 0)
    broker.set("topics/t", a="1")
    broker.set("topics/t", b="1")
    assert [type(each) for each in broker.faults] == [ZeroDivisionError] * 2 and store.config("topics/t") == {"a": "1", "b": "1"}


PATH, PASSWORD, MEMBER = "/config/brokers/1", "ssl.key.password", {"zookeeper.connect": "h:1", "broker.id": "1"}


@pytest.mark.parametrize("moment", ["before", "while it is written", "before, and the answer is lost"])
def test_the_renewal_of_passwords_keeps_what_a_request_has_changed(store: Store, moment: str) -> None:
    """The cache does not know of that change yet."""
    old = BrokerConfig(MEMBER | {"password.encoder.secret": "old"}).passwords.encode_all({PASSWORD: "x"}, {})
    config = BrokerConfig(MEMBER | {"password.encoder.secret": "new", "password.encoder.old.secret": "old"})
    broker, changed = Broker(store), znodes.config_data(old | {"broker.rack": "of a request"})
    lines: list[str] = []
    broker.cache.put_config("brokers", "1", old)
    store.create(PATH, znodes.config_data(old))
    if moment == "while it is written":
        store.meanwhile.append(lambda: store.set(PATH, changed))
    else:
        store.set(PATH, changed)
    store.lost = int("lost" in moment)
    log = SimpleNamespace(info=lambda *_, **__: lines.append("stored"), error=lambda *_, **more: lines.append(more["error"]))
    arrangement = SimpleNamespace(config_changes=broker.writer, member=object())
    renew_passwords(SimpleNamespace(arrangement=arrangement, cluster=broker.cache, config=config, log=log))  # type: ignore[arg-type]
    found = store.config("brokers/1")
    expected = {PASSWORD: "x", "broker.rack": "of a request"}
    assert BrokerConfig(MEMBER | {"password.encoder.secret": "new"}).passwords.decode_all(found) == expected
    assert broker.stored == [("brokers", "1", found)] and lines == ["stored"] and store.told == 1
