"""Stored delegation tokens: Kafka's nodes and notifications, in the embedded store and in ZooKeeper; crashes; other writers."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import AsyncStore, OutcomeUnknown, SessionEvent, StoreBroken
from kafka_cy.cluster.token_cache import TokenCache
from kafka_cy.cluster.token_formats import (
    CHANGES,
    TOKENS,
    DelegationToken,
    Principal,
    changed_token,
    decode_token,
    token_data,
    token_path,
)
from kafka_cy.cluster.token_store import (
    MalformedToken,
    StoredTokens,
)
from kafka_cy.cluster.token_times import TokenLifetimes
from tests.cluster.store_owner import Log, Owner
from tests.cluster.zookeeper_ensemble import Ensemble

GOLDEN = json.loads((Path(__file__).parent / "golden_data" / "zookeeper_nodes.json").read_text())
ALICE, BOB = Principal("User", "alice"), Principal("User", "bob")
LIFETIMES = TokenLifetimes(1000, 100)
NOTIFICATIONS = CHANGES.parent
NOW_MS = 1_000_000
State = dict[str, DelegationToken]


def a_token(number: int, expiry_ms: int = NOW_MS + 10, owner: Principal = ALICE) -> DelegationToken:
    return DelegationToken(f"token-{number}", owner, owner, (BOB,), NOW_MS - 10, expiry_ms, NOW_MS + 1000)


class Broker:
    """The tokens of one broker."""

    def __init__(
        self, store: AsyncStore, call_later: Any = lambda *_: None, log: Log | None = None, *, is_alone: bool = True
    ) -> None:
        self.log = log or Log()
        self.now_ms = NOW_MS
        self.removes_expired = True
        self.cache = TokenCache("key", lambda: self.now_ms)
        self.tokens = StoredTokens(
            store, self.cache, LIFETIMES, is_alone=is_alone, tokens_max=1000, check_interval_ms=10_000,
            removes_expired=lambda: self.removes_expired, wall_clock_ms=lambda: self.now_ms, call_later=call_later, log=self.log,
        )  # fmt: skip

    @property
    def state(self) -> State:
        return {token.token_id: token for token, _ in self.cache.all()}

    def create(self, token: DelegationToken) -> list[Any]:
        """What `done` gets, when it has been called."""
        ended: list[Any] = []
        self.tokens.create(token, lambda *answer: ended.append(answer))
        return ended

    def change(self, token_id: str, edit: Callable[[Any], Any]) -> list[Any]:
        ended: list[Any] = []
        self.tokens.change(token_id, edit, lambda *answer: ended.append(answer))
        return ended

    def expire_at(self, token_id: str, expiry_ms: int) -> list[Any]:
        return self.change(token_id, lambda token: token and token._replace(expiry_ms=expiry_ms))

    def remove(self, token_id: str) -> list[Any]:
        return self.change(token_id, lambda token: None)


class Counting(EmbeddedStore):
    """Counts the changes."""

    submitted = 0

    def submit(self, operations: Any, done: Any) -> None:
        self.submitted += 1
        super().submit(operations, done)


def started(store: EmbeddedStore) -> Broker:
    """A broker by itself."""
    broker = Broker(store)
    broker.tokens.load(store)
    broker.tokens.start()
    return broker


def test_nodes_and_notifications_are_kafkas() -> None:
    """What Apache Kafka 3.9.2 wrote: read, and written again."""
    (path,) = [path for path in GOLDEN if path.startswith(f"{TOKENS}/")]
    data = GOLDEN[path]["data"]
    token_id = path.rpartition("/")[2]
    token = decode_token(data.encode(), token_id)
    assert token.owner == token.requester == Principal("User", "admin") and token.renewers == (ALICE,)
    assert json.loads(token_data(token)) == json.loads(data) and path == token_path(token_id)
    (path,) = [path for path in GOLDEN if path.startswith(f"{NOTIFICATIONS}/")]
    assert changed_token(GOLDEN[path]["data"].encode()) == token_id and CHANGES.prefix in path
    older = {key: value for key, value in json.loads(data).items() if key != "tokenRequester"} | {"version": 1}
    assert decode_token(json.dumps(older).encode(), token_id) == token, "before Kafka 3.3 the owner was the requester"


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b"", b"{}", b"\xff", *[
        json.dumps(json.loads(token_data(a_token(1))) | change).encode()
        for change in ({"version": 4}, {"version": 0}, {"owner": "alice"}, {"owner": 7}, {"renewers": [1]},
                       {"renewers": "User%3Aa"}, {"expiryTimestamp": "x"}, {"tokenId": "token-2"}, {"maxTimestamp": None})
    ]],
)  # fmt: skip
def test_a_malformed_node_is_no_token(data: bytes) -> None:
    """Nobody can use it and nobody overwrites it; an operator who repairs it is heard."""
    store = EmbeddedStore(None)
    started(store).create(a_token(1))
    started(store).create(a_token(2))
    store.set(token_path("token-1"), data)
    broker = started(store)
    assert broker.state == {"token-2": a_token(2)} and broker.cache.login("token-1", "SCRAM-SHA-256") is None
    assert broker.log.count("delegation token is malformed") == 1
    assert isinstance(broker.expire_at("token-1", 5)[0][1], MalformedToken)
    assert store.get(token_path("token-1")).data == data
    store.set(token_path("token-1"), token_data(a_token(1)))
    store.create(f"{NOTIFICATIONS}/{CHANGES.prefix}", b"token-1", sequential=True)
    assert broker.state == {"token-1": a_token(1), "token-2": a_token(2)}


def test_nobody_logs_in_for_an_owner_that_is_no_user() -> None:
    """Apache Kafka makes such a token, and lets its holder in as the user of that name."""
    store = EmbeddedStore(None)
    started(store).create(a_token(1))
    store.create(token_path("token-2"), token_data(a_token(2, owner=Principal("Group", "admin"))))
    broker = started(store)
    broker.expire_at("token-2", NOW_MS + 99)
    assert broker.state.keys() == {"token-1", "token-2"}, "it can be described and removed"
    for token_id, lets_in in (("token-1", True), ("token-2", False)):
        assert (broker.cache.work_before_login(token_id, "SCRAM-SHA-256") is not None) is lets_in
        assert (broker.cache.login(token_id, "SCRAM-SHA-256") is not None) is lets_in
    assert broker.log.count("whose owner is no user") == 1 and len(broker.log.lines) == 1


def test_a_credential_is_made_once_by_any_thread() -> None:
    broker = started(EmbeddedStore(None))
    broker.create(a_token(1))
    works = [broker.cache.work_before_login("token-1", "SCRAM-SHA-512") for _ in range(2)]
    for work in works:
        assert work is not None
        work()
    assert broker.cache.work_before_login("token-1", "SCRAM-SHA-512") is None
    login = broker.cache.login("token-1", "SCRAM-SHA-512")
    works[0]()  # type: ignore[misc]
    assert login == broker.cache.login("token-1", "SCRAM-SHA-512")
    assert broker.cache.work_before_login("token-1", "SCRAM-SHA-256") is not None


@pytest.mark.parametrize("data", [None, b"", b"a/b", b"..", b"\xff", b"a b"])
def test_a_malformed_notification_has_everything_read(data: bytes | None) -> None:
    store = EmbeddedStore(None)
    broker = started(store)
    store.create(token_path("token-7"), token_data(a_token(7)))
    store.create(f"{NOTIFICATIONS}/{CHANGES.prefix}", data, sequential=True)
    assert broker.state == {"token-7": a_token(7)} and broker.log.count("malformed") == 1


def test_a_change_is_in_force_and_stored_when_it_is_answered() -> None:
    store = Counting(None)
    broker = started(store)
    assert broker.create(a_token(1)) == [(a_token(1), None)]
    assert store.submitted == 1, "node and notification in one transaction"
    assert store.get(f"{NOTIFICATIONS}/token_change_0000000000").data == b"token-1"
    hmac = broker.cache.hmac_of("token-1")
    assert broker.cache.find(hmac) == "token-1"
    before = broker.cache.login("token-1", "SCRAM-SHA-256")
    later = a_token(1, NOW_MS + 500)
    assert broker.expire_at("token-1", NOW_MS + 500) == [(later, None)]
    assert broker.state == started(store).state == {"token-1": later}
    after = broker.cache.login("token-1", "SCRAM-SHA-256")
    assert before and after and after == before._replace(expiry_ms=NOW_MS + 500), "the password is not hashed again"
    assert broker.expire_at("token-1", NOW_MS + 500) == [(later, None)] and store.submitted == 2
    assert broker.remove("token-1") == [(None, None)]
    assert broker.state == started(store).state == {} and store.find(token_path("token-1")) is None
    assert broker.cache.find(hmac) is None and broker.cache.login("token-1", "SCRAM-SHA-256") is None
    assert broker.remove("token-1") == [(None, None)] and store.submitted == 3


def test_the_parents_are_made_again() -> None:
    store = EmbeddedStore(None)
    broker = started(store)
    store.delete(TOKENS)
    assert broker.create(a_token(1)) == [(a_token(1), None)]


def test_an_edit_that_fails_changes_nothing() -> None:
    broker = started(EmbeddedStore(None))
    broker.create(a_token(1))

    def edit(token: DelegationToken) -> DelegationToken:
        raise KeyError(token.token_id)

    ((token, fault),) = broker.change("token-1", edit)
    assert token is None and isinstance(fault, KeyError) and broker.state == {"token-1": a_token(1)}


def test_only_the_one_that_has_to_removes_expired_tokens() -> None:
    store = EmbeddedStore(None)
    timers: list[Any] = []
    broker = Broker(store, lambda delay_ms, function: timers.append((delay_ms, function)))
    broker.tokens.load(store)
    broker.tokens.start()
    for number in range(3):
        broker.create(a_token(number, NOW_MS + number))
    broker.now_ms += 2

    def look() -> None:
        (delay_ms, function), *_ = [each for each in timers if each[0]]
        timers.clear()
        assert delay_ms == 10_000
        function()
        while timers and not timers[0][0]:
            timers.pop(0)[1]()

    broker.removes_expired = False
    look()
    assert len(broker.state) == 3
    broker.removes_expired = True
    other = Broker(store)
    other.tokens.load(store)
    other.expire_at("token-0", NOW_MS + 900)  # a renewal of which this broker has not heard
    broker.cache.put(a_token(0, NOW_MS))
    look()
    assert broker.state.keys() == {"token-0", "token-2"} == set(store.children(TOKENS))
    assert broker.state["token-0"].expiry_ms == NOW_MS + 900 and broker.log.count("delegation token expired") == 1
    look()
    assert len(broker.state) == 2


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


@pytest.mark.parametrize("seed", range(10))
def test_a_change_whose_answer_is_lost_is_made_once(seed: int) -> None:
    store = Unsure(seed)
    broker = started(store)
    store.is_unsure = True
    expected: State = {}
    for step in range(30):
        token = a_token(step % 4)
        if token.token_id not in expected:
            assert broker.create(token) == [(token, None)]
            expected[token.token_id] = token
        elif step % 3:
            expected[token.token_id] = token._replace(expiry_ms=NOW_MS + step)
            assert broker.expire_at(token.token_id, NOW_MS + step) == [(expected[token.token_id], None)]
        else:
            assert broker.remove(token.token_id) == [(None, None)]
            del expected[token.token_id]
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
    """Each token is as it was or as it was to be, and what was answered is there."""
    steps: list[Callable[[Broker], list[Any]]] = [
        lambda broker: broker.create(a_token(1)),
        lambda broker: broker.create(a_token(2)),
        lambda broker: broker.expire_at("token-1", NOW_MS + 99),
        lambda broker: broker.remove("token-2"),
    ]
    later = a_token(1, NOW_MS + 99)
    states: list[State] = [
        {}, {"token-1": a_token(1)}, {"token-1": a_token(1), "token-2": a_token(2)},
        {"token-1": later, "token-2": a_token(2)}, {"token-1": later},
    ]  # fmt: skip
    for left in range(8):
        folder = tmp_path / f"{left}"
        folder.mkdir()
        first = EmbeddedStore(str(folder / "store.sqlite"))
        started(first)
        first.close()
        dying = Dying(str(folder / "store.sqlite"), left, before=before)
        broker = started(dying)
        answered = 0
        for step in steps:
            if step(broker)[0][1] is not None:
                break
            answered += 1
        assert answered == len(steps) or broker.state == states[answered], "a fault changes nothing in memory"
        copy = tmp_path / f"{left}-after"
        shutil.copytree(folder, copy)  # as a kill leaves it
        dying.close()
        store = EmbeddedStore(str(copy / "store.sqlite"))
        assert started(store).state in (states[answered], states[min(answered + 1, len(steps))])
        store.close()


# -- with ZooKeeper --


def run_all(owners: list[Owner], condition: Callable[[], object]) -> None:
    """Run the loops of all owners in turn until a condition holds."""
    owners[0].run_until(lambda: [owner.run_for(100) for owner in owners] and condition())


def member(owner: Owner) -> Broker:
    broker = Broker(owner.store, owner.call_later, owner.log, is_alone=False)
    owner.steps(broker.tokens.read_all)
    broker.tokens.start()
    return broker


def test_brokers_hear_of_each_others_tokens(zookeeper_connect: str, one_zookeeper: Ensemble, chroot: str) -> None:
    """And of those that Kafka makes; with names as they may be in JSON."""
    with Owner(zookeeper_connect) as one, Owner(zookeeper_connect) as two, one_zookeeper.client(chroot) as other:
        first, second = member(one), member(two)
        names = ["t 1", "100%", "é", "User:bob", "*", '"q"', "a'b", "\n", "CN=a,O=b"]
        tokens = {f"token-{number}": a_token(number, owner=Principal("User", name)) for number, name in enumerate(names)}
        ended = [first.create(token) for token in tokens.values()]
        run_all([one, two], lambda: all(ended) and second.state == tokens == first.state)
        assert set(other.get_children(TOKENS)) == set(tokens)
        assert first.cache.login("token-3", "SCRAM-SHA-512") is not None
        # As Kafka's broker.
        theirs = a_token(99, owner=BOB)
        other.create(f"{TOKENS}/{theirs.token_id}", token_data(theirs))
        other.create(f"{NOTIFICATIONS}/{CHANGES.prefix}", b"token-99", sequence=True)
        run_all([one, two], lambda: "token-99" in first.state and "token-99" in second.state)
        changed = [second.expire_at("token-99", NOW_MS + 7), first.remove("token-0")]
        wanted = {**tokens, "token-99": theirs._replace(expiry_ms=NOW_MS + 7)}
        del wanted["token-0"]
        run_all([one, two], lambda: all(changed) and first.state == second.state == wanted)
        assert not other.exists(f"{TOKENS}/token-0")


def test_brokers_that_change_the_same_token(zookeeper_connect: str) -> None:
    """Every change is made, one after the other."""
    with Owner(zookeeper_connect) as one, Owner(zookeeper_connect) as two:
        brokers = [member(one), member(two)]
        created = brokers[0].create(a_token(1, NOW_MS))
        run_all([one, two], lambda: created and brokers[1].state)
        ended = [
            broker.change("token-1", lambda token: token._replace(expiry_ms=token.expiry_ms + 1))
            for _ in range(20)
            for broker in brokers
        ]
        run_all([one, two], lambda: all(ended) and all(broker.state["token-1"].expiry_ms == NOW_MS + 40 for broker in brokers))
        removed = [broker.remove("token-1") for broker in brokers]
        run_all([one, two], lambda: all(removed) and not brokers[0].state and not brokers[1].state)
        assert removed == [[(None, None)]] * 2


def test_changes_while_a_session_is_lost(zookeeper_connect: str, one_zookeeper: Ensemble, chroot: str) -> None:
    """Also a removed token, whose notification is gone."""
    with Owner(zookeeper_connect) as one, one_zookeeper.client(chroot) as other:
        broker = member(one)
        ended = [broker.create(a_token(number)) for number in range(2)]
        one.run_until(lambda: all(ended))
        for name in other.get_children(NOTIFICATIONS):
            other.delete(f"{NOTIFICATIONS}/{name}")
        other.delete(f"{TOKENS}/token-0")
        other.create(f"{TOKENS}/token-5", token_data(a_token(5)))
        broker.tokens._nodes._reads._session_event(SessionEvent.EXPIRED)
        broker.tokens._nodes._reads._session_event(SessionEvent.CONNECTED)
        one.run_until(lambda: broker.state == {"token-1": a_token(1), "token-5": a_token(5)})
