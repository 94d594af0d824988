"""Stored delegation tokens: Kafka's nodes and notifications, in the embedded store and in ZooKeeper; crashes; other writers."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.cluster.change_notifications import CROWDED_EXPIRY_MS, EXPIRY_MS
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
from kafka_cy.cluster.token_pace import CHANGES_AT_ONCE, MS_PER_CHANGE, TokenPace, TooManyChanges
from kafka_cy.cluster.token_store import (
    NOTIFICATIONS_KEPT,
    MalformedToken,
    StoredTokens,
    TooManyTokens,
    TooManyTokensOfRequester,
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


def test_too_many_tokens_are_refused_even_while_others_are_being_created() -> None:
    store = EmbeddedStore(None)
    broker = started(store)
    broker.tokens._tokens_max = 2
    held: list[Any] = []
    submit, broker.tokens._store = store.submit, store
    store.submit = lambda operations, done: held.append(lambda: submit(operations, done))  # type: ignore[method-assign]
    ended = [broker.create(a_token(number, owner=Principal("User", f"u{number}"))) for number in range(3)]
    assert isinstance(ended[2][0][1], TooManyTokens) and ended[:2] == [[], []]
    for make in held:
        make()
    assert [each[0][1] for each in ended[:2]] == [None, None] and len(broker.state) == 2


def test_a_requester_has_a_share_even_while_its_tokens_are_being_created() -> None:
    """Renewed, expired and other requesters' tokens do not count; who has removed one gets another."""
    store = EmbeddedStore(None)
    broker = started(store)
    broker.tokens._tokens_max = 20
    held: list[Any] = []
    submit = store.submit
    store.submit = lambda operations, done: held.append(lambda: submit(operations, done))  # type: ignore[method-assign]
    ended = [broker.create(a_token(number)) for number in range(3)]
    (refused,) = ended.pop()
    assert isinstance(refused[1], TooManyTokensOfRequester) and "User:alice has requested 2 " in str(refused[1])
    for make in held:
        make()
    store.submit = submit  # type: ignore[method-assign]
    assert [each[0][1] for each in ended] == [None, None]
    broker.expire_at("token-1", NOW_MS + 99)
    restarted = started(store)
    for each in (broker, restarted):
        each.tokens._tokens_max = 20
        assert isinstance(each.create(a_token(3))[0][1], TooManyTokensOfRequester)
    assert broker.create(a_token(4, owner=BOB))[0][1] is None
    broker.remove("token-0")
    assert [broker.create(a_token(number))[0][1] is None for number in (5, 6)] == [True, False]


def test_a_broker_by_itself_keeps_few_notifications() -> None:
    """However often clients change tokens; so what a change costs does not grow. Those of before an update go step by step."""
    store = EmbeddedStore(None)
    broker = started(store)
    for _ in range(2 * NOTIFICATIONS_KEPT):
        store.create(f"{NOTIFICATIONS}/{CHANGES.prefix}", b"token-9", sequential=True)
    broker.create(a_token(1))
    for step in range(3 * NOTIFICATIONS_KEPT):
        assert broker.expire_at("token-1", NOW_MS + 100 + step)[0][1] is None
    names = store.children(NOTIFICATIONS)
    assert len(names) == NOTIFICATIONS_KEPT
    assert max(names) == f"{CHANGES.prefix}{5 * NOTIFICATIONS_KEPT:010}"


def test_a_user_has_a_pace_in_a_cluster() -> None:
    """Others, and the removal of expired tokens, are not held up; what changes nothing does not count."""
    store = EmbeddedStore(None)
    broker = Broker(store, is_alone=False)
    broker.tokens.load(store)
    broker.create(a_token(1))

    def renew(number: int, user: str | None) -> Exception | None:
        ended: list[Any] = []
        broker.tokens.change(
            "token-1", lambda token: token._replace(expiry_ms=NOW_MS + number), lambda *answer: ended.append(answer), user
        )
        return ended[0][1]  # type: ignore[no-any-return]

    assert [renew(number % 2, "alice") for number in range(CHANGES_AT_ONCE - 1)] == [None] * (CHANGES_AT_ONCE - 1)
    before = broker.state
    assert isinstance(renew(5, "alice"), TooManyChanges) and broker.state == before
    assert isinstance(broker.create(a_token(2))[0][1], TooManyChanges) and broker.state == before
    assert renew(before["token-1"].expiry_ms - NOW_MS, "alice") is None, "nothing changes"
    assert renew(6, "bob") is None and renew(7, None) is None
    broker.now_ms += MS_PER_CHANGE
    assert renew(8, "alice") is None and isinstance(renew(9, "alice"), TooManyChanges)
    broker.now_ms -= 3_600_000
    assert renew(9, "alice") is None, "a clock that is set back locks nobody out"


def test_the_pace_forgets_users() -> None:
    pace = TokenPace()
    for number in range(10_000):
        pace.take(f"user {number}", NOW_MS + number * MS_PER_CHANGE)
    assert len(pace._used_until_ms) < 1100


def test_crowded_notifications_go_early() -> None:
    """In a cluster, when all its brokers have had the time to read them; the newest ones stay for Kafka's time."""
    store = EmbeddedStore(None, wall_clock_ms=lambda: NOW_MS)
    broker = Broker(store, is_alone=False)
    broker.tokens.load(store)
    broker.tokens.start()
    for _ in range(NOTIFICATIONS_KEPT + 50):
        store.create(f"{NOTIFICATIONS}/{CHANGES.prefix}", b"token-9", sequential=True)
    assert len(store.children(NOTIFICATIONS)) == NOTIFICATIONS_KEPT + 50
    broker.now_ms = NOW_MS + CROWDED_EXPIRY_MS + 1
    store.create(f"{NOTIFICATIONS}/{CHANGES.prefix}", b"token-9", sequential=True)
    names = store.children(NOTIFICATIONS)
    assert len(names) == NOTIFICATIONS_KEPT and min(names) == f"{CHANGES.prefix}{51:010}"
    broker.now_ms = NOW_MS + EXPIRY_MS + 1
    store.create(f"{NOTIFICATIONS}/{CHANGES.prefix}", b"token-9", sequential=True)
    assert store.children(NOTIFICATIONS) == []


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
        broker.tokens._nodes._session_event(SessionEvent.EXPIRED)
        broker.tokens._nodes._session_event(SessionEvent.CONNECTED)
        one.run_until(lambda: broker.state == {"token-1": a_token(1), "token-5": a_token(5)})
