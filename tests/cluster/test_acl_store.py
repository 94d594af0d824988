"""Stored ACLs: Kafka's nodes and notifications, in the embedded store and in a real ZooKeeper; crashes; other writers."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.authorizer import acl_image
from kafka_cy.authorizer.acls import DENY_ALL, AclEntry, Operation, PatternType, Permission, Resource, ResourceType
from kafka_cy.authorizer.authorizer import Authorizer
from kafka_cy.cluster import acl_writes
from kafka_cy.cluster.acl_formats import (
    OPERATION_NAMES,
    TYPE_NAMES,
    acl_data,
    acl_path,
    change_of,
    changed_resource,
    decode_acls,
)
from kafka_cy.cluster.acl_store import StoredAcls
from kafka_cy.cluster.acl_writes import MalformedAcls, TooLarge
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import AsyncStore, OutcomeUnknown, SessionEvent, Set, StoreBroken
from tests.cluster.store_owner import Log, Owner
from tests.cluster.zookeeper_ensemble import Ensemble

GOLDEN = json.loads((Path(__file__).parent / "golden_data" / "zookeeper_nodes.json").read_text())
LITERAL, PREFIXED = PatternType.LITERAL, PatternType.PREFIXED
TOPIC = Resource(ResourceType.TOPIC, LITERAL, "t1")
READ = AclEntry("User:alice", "*", Operation.READ, Permission.ALLOW)
WRITE = AclEntry("User:bob", "10.0.0.1", Operation.WRITE, Permission.DENY)
State = dict[Resource, frozenset[AclEntry]]


class Broker:
    """The ACLs of one broker."""

    def __init__(
        self, store: AsyncStore, call_later: Any = lambda *_: None, log: Log | None = None, *, is_alone: bool = False
    ) -> None:
        self.log = log or Log()
        self.images: list[Any] = []
        self.authorizer = Authorizer(publish=self.images.append)
        self.acls = StoredAcls(
            store, self.authorizer, is_alone=is_alone, wall_clock_ms=lambda: 0, call_later=call_later, log=self.log
        )

    @property
    def state(self) -> State:
        return {resource: frozenset(self.authorizer.entries(resource)) for resource in self.authorizer.resources()}

    def add(self, changes: Mapping[Resource, Iterable[AclEntry]]) -> list[Any]:
        """What `done` gets, when it has been called."""
        return self.edit(changes, lambda resource, entries: entries | frozenset(changes[resource]))

    def remove(self, changes: Mapping[Resource, Iterable[AclEntry]]) -> list[Any]:
        return self.edit(changes, lambda resource, entries: entries - frozenset(changes[resource]))

    def edit(self, resources: Iterable[Resource], edit: Any) -> list[Any]:
        ended: list[Any] = []
        self.acls.change(resources, edit, lambda outcomes, fault: ended.append((dict(outcomes), fault)))
        return ended


class Counting(EmbeddedStore):
    """Counts the changes."""

    submitted = 0

    def submit(self, operations: Any, done: Any) -> None:
        self.submitted += 1
        super().submit(operations, done)


def started(store: EmbeddedStore, *, is_alone: bool = False) -> Broker:
    """A broker over the embedded store. `is_alone`: no other one uses it."""
    broker = Broker(store, is_alone=is_alone)
    broker.acls.load(store)
    broker.acls.start()
    return broker


def test_nodes_and_notifications_are_kafkas() -> None:
    """What Apache Kafka 3.9.2 wrote: read, and written again."""
    paths = [path for path in GOLDEN if path.startswith("/kafka-acl") and "changes/" not in path and GOLDEN[path]["data"]]
    assert len(paths) == 3
    for path in paths:
        written = json.loads(acl_data(decode_acls(GOLDEN[path]["data"].encode())))
        theirs = json.loads(GOLDEN[path]["data"])
        assert written["version"] == theirs["version"] == 1
        assert sorted(written["acls"], key=str) == sorted(
            [{key: each[key] for key in written["acls"][0]} for each in theirs["acls"]], key=str
        )
    for path in GOLDEN:
        if path.startswith("/kafka-acl") and "changes/" in path:
            data = GOLDEN[path]["data"].encode()
            kind, ours = change_of(changed_resource(data))
            assert ours == data and path.startswith(f"{kind.parent}/{kind.prefix}")


@pytest.mark.parametrize("operation", list(OPERATION_NAMES))
@pytest.mark.parametrize("permission", [Permission.DENY, Permission.ALLOW])
def test_entries_survive(operation: int, permission: int) -> None:
    entry = AclEntry('User:CN=a,"b"\n\\é:x', "anything", operation, permission)
    assert decode_acls(acl_data([entry, READ])) == {entry, READ}


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"version":2,"acls":[]}',
        b'{"version":1,"acls":[1]}',
        b'{"version":1,"acls":[{"principal":"alice","permissionType":"Allow","operation":"Read","host":"*"}]}',
        b'{"version":1,"acls":[{"principal":"User:a","permissionType":"Any","operation":"Read","host":"*"}]}',
        b'{"version":1,"acls":[{"principal":"User:a","permissionType":"Allow","operation":"Fly","host":"*"}]}',
        b'{"version":1,"acls":[{"principal":"User:a","permissionType":"Allow","operation":"Read","host":1}]}',
        b'{"version":1,"acls":[{"principal":"User:a","permissionType":"Allow","operation":"Read"}]}',
        b"\xff",
    ],
)
def test_a_malformed_node_closes_its_resource(data: bytes) -> None:
    """Its DENYs are not known. Nobody overwrites it; an operator who repairs it is heard."""
    store = EmbeddedStore(None)
    first = started(store)
    assert first.add({TOPIC: [READ]})[0] == ({TOPIC: None}, None)
    store.set(acl_path(TOPIC), data)
    broker = started(store)
    assert broker.state == {TOPIC: {DENY_ALL}}
    assert broker.log.lines == [line for line in broker.log.lines if "/kafka-acl/Topic/t1 are malformed" in line] != []
    assert not broker.authorizer.allows("alice", "h", Operation.READ, ResourceType.TOPIC, "t1")
    outcomes, fault = broker.add({TOPIC: [WRITE], TOPIC._replace(name="t2"): [READ]})[0]
    assert isinstance(outcomes[TOPIC], MalformedAcls) and outcomes[TOPIC._replace(name="t2")] is None and fault is None
    assert store.get(acl_path(TOPIC)).data == data
    store.set(acl_path(TOPIC), acl_data([READ]))
    kind, told = change_of(TOPIC)
    store.create(f"{kind.parent}/{kind.prefix}", told, sequential=True)
    assert broker.state[TOPIC] == {READ} and broker.authorizer.allows("alice", "h", Operation.READ, ResourceType.TOPIC, "t1")


def test_a_change_is_in_force_and_stored_when_it_is_answered() -> None:
    store = Counting(None)
    broker = started(store)
    assert broker.add({TOPIC: [READ, WRITE], TOPIC._replace(pattern_type=PREFIXED): [READ]})[0][1] is None
    assert store.children("/kafka-acl/Topic") == store.children("/kafka-acl-extended/prefixed/Topic") == ["t1"]
    assert store.get("/kafka-acl-changes/acl_changes_0000000000").data == b"TOPIC:t1"
    assert broker.state[TOPIC] == {READ, WRITE} == started(store).state[TOPIC]
    assert store.submitted == 1, "two resources in one transaction"
    assert broker.add({TOPIC: [READ]})[0] == ({TOPIC: None}, None)
    assert store.submitted == 1, "it is there already"
    assert broker.remove({TOPIC: [READ]})[0] == ({TOPIC: None}, None)
    assert broker.state[TOPIC] == {WRITE}
    assert broker.remove({TOPIC: [READ, WRITE]})[0] == ({TOPIC: None}, None)
    assert store.find(acl_path(TOPIC)) is None and TOPIC not in broker.state, "no node without ACLs"
    assert len(store.children("/kafka-acl-changes")) == 3
    assert broker.remove({TOPIC: [READ]})[0] == ({TOPIC: None}, None)


def test_until_the_acls_are_read_nothing_is_allowed() -> None:
    store = EmbeddedStore(None)
    started(store).add({TOPIC: [READ]})
    broker = Broker(store)
    question = ("alice", "h", Operation.READ, ResourceType.TOPIC, "t1")
    assert not broker.authorizer.allows(*question)
    broker.acls.load(store)
    assert broker.authorizer.allows(*question)


def test_what_changes_while_a_broker_starts() -> None:
    """Nobody follows notifications yet, and they are deleted after some minutes: a right that was revoked does not stay."""
    store = EmbeddedStore(None)
    other = started(store)
    other.add({TOPIC: [READ], TOPIC._replace(name="t2"): [READ]})
    broker = Broker(store)
    broker.acls.load(store)
    other.remove({TOPIC: [READ]})
    other.add({TOPIC._replace(name="t2"): [WRITE], TOPIC._replace(name="t3"): [WRITE]})
    for name in store.children("/kafka-acl-changes"):
        store.delete(f"/kafka-acl-changes/{name}")
    assert not broker.acls.is_current
    broker.acls.start()
    assert broker.acls.is_current and broker.state == other.state
    assert not broker.authorizer.allows("alice", "h", Operation.READ, ResourceType.TOPIC, "t1")


def test_a_read_at_the_start_that_fails_is_made_again() -> None:
    store, later = EmbeddedStore(None), list[Any]()
    broker = Broker(store, lambda delay_ms, function: later.append(function))
    broker.acls.load(store)
    read = store.read
    store.read = lambda requests, done: done(None, StoreBroken("?"))  # type: ignore[method-assign]
    broker.acls.start()
    assert not broker.acls.is_current and later and broker.log.count("ACLs cannot be read") == 1
    store.read = read  # type: ignore[method-assign]
    for function in later:
        function()
    assert broker.acls.is_current


def test_an_edit_that_fails_concerns_its_resource_only(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = started(EmbeddedStore(None))
    other = TOPIC._replace(name="t2")

    def edit(resource: Resource, entries: Collection[AclEntry]) -> Collection[AclEntry]:
        if resource == other:
            raise KeyError("half way")
        return {*entries, READ}

    outcomes, fault = broker.edit([other, TOPIC], edit)[0]
    assert fault is None and isinstance(outcomes[other], KeyError) and outcomes[TOPIC] is None
    assert broker.state == {TOPIC: {READ}}
    monkeypatch.setattr(acl_writes, "NODE_BYTES_MAX", 300)
    many = [READ._replace(principal=f"User:u{i}") for i in range(10)]
    outcomes, fault = broker.add({TOPIC: many})[0]
    assert isinstance(outcomes[TOPIC], TooLarge) and broker.state == {TOPIC: {READ}}


def test_a_large_change_is_several_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_writes, "PIECE_BYTES_MAX", 500)
    store = Counting(None)
    broker = started(store)
    changes = {TOPIC._replace(name=f"t{i}"): [READ, WRITE] for i in range(50)}
    outcomes, fault = broker.add(changes)[0]
    assert fault is None and set(outcomes.values()) == {None} and outcomes.keys() == changes.keys()
    assert broker.state == {resource: {READ, WRITE} for resource in changes} == started(store).state
    size = len(acl_data([READ, WRITE]))
    assert store.submitted >= 50 * size // 500 > 50 // acl_writes.PIECE_RESOURCES + 1


class Unsure(EmbeddedStore):
    """The answers of some changes are lost, whether they are made or not."""

    def __init__(self, seed: int) -> None:
        super().__init__(None)
        self.random = random.Random(seed)
        self.is_unsure = False

    def submit(self, operations: Any, done: Any) -> None:
        lost = self.is_unsure and self.random.random() < 0.5
        if not lost:
            super().submit(operations, done)
            return
        if self.random.random() < 0.5:
            super().submit(operations, lambda *_: None)
        done(None, OutcomeUnknown("lost"))


@pytest.mark.parametrize("seed", range(20))
def test_a_change_whose_answer_is_lost_is_made_once(seed: int) -> None:
    store = Unsure(seed)
    broker = started(store)
    store.is_unsure = True
    expected: State = {}
    for step in range(20):
        resource = TOPIC._replace(name=f"t{step % 3}")
        entry = READ._replace(principal=f"User:u{step % 4}")
        if step % 5 < 3:
            ended = broker.add({resource: [entry]})
            expected[resource] = expected.get(resource, frozenset()) | {entry}
        else:
            ended = broker.remove({resource: [entry]})
            expected[resource] = expected.get(resource, frozenset()) - {entry}
        assert ended == [({resource: None}, None)]
        expected = {resource: entries for resource, entries in expected.items() if entries}
        assert broker.state == expected
    store.is_unsure = False
    assert started(store).state == expected


class Dying(EmbeddedStore):
    """The process dies before or after a change is on disk."""

    def __init__(self, path: str, left: int, *, before: bool) -> None:
        super().__init__(path)
        self.left, self.before = left, before

    def _persist(self, changes: Any) -> None:
        self.left -= 1
        if self.left < 0 and self.before:
            raise StoreBroken("died")
        super()._persist(changes)  # type: ignore[misc]
        if self.left < 0:
            raise StoreBroken("died")


@pytest.mark.parametrize("before", [True, False])
def test_a_crash_between_two_writes(tmp_path: Path, before: bool) -> None:
    """Each resource has its old ACLs or the new ones, and what was answered is there."""
    steps: list[tuple[str, dict[Resource, list[AclEntry]]]] = [
        ("add", {TOPIC._replace(name=f"t{i}"): [READ, WRITE] for i in range(40)}),
        ("remove", {TOPIC._replace(name=f"t{i}"): [READ, WRITE][: 1 + i % 2] for i in range(20)}),
        ("add", {TOPIC._replace(pattern_type=PREFIXED): [READ]}),
    ]
    states: list[State] = [{}]
    for kind, changes in steps:
        state = dict(states[-1])
        for resource, entries in changes.items():
            old = state.get(resource, frozenset())
            state[resource] = old | frozenset(entries) if kind == "add" else old - frozenset(entries)
        states.append({resource: entries for resource, entries in state.items() if entries})
    for left in range(12):
        folder = tmp_path / f"{left}"
        folder.mkdir()
        path = str(folder / "store.sqlite")
        first = EmbeddedStore(path)
        started(first)
        first.close()
        dying = Dying(path, left, before=before)
        broker = started(dying)
        answered = 0
        for kind, changes in steps:
            ended = (broker.add if kind == "add" else broker.remove)(changes)
            if ended[0][1] is not None:
                break
            answered += 1
        copy = tmp_path / f"{left}-after"
        shutil.copytree(folder, copy)  # as a kill leaves it
        dying.close()
        store = EmbeddedStore(str(copy / "store.sqlite"))
        after = started(store).state
        now, then = states[answered], states[min(answered + 1, len(steps))]
        for resource in {*now, *then, *after}:
            allowed = (now.get(resource), then.get(resource))
            assert after.get(resource) in allowed, (left, resource)
        store.close()


def test_too_many_acls_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not taken in part: a DENY may be among the rest. A super user can delete some."""
    store, later, delays = EmbeddedStore(None), list[Any](), list[float]()

    def call_later(delay_ms: float, function: Callable[[], object]) -> None:
        later.append(function)
        delays.append(delay_ms)

    other = TOPIC._replace(name="t2")
    started(store).add({TOPIC: [READ, WRITE], other: [READ]})
    running = Broker(store, call_later)
    running.acls.load(store)
    running.acls.start()
    monkeypatch.setattr(acl_image, "ACLS_MAX", 2)
    question = ("alice", "h", Operation.READ, ResourceType.TOPIC, "t1")
    assert running.authorizer.allows(*question)
    store.multi([Set(acl_path(TOPIC), acl_data([READ, WRITE, READ._replace(principal="User:c")]))])
    kind, told = change_of(TOPIC)
    store.create(f"{kind.parent}/{kind.prefix}", told, sequential=True)
    assert not running.authorizer.allows(*question) and running.log.count("only super users") == len(later) == 1
    for _ in range(9):
        later.pop()()
    assert delays == [1000, 2000, 4000, 8000, 16000, *[32000] * 5], "it is not looked for ever in each second"
    assert running.log.count("only super users") == 1 and not running.authorizer.allows(*question)
    starting = Broker(store, call_later)
    starting.acls.load(store)
    starting.acls.start()
    assert starting.acls.is_current and starting.log.count("only super users") == 1
    assert starting.state == {other: {READ}}, "what fits can be seen"
    assert not starting.authorizer.allows(*question[:4], "t2")
    assert starting.edit([TOPIC], lambda *of: [READ])[0][1] is None
    assert not starting.authorizer.allows(*question)
    while later:
        later.pop()()
    for broker in (running, starting):
        assert broker.state == {TOPIC: {READ}, other: {READ}} and broker.authorizer.allows(*question)
        assert broker.log.count("can be used again") == 1


def test_many_notifications_are_read_together() -> None:
    """Those that come while some are read wait for one read; a read that fails is made again."""
    store = EmbeddedStore(None)
    later: list[Any] = []
    broker = Broker(store, lambda delay_ms, function: later.append(function))
    broker.acls.load(store)
    broker.acls.start()
    reads: list[tuple[int, Any]] = []
    broker.acls._store = SimpleNamespace(  # type: ignore[assignment]
        session_id=1, read=lambda requests, done: reads.append((len(requests), lambda: store.read(requests, done)))
    )
    names = [TOPIC._replace(name=f"u{i}") for i in range(50)]
    for resource in names:
        store.create(acl_path(resource), acl_data([READ]))
        broker.acls._notified(change_of(resource)[1])
    assert [count for count, _ in reads] == [1]
    reads.pop()[1]()
    assert [count for count, _ in reads] == [49]
    broker.acls._store.read, kept = (lambda requests, done: done(None, StoreBroken("?"))), broker.acls._store.read
    broker.acls._notified(change_of(TOPIC)[1])
    reads.pop()[1]()
    assert broker.log.count("cannot be read") == 1 and len(broker.state) == 50
    store.create(acl_path(TOPIC), acl_data([WRITE]))
    broker.acls._store.read = kept
    later.pop()()
    reads.pop()[1]()
    assert broker.state == {**{resource: {READ} for resource in names}, TOPIC: {WRITE}} and not reads and not later


# -- with ZooKeeper --


def run_all(owners: list[Owner], condition: Callable[[], object]) -> None:
    """Run the loops of all owners in turn until a condition holds."""
    owners[0].run_until(lambda: [owner.run_for(100) for owner in owners] and condition())


def member(owner: Owner) -> Broker:
    broker = Broker(owner.store, owner.call_later, owner.log)
    owner.steps(broker.acls.read_all)
    broker.acls.start()
    return broker


def test_brokers_hear_of_each_others_changes(zookeeper_connect: str, one_zookeeper: Ensemble, chroot: str) -> None:
    """And of changes that Kafka makes; with names as they may be in ZooKeeper."""
    with Owner(zookeeper_connect) as one, Owner(zookeeper_connect) as two, one_zookeeper.client(chroot) as other:
        first, second = member(one), member(two)
        names = ["t 1", "100%", "é", "User:bob", "*", '"q"', "a'b"]
        changes = {Resource(kind, pattern, name): [READ, WRITE] for kind in TYPE_NAMES for pattern in (LITERAL, PREFIXED)
                   for name in (["kafka-cluster"] if kind == ResourceType.CLUSTER else names)}  # fmt: skip
        ended = first.add({Resource(*resource): entries for resource, entries in changes.items()})
        run_all([one, two], lambda: ended and len(second.state) == len(changes))
        assert ended[0][1] is None and set(ended[0][0].values()) == {None}
        assert first.state == second.state == {resource: {READ, WRITE} for resource in changes}
        assert set(other.get_children("/kafka-acl/Topic")) == set(names)
        # As Kafka's tools.
        theirs = GOLDEN["/kafka-acl/Topic/t1"]["data"].encode()
        other.create("/kafka-acl/Topic/t1", theirs)
        other.create("/kafka-acl-changes/acl_changes_", b"TOPIC:t1", sequence=True)
        run_all([one, two], lambda: TOPIC in first.state and TOPIC in second.state)
        assert first.state[TOPIC] == second.state[TOPIC] == decode_acls(theirs)
        removed = second.remove({TOPIC: decode_acls(theirs)})
        run_all([one, two], lambda: removed and TOPIC not in first.state)
        assert not other.exists("/kafka-acl/Topic/t1")


def test_brokers_that_change_the_same_resource(zookeeper_connect: str) -> None:
    with Owner(zookeeper_connect) as one, Owner(zookeeper_connect) as two:
        brokers = [member(one), member(two)]
        ended: list[list[Any]] = []
        for i in range(20):
            for number, broker in enumerate(brokers):
                ended.append(broker.add({TOPIC: [READ._replace(principal=f"User:{number}-{i}")]}))
        run_all([one, two], lambda: all(ended) and all(len(broker.state.get(TOPIC, ())) == 40 for broker in brokers))
        assert all(each == [({TOPIC: None}, None)] for each in ended)


def test_changes_while_a_session_is_lost(zookeeper_connect: str, one_zookeeper: Ensemble, chroot: str) -> None:
    """Also a removed resource, whose notification is gone."""
    with Owner(zookeeper_connect) as one, one_zookeeper.client(chroot) as other:
        broker = member(one)
        ended = broker.add({TOPIC: [READ], TOPIC._replace(name="t2"): [READ]})
        one.run_until(lambda: ended)
        for name in other.get_children("/kafka-acl-changes"):
            other.delete(f"/kafka-acl-changes/{name}")
        other.delete("/kafka-acl/Topic/t1")
        other.create("/kafka-acl/Topic/t3", acl_data([WRITE]))
        broker.acls._reads._session_event(SessionEvent.EXPIRED)
        broker.acls._reads._session_event(SessionEvent.CONNECTED)
        wanted = {TOPIC._replace(name="t2"): {READ}, TOPIC._replace(name="t3"): {WRITE}}
        one.run_until(lambda: broker.state == wanted)


def test_kinds_that_are_not_known_are_told(zookeeper_connect: str, one_zookeeper: Ensemble, chroot: str) -> None:
    with Owner(zookeeper_connect) as one, one_zookeeper.client(chroot) as other:
        other.ensure_path("/kafka-acl/Planet/x")
        other.ensure_path("/kafka-acl-extended/suffixed")
        broker = member(one)
        assert broker.log.count("/kafka-acl/Planet") == broker.log.count("/kafka-acl-extended/suffixed") == 1
        other.create("/kafka-acl-changes/acl_changes_", b"nonsense", sequence=True)
        one.run_until(lambda: broker.log.count("malformed"))
