"""What a broker logs in to other brokers with, and settings that stop the start; SCRAM against our own server."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Generator
from typing import Any

import pytest

from kafka_cy.cluster.scram_credentials import ScramCredential
from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.security.sasl.broker_login import broker_login
from kafka_cy.security.sasl.scram import HASHES, ScramLookups, ScramServer
from kafka_cy.security.sasl.scram_client import ScramRefused, salted_password, scram

PACKAGE = "org.apache.kafka.common.security."
JAAS = "listener.name.a.plain.sasl.jaas.config"
MECHANISM = "sasl.mechanism.inter.broker.protocol"


def config(mechanism: str, jaas: str | None, **more: str) -> BrokerConfig:
    settings = {
        "zookeeper.connect": "zk:2181",
        "broker.id": "1",
        "listeners": "A://h:1",
        "listener.security.protocol.map": "A:SASL_PLAINTEXT",
        "inter.broker.listener.name": "A",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        MECHANISM: mechanism,
    }
    if jaas is not None:
        settings[f"listener.name.a.{mechanism.lower()}.sasl.jaas.config"] = f"{PACKAGE}{jaas};"
    return BrokerConfig({**settings, **{key.replace("_", "."): value for key, value in more.items()}})


def test_plain() -> None:
    jaas = 'plain.PlainLoginModule required username="b" password="s \\"t" user_b="other"'
    mechanism, begin, renewal = broker_login(config("PLAIN", jaas), "A", {})
    steps = begin("h")
    assert renewal is None
    assert mechanism == "PLAIN" and next(steps) == b'\0b\0s "t'
    with pytest.raises(StopIteration):
        steps.send(b"")


@pytest.mark.parametrize(
    ("mechanism", "jaas", "more", "reason", "key"),
    [
        ("GSSAPI", "plain.PlainLoginModule required", {"sasl_enabled_mechanisms": "GSSAPI"},
         "GSSAPI needs com.sun.security.auth.module.Krb5LoginModule", "listener.name.a.gssapi.sasl.jaas.config"),
        ("DIGEST-MD5", None, {}, "cannot log in to each other with DIGEST-MD5", MECHANISM),
        ("OAUTHBEARER", "plain.PlainLoginModule required", {}, "OAUTHBEARER needs one login module",
         "listener.name.a.oauthbearer.sasl.jaas.config"),
        ("scram-sha-256", None, {}, "with scram-sha-256", MECHANISM),
        ("PLAIN", "plain.PlainLoginModule required user_b=canary", {}, "options username and password", JAAS),
        ("PLAIN", "plain.PlainLoginModule required username=canary", {}, "options username and password", JAAS),
        ("PLAIN", None, {}, "Could not find a 'KafkaServer'", JAAS),
        ("PLAIN", "plain.PlainLoginModule required username=b password=canary", {"sasl_enabled_mechanisms": "SCRAM-SHA-256"},
         f"{MECHANISM} must be included in sasl.enabled.mechanisms when SASL is used for inter-broker communication",
         "sasl.enabled.mechanisms"),
    ],
)  # fmt: skip
def test_settings_that_stop_the_start(
    mechanism: str, jaas: str | None, more: dict[str, str], reason: str, key: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        broker_login(config(mechanism, jaas, **more), "A", {})
    assert reason in str(raised.value) and raised.value.key == key and "canary" not in str(raised.value)


def run(steps: Generator[bytes | None, bytes, None], server: ScramServer) -> Any:
    token = next(steps)
    while True:
        assert token is not None
        step = server.step(token)
        try:
            token = steps.send(step.challenge)
        except StopIteration:
            return step.success


@pytest.mark.parametrize("mechanism", list(HASHES))
def test_scram_with_our_own_server(mechanism: str) -> None:
    user, password, name = "a,b=c", 'p"ä', HASHES[mechanism]
    salted = hashlib.pbkdf2_hmac(name, password.encode(), b"salt", 4096)
    stored = hashlib.new(name, hmac.digest(salted, b"Client Key", name)).digest()
    credential = ScramCredential(b"salt", stored, hmac.digest(salted, b"Server Key", name), 4096)
    lookups = ScramLookups(lambda asked, _: credential if asked == user else None)
    jaas = 'scram.ScramLoginModule required username="a,b=c" password="p\\"ä"'
    begin = broker_login(config(mechanism, jaas), "A", {}).begin
    for _ in range(2):
        assert run(begin("h"), ScramServer(mechanism, lookups)).name == user


@pytest.mark.parametrize(
    "answer",
    [b"", b"r=x,s=c2FsdA==,i=4096", b"r={},s=c2FsdA==,i=4096", b"r={}x,s=c2FsdA==,i=1", b"r={}x,s=c2FsdA==,i=99999999",
     b"r={}x,s=c2FsdA==,i=x", b"r={}x,i=4096", b"\xff"],
)  # fmt: skip
def test_answers_that_are_refused(answer: bytes) -> None:
    steps = scram("sha256", "u", salted_password("sha256", "p"))
    nonce = next(steps).rpartition(b"r=")[2]
    with pytest.raises(ScramRefused, match="The broker's SCRAM message"):
        steps.send(answer.replace(b"{}", nonce))


def test_a_broker_that_does_not_know_the_password_is_not_trusted() -> None:
    steps = scram("sha256", "u", salted_password("sha256", "p"))
    nonce = next(steps).rpartition(b"r=")[2]
    steps.send(b"r=" + nonce + b"x,s=c2FsdA==,i=4096")
    with pytest.raises(ScramRefused, match="does not know this user's password"):
        steps.send(b"v=" + base64.b64encode(bytes(32)))


def test_a_salted_password_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[bytes] = []
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", lambda name, password, salt, iterations: computed.append(salt) or salt)
    salted = salted_password("sha256", "p")
    for _ in range(3):
        assert salted(b"a", 4096) == b"a" and salted(b"b", 4096) == b"b"
    assert computed == [b"a", b"b"]
    for number in range(100):
        salted(b"%d" % number, 4096)
    assert len(computed) == 102
