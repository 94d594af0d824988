"""Limits of stored delegation tokens: how many there are, how often they change, how many notifications stay."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from kafka_cy.cluster.change_notifications import CROWDED_EXPIRY_MS, EXPIRY_MS
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import Create, Delete
from kafka_cy.cluster.token_formats import CHANGES, Principal, token_path
from kafka_cy.cluster.token_pace import CHANGES_AT_ONCE, MS_PER_CHANGE, TokenPace, TooManyChanges
from kafka_cy.cluster.token_store import NOTIFICATIONS_KEPT, TooManyTokens, TooManyTokensOfRequester
from tests.cluster.test_token_store import BOB, NOTIFICATIONS, NOW_MS, Broker, a_token, started


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


def test_changes_at_the_same_time_delete_different_notifications() -> None:
    """Each is made at the first attempt: a change that deletes what another one has deleted would fail as a whole."""
    store, count = EmbeddedStore(None), 2 * NOTIFICATIONS_KEPT
    broker = started(store)
    answers: deque[Callable[[], object]] = deque()
    submitted: list[object] = []

    def submit(operations: Any, done: Any) -> None:
        submitted.append(operations)
        answers.append(lambda: store.submit(operations, done))

    broker.tokens._store = SimpleNamespace(  # type: ignore[assignment]
        read=lambda *call: answers.append(lambda: store.read(*call)), submit=submit, session_id=store.session_id
    )
    for turn in range(3):
        numbers = range(count * turn, count * (turn + 1))
        ended = [broker.create(a_token(number, owner=Principal("User", f"u{number}"))) for number in numbers]
        while answers:
            answers.popleft()()
        assert all(answer[0][1] is None for answer in ended) and len(submitted) == count * (turn + 1)
        assert len(store.children(NOTIFICATIONS)) < 2 * count


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
    assert store.children(NOTIFICATIONS) == [f"{CHANGES.prefix}{NOTIFICATIONS_KEPT + 51:010}"], "by it others find the gap"


def test_a_removed_token_is_not_accepted_after_its_notification_was_missed() -> None:
    """The broker was suspended for longer than crowded notifications stay, or the clock of another one is ahead."""
    store = EmbeddedStore(None, wall_clock_ms=lambda: NOW_MS)
    broker = Broker(store, is_alone=False)
    broker.tokens.load(store)
    broker.tokens.start()
    broker.create(a_token(1))
    (last,) = store.children(NOTIFICATIONS)
    number = int(last.removeprefix(CHANGES.prefix)) + 1
    notification = Create(f"{NOTIFICATIONS}/{CHANGES.prefix}", b"token-1", sequential=True)
    store.multi([Delete(token_path("token-1")), notification, Delete(f"{NOTIFICATIONS}/{CHANGES.prefix}{number:010}")])
    assert list(broker.state) == ["token-1"]
    store.create(f"{NOTIFICATIONS}/{CHANGES.prefix}", b"token-9", sequential=True)
    assert broker.state == {}
