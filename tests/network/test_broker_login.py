"""SASL of connections to other brokers: the order of requests, refusals, sessions that end."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Generator, Iterator

import pytest

from kafka_cy.network.broker_connection import BrokerConnection, BrokerConnectionError, logins_failed_so_far
from kafka_cy.network.broker_login import BrokerLogin
from tests.network.test_broker_client import NO_PAUSE, Peer
from tests.waiting import wait_until

ECHO, HANDSHAKE, AUTHENTICATE = 100, 17, 36


def string(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


class Guarded:
    """A broker that lets "token 1" and "token 2" in."""

    def __init__(self) -> None:
        self.handshake = struct.pack(">hi", 0, 1) + string("TEST")
        self.answers: list[bytes] = [self.accepts(b"challenge"), self.accepts(b"")]
        self.lifetime_ms = 0
        self.steps: list[tuple[int, bytes]] = []  # API key and body
        self.given = 0
        self.peer = Peer(self._respond)

    def accepts(self, challenge: bytes, lifetime_ms: int = 0) -> bytes:
        return struct.pack(">hhi", 0, -1, len(challenge)) + challenge + struct.pack(">q", lifetime_ms)

    def _respond(self, frame: bytes) -> bytes | None:
        api_key, version, correlation_id, size = struct.unpack_from(">hhih", frame)
        self.steps.append((api_key, frame[10 + size :]))
        if api_key == HANDSHAKE:
            assert version == 1
            body = self.handshake
            self.given = 0
        elif api_key == AUTHENTICATE:
            assert version == 1
            body = self.answers[self.given]
            self.given += 1
        else:
            body = b"echo"
        return None if body == b"close" else struct.pack(">i", correlation_id) + body

    def api_keys(self) -> list[int]:
        return [api_key for api_key, _ in self.steps]


class Login:
    """Two tokens; it is content with the second answer unless `problem` is raised."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.problem: Exception | None = None
        self.answers: list[bytes] = []
        self.hosts: list[str] = []
        self.is_ready = threading.Event()
        self.is_ready.set()
        self.waits = 0

    def begin(self, host: str) -> Generator[bytes | None, bytes, None]:
        self.begun += 1
        self.hosts.append(host)
        try:
            while not self.is_ready.is_set():
                self.waits += 1
                yield None
            self.answers.append((yield b"token 1"))
            self.answers.append((yield b"token 2"))
            if self.problem is not None:
                raise self.problem
        finally:
            self.ended += 1


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


@pytest.fixture
def login() -> Login:
    return Login()


@pytest.fixture
def connection(guarded: Guarded, login: Login) -> Iterator[BrokerConnection]:
    transport = BrokerLogin("TEST", login.begin)
    made = BrokerConnection("127.0.0.1", guarded.peer.port, "me", transport.transport, **NO_PAUSE)
    with contextlib.closing(made):
        yield made
    assert login.ended == login.begun, "each conversation ends"
    del transport


def ask(connection: BrokerConnection) -> bytes:
    return connection.request(ECHO, 0, b"x", flexible=False, flexible_response=False)


def test_it_logs_in_once_for_each_connection(guarded: Guarded, login: Login, connection: BrokerConnection) -> None:
    assert [ask(connection) for _ in range(3)] == [b"echo"] * 3
    token = [struct.pack(">i", 7) + b"token %d" % number for number in (1, 2)]
    assert guarded.steps == [(HANDSHAKE, string("TEST")), *((AUTHENTICATE, each) for each in token), *[(ECHO, b"x")] * 3]
    assert login.answers == [b"challenge", b""] and login.hosts == ["127.0.0.1"]
    connection.close()
    assert ask(connection) == b"echo" and login.begun == 2


def refused(connection: BrokerConnection) -> str:
    failed = logins_failed_so_far()
    with pytest.raises(BrokerConnectionError) as raised:
        ask(connection)
    assert raised.value.kind == "not logged in" and logins_failed_so_far() == failed + 1
    return str(raised.value).partition(": ")[2]


def test_refusals_are_told_and_the_next_request_tries_again(
    guarded: Guarded, login: Login, connection: BrokerConnection
) -> None:
    guarded.handshake = struct.pack(">hi", 33, 0)
    assert refused(connection) == "the login with TEST was refused: error 33 (SaslHandshake)"
    guarded.handshake = struct.pack(">hi", 0, 0)
    good = guarded.answers
    guarded.answers = [struct.pack(">h", 58) + string("Authentication failed") + struct.pack(">iq", 0, 0)]
    assert refused(connection) == "the login with TEST was refused: error 58 Authentication failed"
    guarded.answers = [struct.pack(">hhiq", 58, -1, 0, 0)]
    assert refused(connection) == "the login with TEST was refused: error 58 "
    guarded.answers = [struct.pack(">h", 58) + string("x" * 5000) + struct.pack(">iq", 0, 0)]
    assert refused(connection).endswith("x" * 120)
    guarded.answers = good
    assert ECHO not in guarded.api_keys() and ask(connection) == b"echo"


@pytest.mark.parametrize(
    ("problem", "text"), [(ValueError("the other side does not know it"), "the other side does not know it"),
                          (ArithmeticError("canary"), "ArithmeticError")],
)  # fmt: skip
def test_this_side_refuses(
    guarded: Guarded, login: Login, connection: BrokerConnection, problem: Exception, text: str
) -> None:
    login.problem = problem
    assert refused(connection) == f"the login with TEST failed: {text}"
    assert ECHO not in guarded.api_keys()


def test_a_token_that_is_too_long(guarded: Guarded) -> None:
    def begin(host: str) -> Generator[bytes, bytes, None]:
        yield b"x" * 65537

    transport = BrokerLogin("TEST", begin)
    with contextlib.closing(BrokerConnection("127.0.0.1", guarded.peer.port, "me", transport.transport)) as connection:
        assert refused(connection) == "the login with TEST failed: the message of this broker is too long"


def test_a_large_token(guarded: Guarded) -> None:
    def begin(host: str) -> Generator[bytes, bytes, None]:
        yield b"x" * 65536

    transport = BrokerLogin("TEST", begin)
    with contextlib.closing(BrokerConnection("127.0.0.1", guarded.peer.port, "me", transport.transport)) as connection:
        assert ask(connection) == b"echo" and guarded.steps[1] == (AUTHENTICATE, struct.pack(">i", 65536) + b"x" * 65536)


def test_a_login_that_waits_for_a_ticket(guarded: Guarded, login: Login, connection: BrokerConnection) -> None:
    login.is_ready.clear()
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(ask(connection)))
    thread.start()
    wait_until(lambda: login.waits > 2, "it asks again")
    assert guarded.api_keys() == [HANDSHAKE]
    login.is_ready.set()
    thread.join()
    assert answers == [b"echo"] and login.answers == [b"challenge", b""]


def test_a_ticket_that_does_not_come(guarded: Guarded, login: Login) -> None:
    login.is_ready.clear()
    transport = BrokerLogin("TEST", login.begin)
    made = BrokerConnection("127.0.0.1", guarded.peer.port, "me", transport.transport, **(NO_PAUSE | {"timeout_ms": 50}))
    with contextlib.closing(made):
        assert refused(made) == "the login with TEST failed: there was no ticket in time"
    assert login.ended == 1


def test_who_waits_for_a_ticket_can_be_stopped(guarded: Guarded, login: Login, connection: BrokerConnection) -> None:
    login.is_ready.clear()
    problems: list[str] = []

    def call() -> None:
        try:
            ask(connection)
        except BrokerConnectionError as error:
            problems.append(error.kind)

    thread = threading.Thread(target=call)
    thread.start()
    wait_until(lambda: login.waits > 2, "it asks again")
    connection.interrupt()
    thread.join()
    assert problems == ["stopped"]


@pytest.mark.parametrize("answer", [b"", b"\0", struct.pack(">hhi", 0, -1, 1000), struct.pack(">hhi", 0, 30000, 1)])
def test_a_malformed_answer_ends_the_connection(guarded: Guarded, connection: BrokerConnection, answer: bytes) -> None:
    guarded.answers[0] = answer
    with pytest.raises(BrokerConnectionError) as raised:
        ask(connection)
    assert raised.value.kind == "confused"


@pytest.mark.parametrize("step", ["handshake", "token"])
def test_a_broker_that_closes(guarded: Guarded, connection: BrokerConnection, step: str) -> None:
    if step == "handshake":
        guarded.handshake = b"close"
    else:
        guarded.answers[1] = b"close"
    with pytest.raises(BrokerConnectionError) as raised:
        ask(connection)
    assert raised.value.kind == "closed"


def test_it_logs_in_again_before_the_session_ends(guarded: Guarded, login: Login, connection: BrokerConnection) -> None:
    """KIP-368, on the same connection."""
    guarded.answers = [guarded.accepts(b"challenge"), guarded.accepts(b"", lifetime_ms=1)]
    assert ask(connection) == b"echo"
    guarded.answers[1] = guarded.accepts(b"", lifetime_ms=10**12)
    while login.begun == 1:  # until 0.85 ms are over
        assert ask(connection) == b"echo"
    assert ask(connection) == b"echo" and login.begun == 2 and guarded.peer.connections == 1
    assert guarded.api_keys()[-5:] == [HANDSHAKE, AUTHENTICATE, AUTHENTICATE, ECHO, ECHO]


@pytest.mark.parametrize("lifetime_ms", [(1 << 63) - 1, 1 << 62, 1 << 40])
def test_a_session_of_any_length(guarded: Guarded, login: Login, connection: BrokerConnection, lifetime_ms: int) -> None:
    """A lifetime of billions of years in nanoseconds does not fit into 64 bits, and is not over at once."""
    guarded.answers[1] = guarded.accepts(b"", lifetime_ms=lifetime_ms)
    assert [ask(connection) for _ in range(3)] == [b"echo"] * 3 and login.begun == 1


def test_who_fails_is_not_asked_in_a_loop(guarded: Guarded) -> None:
    guarded.answers = [struct.pack(">hhiq", 58, -1, 0, 0)]
    transport = BrokerLogin("TEST", Login().begin)
    connection = BrokerConnection(
        "127.0.0.1", guarded.peer.port, "me", transport.transport, backoff_min_ms=60_000, backoff_max_ms=60_000
    )
    with contextlib.closing(connection):
        refused(connection)
        with pytest.raises(BrokerConnectionError, match="error 58") as raised:
            ask(connection)
        assert raised.value.kind == "backing off" and guarded.peer.connections == 1
