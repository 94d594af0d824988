"""SASL/SCRAM on the side of the server, with a client that is written here."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.cluster.scram_credentials import (
    MECHANISMS,
    TOKEN_SALT_BYTES,
    ScramCredential,
    credential_in,
    credential_text,
    new_credential,
    parse_credential,
    salted_password,
)
from kafka_cy.security.sasl.scram import HASHES, ScramLookups, ScramServer, TokenCredential
from kafka_cy.security.sasl.scram_messages import MESSAGE_BYTES_MAX
from kafka_cy.security.sasl.server import NotReady, SaslFailed, Step, Success

PASSWORD = "pencil"
NAMES = ("user", "a,b=c", "ü%\"\\ =2C", "n=x,r=y", "'quoted'\nn=user\x1b\x7f", "\u2168\xad\uff55ser\u2028", " user ")


def credential(mechanism: str, password: str, salt: bytes = b"salt", iterations: int = 4096) -> ScramCredential:
    number = next(number for number, (name, _) in MECHANISMS.items() if name == mechanism)
    return new_credential(number, salt, salted_password(number, password.encode(), salt, iterations), iterations)


STORED = {(name, mechanism): credential(mechanism, PASSWORD) for name in NAMES for mechanism in HASHES}
STORED["only-512", "SCRAM-SHA-512"] = credential("SCRAM-SHA-512", PASSWORD)
STORED["few", "SCRAM-SHA-256"] = credential("SCRAM-SHA-256", PASSWORD, iterations=4095)
TOKEN = TokenCredential(credential("SCRAM-SHA-256", "hmac"), "owner", 12345)


def lookups(secret: bytes = b"cluster") -> ScramLookups:
    def token(name: str, mechanism: str) -> TokenCredential | None:
        return TOKEN if (name, mechanism) == ("token-id", "SCRAM-SHA-256") else None

    return ScramLookups(lambda name, mechanism: STORED.get((name, mechanism)), token, secret)


class Client:
    """A client of RFC 5802. Attributes may be changed to make it wrong."""

    def __init__(self, mechanism: str = "SCRAM-SHA-256", name: str = "user", password: str = PASSWORD) -> None:
        self.hash = HASHES[mechanism]
        self.password = password
        self.header = "n,,"
        self.bare = f"n={name.replace('=', '=3D').replace(',', '=2C')},r=abc"
        self.server = ScramServer(mechanism, lookups())
        self.nonce = "{server}"
        self.channel: bytes | None = None
        self.extensions = ""
        self.proof: bytes | None = None

    def hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.digest(key, text, self.hash)

    def first(self) -> dict[str, str]:
        self.challenge = self.server.step((self.header + self.bare).encode()).challenge.decode()
        return dict(part.partition("=")[::2] for part in self.challenge.split(","))

    def final(self, challenge: dict[str, str]) -> bytes:
        salt, iterations = base64.b64decode(challenge["s"]), int(challenge["i"])
        self.salted = hashlib.pbkdf2_hmac(self.hash, self.password.encode(), salt, iterations)
        client_key = self.hmac(self.salted, b"Client Key")
        channel = base64.b64encode(self.channel if self.channel is not None else self.header.encode()).decode()
        nonce = self.nonce.format(server=challenge["r"])
        without_proof = f"c={channel},r={nonce}{self.extensions}"
        self.auth = f"{self.bare},{self.challenge},{without_proof}".encode()
        signature = self.hmac(hashlib.new(self.hash, client_key).digest(), self.auth)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True)) if self.proof is None else self.proof
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def log_in(self) -> Step:
        step = self.server.step(self.final(self.first()))
        verifier = base64.b64encode(self.hmac(self.hmac(self.salted, b"Server Key"), self.auth))
        assert step.challenge == b"v=" + verifier
        return step


def failure(client: Client) -> str:
    with pytest.raises(SaslFailed) as raised:
        client.log_in()
    with pytest.raises(SaslFailed):
        client.server.step(b"n,,n=user,r=abc")
    return raised.value.message


INVALID = "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256"


def test_the_example_of_rfc_7677() -> None:
    stored = parse_credential(
        "salt=W22ZaJ0SNY7soEsUEjb6gQ==,stored_key=WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
        "server_key=wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=,iterations=4096"
    )
    nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    server = ScramServer("SCRAM-SHA-256", ScramLookups(lambda *_: stored), nonce)
    first = server.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert first == Step(b"r=rOprNGfwEbeRWgbNEkqO" + nonce.encode() + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    final = b"c=biws,r=rOprNGfwEbeRWgbNEkqO" + nonce.encode() + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert server.step(final) == Step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", Success("user"))


@pytest.mark.parametrize("mechanism", HASHES)
@pytest.mark.parametrize("name", NAMES)
def test_the_right_password(mechanism: str, name: str) -> None:
    assert Client(mechanism, name).log_in().success == Success(name, None, False)


@pytest.mark.parametrize("name", NAMES[:2])
def test_an_authorization_id_must_be_the_name(name: str) -> None:
    client = Client(name=name)
    client.header = f"n,a={name.replace('=', '=3D').replace(',', '=2C')},"
    assert client.log_in().success == Success(name)
    client = Client(name=name)
    client.header = "n,a=admin,"
    message = "Authentication failed: Client requested an authorization id that is different from username"
    assert failure(client) == message


def test_what_kafka_lets_through() -> None:
    client = Client()
    client.bare = "m=x,n=user,r=abc,ext=1,tokenauth=false"
    client.extensions = ",more=2=3"
    assert client.log_in().success == Success("user")


def test_librdkafka_that_repeats_its_nonce() -> None:
    client = Client()
    client.nonce = "abc{server}"
    assert client.log_in().success == Success("user")


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("password", "Pencil"),
        ("password", ""),
        ("nonce", "{server}x"),
        ("nonce", "x{server}"),
        ("nonce", "abcabc{server}"),
        ("nonce", "abc"),
        ("channel", b"y,,"),
        ("channel", b"n,a=user,"),
        ("channel", b""),
        ("proof", b""),
        ("proof", bytes(32)),
        ("proof", bytes(64)),
        ("extensions", ",p=x,=1"),
    ],
)
def test_a_changed_message_is_refused(attribute: str, value: object) -> None:
    client = Client()
    setattr(client, attribute, value)
    assert failure(client) == INVALID


def test_a_user_that_does_not_exist_looks_like_one_until_the_end() -> None:
    salts = {}
    for name in ("nobody", "only-512", "few", "nobody2"):
        client = Client(name=name)
        challenge = client.first()
        assert challenge["i"] == "4096" and 24 <= len(base64.b64decode(challenge["s"])) <= 26
        salts[name] = challenge["s"]
        assert Client(name=name).first()["s"] == challenge["s"], "the same salt each time"
        assert failure(Client(name=name)) == INVALID
    assert len(set(salts.values())) == len(salts)
    other = ScramServer("SCRAM-SHA-256", lookups(b"another cluster")).step(b"n,,n=nobody,r=abc").challenge
    assert salts["nobody"].encode() not in other


def test_a_token_that_does_not_exist_looks_like_one() -> None:
    """Salts of tokens are 24 bytes of any value; users' are text."""
    salts = []
    for name in ("id-1", "id-2", "id-1"):
        challenge = ScramServer("SCRAM-SHA-256", lookups()).step(b"n,,n=%s,r=x,tokenauth=true" % name.encode()).challenge
        fields = dict(each.split("=", 1) for each in challenge.decode().split(","))
        salts.append(base64.b64decode(fields["s"]))
        assert fields["i"] == "4096" and len(salts[-1]) == TOKEN_SALT_BYTES == 24
    assert salts[0] == salts[2] != salts[1] and any(each > 127 for each in salts[0] + salts[1])


def test_a_step_that_is_not_ready_is_repeated() -> None:
    waits = [NotReady(lambda: None)]

    def token(name: str, mechanism: str) -> TokenCredential:
        if waits:
            raise waits.pop()
        return TOKEN

    server = ScramServer("SCRAM-SHA-256", ScramLookups(lambda *_: None, token))
    first = b"n,,n=id,r=x,tokenauth=true"
    with pytest.raises(NotReady):
        server.step(first)
    assert server.step(first).challenge.startswith(b"r=x")


def test_a_proof_for_the_fake_credential_is_refused() -> None:
    """Even for someone who knows the secret, because a user without a credential cannot prove anything."""
    client = Client(name="nobody")
    challenge = client.first()
    stored = credential("SCRAM-SHA-256", PASSWORD, base64.b64decode(challenge["s"]))
    client.server._credential = stored
    with pytest.raises(SaslFailed):
        client.server.step(client.final(challenge))


def test_a_delegation_token() -> None:
    client = Client(name="token-id", password="hmac")
    client.bare += ",tokenauth=TRUE"
    assert client.log_in().success == Success("owner", 12345, True)
    for name, password in (("token-id", "other"), ("user", PASSWORD), ("unknown", "hmac")):
        client = Client(name=name, password=password)
        client.bare += ",tokenauth=true"
        assert failure(client) == INVALID
    assert failure(Client(name="token-id", password="hmac")) == INVALID, "not as a user"


@pytest.mark.parametrize(
    "first",
    [
        b"", b"n", b"n,,", b"y,,n=user,r=abc", b"p=tls-unique,,n=user,r=abc", b"n,,n=,r=abc", b"n,,n=user", b"n,,n=user,r=",
        b"n,,n=us=2cer,r=abc", b"n,,n=us=er,r=abc", b"n,,n=user=,r=abc", b"n,,n=user,r=a c", b"n,,n=user,r=\xc3\xbc",
        b"n,,n=\xff,r=abc", b"n,,n=us\0er,r=abc", b"n,x=user,n=user,r=abc", b"n,a=,n=user,r=abc", b"n,,r=abc,n=user",
        b"n,,n=user,r=abc,", b"n,,n=user,r=abc,1=x", b"n,,n=user,r=abc,e=", b"n,,m=,n=user,r=abc",
        b"n,,n=" + b"x" * MESSAGE_BYTES_MAX + b",r=abc", b"n,,n=user,r=abc" + b",a=b" * 100_000,
    ],
)  # fmt: skip
def test_a_malformed_first_message(first: bytes) -> None:
    with pytest.raises(SaslFailed) as raised:
        ScramServer("SCRAM-SHA-256", lookups()).step(first)
    assert raised.value.message == INVALID


@pytest.mark.parametrize("name", ["us\xader", "\uff55ser", "user\u200b", "user ", "USER", "\u2168user\u2028", "user\u0301"])
def test_names_are_not_normalised(name: str) -> None:
    """SASLprep would make the same name of some of them; Kafka does not do it."""
    assert failure(Client(name=name)) == INVALID


@pytest.mark.parametrize("header", ["y,,", "y,a=user,", "p=tls-server-end-point,,", "p=tls-unique,a=user,", "p=,,", "N,,", "n", ""])
def test_channel_binding_is_not_offered(header: str) -> None:
    """A client that wants it, or believes that the broker has it, is refused with its first message; it cannot be led to less."""
    client = Client()
    client.header = header
    with pytest.raises(SaslFailed, match=INVALID):
        client.first()
    with pytest.raises(SaslFailed, match=INVALID):
        client.server.step(b"n,,n=user,r=abc")


@pytest.mark.parametrize("channel", [b"y,,", b"p=tls-unique,,data", b"n,,data", b"n"])
def test_another_channel_binding_than_at_first_is_refused(channel: bytes) -> None:
    client = Client()
    client.channel = channel
    assert failure(client) == INVALID


@pytest.mark.parametrize("iterations", ["0", "-1", "1", str(2**31), str(2**63), "9" * 4096])
def test_a_client_does_not_choose_the_iterations(iterations: str) -> None:
    """Nor the salt: an `i` or `s` of its own is an extension, which nobody reads, or too much."""
    client = Client()
    client.bare += f",i={iterations},s=AAAA"
    if len(iterations) > 100:
        with pytest.raises(SaslFailed, match=INVALID):
            client.first()
        return
    challenge = client.first()
    assert (challenge["i"], base64.b64decode(challenge["s"])) == ("4096", b"salt")
    client.extensions = f",i={iterations}"
    assert client.server.step(client.final(challenge)).success == Success("user")


def test_who_exists_is_not_told_by_what_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The final message costs the same hashes for a wrong password, an unknown user, and a credential that cannot be used."""
    digest, done = hmac.digest, []

    def counted(key: bytes, text: bytes, hash_name: str) -> bytes:
        done.append((hash_name, text))
        return digest(key, text, hash_name)

    for name in ("user", "nobody", "few", "only-512"):
        client = Client(name=name, password="wrong")
        final = client.final(client.first())
        with monkeypatch.context() as patch:
            patch.setattr("kafka_cy.security.sasl.scram.hmac.digest", counted)
            with pytest.raises(SaslFailed, match=INVALID):
                client.server.step(final)
        assert done == [("sha256", client.auth)], name
        done.clear()


@pytest.mark.parametrize("authorization_id", ["owner", "user", "other-owner"])
def test_a_token_is_not_lent(authorization_id: str) -> None:
    """Whoever has it is its owner, and asks for nobody else, not even for the owner by name, as in Kafka."""
    client = Client(name="token-id", password="hmac")
    client.header = f"n,a={authorization_id},"
    client.bare += ",tokenauth=true"
    assert "authorization id that is different" in failure(client)


def test_a_token_that_is_removed_meanwhile() -> None:
    """It began when the token was there, as a login that was a moment earlier; the next one fails."""
    tokens = {"token-id": TOKEN}
    client = Client(name="token-id", password="hmac")
    client.bare += ",tokenauth=true"
    removed = ScramLookups(lambda *_: None, lambda name, mechanism: tokens.get(name))
    client.server = ScramServer("SCRAM-SHA-256", removed)
    challenge = client.first()
    tokens.clear()
    assert client.server.step(client.final(challenge)).success == Success("owner", 12345, True)
    again = Client(name="token-id", password="hmac")
    again.bare += ",tokenauth=true"
    again.server = ScramServer("SCRAM-SHA-256", removed)
    assert failure(again) == INVALID


def test_a_replayed_proof_is_refused() -> None:
    client = Client()
    final = client.final(client.first())
    assert client.server.step(final).success
    again = ScramServer("SCRAM-SHA-256", lookups())
    again.step((client.header + client.bare).encode())
    with pytest.raises(SaslFailed):
        again.step(final)


PIECES = [b"n,,", b"n=user", b"r=abc", b"c=biws", b"p=", b",", b"=", b"a=user", b"tokenauth=true"]
PIECES.append(b"p=" + base64.b64encode(bytes(32)))


@given(st.lists(st.binary(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=7).map(b"".join), max_size=4))
def test_no_bytes_succeed_without_the_password(messages: list[bytes]) -> None:
    server = ScramServer("SCRAM-SHA-256", lookups(), nonce="s")
    for message in messages:
        try:
            assert server.step(message).success is None
        except SaslFailed:
            pass


@given(st.binary(min_size=32, max_size=32), st.sampled_from([b"r=abcs", b"r=abcabcs", b"r=abc", b"r=s"]))
def test_no_proof_succeeds_by_chance(proof: bytes, nonce: bytes) -> None:
    server = ScramServer("SCRAM-SHA-256", lookups(), nonce="s")
    server.step(b"n,,n=user,r=abc")
    with pytest.raises(SaslFailed):
        server.step(b"c=biws,%s,p=%s" % (nonce, base64.b64encode(proof)))


def test_nonces_differ() -> None:
    assert Client().first()["r"] != Client().first()["r"]


def test_stored_credentials() -> None:
    stored = STORED["user", "SCRAM-SHA-512"]
    text = credential_text(stored)
    assert parse_credential(text) == stored
    assert credential_in({"SCRAM-SHA-512": text}, "SCRAM-SHA-512") == stored
    assert credential_in({"SCRAM-SHA-512": text}, "SCRAM-SHA-256") is None
    parts = text.split(",")
    damaged = ["", "salt", ",".join(parts[:3]), text + ",x=y", text + "x", text.replace("salt=c", "salt=?"), text[:-4] + "-409"]
    for each in damaged:
        with pytest.raises(ValueError, match=r"^SCRAM credential is not valid$"):
            parse_credential(each)
        assert credential_in({"SCRAM-SHA-512": each}, "SCRAM-SHA-512") is None
    assert parts[1].partition("=")[2] not in repr(stored)
