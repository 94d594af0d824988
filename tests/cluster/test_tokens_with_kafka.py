"""Delegation tokens beside Apache Kafka 3.9.2: each accepts and changes the tokens that the other has created."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from differential_tokens import (
    HOUR_MS,
    LISTENER_SETTINGS,
    TOKEN_SETTINGS,
    LoginFailed,
    create,
    describe,
    expire,
    login,
    renew,
    token_login,
)
from raw_client import Closed, RawClient

from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import LISTENER, MemberBroker
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

TOKENS = "/delegation_token/tokens"


def settings(port: int, own_port: int) -> dict[str, str]:
    """A SASL listener beside the one between brokers."""
    return {
        **LISTENER_SETTINGS,
        **TOKEN_SETTINGS,
        "delegation.token.expiry.check.interval.ms": "200",
        "listeners": f"{LISTENER}://127.0.0.1:{own_port},PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": f"{LISTENER}:PLAINTEXT,PLAINTEXT:SASL_PLAINTEXT",
    }


def connect(port: int) -> RawClient:
    return RawClient(f"127.0.0.1:{port}")


def tokens(client: RawClient) -> dict[str, Any]:
    """What a client sees: everything of each token except the order of its renewers."""
    return {
        each["token_id"]: {**each, "renewers": sorted(each["renewers"], key=repr)}
        for each in describe(client, everybody=True)["tokens"]
    }


def logged_in(port: int) -> RawClient:
    found: list[RawClient] = []

    def attempt() -> bool:
        try:
            found.append(login(connect(port), "alice"))
        except (OSError, Closed):
            return False
        return True

    wait_until(attempt, f"a login at {port}")
    return found[0]


def can_log_in(port: int, token: Any) -> bool:
    try:
        return token_login(connect(port), token, "SCRAM-SHA-512") > 0
    except LoginFailed:
        return False


def renew_elsewhere(token: Any, here: RawClient, there: RawClient, port_there: int) -> None:
    """A token that was created here, at the other broker."""
    wait_until(lambda: can_log_in(port_there, token), f"a login at {port_there}")
    answer = renew(there, token["hmac"], HOUR_MS)
    assert answer["error_code"] == 0

    def has_heard() -> bool:
        return bool(tokens(here)[token["token_id"]]["expiry_timestamp"] == answer["expiry_timestamp"])

    wait_until(has_heard, "the other one hears of the renewal")


@pytest.mark.interop
@pytest.mark.slow
def test_tokens_beside_kafka(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str) -> None:
    kafka_port, kafka_own, our_port, our_own = free_ports(4)
    odd = 'o"d, n=am\ne é%'
    with (
        Kafka(tmp_path, zookeeper_connect, 1, kafka_own, settings(kafka_port, kafka_own)) as kafka,
        MemberBroker(tmp_path, zookeeper_connect, 2, our_own, settings(our_port, our_own)) as ours,
        one_zookeeper.client(chroot) as store,
    ):
        at = {"kafka": logged_in(kafka_port), "ours": logged_in(our_port)}
        ports = {"kafka": kafka_port, "ours": our_port}
        created = {place: create(client, odd, "bob", "alice") for place, client in at.items()}
        both = {token["token_id"] for token in created.values()}
        wait_until(lambda: tokens(at["kafka"]).keys() == tokens(at["ours"]).keys() == both, "each hears of the other's token")
        assert tokens(at["kafka"]) == tokens(at["ours"]), "with the same HMACs"
        assert set(store.get_children(TOKENS)) == both
        for place, other in (("kafka", "ours"), ("ours", "kafka")):
            renew_elsewhere(created[place], at[place], at[other], ports[other])
        assert expire(at["ours"], created["kafka"]["hmac"])["error_code"] == 0
        wait_until(lambda: not can_log_in(kafka_port, created["kafka"]), "Kafka hears of the removal")
        assert expire(at["kafka"], created["ours"]["hmac"], 1)["error_code"] == 0
        wait_until(lambda: tokens(at["kafka"]) == tokens(at["ours"]) == {}, "the controller removes what has expired")
        assert not can_log_in(our_port, created["ours"]) and store.get_children(TOKENS) == []

        at["ours"].close()
        last = create(at["kafka"])
        kafka.kill()
        wait_until(lambda: can_log_in(our_port, last), "a login at the broker that is left")
        client = logged_in(our_port)
        assert expire(client, last["hmac"], 1)["error_code"] == 0
        wait_until(lambda: store.get_children(TOKENS) == [], "the new controller removes what has expired")
        assert ours.errors() == []
