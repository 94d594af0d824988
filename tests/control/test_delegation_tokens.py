"""Delegation tokens: Apache Kafka 4.3.1's answers, who may ask, limits, what is stored, the log."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from differential_tokens import (
    EXPIRY_MS,
    GOLDEN,
    HOUR_MS,
    LoginFailed,
    converse,
    create,
    describe,
    expire,
    renew,
    token_login,
)
from token_broker import TokenBroker

from kafka_cy.api import create_delegation_token
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import StoreBroken
from kafka_cy.cluster.token_pace import CHANGES_AT_ONCE

NOT_ALLOWED, NOT_FOUND, EXPIRED, ODD_TYPE, POLICY_VIOLATION, THROTTLED = 64, 62, 66, 67, 44, 89


@pytest.fixture
def broker() -> TokenBroker:
    return TokenBroker()


@pytest.mark.parametrize("name", ["with tokens", "without tokens"])
def test_the_answers_are_kafkas(name: str) -> None:
    """The whole conversation, with an authorizer."""
    broker = TokenBroker(is_enabled=name == "with tokens")
    broker.now_ms, broker.step_ms = time.time_ns() // 10**6, 1
    broker.authorize()
    said = converse(broker.connect)
    wanted = json.loads(GOLDEN.read_text())[name]
    assert [each for each in zip(said, wanted, strict=False) if each[0] != each[1]] == []
    assert len(said) == len(wanted) > 80


def everything(client: Any, hmac: bytes) -> list[int]:
    answers = [create(client), renew(client, hmac), expire(client, hmac), describe(client, everybody=True)]
    return [answer["error_code"] for answer in answers]


def test_who_may_ask(broker: TokenBroker) -> None:
    """Clients that have authenticated, and not with a token."""
    key = create(broker.connect("alice"), "bob")["hmac"]
    assert everything(broker.connect(), key) == [NOT_ALLOWED] * 4
    assert everything(broker.connect("alice", token_authenticated=True), key) == [NOT_ALLOWED] * 4
    assert everything(broker.connect("alice"), key) == [0] * 4


def test_the_owner_is_a_user(broker: TokenBroker) -> None:
    """Whoever logs in with a token is one. Apache Kafka stores such an owner, and lets its token in as User:x."""
    for kind in ("Group", "", "user"):
        answer = create(broker.connect("alice"), owner_principal_type=kind, owner_principal_name="x")
        assert (answer["error_code"], answer["principal_type"], answer["hmac"]) == (ODD_TYPE, kind, b"")
    assert len(broker.cache) == 0


def test_limits() -> None:
    """The share of a requester; the number of all tokens is in tests/cluster."""
    broker = TokenBroker(tokens_max=30)
    alice = broker.connect("alice")
    names = [f"u{i}" for i in range(create_delegation_token.RENEWERS_MAX)]
    first = create(alice, *names)
    assert first["error_code"] == 0
    for renewers in ((*names, "one more"), ("x" * 5000,), ("é" * 1000,)):
        assert create(alice, *renewers)["error_code"] == POLICY_VIOLATION
    assert [create(alice)["error_code"] for _ in range(4)] == [0, 0, POLICY_VIOLATION, POLICY_VIOLATION]
    assert broker.log.count("a delegation token was refused") == 2
    assert expire(alice, first["hmac"])["error_code"] == 0
    assert [create(alice)["error_code"] for _ in range(2)] == [0, POLICY_VIOLATION]
    assert len(broker.cache) == 3 == len(broker.store.children("/delegation_token/tokens"))


def test_what_is_too_large_costs_nothing(broker: TokenBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the ACLs are asked nor is anything encoded before the limits are looked at."""
    broker.authorize()
    steps: list[str] = []
    for name in ("may", "token_data", "Principal"):
        original = getattr(create_delegation_token, name)

        def counted(*arguments: Any, name: str = name, original: Any = original) -> Any:
            steps.append(name)
            return original(*arguments)

        monkeypatch.setattr(create_delegation_token, name, counted)
    alice, long = broker.connect("alice"), "\0" * 32_000
    assert create(alice, *[long] * 64)["error_code"] == POLICY_VIOLATION and steps == []
    for kind, name in (("User", long), (long, "x")):
        assert create(alice, owner_principal_type=kind, owner_principal_name=name)["error_code"] == POLICY_VIOLATION
    assert steps == ["Principal"] * 2, "the owner of the answer"


def test_a_user_changes_too_often_in_a_cluster() -> None:
    broker = TokenBroker(is_alone=False)
    alice = broker.connect("alice")
    token = create(alice)
    codes = [renew(alice, token["hmac"], HOUR_MS + 2000 * number)["error_code"] for number in range(CHANGES_AT_ONCE + 1)]
    assert codes == [0] * (CHANGES_AT_ONCE - 1) + [THROTTLED] * 2
    assert [create(alice)["error_code"], expire(alice, token["hmac"])["error_code"]] == [THROTTLED] * 2
    assert create(broker.connect("bob"))["error_code"] == 0
    assert broker.log.count("a delegation token was refused") == 4


def test_a_renewal_that_changes_little_is_not_stored(broker: TokenBroker) -> None:
    """The answer is the expiry that holds. Tokens that expire soon are renewed exactly."""
    alice = broker.connect("alice")
    token = create(alice)
    stored = broker.store.get(f"/delegation_token/tokens/{token['token_id']}").version
    first = renew(alice, token["hmac"], HOUR_MS)["expiry_timestamp"]
    for _ in range(3):
        broker.now_ms += 300
        assert renew(alice, token["hmac"], HOUR_MS)["expiry_timestamp"] == first
    broker.now_ms += 100
    assert renew(alice, token["hmac"], HOUR_MS)["expiry_timestamp"] == first + 1000
    assert broker.store.get(f"/delegation_token/tokens/{token['token_id']}").version == stored + 2
    expire(alice, token["hmac"], 500)
    broker.now_ms += 400
    assert renew(alice, token["hmac"], 500)["expiry_timestamp"] == broker.now_ms + 500


def test_a_user_called_anonymous_may_not_ask(broker: TokenBroker) -> None:
    """A certificate may say so: Kafka's rule for SSL (allowTokenRequests)."""
    key = create(broker.connect("alice"))["hmac"]
    assert everything(broker.connect("ANONYMOUS"), key) == [NOT_ALLOWED] * 4


def test_a_token_expires(broker: TokenBroker) -> None:
    """Nobody logs in with it from then on; it is removed by the next check, unless it was renewed."""
    alice = broker.connect("alice")
    first, second = create(alice), create(alice)
    assert token_login(broker.connect(), first) == EXPIRY_MS
    broker.now_ms += EXPIRY_MS
    assert token_login(broker.connect(), first) == 0, "its last millisecond"
    assert renew(alice, second["hmac"], HOUR_MS)["error_code"] == 0
    broker.now_ms += 1
    with pytest.raises(LoginFailed):
        token_login(broker.connect(), first)
    assert renew(alice, first["hmac"])["error_code"] == EXPIRED
    assert len(describe(alice, everybody=True)["tokens"]) == 2
    broker.run_timers()
    broker.run_timers()
    assert [each["hmac"] for each in describe(alice, everybody=True)["tokens"]] == [second["hmac"]]
    assert broker.store.children("/delegation_token/tokens") == [second["token_id"]]
    assert broker.log.count("delegation token expired") == 1 and renew(alice, first["hmac"])["error_code"] == NOT_FOUND
    broker.now_ms += HOUR_MS + 1
    for _ in range(4):
        broker.run_timers()
    assert len(broker.cache) == 0 and len(broker.timers) > 0, "it goes on looking"


def test_a_removed_token_ends_logins_at_once(broker: TokenBroker) -> None:
    alice = broker.connect("alice")
    token = create(alice)
    begun = broker.connect()
    begun.request(17, 1, {"mechanism": "SCRAM-SHA-512"})
    assert token_login(broker.connect(), token, "SCRAM-SHA-512") == EXPIRY_MS
    assert expire(alice, token["hmac"])["error_code"] == 0
    with pytest.raises(LoginFailed):
        token_login(broker.connect(), token, "SCRAM-SHA-512")
    assert begun.request(36, 2, {"auth_bytes": b"n,,n=%s,r=x,tokenauth=true" % token["token_id"].encode()})["auth_bytes"]
    assert begun.request(36, 2, {"auth_bytes": b"c=biws,r=x,p=" + b"A" * 86 + b"=="})["error_code"] == 58


def test_what_the_log_says(broker: TokenBroker) -> None:
    """No HMAC; ids and names that were checked for their length."""
    odd = 'o"d\nname' + "x" * 300
    alice = broker.connect(odd)
    token = create(alice)
    renew(alice, token["hmac"])
    expire(alice, token["hmac"], 5)
    expire(alice, token["hmac"])
    assert [what for what, _ in broker.log.details] == [
        "delegation token created",
        "delegation token renewed",
        "expiry of a delegation token changed",
        "delegation token removed",
    ]
    text = repr(broker.log.details)
    assert token["hmac"].hex() not in text and repr(token["hmac"]) not in text and len(text) < 2500
    for _, details in broker.log.details:
        assert details["token"] == token["token_id"] and details["owner"] == f"User:{odd}"[:200]


def test_a_restart_keeps_tokens(tmp_path: Path) -> None:
    """With names that JSON and paths have to escape. The HMAC follows from the key and is stored nowhere."""
    path = str(tmp_path / "store")
    broker = TokenBroker(EmbeddedStore(path))
    odd = 'a"b\\\n/é%,='
    alice = broker.connect(odd)
    token = create(alice, "bob", "x:y")
    renew(alice, token["hmac"], HOUR_MS)
    before = describe(alice, everybody=True)
    broker.store.close()
    assert token["hmac"] not in (tmp_path / "store").read_bytes()
    again = TokenBroker(EmbeddedStore(path))
    assert describe(again.connect(odd), everybody=True) == before
    client = again.connect()
    assert token_login(client, token) == HOUR_MS and client.user == odd and client.token_authenticated
    again.store.close()


def test_a_token_that_cannot_be_stored(broker: TokenBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has changed, and the client is told nothing that is not so."""
    alice = broker.connect("alice")
    token = create(alice)
    before = broker.cache.all()
    monkeypatch.setattr(broker.store, "submit", lambda operations, done: done(None, StoreBroken("disk")))
    for request in (lambda: create(alice), lambda: renew(alice, token["hmac"], 5), lambda: expire(alice, token["hmac"])):
        with pytest.raises(AssertionError, match="could not be stored"):
            request()
    assert broker.cache.all() == before
    monkeypatch.undo()
    assert expire(alice, token["hmac"])["error_code"] == 0
