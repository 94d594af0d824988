"""A conversation about delegation tokens with any broker: who asks what, and what the answers have in common.

The broker has users admin (a super user), alice, bob and carol, with PLAIN, and SCRAM mechanisms for tokens. Its authorizer
knows the ACLs of `ACLS`. tests/control/golden_data/delegation-tokens.json has what Apache Kafka 4.3.1 says.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from apache_kafka import start_apache_kafka
from kio.index import load_request_schema
from kio.serial import entity_writer
from raw_client import Closed, RawClient, build, plain

from kafka_cy.protocol.decoder import Cursor, entity_reader
from kafka_cy.protocol.schema import message_class
from kafka_cy.testing.broker import free_ports

GOLDEN = Path(__file__).parents[1] / "control" / "golden_data" / "delegation-tokens.json"
CREATE, RENEW, EXPIRE, DESCRIBE = 38, 39, 40, 41
PASSWORD, SECRET = "secret", "the token's key"
USERS = ("alice", "bob", "carol")
HOUR_MS = 3_600_000
MAX_MS, EXPIRY_MS = 48 * HOUR_MS, 12 * HOUR_MS
TOKEN_SETTINGS = {
    "delegation.token.secret.key": SECRET,
    "delegation.token.max.lifetime.ms": str(MAX_MS),
    "delegation.token.expiry.time.ms": str(EXPIRY_MS),
    "delegation.token.expiry.check.interval.ms": "600000",
}
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_USERS = " ".join(f'user_{name}="{PASSWORD}"' for name in ("admin", *USERS))
LISTENER_SETTINGS = {  # of a listener PLAINTEXT, whose protocol is SASL_PLAINTEXT
    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
    "listener.name.plaintext.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="admin" password="{PASSWORD}" {_USERS};'
    ),
    "listener.name.plaintext.scram-sha-256.sasl.jaas.config": _SCRAM,
    "listener.name.plaintext.scram-sha-512.sasl.jaas.config": _SCRAM,
}
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
# (operation, resource type, name, principal): carol creates tokens for alice, and describes those of alice.
CREATE_TOKENS, DESCRIBE_TOKENS, USER = 13, 14, 7
ACLS = ((CREATE_TOKENS, USER, "User:alice", "User:carol"), (DESCRIBE_TOKENS, USER, "User:alice", "User:carol"))
KAFKA_SETTINGS = {
    **LISTENER_SETTINGS,
    "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:admin;User:ANONYMOUS",
}
Connect = Callable[[], Any]  # a RawClient, or what does the same


class LoginFailed(Exception):
    """The broker has refused the credentials."""


def login(client: RawClient, user: str) -> RawClient:
    """Log a connection in as a user."""
    assert client.request(17, 1, {"mechanism": "PLAIN"})["error_code"] == 0
    assert client.request(36, 2, {"auth_bytes": f"\0{user}\0{PASSWORD}".encode()})["error_code"] == 0
    return client


def scram_login(
    client: RawClient, name: str, password: str, mechanism: str, extensions: str = ",tokenauth=true"
) -> int:
    """Log in by SCRAM; the lifetime of the session in ms. Raises LoginFailed, Closed."""
    assert client.request(17, 1, {"mechanism": mechanism})["error_code"] == 0
    return scram_steps(client, name, password, mechanism, extensions)


def scram_steps(
    client: RawClient, name: str, password: str, mechanism: str, extensions: str = ",tokenauth=true"
) -> int:
    """As scram_login, after the handshake."""

    def step(token: str) -> tuple[dict[str, str], int]:
        answer = client.request(36, 2, {"auth_bytes": token.encode()})
        if answer["error_code"]:
            raise LoginFailed(answer["error_message"])
        parts = answer["auth_bytes"].decode().split(",")
        return dict(part.split("=", 1) for part in parts), answer["session_lifetime"]

    hash_name = HASHES[mechanism]
    bare = f"n={name},r=nonce{extensions}"
    first, _ = step("n,," + bare)
    server_first = f"r={first['r']},s={first['s']},i={first['i']}"
    without_proof = f"c=biws,r={first['r']}"
    salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), base64.b64decode(first["s"]), int(first["i"]))
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    stored = hashlib.new(hash_name, client_key).digest()
    signature = hmac.digest(stored, f"{bare},{server_first},{without_proof}".encode(), hash_name)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
    return step(f"{without_proof},p={proof}")[1]


def token_login(client: RawClient, token: Mapping[str, Any], mechanism: str = "SCRAM-SHA-256") -> int:
    """Log a connection in with a token; the lifetime of its session in ms. Raises LoginFailed, Closed."""
    return scram_login(client, token["token_id"], base64.b64encode(token["hmac"]).decode(), mechanism)


def ask(client: RawClient, api_key: int, version: int, values: dict[str, Any]) -> dict[str, Any]:
    """Request and response; kio does not read times before 1970, which stand in refusals."""
    schema = load_request_schema(api_key, version)
    body = BytesIO()
    entity_writer(schema)(body, build(schema, values))
    answer = client.request_bytes(api_key, version, body.getvalue(), flexible=bool(schema.__flexible__))
    if schema.__flexible__:
        answer = answer[1:]
    return dict(plain(entity_reader(message_class(api_key, version, "response"))(Cursor(answer))))


def principal(name: str, kind: str = "User") -> dict[str, str]:
    return {"principal_type": kind, "principal_name": name}


def create(
    client: RawClient, *renewers: str, owner: str | None = None, lifetime: int = -1, version: int = 3, **more: Any
) -> Any:
    owned = {"owner_principal_type": owner and "User", "owner_principal_name": owner}
    values = {**owned, "renewers": [principal(each) for each in renewers], "max_lifetime": lifetime, **more}
    return ask(client, CREATE, version, values)


def renew(client: RawClient, hmac_bytes: bytes, period: int = -1, version: int = 2) -> Any:
    return ask(client, RENEW, version, {"hmac": hmac_bytes, "renew_period": period})


def expire(client: RawClient, hmac_bytes: bytes, period: int = -1, version: int = 2) -> Any:
    return ask(client, EXPIRE, version, {"hmac": hmac_bytes, "expiry_time_period": period})


def describe(client: RawClient, *owners: str, everybody: bool = False, version: int = 3) -> Any:
    return ask(client, DESCRIBE, version, {"owners": None if everybody else [principal(each) for each in owners]})


def _ms(timestamp: int | None) -> int:
    return -1 if timestamp is None else timestamp


class Conversation:
    """What was said. Times are said relative to now, in hours; ids and HMACs as the name that the test gave the token."""

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self.said: list[list[Any]] = []
        self.tokens: dict[str, Any] = {}
        self._names: dict[Any, str] = {}
        self._expiry: dict[bytes, int] = {}  # by HMAC, of those that exist

    def login(self, user: str) -> RawClient:
        return login(self.connect(), user)

    def say(self, what: str, answer: Any) -> None:
        self.said.append([what, answer])

    def note(self, what: str, answer: Any) -> None:
        self.say(what, self._comparable(answer))

    def created(self, name: str, answer: Any) -> None:
        if not answer["error_code"]:
            self.tokens[name] = answer
            self._names |= {answer["token_id"]: f"id of {name}", answer["hmac"]: f"hmac of {name}"}
            wanted = hmac.digest(SECRET.encode(), answer["token_id"].encode(), "sha512")
            assert answer["hmac"] == wanted and len(answer["token_id"]) == 22
            self._expiry[answer["hmac"]] = _ms(answer["expiry_timestamp"])
        self.note(name, answer)

    def changed(self, what: str, hmac_bytes: bytes, answer: Any, *, removed: bool = False) -> None:
        """An answer to a request that changes or removes a token."""
        self.note(what, answer)
        if removed:
            self._expiry.pop(hmac_bytes, None)
        elif not answer["error_code"]:
            self._expiry[hmac_bytes] = _ms(answer["expiry_timestamp"])

    def listed(self, what: str, answer: Any) -> None:
        """Only whose tokens are described."""
        self.say(what, [answer["error_code"], *sorted(self._names[each["token_id"]] for each in answer["tokens"])])

    def settle(self, admin: RawClient) -> None:
        """Wait until the broker knows of everything that its controller has answered."""
        deadline = time.monotonic() + 30
        while {
            each["hmac"]: _ms(each["expiry_timestamp"]) for each in describe(admin, everybody=True)["tokens"]
        } != self._expiry:
            assert time.monotonic() < deadline, "the broker does not learn of tokens"
            time.sleep(0.01)

    def _comparable(self, value: Any, field: str = "") -> Any:
        if isinstance(value, dict):
            return {key: self._comparable(each, key) for key, each in value.items() if key != "throttle_time"}
        if isinstance(value, list):
            return sorted((self._comparable(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True))
        if field.endswith("timestamp") and _ms(value) > 0:
            return f"{round((_ms(value) - time.time_ns() // 10**6) / HOUR_MS, 1) + 0.0} h"
        if isinstance(value, str | bytes) and value in self._names:
            return self._names[value]
        return value.hex() if isinstance(value, bytes) else value


def converse(connect: Connect) -> list[list[Any]]:
    """The whole conversation, without what differs on purpose."""
    talk = Conversation(connect)
    alice, bob, carol, admin = (talk.login(user) for user in (*USERS, "admin"))
    _create(talk, alice, carol, admin)
    talk.settle(admin)
    for name, who in (("alice", alice), ("bob", bob), ("carol", carol), ("admin", admin)):
        talk.listed(f"{name} describes all", describe(who, everybody=True))
        talk.listed(f"{name} describes nobody's", describe(who))
        for owner in USERS:
            talk.listed(f"{name} describes {owner}'s", describe(who, owner))
    for version in (1, 2, 3):
        talk.note(f"describe v{version}", describe(alice, "alice", version=version))
    _renew_and_expire(talk, alice, bob, carol, admin)
    talk.settle(admin)
    talk.note("described", describe(alice, everybody=True))
    _with_tokens(talk)
    _end(talk, bob, carol, admin)
    return talk.said


def _create(talk: Conversation, alice: RawClient, carol: RawClient, admin: RawClient) -> None:
    for version in (1, 2, 3):
        talk.created(f"v{version}", create(alice, "bob", version=version))
    talk.created("short", create(alice, lifetime=HOUR_MS))
    talk.created("too long", create(alice, lifetime=MAX_MS * 2))
    talk.created("lifetime 0", create(alice, lifetime=0))
    talk.created("odd renewers", create(alice, 'o\'d "na,me"\n=é/%:x', "bob", "bob", ""))
    talk.created("renewer of another type", create(alice, renewers=[principal("g", "Group"), principal("bob")]))
    talk.created("renewer of an empty type", create(alice, renewers=[principal("g", "")]))
    talk.created("carol for alice", create(carol, "bob", owner="alice"))
    talk.created("carol for bob", create(carol, owner="bob"))
    talk.created("carol for bob, odd renewer", create(carol, owner="bob", renewers=[principal("g", "Group")]))
    talk.created("admin for bob", create(admin, owner="bob"))
    talk.created("alice for alice", create(alice, owner="alice"))
    talk.created("empty owner", create(alice, owner_principal_type="User", owner_principal_name=""))
    talk.created("odd type of no owner", create(alice, owner_principal_type="Group", owner_principal_name=None))
    talk.created("owner without type", create(alice, owner_principal_type=None, owner_principal_name="alice"))


def _renew_and_expire(talk: Conversation, alice: RawClient, bob: RawClient, carol: RawClient, admin: RawClient) -> None:
    def key_of(name: str) -> bytes:
        return bytes(talk.tokens.get(name, {"hmac": b"x" * 64})["hmac"])

    key = key_of("v3")
    for version in (1, 2):
        talk.changed(f"owner renews v{version}", key, renew(alice, key, 2 * HOUR_MS, version))
        talk.note(f"unknown v{version}", renew(alice, b"unknown", version=version))
        talk.note(f"expire unknown v{version}", expire(alice, b"", version=version))
    for period in (HOUR_MS, 0, -1, MAX_MS, -(2**40), 2**45):
        talk.changed(f"renewer renews {period}", key, renew(bob, key, period))
    talk.changed("renews beyond the maximum", key_of("short"), renew(alice, key_of("short"), 5 * HOUR_MS))
    talk.changed("a stranger renews", key, renew(carol, key))
    talk.changed("a super user renews", key, renew(admin, key))
    talk.changed("the requester renews", key, renew(carol, key_of("carol for alice"), HOUR_MS))
    for period in (HOUR_MS, 13 * HOUR_MS, MAX_MS * 2, 2**45):
        talk.changed(f"expire in {period}", key, expire(bob, key, period))
    talk.changed("a stranger expires", key, expire(carol, key))
    talk.changed("a stranger expires later", key, expire(carol, key, 0))
    talk.changed("the requester expires", key, expire(carol, key_of("carol for alice"), HOUR_MS))


def _with_tokens(talk: Conversation) -> None:
    """Logins, and what a client may ask that has logged in with a token."""
    unknown = {"token_id": "x", "hmac": b"x"}
    for name in ("v2", "carol for alice", "admin for bob"):
        token = talk.tokens.get(name, unknown)
        for mechanism in HASHES:
            client = talk.connect()
            try:
                talk.say(f"lifetime with {name}", round(token_login(client, token, mechanism) / HOUR_MS, 2))
            except LoginFailed as error:
                talk.say(f"login with {name}", str(error))
                continue
            talk.note(f"create with {name}", create(client))
            talk.note(f"renew with {name}", renew(client, token["hmac"]))
            talk.note(f"expire with {name}", expire(client, token["hmac"]))
            talk.note(f"describe with {name}", describe(client, everybody=True))
    token = talk.tokens.get("v2", unknown)
    _login_fails(talk, "another's HMAC", {**token, "token_id": talk.tokens.get("v1", token)["token_id"]})
    _login_fails(talk, "an unknown id", {**token, "token_id": "nobody"})
    try:
        password = base64.b64encode(token["hmac"]).decode()
        scram_login(talk.connect(), token["token_id"], password, "SCRAM-SHA-256", extensions="")
    except (LoginFailed, Closed) as error:
        talk.say("a token as a user", str(error))


def _login_fails(talk: Conversation, what: str, token: Mapping[str, Any]) -> None:
    for mechanism in HASHES:
        try:
            token_login(talk.connect(), token, mechanism)
        except (LoginFailed, Closed) as error:
            talk.say(what, str(error))
        else:
            talk.say(what, "works")


def _end(talk: Conversation, bob: RawClient, carol: RawClient, admin: RawClient) -> None:
    """What is left of tokens that have expired and of those that are removed."""
    token = talk.tokens.get("v3", {"token_id": "x", "hmac": b"x"})
    key = token["hmac"]
    talk.changed("expires at once", key, expire(bob, key, 0))
    talk.settle(admin)
    for name, who in (("a stranger", carol), ("a renewer", bob)):
        talk.note(f"{name} renews what has expired", renew(who, key, HOUR_MS))
        talk.note(f"{name} has it expire later", expire(who, key, HOUR_MS))
    talk.note("a stranger removes it", expire(carol, key, -1))
    talk.changed("a renewer removes it", key, expire(bob, key, -5), removed=True)
    talk.settle(admin)
    talk.note("expires what is gone", expire(bob, key, -5))
    talk.note("renews what is gone", renew(bob, key))
    _login_fails(talk, "login with one that is gone", token)


def kafkas_words(folder: Path, *, with_tokens: bool) -> list[list[Any]]:
    """The conversation with a new node of Apache Kafka, with or without delegation.token.secret.key."""
    port, controller_port = free_ports(2)
    settings = KAFKA_SETTINGS | (TOKEN_SETTINGS if with_tokens else {})
    process = start_apache_kafka(folder, port, controller_port, settings)
    try:
        _prepare(f"127.0.0.1:{port}")
        return converse(lambda: RawClient(f"127.0.0.1:{port}"))
    finally:
        process.kill()
        process.wait()


def _prepare(address: str) -> None:
    """Wait until the node answers, and store the ACLs."""
    acls = [
        {"resource_type": kind, "resource_name": name, "resource_pattern_type": 3, "principal": user, "host": "*",
         "operation": operation, "permission_type": 3}
        for operation, kind, name, user in ACLS
    ]  # fmt: skip
    everything = {"resource_type_filter": USER, "pattern_type_filter": 1, "operation": 1, "permission_type": 1}
    everything |= {"resource_name_filter": None, "principal_filter": None, "host_filter": None}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            admin = login(RawClient(address), "admin")
            if admin.request(29, 3, everything)["resources"]:
                return
            admin.request(30, 3, {"creations": acls})
        except (OSError, Closed):
            pass
        time.sleep(0.1)
    raise AssertionError("Apache Kafka does not start")
