"""Logins with delegation tokens on a running broker: sessions, their end, what such a client may ask, restarts."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from differential_tokens import (
    EXPIRY_MS,
    LISTENER_SETTINGS,
    TOKEN_SETTINGS,
    LoginFailed,
    create,
    describe,
    expire,
    login,
    renew,
    scram_steps,
    token_login,
)
from raw_client import Closed, RawClient

from kafka_cy.testing import Broker
from tests.waiting import wait_until

HANDSHAKE, METADATA, CREATE_TOPICS = 17, 3, 19
NOT_ALLOWED = 64


def settings() -> dict[str, object]:
    return {
        **LISTENER_SETTINGS,
        **TOKEN_SETTINGS,
        "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT",
        "delegation.token.expiry.check.interval.ms": "50",
    }


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(settings(), folder=tmp_path_factory.mktemp("broker")) as running:
        yield running


def connect(broker: Broker) -> RawClient:
    return RawClient(broker.bootstrap_servers)


def brokers(client: RawClient) -> Any:
    return client.request(METADATA, 12, {"topics": []})["brokers"]


def ids(client: RawClient) -> list[str]:
    return [each["token_id"] for each in describe(client, everybody=True)["tokens"]]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_client_with_a_token_is_its_owner(broker: Broker, mechanism: str) -> None:
    """It may do what the owner may, except asking about tokens."""
    token = create(login(connect(broker), "alice"), owner="carol")
    client = connect(broker)
    assert 0 < token_login(client, token, mechanism) <= EXPIRY_MS
    topic = {"name": f"t-{mechanism}", "num_partitions": 1, "replication_factor": 1}
    assert client.request(CREATE_TOPICS, 7, {"topics": [topic], "timeout": 5000})["topics"][0]["error_code"] == 0
    assert [line for line in broker.log_text().splitlines() if f"t-{mechanism}" in line and "user=carol" in line]
    answers = [create(client), renew(client, token["hmac"]), expire(client, token["hmac"]), describe(client, everybody=True)]
    assert [answer["error_code"] for answer in answers] == [NOT_ALLOWED] * 4
    assert token["token_id"] in ids(login(connect(broker), "carol")), "nothing has changed"
    assert token["hmac"].hex() not in broker.log_text() and "the token's key" not in broker.log_text()


def test_the_first_login_hashes_on_another_thread(broker: Broker) -> None:
    """Many at once, each with a token of its own: all are let in, and the start warned of what every user may do."""
    alice = login(connect(broker), "alice")
    tokens = [create(alice) for _ in range(5)]
    for token in (*tokens, *tokens):
        assert token_login(connect(broker), token, "SCRAM-SHA-512") > 0
    assert "without an authorizer every user creates delegation tokens" in broker.log_text()


def test_a_session_ends_with_its_token(broker: Broker) -> None:
    """KIP-368: the lifetime that the client is told. A login with what has expired fails, and the token is removed."""
    alice = login(connect(broker), "alice")
    token = create(alice)
    assert expire(alice, token["hmac"], 1500)["error_code"] == 0
    client = connect(broker)
    assert 0 < token_login(client, token) <= 1500
    assert brokers(client)

    def has_ended() -> bool:
        try:
            return not brokers(client)
        except Closed:
            return True

    wait_until(has_ended, "the end of the session")
    with pytest.raises(LoginFailed):
        token_login(connect(broker), token)
    wait_until(lambda: token["token_id"] not in ids(alice), "the removal of the token")
    assert "delegation token expired" in broker.log_text()


def test_a_client_authenticates_again_with_a_token(broker: Broker) -> None:
    """KIP-368. As long as the token is there."""
    alice = login(connect(broker), "alice")
    token = create(alice)
    client = connect(broker)
    token_login(client, token)
    password = base64.b64encode(token["hmac"]).decode()
    for removes in (False, True):
        if removes:
            assert expire(alice, token["hmac"])["error_code"] == 0
            assert brokers(client), "the session was good for longer"
        wait_until(lambda: client.request(HANDSHAKE, 1, {"mechanism": "SCRAM-SHA-256"})["error_code"] == 0, "a second")
        if removes:
            with pytest.raises(LoginFailed):
                scram_steps(client, token["token_id"], password, "SCRAM-SHA-256")
        else:
            assert scram_steps(client, token["token_id"], password, "SCRAM-SHA-256") > 0
            assert create(client)["error_code"] == NOT_ALLOWED


def test_a_token_that_was_answered_survives_a_kill(tmp_path: Path) -> None:
    with Broker(settings(), folder=tmp_path) as broker:
        _kill(broker)


def _kill(broker: Broker) -> None:
    token = create(login(connect(broker), "alice"), "bob")
    broker.kill()
    broker.start()
    assert token_login(connect(broker), token) > 0
    bob = login(connect(broker), "bob")
    assert renew(bob, token["hmac"], 5000)["error_code"] == 0
    assert expire(bob, token["hmac"])["error_code"] == 0
    broker.kill()
    broker.start()
    with pytest.raises(LoginFailed):
        token_login(connect(broker), token)


def test_the_older_name_of_the_key(tmp_path: Path) -> None:
    """And another key: tokens of before are there, and their HMACs are worth nothing."""
    config = settings()
    config["delegation.token.master.key"] = config.pop("delegation.token.secret.key")
    with Broker(config, folder=tmp_path) as broker:
        token = create(login(connect(broker), "alice"))
        assert token_login(connect(broker), token) > 0
        broker.stop()
        broker.config["delegation.token.secret.key"] = "another"
        broker.start()
        with pytest.raises(LoginFailed):
            token_login(connect(broker), token)
        (described,) = describe(login(connect(broker), "alice"), everybody=True)["tokens"]
        assert described["token_id"] == token["token_id"] and described["hmac"] != token["hmac"]
        assert token_login(connect(broker), described) > 0
