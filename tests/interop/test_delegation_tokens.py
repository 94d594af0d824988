"""Delegation tokens: what Apache Kafka says, kafka-delegation-tokens.sh, and Java clients that log in with a token."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from differential_tokens import (
    GOLDEN,
    LISTENER_SETTINGS,
    PASSWORD,
    TOKEN_SETTINGS,
    LoginFailed,
    converse,
    kafkas_words,
    token_login,
)
from foreign_tools import require
from java_tools import KAFKA_JARS, JavaTools
from raw_client import RawClient

from kafka_cy.testing import Broker

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

PLAIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="{{}}" password="{PASSWORD}";'
SCRAM = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="{}" password="{}" tokenauth="true";'


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {**LISTENER_SETTINGS, **TOKEN_SETTINGS, "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT"}
    with Broker(config, folder=tmp_path_factory.mktemp("tokens")) as running:
        yield running


@pytest.mark.parametrize("name", ["with tokens", "without tokens"])
def test_apache_kafka_still_says_so(name: str, tmp_path: Path) -> None:
    """What the tests of tests/control compare with."""
    require(shutil.which("java"), "java")
    require(KAFKA_JARS.is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    assert kafkas_words(tmp_path, with_tokens=name == "with tokens") == json.loads(GOLDEN.read_text())[name]


def test_over_a_network(broker: Broker) -> None:
    """The same conversation; without an authorizer, which refuses some of it."""
    said = converse(lambda: RawClient(broker.bootstrap_servers))
    wanted = json.loads(GOLDEN.read_text())["with tokens"]
    assert [what for what, _ in said] == [what for what, _ in wanted]
    different = {what for (what, answer), (_, theirs) in zip(said, wanted, strict=True) if answer != theirs}
    assert {what for what in different if "describe" not in what} <= {"carol for bob", "carol for bob, odd renewer"}


def properties(path: Path, mechanism: str, login: str) -> Path:
    path.write_text(f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism={mechanism}\nsasl.jaas.config={login}\n")
    return path


def test_kafkas_command_and_clients(broker: Broker, java: JavaTools, tmp_path: Path) -> None:
    """kafka-delegation-tokens.sh --create, --renew, --describe, --expire; the console clients with tokenauth."""
    address = ("--bootstrap-server", broker.bootstrap_servers)
    alice = properties(tmp_path / "alice", "PLAIN", PLAIN.format("alice"))
    bob = properties(tmp_path / "bob", "PLAIN", PLAIN.format("bob"))

    def tokens(config: Path, *words: str) -> str:
        return java.check("DelegationTokenCommand", *address, "--command-config", config, *words).out

    created = tokens(alice, "--create", "--max-life-time-period", "-1", "--renewer-principal", "User:bob")
    token_id, key = created.splitlines()[-1].split()[:2]
    assert len(token_id) == 22 and len(base64.b64decode(key)) == 64
    assert "new expiry date" in tokens(bob, "--renew", "--renew-time-period", "3600000", "--hmac", key).lower()
    for config, owner in ((alice, "User:alice"), (bob, "User:alice")):
        assert token_id in tokens(config, "--describe", "--owner-principal", owner)
    assert token_id not in tokens(alice, "--describe", "--owner-principal", "User:carol")

    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        with_token = properties(tmp_path / mechanism, mechanism, SCRAM.format(token_id, key))
        topic = f"by-token-{mechanism}"
        sent = ("--topic", topic, "--command-config", with_token)
        java.check("ConsoleProducer", *address, *sent, stdin="a\nb\n")
        read = ("--topic", topic, "--command-config", with_token, "--from-beginning", "--max-messages", 2)
        assert java.check("consumer.ConsoleConsumer", *address, *read).lines == ["a", "b"]
        refused = java.run("DelegationTokenCommand", *address, "--command-config", with_token, "--describe")
        assert "not allowed" in (refused.out + refused.err)

    assert "expiry" in tokens(bob, "--expire", "--expiry-time-period", "-1", "--hmac", key).lower()
    assert token_id not in tokens(alice, "--describe")
    with pytest.raises(LoginFailed):
        token_login(RawClient(broker.bootstrap_servers), {"token_id": token_id, "hmac": base64.b64decode(key)})
