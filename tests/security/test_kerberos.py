"""GSSAPI token by token, with tickets of a real KDC and MIT's library on both sides."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kafka_cy.security.sasl.server import SaslFailed, Success
from tests.kerberos import REALM, Realm, missing_program, running_realm

try:
    from gssapi import raw
except ImportError:
    if os.environ.get("CI"):
        raise
    pytest.skip("python-gssapi is missing", allow_module_level=True)

from kafka_cy.security.sasl.kerberos import TOKEN_BYTES_MAX, KerberosAcceptor, KerberosServer, credential_store

MESSAGE = "Authentication failed during authentication due to invalid credentials with SASL mechanism GSSAPI"
ONE_WAY = [raw.RequirementFlag.integrity]  # as Java and Go do: without mutual authentication
MUTUAL = [*ONE_WAY, raw.RequirementFlag.mutual_authentication]


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    program = missing_program()
    if program is not None:
        text = f"{program} is missing (scripts/install-test-tools.sh)"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    with running_realm(tmp_path_factory.mktemp("realm")) as realm, pytest.MonkeyPatch.context() as patch:
        for name in ("KRB5_CONFIG", "KRB5RCACHENAME"):
            patch.setenv(name, realm.environment[name])
        for user in ("ann", "ops/admin"):
            realm.log_in(user)
        yield realm


@pytest.fixture
def begin(realm: Realm) -> Callable[..., KerberosServer]:
    def make(*rules: str) -> KerberosServer:
        return KerberosServer(KerberosAcceptor(f"kafka/localhost@{REALM}", str(realm.key_tab), list(rules or ("DEFAULT",))))

    return make


class Client:
    """The side of a client. Its context is complete after the first token, or after the broker's with mutual authentication."""

    def __init__(self, realm: Realm, service: str = "kafka", user: str = "ann", flags: Any = ONE_WAY) -> None:
        store = credential_store(ccache=f"FILE:{realm.folder}/tickets-{user.replace('/', '-')}")
        self.credential = raw.acquire_cred_from(store, usage="initiate").creds
        self.target = raw.import_name(f"{service}/localhost@{REALM}".encode(), raw.NameType.kerberos_principal)
        self.flags, self.context = flags, None

    def token(self, answer: bytes | None = None) -> bytes:
        result = raw.init_sec_context(
            self.target, self.credential, self.context, mech=raw.MechType.kerberos, flags=self.flags, input_token=answer
        )
        self.context = result.context
        return result.token or b""

    def choice(self, offer: bytes, choice: bytes = b"\x01\x00\x00\x00") -> bytes:
        assert raw.unwrap(self.context, offer).message == b"\x01\x01\x00\x00"
        return bytes(raw.wrap(self.context, choice, confidential=False).message)


def failure(server: KerberosServer, token: bytes) -> SaslFailed:
    with pytest.raises(SaslFailed) as raised:
        server.step(token)
    assert raised.value.message == MESSAGE
    with pytest.raises(SaslFailed, match=MESSAGE):
        server.step(b"")
    return raised.value


@pytest.mark.parametrize("authorization_id", [b"", b"ann", b"kafka@localhost", b"\xff"])  # ignored, as in Kafka
def test_without_mutual_authentication(realm: Realm, begin: Callable[..., KerberosServer], authorization_id: bytes) -> None:
    server, client = begin(), Client(realm)
    offer = server.step(client.token())
    assert offer.success is None and not offer.is_silent
    last = server.step(client.choice(offer.challenge, b"\x01\x00\x00\x00" + authorization_id))
    assert last == (b"", Success("ann"), True)


def test_with_mutual_authentication(realm: Realm, begin: Callable[..., KerberosServer]) -> None:
    server, client = begin(), Client(realm, flags=MUTUAL)
    assert client.token(server.step(client.token()).challenge) == b""
    last = server.step(client.choice(server.step(b"").challenge))
    assert last.success == Success("ann")


@pytest.mark.parametrize(
    ("rule", "name"), [("DEFAULT", "ops"), ("RULE:[2:$1-$2@$0](.*@TEST.EXAMPLE)s/@.*//U", "OPS-ADMIN")]
)
def test_the_name_is_made_by_the_rules(realm: Realm, begin: Callable[..., KerberosServer], rule: str, name: str) -> None:
    server, client = begin(rule), Client(realm, user="ops/admin")
    assert server.step(client.choice(server.step(client.token()).challenge)).success == Success(name)


def test_no_rule_applies(realm: Realm, begin: Callable[..., KerberosServer]) -> None:
    failed = failure(begin("RULE:[2:$1]"), Client(realm).token())
    assert failed.reason == f"No rules apply to ann@{REALM}, rules [RULE:[2:$1]]"


def test_a_ticket_of_another_service(realm: Realm, begin: Callable[..., KerberosServer]) -> None:
    """Its key is in the same key tab."""
    failed = failure(begin(), Client(realm, service="http").token())
    assert failed.reason and not failed.may_try_again


def test_a_repeated_token(realm: Realm, begin: Callable[..., KerberosServer]) -> None:
    """Kafka's KerberosError: the client may try again."""
    token = Client(realm).token()
    begin().step(token)
    failed = failure(begin(), token)
    assert failed.may_try_again and "replay" in failed.reason.lower()


@pytest.mark.parametrize("choice", [b"", b"\x01", b"\x01\x00\x00", b"\x00\x00\x00\x00", b"\x02\x00\x00\x00", b"\x03\x00\x00\x00"])
def test_wrong_choices(realm: Realm, begin: Callable[..., KerberosServer], choice: bytes) -> None:
    server, client = begin(), Client(realm)
    assert not failure(server, client.choice(server.step(client.token()).challenge, choice)).may_try_again


def test_tokens_out_of_order(realm: Realm, begin: Callable[..., KerberosServer]) -> None:
    failure(begin(), b"")
    failure(begin(), b"\0" * (TOKEN_BYTES_MAX + 1))
    server, client = begin(), Client(realm, flags=MUTUAL)
    server.step(client.token())
    assert failure(server, b"x").reason == "Handshake expecting no response data from client"
    server, client = begin(), Client(realm)
    server.step(client.token())
    failure(server, b"")
    server, client = begin(), Client(realm)
    last = client.choice(server.step(client.token()).challenge)
    assert server.step(last).success
    failure(server, last)


@pytest.mark.fuzz
def test_random_tokens(realm: Realm, begin: Callable[..., KerberosServer]) -> None:
    """Cut, changed and random tokens at each place: a failure or a challenge, nothing else, and never a success."""
    chance = random.Random(os.environ.get("FUZZ_SEED", "1"))
    good = Client(realm).token()
    for _ in range(300):
        server = begin()
        at = chance.randrange(len(good))
        changed = good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :]
        token = chance.choice((good[:at], changed, chance.randbytes(at)))
        try:
            assert server.step(token).success is None
            assert server.step(chance.randbytes(60)).success is None
        except SaslFailed as failed:
            assert failed.message == MESSAGE


def test_starts_without_a_key(realm: Realm) -> None:
    with pytest.raises(LookupError, match="other"):
        KerberosAcceptor(f"other/localhost@{REALM}", str(realm.key_tab), ["DEFAULT"])
    with pytest.raises(LookupError, match=r"[Nn]o such file|not found"):
        KerberosAcceptor(f"kafka/localhost@{REALM}", str(realm.folder / "none"), ["DEFAULT"])
    with pytest.raises(ValueError, match="Invalid rule: nonsense"):
        KerberosAcceptor(f"kafka/localhost@{REALM}", str(realm.key_tab), ["nonsense"])
