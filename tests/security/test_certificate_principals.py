"""What the authentication loop answers about client certificates, and rules that stop the start."""

from __future__ import annotations

import io
from typing import Any

import pytest
from cryptography import x509

from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.security.ssl_principal_mapper import NAME_CHARS_MAX
from kafka_cy.server.certificate_principals import CertificatePrincipals
from kafka_cy.server.log import BrokerLog

RULES = "ssl.principal.mapping.rules"


class Question:
    client_host, answered = "1.2.3.4", False

    def __init__(self, listener_index: int, body: bytes) -> None:
        self.listener_index, self.body = listener_index, body
        self.name: bytes | None = None
        self.reason = ""

    def begin(self) -> None: ...
    def handled(self) -> None: ...

    def respond(self, name: bytes) -> None:
        self.name, self.answered = name, True

    def close(self, reason: str) -> None:
        self.reason, self.answered = reason, True


class World:
    """Listeners OUT and IN with TLS, PLAIN, and SASL over TLS."""

    def __init__(self, more: dict[str, str]) -> None:
        config = BrokerConfig(
            {
                "listeners": "OUT://h:1,IN://h:2,PLAIN://h:3,SASL://h:4",
                "listener.security.protocol.map": "OUT:SSL,IN:SSL,PLAIN:PLAINTEXT,SASL:SASL_SSL",
                "inter.broker.listener.name": "PLAIN",
                **more,
            }
        )
        self.asking: list[int] = []
        self.text = io.StringIO()
        self.principals = CertificatePrincipals(config, self, BrokerLog(stream=self.text))

    def set_certificate_principals(self, listener_index: int) -> None:
        self.asking.append(listener_index)

    def ask(self, *attributes: tuple[x509.ObjectIdentifier, str], listener: int = 0) -> Question:
        return self.ask_der(x509.Name([x509.NameAttribute(*each) for each in attributes]).public_bytes(), listener)

    def ask_der(self, der: bytes, listener: int = 0) -> Question:
        question = Question(listener, der)
        self.principals.answer(question)  # type: ignore[arg-type]
        assert question.answered
        return question


ALICE: Any = ((x509.NameOID.ORGANIZATION_NAME, "Shop, the"), (x509.NameOID.COMMON_NAME, "Alice"))


def test_each_listener_has_its_rules() -> None:
    world = World({"listener.name.in.ssl.principal.mapping.rules": "RULE:^CN=([^,]+),.*$/$1/L"})
    assert world.asking == [0, 1]
    assert world.ask(*ALICE).name == rb"CN=Alice,O=Shop\, the"
    assert world.ask(*ALICE, listener=1).name == b"alice"
    assert World({RULES: "RULE:.*O=(.*)$/$1/"}).ask(*ALICE).name == rb"Shop\, the"


def test_who_has_no_rule_is_refused_and_told_about_once() -> None:
    world = World({RULES: "RULE:^CN=bob$/bob/"})
    question = world.ask(*ALICE)
    assert question.name is None
    assert question.reason == r"Failed to map name for 'CN=Alice,O=Shop\, the' based on SSL principal mapping rules."
    world.ask(*ALICE)
    (line,) = world.text.getvalue().splitlines()
    assert "authentication failed" in line and "client=1.2.3.4" in line and "Failed to map name for 'CN=Alice" in line


def test_a_name_cannot_write_lines_of_its_own_to_the_log() -> None:
    world = World({RULES: "RULE:x/y/"})
    world.ask((x509.NameOID.COMMON_NAME, "a\n2026 INFO forged"))
    assert len(world.text.getvalue().splitlines()) == 1


@pytest.mark.parametrize("der", [b"", b"\x30\x05ab", b"\x05\x00"])
def test_what_is_no_name_is_refused(der: bytes) -> None:
    assert World({}).ask_der(der).reason.startswith("its certificate cannot be used: ")


def test_names_have_a_limit() -> None:
    many = [(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "ü" * 100)] * 40
    assert World({}).ask(*many).name is not None
    long = World({RULES: f"RULE:ü/{'x' * 20}/,RULE:[^!]*/{'y' * NAME_CHARS_MAX}/"})
    assert "the name of its user has more than 16384" in long.ask(*many).reason
    assert "its name has more than 16384" in World({}).ask(*(many * 10)).reason


def test_a_fault_ends_the_connection() -> None:
    world = World({})
    question = world.ask(*ALICE, listener=2)  # no mapper
    assert question.name is None and question.reason == "the broker failed to name the user"
    assert "because of an error in the broker" in world.text.getvalue()


@pytest.mark.parametrize("key", [RULES, "listener.name.out.ssl.principal.mapping.rules"])
def test_wrong_rules_stop_the_start(key: str) -> None:
    with pytest.raises(ConfigError, match="Invalid rule: `RULE:a`, unmatched substring: `RULE:a`") as raised:
        World({key: "RULE:a"})
    assert raised.value.key == key


def test_another_class_for_principals_stops_the_start() -> None:
    key = "principal.builder.class"
    World({key: "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"})
    with pytest.raises(ConfigError, match="cannot load Java classes"):
        World({key: "com.example.Builder"})
