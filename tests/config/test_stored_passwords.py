"""Dynamic settings that are passwords: how they are stored. Golden vectors: Apache Kafka's EncryptingPasswordEncoder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.config.password_encoder import (
    CBC,
    CIPHERS,
    GCM,
    KEY_FACTORIES,
    PasswordEncoder,
    PasswordNotDecoded,
    is_encoded,
)
from kafka_cy.config.stored_passwords import NO_SECRET, NOT_OF_ALL, PasswordNotStored

GOLDEN = (Path(__file__).parent / "golden" / "encoded_passwords.txt").read_text().splitlines()
VECTORS = [line.split(" = ") for line in GOLDEN if not line.startswith("#")]
SECRET, PASSWORD = "tëst-secret", "pässword 😀, with:=comma"
KEY, JAAS = "listener.name.ssl.ssl.keystore.password", "listener.name.sasl.plain.sasl.jaas.config"
MEMBER = {"zookeeper.connect": "h:1", "broker.id": "1"}


def encoder(secret: str = SECRET, cipher: str = CBC, factory: str | None = None) -> PasswordEncoder:
    return PasswordEncoder(secret, factory, cipher, 128, 1024)


def config(secret: str | None = "new", old: str | None = None, **more: str) -> BrokerConfig:
    secrets = {"password.encoder.secret": secret, "password.encoder.old.secret": old}
    return BrokerConfig({key: value for key, value in secrets.items() if value is not None} | more)


@pytest.mark.parametrize(("algorithms", "text"), VECTORS, ids=[vector[0] for vector in VECTORS])
def test_what_kafka_has_stored_is_decoded(algorithms: str, text: str) -> None:
    assert is_encoded(text)
    assert encoder().decode(text) == PASSWORD  # the text says with which algorithms
    with pytest.raises(PasswordNotDecoded):
        encoder("other").decode(text)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("factory", [None, *KEY_FACTORIES])
def test_a_round_has_the_password_and_another_text(cipher: str, factory: str | None) -> None:
    made = encoder(cipher=cipher, factory=factory)
    for password in ("", "x", PASSWORD, "=" * 10_000):
        text = made.encode(password)
        assert is_encoded(text) and made.encode(password) != text
        assert encoder().decode(text) == password


@given(st.text(alphabet="abc:=,0123456789 ", max_size=60) | st.sampled_from([VECTORS[0][1]]), st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_texts_are_refused_or_decoded(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, max(len(text) - 1, 0)))
    damaged = text[:at] + data.draw(st.text(alphabet="Ab1=:,", max_size=3)) + text[at + 1 :]
    try:
        assert isinstance(encoder().decode(damaged), str)  # CBC does not tell that the vector was changed
    except PasswordNotDecoded as error:
        assert len(str(error)) < 120


def test_a_stored_text_cannot_keep_the_broker_busy() -> None:
    text = VECTORS[0][1].replace("iterations:4096", "iterations:100001")
    with pytest.raises(PasswordNotDecoded, match="more than 100000 iterations"):
        encoder().decode(text)


def test_a_member_needs_a_secret() -> None:
    passwords = config(None, **MEMBER).passwords
    with pytest.raises(PasswordNotStored, match=NO_SECRET):
        passwords.encode_all({KEY: "secret"}, {})
    assert passwords.encode_all({"log.cleaner.threads": "2"}, {}) == {"log.cleaner.threads": "2"}
    stored = {KEY: encoder().encode("secret"), "log.cleaner.threads": "2"}
    assert passwords.encode_all(stored, stored) == stored  # what it cannot read stays
    told: list[str] = []
    assert passwords.readable(stored, told.append) == {"log.cleaner.threads": "2"}
    assert told == [f"Dynamic password config {KEY} could not be decoded, ignoring: {NO_SECRET}"]


def test_a_broker_by_itself_encodes_if_it_has_a_secret() -> None:
    assert config(None).passwords.encode_all({KEY: "secret"}, {}) == {KEY: "secret"}
    passwords = config("s").passwords
    stored = passwords.encode_all({KEY: "secret", JAAS: "a b;", "broker.rack": "r"}, {})
    assert "secret" not in str(stored) and stored["broker.rack"] == "r"
    assert passwords.decode_all(stored) == {KEY: "secret", JAAS: "a b;", "broker.rack": "r"}
    again = passwords.encode_all({KEY: "secret", JAAS: "c d;"}, stored)
    assert again[KEY] == stored[KEY] and again[JAAS] != stored[JAAS]  # only what changes


def test_passwords_of_all_brokers_are_refused() -> None:
    """Each broker has its own secret."""
    for made in (config(None, **MEMBER), config("s", **MEMBER), config("s")):
        with pytest.raises(PasswordNotStored, match=NOT_OF_ALL):
            made.passwords.check_of_all({JAAS: "secret"})
        made.passwords.check_of_all({"log.cleaner.threads": "2"})
    config(None).passwords.check_of_all({JAAS: "secret"})  # as Kafka with KRaft


def test_rotation() -> None:
    before = config("old").passwords.encode_all({KEY: "secret", JAAS: "a b;"}, {})
    between = config("new", "old").passwords
    assert between.decode_all(before) == {KEY: "secret", JAAS: "a b;"}
    renewed = between.renewed(before)
    assert renewed is not None and between.renewed(renewed) is None
    assert config("new").passwords.decode_all(renewed) == {KEY: "secret", JAAS: "a b;"}
    told: list[str] = []
    assert config("new").passwords.readable(before, told.append) == {} and len(told) == 2
    assert config("new").passwords.renewed(before) is None  # what no secret decodes stays
    in_clear = {KEY: "secret", "broker.rack": "r"}
    renewed = config("new").passwords.renewed(in_clear)
    assert renewed is not None and is_encoded(renewed[KEY]) and renewed["broker.rack"] == "r"
    assert config(None).passwords.renewed(in_clear) is None


def test_a_change_leaves_nothing_of_the_old_secret() -> None:
    """The renewal at the start may be stored before it, and the old secret may go after it."""
    before = config("old").passwords.encode_all({KEY: "secret", JAAS: "a b;"}, {})
    lost = {"my.own.ssl.key.password": encoder("lost").encode("x")}
    changed = config("new", "old").passwords.encode_all({KEY: "secret", JAAS: "c d;", **lost}, before | lost)
    assert config("new").passwords.decode_all(changed) == {KEY: "secret", JAAS: "c d;", **lost}


def test_stored_settings_are_taken() -> None:
    made = config("new", listeners="SSL://h:1")
    stored = made.passwords.encode_all({KEY: "secret"}, {}) | {JAAS: encoder("other").encode("lost")}
    assert made.take_stored(broker=stored, cluster_default={}) == {KEY}
    assert made[KEY] == "secret" and made.text(JAAS) is None
    made.take_stored(broker=stored, cluster_default={})
    assert "lost" not in str(made.warnings) and len(made.warnings) == 1


def test_what_comes_after_the_start_is_heard_once() -> None:
    made, heard = config("new"), list[str]()
    made.on_warning = heard.append
    stored = {KEY: encoder("other").encode("lost"), "log.segment.bytes": "1"}
    for _ in range(2):
        made.take_stored(broker=stored, cluster_default={})
        made.candidate(broker=stored, cluster_default={})
    assert [line.partition(":")[0] for line in heard] == [
        f"Dynamic password config {KEY} could not be decoded, ignoring", "stored dynamic setting ignored",
    ]  # fmt: skip


def test_a_password_that_is_ignored_is_not_checked() -> None:
    """Other settings of this broker can be changed nevertheless."""
    made, seen = config("new"), list[BrokerConfig]()
    made.add_reconfiguration_check(seen.append)
    stored = made.passwords.encode_all({JAAS: "a b;"}, {}) | {KEY: encoder("other").encode("lost")}
    made.check_reconfiguration(made.passwords.decode_all(stored) | {"log.cleaner.threads": "2"})
    assert seen[0].dynamic_broker == {JAAS: "a b;", "log.cleaner.threads": "2"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cipher.algorithm", "DES/CBC/PKCS5Padding"), ("keyfactory.algorithm", "PBKDF2WithHmacMD5"), ("key.length", "100"),
        ("iterations", "1023"), ("iterations", "100001"),
    ],
)  # fmt: skip
def test_algorithms_that_do_not_exist_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config("s", **{f"password.encoder.{key}": value})
    assert raised.value.key == f"password.encoder.{key}"
    config("s", **{"password.encoder.cipher.algorithm": GCM, "password.encoder.key.length": "256"})
