"""What a SASL listener offers: keys, JAAS configuration in Kafka's order, and refused starts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from kafka_cy.cluster.scram_credentials import ScramCredential
from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.config.java_properties import jaas_file
from kafka_cy.security.sasl.listener import ListenerSasl, listener_sasl
from kafka_cy.security.sasl.scram import ScramLookups
from kafka_cy.security.sasl.server import SaslFailed, Success
from tests.security.token_issuer import jwk, now_claims, rsa_key, token, unsecured

PACKAGE = "org.apache.kafka.common.security"
PLAIN = f"{PACKAGE}.plain.PlainLoginModule"
SCRAM = f"{PACKAGE}.scram.ScramLoginModule"
OAUTH = f"{PACKAGE}.oauthbearer.OAuthBearerLoginModule"
HANDLER = "listener.name.in.oauthbearer.sasl.server.callback.handler.class"
LOOKUPS = ScramLookups(lambda name, mechanism: None)
MECHANISMS = "listener.name.in.sasl.enabled.mechanisms"
GSSAPI = "listener.name.in.gssapi.sasl.jaas.config"


def made(
    settings: Mapping[str, object], environment: Mapping[str, str] | None = None, lookups: ScramLookups = LOOKUPS
) -> ListenerSasl:
    static = {"listeners": "IN://h:1,OUT://h:2", "listener.security.protocol.map": "IN:PLAINTEXT,OUT:PLAINTEXT"}
    config = BrokerConfig({**static, **{key: str(value) for key, value in settings.items()}})
    assert [warning for warning in config.warnings if "sasl" in warning] == []
    return listener_sasl(config, "IN", lookups, environment or {})


def plain(users: str, listener: str = "in") -> dict[str, object]:
    return {MECHANISMS: "PLAIN", f"listener.name.{listener}.plain.sasl.jaas.config": f"{PLAIN} required {users};"}


def kerberos(options: str, service: str = "serviceName=kafka") -> dict[str, object]:
    return {MECHANISMS: "GSSAPI", GSSAPI: f"com.sun.security.auth.module.Krb5LoginModule required {service} {options};"}


def plain_users(sasl: ListenerSasl, *users: str) -> list[str]:
    """Those of the users who can log in; their passwords are their names."""
    found = []
    for user in users:
        try:
            assert sasl.begin("PLAIN").step(f"\0{user}\0{user}".encode()).success == Success(user)
            found.append(user)
        except SaslFailed:
            pass
    return found


def refused(settings: Mapping[str, object], environment: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        made(settings, environment)
    assert "canary" not in str(raised.value)
    return f"{raised.value.key}: {raised.value.reason}"


def test_a_listener_with_several_mechanisms() -> None:
    asked = []

    def credentials(name: str, mechanism: str) -> ScramCredential | None:
        asked.append((name, mechanism))
        return None

    sasl = made(
        {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN, SCRAM-SHA-256,PLAIN",
            "listener.name.in.plain.sasl.jaas.config": f'{PLAIN} required username="b" password="b" user_a="a";',
            "listener.name.in.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
            "listener.name.in.scram-sha-256.sasl.jaas.config": f'{SCRAM} required username="broker";',
        },
        lookups=ScramLookups(credentials),
    )
    assert sasl.mechanisms == ("SCRAM-SHA-512", "PLAIN", "SCRAM-SHA-256")
    assert plain_users(sasl, "a", "b") == ["a"], "b is the broker's own name"
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        assert sasl.begin(mechanism).step(b"n,,n=ann,r=abc").success is None
    assert asked == [("ann", "SCRAM-SHA-256"), ("ann", "SCRAM-SHA-512")]
    assert sasl.modules["SCRAM-SHA-256"][0].option("username") == "broker"
    assert (sasl.max_receive_bytes, sasl.max_reauth_ms("PLAIN"), sasl.key_sets, sasl.warnings) == (524288, 0, (), [])
    with pytest.raises(KeyError):
        sasl.begin("OAUTHBEARER")


def test_each_authentication_has_its_own_state() -> None:
    sasl = made(plain("user_a=a"))
    assert sasl.begin("PLAIN") is not sasl.begin("PLAIN")
    assert plain_users(sasl, "a", "a") == ["a", "a"]


def test_limits() -> None:
    settings = plain("user_a=a") | {
        "connections.max.reauth.ms": 5,
        "sasl.server.max.receive.size": 7,
        MECHANISMS: "PLAIN,SCRAM-SHA-256",
        "listener.name.in.scram-sha-256.sasl.jaas.config": f"{SCRAM} required;",
    }
    sasl = made(settings)
    assert (sasl.max_receive_bytes, sasl.max_reauth_ms("PLAIN"), sasl.max_reauth_ms("SCRAM-SHA-256")) == (7, 5, 5)
    sasl = made(
        settings
        | {
            "listener.name.in.sasl.server.max.receive.size": 9,
            "listener.name.in.plain.connections.max.reauth.ms": 6,
            "listener.name.in.connections.max.reauth.ms": -8,
        }
    )
    assert (sasl.max_receive_bytes, sasl.max_reauth_ms("PLAIN"), sasl.max_reauth_ms("SCRAM-SHA-256")) == (9, 6, 0)
    assert refused(settings | {"listener.name.in.plain.connections.max.reauth.ms": "x"}) == (
        "listener.name.in.plain.connections.max.reauth.ms: Not a number of type LONG"
    )


FILE = f"""
KafkaServer {{ {PLAIN} required user_general=general; }};
in.KafkaServer {{
    {SCRAM} required user_other=other; {PLAIN} required user_own=own user_both=wrong; {PLAIN} required user_both=both;
}};
"""


def test_the_order_of_jaas_configurations(tmp_path: Path) -> None:
    path = tmp_path / "jaas.conf"
    path.write_text(FILE)
    environment = {"KAFKA_OPTS": f"-Dx=y -Djava.security.auth.login.config={path}"}
    users = ("key", "own", "general", "other", "wrong")
    settings: dict[str, object] = {MECHANISMS: "PLAIN"}
    assert plain_users(made(settings, environment), *users) == ["own"]
    assert plain_users(made(plain("user_key=key"), environment), *users) == ["key"]
    assert plain_users(made(settings | plain("user_key=key", "out"), environment), *users) == ["own"]
    path.write_text(FILE.replace("in.KafkaServer", "out.KafkaServer"))
    assert plain_users(made(settings, environment), *users) == ["general"]
    path.write_text("Client { };")
    assert refused(settings, environment) == (
        "listener.name.in.plain.sasl.jaas.config: IN: Could not find a 'KafkaServer' or 'in.KafkaServer' entry in the JAAS "
        f"configuration. System property 'java.security.auth.login.config' is {path}"
    )
    assert refused(settings).endswith("System property 'java.security.auth.login.config' is not set")


def test_of_modules_with_the_same_option_the_first_counts(tmp_path: Path) -> None:
    path = tmp_path / "jaas.conf"
    path.write_text(FILE)
    sasl = made({MECHANISMS: "PLAIN"}, {"KAFKA_OPTS": f"-Djava.security.auth.login.config={path}"})
    assert sasl.begin("PLAIN").step(b"\0both\0wrong").success == Success("both")
    assert plain_users(sasl, "both") == []


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({}, None),
        ({"KAFKA_OPTS": ""}, None),
        ({"KAFKA_OPTS": "-Djava.security.auth.login.config="}, None),
        ({"KAFKA_OPTS": "-Xmx1g -Djava.security.auth.login.config=/a -Djava.security.auth.login.config=/b"}, "/b"),
        ({"KAFKA_OPTS": "-Djava.security.auth.login.config==/a"}, "/a"),
        ({"KAFKA_OPTS": "-Djava.security.auth.login.config=file:/a"}, "/a"),
        ({"JAVA_TOOL_OPTIONS": "-Djava.security.auth.login.config=/a"}, "/a"),
        ({"KAFKA_OPTS": "-Djava.security.auth.login.config=/b", "JAVA_TOOL_OPTIONS": "-Djava.security.auth.login.config=/a"}, "/b"),
    ],
)
def test_where_the_jaas_file_is(environment: dict[str, str], path: str | None) -> None:
    assert jaas_file(environment) == path


def test_a_jaas_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "jaas.conf"
    environment, settings = {"KAFKA_OPTS": f"-Djava.security.auth.login.config={path}"}, {MECHANISMS: "PLAIN"}
    key = "java.security.auth.login.config"
    assert refused(settings, environment) == f"{key}: IN: No such file or directory"
    path.write_bytes(b"\xff")
    assert refused(settings, environment) == f"{key}: IN: it is not UTF-8"
    path.write_text(f"KafkaServer {{ {PLAIN} required user_a=canary,x; }};")
    assert refused(settings, environment) == f"{key}: IN: Configuration Error: Line 1: expected [option key], found [,]"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "gssapi.sasl.jaas.config: IN: Could not find a 'KafkaServer'"),
        (kerberos("") | {"sasl.kerberos.service.name": "x"}, "sasl.kerberos.service.name: IN: Conflicting serviceName values"),
        (kerberos("", service=""), "sasl.kerberos.service.name: IN: No serviceName defined in either JAAS or Kafka config"),
        (kerberos("useKeyTab=true"), "gssapi.sasl.jaas.config: IN: the key of the broker is in a key tab: storeKey must be true"),
        (kerberos("useKeyTab=true storeKey=true"), "gssapi.sasl.jaas.config: IN: principal is missing"),
        (plain("user_a=a") | {MECHANISMS: "GSSAPI", GSSAPI: f"{PLAIN} required;"}, "IN: GSSAPI needs com.sun.security"),
        ({MECHANISMS: "PLAIN,plain"}, "Could not find a 'KafkaServer'"),
        (plain("user_a=a") | {MECHANISMS: "PLAIN,plain"}, f"{MECHANISMS}: IN: the SASL mechanism plain does not exist"),
        (plain("user_a=canary extra"), "plain.sasl.jaas.config: IN: Value not specified for key '[hidden]' in JAAS config"),
        (plain("user_a=canary; x optional"), "JAAS config property contains 2 login modules, should be 1 module"),
        (
            {MECHANISMS: "PLAIN", "listener.name.in.plain.sasl.jaas.config": "com.example.Login required p=canary;"},
            "plain.sasl.jaas.config: IN: Java classes cannot be loaded",
        ),
        (
            plain("user_a=a") | {"listener.name.in.plain.sasl.server.callback.handler.class": "com.example.Ldap"},
            "plain.sasl.server.callback.handler.class: IN: Java classes cannot be loaded",
        ),
    ],
)
def test_refused_starts(settings: dict[str, object], reason: str) -> None:
    assert reason in refused(settings)


def test_warnings() -> None:
    sasl = made(plain("username=a password=b") | {"sasl.jaas.config": f"{PLAIN} required user_a=a;"})
    assert sasl.warnings == [
        "Server config sasl.jaas.config should be prefixed with SASL mechanism name, ignoring config",
        f"IN: no user can log in with PLAIN: {PLAIN} has no option user_<name>",
    ]
    assert plain_users(sasl, "a") == []


def oauth(options: str = "", **settings: object) -> dict[str, object]:
    jaas = f"{OAUTH} required {options};"
    return {MECHANISMS: "OAUTHBEARER", "listener.name.in.oauthbearer.sasl.jaas.config": jaas, **settings}


def bearer(sasl: ListenerSasl, jwt: str) -> str | None:
    success = sasl.begin("OAUTHBEARER").step(f"n,,\x01auth=Bearer {jwt}\x01\x01".encode()).success
    return success and success.name


@pytest.mark.parametrize("package", [None, "oauthbearer", "oauthbearer.internals.unsecured"])
def test_tokens_without_a_signature(package: str | None) -> None:
    settings = oauth("unsecuredValidatorRequiredScope=kafka")
    if package:
        settings[HANDLER] = f"{PACKAGE}.{package}.OAuthBearerUnsecuredValidatorCallbackHandler"
    sasl = made(settings)
    assert "anybody can write" in sasl.warnings[0] and len(sasl.warnings) == 1 and sasl.key_sets == ()
    assert bearer(sasl, unsecured(now_claims(scope="kafka"))) == "alice"
    assert bearer(sasl, unsecured(now_claims())) is None


@pytest.mark.parametrize("package", ["oauthbearer", "oauthbearer.secured"])
def test_signed_tokens(package: str, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk(rsa_key("one"), "one")]}))
    url = "sasl.oauthbearer.jwks.endpoint.url"
    settings = oauth() | {HANDLER: f"{PACKAGE}.{package}.OAuthBearerValidatorCallbackHandler", url: f"file://{path}"}
    sasl = made(settings)
    assert bearer(sasl, token(rsa_key("one"), now_claims())) == "alice" and sasl.warnings == []
    for wrong in (unsecured(now_claims()), token(rsa_key("other"), now_claims()), token(rsa_key("one"), now_claims(aud="k"))):
        assert bearer(sasl, wrong) is None
    path.write_text(json.dumps({"keys": [jwk(rsa_key("other"), "one")]}))
    assert len(sasl.key_sets) == 1
    sasl.key_sets[0].refresh()
    assert bearer(sasl, token(rsa_key("other"), now_claims())) == "alice"
    narrow = made(
        settings
        | {
            "listener.name.in.oauthbearer.sasl.oauthbearer.expected.audience": "kafka, k2",
            "listener.name.in.sasl.oauthbearer.expected.issuer": "me",
            "sasl.oauthbearer.expected.issuer": "you",
            "sasl.oauthbearer.sub.claim.name": "client",
        }
    )
    assert bearer(narrow, token(rsa_key("other"), now_claims(aud=["k2"], iss="me", client="app"))) == "app"
    assert bearer(narrow, token(rsa_key("other"), now_claims(aud=["k2"], iss="you", client="app"))) is None


SIGNED = {HANDLER: f"{PACKAGE}.oauthbearer.OAuthBearerValidatorCallbackHandler"}
URL = {"sasl.oauthbearer.jwks.endpoint.url": "https://issuer/jwks"}


def test_an_issuer_is_not_asked_when_the_listener_is_made() -> None:
    sasl = made(oauth() | SIGNED | URL)
    assert sasl.key_sets[0].due_in_ms() <= 0
    assert bearer(sasl, token(rsa_key("one"), now_claims())) is None


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (SIGNED, "jwks.endpoint.url value is required"),
        (SIGNED | {"sasl.oauthbearer.jwks.endpoint.url": "file:///nowhere/jwks"}, "/nowhere/jwks: No such file or directory"),
        (SIGNED | {"sasl.oauthbearer.jwks.endpoint.url": "ftp://h/jwks"}, "invalid protocol (ftp)"),
        (SIGNED | URL | {"sasl.oauthbearer.clock.skew.seconds": -1}, "must be non-negative"),
        (SIGNED | URL | {"listener.name.in.oauthbearer.sasl.oauthbearer.sub.claim.name": " "}, "non-whitespace"),
        (SIGNED | URL | {"sasl.oauthbearer.jwt.validator.class": "com.example.V"}, "Java classes cannot be loaded"),
        ({HANDLER: "com.example.Handler"}, "Java classes cannot be loaded"),
        (
            {"sasl.server.callback.handler.class": SIGNED[HANDLER]},
            f"sasl.server.callback.handler.class: IN: the key must be {HANDLER}",
        ),
    ],
)
def test_refused_oauth(settings: dict[str, object], reason: str) -> None:
    assert reason in refused(oauth() | settings)


def test_options_of_the_login_module(tmp_path: Path) -> None:
    assert "must not be negative" in refused(oauth('unsecuredValidatorAllowableClockSkewMs="-1"'))
    for options in ("ssl.keystore.location=canary", "ssl.truststore.location=canary", 'ssl.truststore.type="JKS"'):
        assert "options ssl.*" in refused(oauth(options) | SIGNED | URL)
    options = f'ssl.truststore.location="{tmp_path}/none.pem" ssl.truststore.type=PEM'
    assert "No such file" in refused(oauth(options) | SIGNED | URL)
    path = tmp_path / "jaas.conf"
    path.write_text(f"KafkaServer {{ {PLAIN} required; {OAUTH} required; }};")
    assert "Must supply exactly 1 non-null JAAS mechanism configuration (size was 2)" in refused(
        {MECHANISMS: "OAUTHBEARER"}, {"KAFKA_OPTS": f"-Djava.security.auth.login.config={path}"}
    )


def test_the_file_of_kerberos_does_not_exist() -> None:
    settings = kerberos("useKeyTab=true storeKey=true principal=kafka")
    environment = {"KAFKA_OPTS": "-Djava.security.krb5.conf=/does/not/exist"}
    assert refused(settings, environment) == "java.security.krb5.conf: IN: the file of Kerberos does not exist"


@pytest.mark.parametrize(
    ("module", "settings", "extra"),
    [
        ("cryptography", oauth() | SIGNED | URL, "oauth"),
        ("gssapi", kerberos("useKeyTab=true storeKey=true principal=kafka"), "kerberos"),
    ],
)
def test_without_a_library_the_start_names_the_extra(module: str, settings: dict[str, object], extra: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from kafka_cy.config import BrokerConfig, ConfigError\n"
        "from kafka_cy.security.sasl.listener import listener_sasl\n"
        "from kafka_cy.security.sasl.scram import ScramLookups\n"
        f"settings = {settings!r}\n"
        "settings |= {'listeners': 'IN://h:1', 'listener.security.protocol.map': 'IN:PLAINTEXT'}\n"
        "try: listener_sasl(BrokerConfig(settings), 'IN', ScramLookups(lambda *_: None))\n"
        "except ConfigError as error: print(error.reason)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"pip install 'kafka-cy[{extra}]'" in done.stdout
