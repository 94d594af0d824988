"""SASL byte by byte, as Apache Kafka 4.3.1 answers it: each row was seen there (shared facts on security, section 2)."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports

PLAIN_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"
OAUTH_MODULE = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"
HANDSHAKE, API_VERSIONS, METADATA, AUTHENTICATE, ALTER_SCRAM = 17, 18, 3, 36, 51
ILLEGAL_SASL_STATE, UNSUPPORTED_SASL_MECHANISM, SASL_AUTHENTICATION_FAILED = 34, 33, 58
GOOD = b"\0ann\0ann-secret"
MAX_BYTES = 20_000


def string(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


class Wire:
    """A connection that frames requests itself."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def send(self, api_key: int, version: int, body: bytes) -> None:
        flexible = (api_key, version) in {(AUTHENTICATE, 2), (API_VERSIONS, 3), (ALTER_SCRAM, 0)}
        head = struct.pack(">hhi", api_key, version, 7) + string("wire") + (b"\0" if flexible else b"")
        self.raw(head + body)

    def raw(self, data: bytes) -> None:
        self.socket.sendall(struct.pack(">i", len(data)) + data)

    def frame(self) -> bytes | None:
        """One frame; None: the connection was closed."""
        head = self._read(4)
        return None if head is None else self._read(struct.unpack(">i", head)[0])

    def answer(self) -> bytes | None:
        """A response without its correlation id."""
        frame = self.frame()
        return None if frame is None else frame[4:]

    def _read(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionError:
                return None
            if not part:
                return None
            data += part
        return data

    def handshake(self, mechanism: str, version: int = 1) -> int | None:
        self.send(HANDSHAKE, version, string(mechanism))
        answer = self.answer()
        return None if answer is None else int(struct.unpack_from(">h", answer)[0])

    def authenticate(self, token: bytes, version: int = 1) -> tuple[int, str | None, bytes, int] | None:
        """(error, message, token, session lifetime in ms)."""
        self.send(AUTHENTICATE, version, struct.pack(">i", len(token)) + token)
        answer = self.answer()
        if answer is None:
            return None
        error, size = struct.unpack_from(">hh", answer)
        at = 4 + max(size, 0)
        (token_size,) = struct.unpack_from(">i", answer, at)
        lifetime = struct.unpack_from(">q", answer, at + 4 + token_size)[0] if version else 0
        return error, None if size < 0 else answer[4:at].decode(), answer[at + 4 : at + 4 + token_size], lifetime

    def metadata(self) -> bool:
        """Whether an ordinary request is served."""
        self.send(METADATA, 1, struct.pack(">i", 0))
        return self.answer() is not None


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    names = ("SASL", "SHORT", "OPEN")
    found = dict(zip(names, free_ports(3), strict=True))
    users = f'{PLAIN_MODULE} required user_ann="ann-secret" user_bob="bob-secret";'
    config: dict[str, object] = {
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in found.items()),
        "advertised.listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in found.items()),
        "listener.security.protocol.map": "SASL:SASL_PLAINTEXT,SHORT:SASL_PLAINTEXT,OPEN:PLAINTEXT",
        "inter.broker.listener.name": "OPEN",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,OAUTHBEARER",
        "sasl.server.max.receive.size": MAX_BYTES,
        "connection.failed.authentication.delay.ms": 50,
        "listener.name.short.plain.connections.max.reauth.ms": 100_000,
    }
    for name in ("sasl", "short"):
        config[f"listener.name.{name}.plain.sasl.jaas.config"] = users
        config[f"listener.name.{name}.scram-sha-256.sasl.jaas.config"] = f"{SCRAM_MODULE} required;"
        config[f"listener.name.{name}.oauthbearer.sasl.jaas.config"] = f"{OAUTH_MODULE} required;"
    broker = Broker(config, folder=tmp_path_factory.mktemp("sasl"))
    broker.port = found["OPEN"]
    with broker:
        yield found


@pytest.fixture
def wire(ports: dict[str, int]) -> Wire:
    return Wire(ports["SASL"])


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_good_token(wire: Wire, version: int) -> None:
    assert wire.handshake("PLAIN") == 0
    if version == 2:
        wire.send(AUTHENTICATE, 2, bytes([len(GOOD) + 1]) + GOOD + b"\0")
        assert wire.answer() == b"\0" + struct.pack(">h", 0) + b"\0\x01" + struct.pack(">q", 0) + b"\0"
    else:
        assert wire.authenticate(GOOD, version) == (0, None, b"", 0)
    assert wire.metadata()


def test_the_mechanisms_are_listed(wire: Wire) -> None:
    wire.send(HANDSHAKE, 1, string("PLAIN"))
    names = [string(each) for each in ("PLAIN", "SCRAM-SHA-256", "OAUTHBEARER")]
    assert wire.answer() == struct.pack(">hi", 0, 3) + b"".join(names)


@pytest.mark.parametrize("mechanism", ["plain", "GSSAPI", "", "x" * 5000])
def test_an_unknown_mechanism(wire: Wire, mechanism: str) -> None:
    assert wire.handshake(mechanism) == UNSUPPORTED_SASL_MECHANISM and wire.frame() is None


def test_bare_tokens(wire: Wire) -> None:
    """Handshake version 0: the answer to a good token is an empty frame."""
    assert wire.handshake("PLAIN", 0) == 0
    wire.raw(GOOD)
    assert wire.frame() == b"" and wire.metadata()


def test_a_bad_bare_token(wire: Wire) -> None:
    wire.handshake("PLAIN", 0)
    wire.raw(b"\0ann\0wrong")
    assert wire.frame() is None


def test_sasl_authenticate_after_handshake_0_is_a_token(wire: Wire) -> None:
    wire.handshake("PLAIN", 0)
    wire.send(AUTHENTICATE, 1, struct.pack(">i", len(GOOD)) + GOOD)
    assert wire.frame() is None


INVALID = "Authentication failed: Invalid username or password"


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (b"\0ann\0wrong", INVALID),
        (b"\0zoe\0ann-secret", INVALID),
        (b"\0ann\0ann-secret\0", "Invalid SASL/PLAIN response: expected 3 tokens, got 4"),
        (b"ann", "Invalid SASL/PLAIN response: expected 3 tokens, got 1"),
        (b"\0\0ann-secret", "Authentication failed: username not specified"),
        (b"\0ann\0", "Authentication failed: password not specified"),
        (b"bob\0ann\0ann-secret", "Authentication failed: Client requested an authorization id that is different from username"),
        (b"\0Ann\0ann-secret", INVALID),
        (b"\0ann \0ann-secret", INVALID),
    ],
)
def test_bad_plain_tokens(wire: Wire, token: bytes, message: str) -> None:
    wire.handshake("PLAIN")
    assert wire.authenticate(token) == (SASL_AUTHENTICATION_FAILED, message, b"", 0) and wire.frame() is None


def test_the_name_may_be_asked_for(wire: Wire) -> None:
    wire.handshake("PLAIN")
    assert wire.authenticate(b"ann\0ann\0ann-secret") == (0, None, b"", 0)


def test_another_request_in_the_place_of_a_token(wire: Wire) -> None:
    wire.handshake("PLAIN")
    wire.send(METADATA, 1, struct.pack(">i", 0))
    assert wire.answer() is not None and wire.frame() is None


def test_a_second_handshake_in_the_place_of_a_token(wire: Wire) -> None:
    wire.handshake("PLAIN")
    assert wire.handshake("PLAIN") == ILLEGAL_SASL_STATE and wire.frame() is None


@pytest.mark.parametrize("size", [-1, MAX_BYTES + 1])
@pytest.mark.parametrize("begun", [False, True])
def test_sizes(wire: Wire, size: int, begun: bool) -> None:
    if begun:
        wire.handshake("PLAIN", 0)
    wire.socket.sendall(struct.pack(">i", size))
    assert wire.frame() is None


def test_when_open(wire: Wire) -> None:
    """SaslAuthenticate and SaslHandshake get an error, and the connection stays open."""
    wire.handshake("PLAIN")
    wire.authenticate(GOOD)
    answer = wire.authenticate(b"\0bob\0bob-secret")
    assert answer is not None and answer[0] == ILLEGAL_SASL_STATE
    assert wire.handshake("PLAIN") == ILLEGAL_SASL_STATE and wire.metadata()


def test_on_a_listener_without_sasl(ports: dict[str, int]) -> None:
    wire = Wire(ports["OPEN"])
    answer = wire.authenticate(GOOD)
    assert answer is not None and answer[0] == ILLEGAL_SASL_STATE
    assert wire.handshake("PLAIN") == ILLEGAL_SASL_STATE and wire.metadata()


# -- sessions (KIP-368) --


def opened(ports: dict[str, int]) -> Wire:
    wire = Wire(ports["SHORT"])
    wire.handshake("PLAIN")
    answer = wire.authenticate(GOOD)
    assert answer is not None and answer[0] == 0 and answer[3] == 100_000
    return wire


def test_a_second_authentication_within_a_second(ports: dict[str, int]) -> None:
    wire = opened(ports)
    assert wire.handshake("PLAIN") == ILLEGAL_SASL_STATE and wire.metadata()


def again(wire: Wire, mechanism: str = "PLAIN") -> None:
    """A handshake of the open connection, when a second has passed."""
    code = wire.handshake(mechanism)
    while code == ILLEGAL_SASL_STATE:
        assert wire.metadata()
        code = wire.handshake(mechanism)
    assert code == 0


def test_a_session_is_prolonged(ports: dict[str, int]) -> None:
    wire = opened(ports)
    again(wire)
    answer = wire.authenticate(GOOD)
    assert answer is not None and (answer[0], answer[3]) == (0, 100_000) and wire.metadata()


def test_another_user_may_not_take_the_session_over(ports: dict[str, int]) -> None:
    wire = opened(ports)
    again(wire)
    message = "Cannot change principals during re-authentication from User.ann: User.bob"
    assert wire.authenticate(b"\0bob\0bob-secret") == (SASL_AUTHENTICATION_FAILED, message, b"", 0) and wire.frame() is None


def test_another_mechanism_may_not_prolong_the_session(ports: dict[str, int]) -> None:
    """The handshake says 0, and the next frame closes."""
    wire = opened(ports)
    again(wire, "SCRAM-SHA-256")
    assert wire.authenticate(b"n,,n=ann,r=x") is None


# -- SCRAM --


def proof(password: str, first: str, server_first: str) -> str:
    found = re.fullmatch(r"r=(.*),s=(.*),i=(\d+)", server_first)
    assert found is not None
    without = f"c=biws,r={found[1]}"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), b64decode(found[2]), int(found[3]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client_key).digest()
    signature = hmac.digest(stored, f"{first},{server_first},{without}".encode(), "sha256")
    return f"{without},p={b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()}"


def make_user(ports: dict[str, int]) -> None:
    """Creates carl with the password "carl-secret"."""
    salt, iterations = b"0123456789abcdef", 4096
    salted = hashlib.pbkdf2_hmac("sha256", b"carl-secret", salt, iterations)
    body = b"\x01\x02" + bytes([5]) + b"carl" + b"\x01" + struct.pack(">i", iterations)
    body += bytes([len(salt) + 1]) + salt + bytes([len(salted) + 1]) + salted + b"\0\0"
    wire = Wire(ports["OPEN"])
    wire.send(ALTER_SCRAM, 0, body)
    assert wire.answer() is not None


@pytest.mark.parametrize(("user", "password", "error"), [("carl", "carl-secret", 0), ("carl", "x", 58), ("zoe", "carl-secret", 58)])
def test_scram(ports: dict[str, int], wire: Wire, user: str, password: str, error: int) -> None:
    """An unknown user fails at the end only, as a wrong password does."""
    make_user(ports)
    wire.handshake("SCRAM-SHA-256")
    first = f"n={user},r=fyko+d2lbbFgONRv9qkxdawL"
    answer = wire.authenticate(f"n,,{first}".encode())
    assert answer is not None and answer[0] == 0
    answer = wire.authenticate(proof(password, first, answer[2].decode()).encode())
    assert answer is not None and answer[0] == error
    if error:
        text = "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256"
        assert answer[1] == text and wire.frame() is None
    else:
        assert answer[2].startswith(b"v=") and wire.metadata()


def test_a_proof_is_of_one_connection(ports: dict[str, int]) -> None:
    make_user(ports)
    first = "n=carl,r=fyko+d2lbbFgONRv9qkxdawL"
    one, two = Wire(ports["SASL"]), Wire(ports["SASL"])
    for each in (one, two):
        each.handshake("SCRAM-SHA-256")
    answer = one.authenticate(f"n,,{first}".encode())
    assert answer is not None
    stolen = proof("carl-secret", first, answer[2].decode())
    assert two.authenticate(f"n,,{first}".encode()) is not None
    answer = two.authenticate(stolen.encode())
    assert answer is not None and answer[0] == SASL_AUTHENTICATION_FAILED
    answer = one.authenticate(stolen.encode())
    assert answer is not None and answer[0] == 0


def test_a_rejected_oauth_token_gets_a_challenge(wire: Wire) -> None:
    wire.handshake("OAUTHBEARER")
    answer = wire.authenticate(b"n,,\x01auth=Bearer a.b.c\x01\x01")
    assert answer is not None and answer[0] == 0 and b"invalid_token" in answer[2]
    answer = wire.authenticate(b"\x01")
    assert answer is not None and answer[0] == SASL_AUTHENTICATION_FAILED and wire.frame() is None


def test_no_secret_is_logged(ports: dict[str, int], tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config: dict[str, object] = {
        "listeners": f"SASL_PLAINTEXT://127.0.0.1:{port}",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{PLAIN_MODULE} required user_ann="canary-1";',
    }
    broker = Broker(config, folder=tmp_path)
    broker.port = port
    with broker:
        for token in (b"\0ann\0canary-2", b"\0ann\0canary-1", b"canary-3"):
            wire = Wire(port)
            wire.handshake("PLAIN")
            wire.authenticate(token)
        assert "authentication failed client=127.0.0.1 mechanism=PLAIN" in broker.log_text()
        assert "canary" not in broker.log_text()
