"""The order of requests on a connection that has to authenticate, and what it may cost before that."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kafka_cy.network.control_request import ControlRequest
from kafka_cy.network.server import Server
from kafka_cy.telemetry import reactor_numbers
from tests.waiting import wait_until

from .conftest_network import COLD, ECHO, Client, frame

HANDSHAKE, API_VERSIONS, AUTHENTICATE = 17, 18, 36
FIRST, TOKENS, RAW, OPEN, FAILED = 1, 2, 3, 4, 5
REQUEST, RAW_TOKEN, ILLEGAL = 1, 2, 3
TOKEN_BYTES_MAX = 1000
REQUEST_BYTES_MAX = 100_000
FAR_NS = 1 << 61
AUTHENTICATION_QUEUE = 3
APIS = [(ECHO, 0, 9, 5), (COLD, 0, 9, 5), (API_VERSIONS, 0, 4, 3), (HANDSHAKE, 0, 1, None), (AUTHENTICATE, 0, 2, 2)]


class Loop:
    """A thread on one of the server's queues."""

    def __init__(self, server: Server, queue: int, answer: Callable[[ControlRequest], None]) -> None:
        self.server, self.queue, self.answer = server, queue, answer
        self.is_stopping = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.is_stopping:
            requests = self.server.take_requests(1.0, self.queue)
            while requests:
                self.answer(requests.pop(0))

    def stop(self) -> None:
        self.is_stopping = True
        self.server.wake(self.queue)
        self.thread.join()


class Guarded:
    """A listener with SASL. A handshake is answered with its body; a token is the name of the user, and "no" fails."""

    def __init__(self, *, timeout_ms: int = 30_000, connections_max: int = 100, **limits: Any) -> None:
        self.server = Server(1, **limits)
        self.port = self.server.listen(0, "SASL", "127.0.0.1", 0)
        self.server.set_api_versions(APIS)
        self.server.set_authentication(0, TOKEN_BYTES_MAX)
        self.server.set_authentication_limits(timeout_ms, connections_max)
        self.users: list[str | None] = []  # of COLD requests
        self.asked: list[tuple[int, ...]] = []
        self.expires_ns = 0
        self.held: list[ControlRequest] | None = None  # a list: steps are not answered but kept there
        self.clients: list[Client] = []
        self.server.start()
        self.loops = [Loop(self.server, 0, self._cold), Loop(self.server, AUTHENTICATION_QUEUE, self.authenticate)]

    def _cold(self, request: ControlRequest) -> None:
        if request.api_key != API_VERSIONS:  # reactors answer it, if an earlier test has registered their handlers
            self.users.append(request.principal)
        request.respond(b"cold")

    def authenticate(self, request: ControlRequest) -> None:
        step, state, authenticated_ns, mechanism = request.authentication
        self.asked.append((request.api_key, step, state, mechanism))
        if self.held is not None:
            self.held.append(request)
        elif step == ILLEGAL:
            request.authenticate(FAILED)
            request.respond(b"illegal")
        elif request.api_key == HANDSHAKE:
            request.authenticate(TOKENS if request.api_version else RAW)
            request.respond(request.body)
        elif request.body == b"close":
            request.close("no")
        elif request.body == b"no":
            request.authenticate(FAILED)
            request.respond(b"failed")
        elif request.body.startswith(b"more"):
            request.authenticate(state)
            request.respond(b"challenge")
        else:
            assert bool(authenticated_ns) == (request.principal is not None)
            request.authenticate(OPEN, request.body.decode(), self.expires_ns, 4)
            request.respond(b"welcome")

    def client(self) -> Client:
        self.clients.append(Client(self.port))
        return self.clients[-1]

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        for loop in self.loops:
            loop.stop()
        if self.held is not None:
            self.held.clear()
        self.server.stop(1.0)

    def log(self) -> list[str]:
        return [event.message for event in self.server.take_log_events()]


@pytest.fixture
def guarded(probe: Any) -> Iterator[Guarded]:
    started = Guarded()
    yield started
    started.stop()


def log_in(client: Client, name: bytes = b"ann") -> None:
    assert client.ask(HANDSHAKE, b"PLAIN", version=1) == b"PLAIN"
    assert client.ask(AUTHENTICATE, name) == b"welcome"


def raw_token(token: bytes) -> bytes:
    return struct.pack(">i", len(token)) + token


def receive_raw(client: Client) -> bytes:
    (size,) = struct.unpack(">i", client.read(4))
    return client.read(size)


def test_every_request_is_served_after_the_tokens(guarded: Guarded) -> None:
    client = guarded.client()
    assert client.ask(HANDSHAKE, b"PLAIN", version=1) == b"PLAIN"
    assert client.ask(AUTHENTICATE, b"more 1") == b"challenge"
    assert client.ask(AUTHENTICATE, b"ann") == b"welcome"
    assert client.ask(ECHO, b"hot") == b"hot"
    assert client.ask(COLD) == b"cold"
    assert guarded.users == ["ann"]
    assert guarded.asked == [(HANDSHAKE, REQUEST, FIRST, 0), *[(AUTHENTICATE, REQUEST, TOKENS, 0)] * 2]


def test_everything_in_one_packet(guarded: Guarded) -> None:
    """What follows a handshake or a token waits for its response."""
    client = guarded.client()
    client.send(
        frame(HANDSHAKE, b"PLAIN", version=1, correlation_id=1) + frame(AUTHENTICATE, b"more", correlation_id=2)
        + frame(AUTHENTICATE, b"bob", correlation_id=3) + frame(ECHO, b"x", correlation_id=4) + frame(COLD, correlation_id=5)
    )  # fmt: skip
    answers = [client.receive() for _ in range(5)]
    assert answers == [(1, b"PLAIN"), (2, b"challenge"), (3, b"welcome"), (4, b"x"), (5, b"cold")]
    assert guarded.users == ["bob"]


def test_bare_tokens(guarded: Guarded) -> None:
    """SaslHandshake version 0; the last token has an empty answer in Kafka, here another one."""
    client = guarded.client()
    assert client.ask(HANDSHAKE, b"GSSAPI", version=0) == b"GSSAPI"
    client.send(raw_token(b"more") + raw_token(b"ann") + frame(COLD))
    assert (receive_raw(client), receive_raw(client)) == (b"challenge", b"welcome")
    assert client.receive()[1] == b"cold" and guarded.users == ["ann"]
    assert guarded.asked[1:] == [(AUTHENTICATE, RAW_TOKEN, RAW, 0)] * 2


def test_an_empty_bare_token_is_one(guarded: Guarded) -> None:
    client = guarded.client()
    client.ask(HANDSHAKE, b"GSSAPI", version=0)
    client.send(raw_token(b""))
    assert receive_raw(client) == b"welcome"


def test_bare_tokens_in_single_bytes(guarded: Guarded) -> None:
    client = guarded.client()
    client.ask(HANDSHAKE, b"GSSAPI", version=0)
    for byte in raw_token(b"more" + b"x" * 100):
        client.send(bytes([byte]))
    assert receive_raw(client) == b"challenge"


@pytest.mark.parametrize("api_key", [ECHO, COLD, AUTHENTICATE])
def test_other_requests_first_close_without_an_answer(guarded: Guarded, api_key: int) -> None:
    client = guarded.client()
    client.send(frame(api_key, b"x"))
    assert client.closed_by_server() and guarded.asked == [] and guarded.users == []
    assert guarded.log() == ["a request before authentication"]


def test_api_versions_is_answered_once(guarded: Guarded) -> None:
    """Version 9 is too new: it is answered with UNSUPPORTED_VERSION, and the client asks again."""
    client = guarded.client()
    assert client.ask(API_VERSIONS, version=9) is not None
    assert client.ask(API_VERSIONS) is not None
    client.send(frame(API_VERSIONS))
    assert client.closed_by_server() and guarded.log() == ["a second ApiVersions request before authentication"]


@pytest.mark.parametrize(
    "refused", [frame(ECHO, b"x"), frame(API_VERSIONS), struct.pack(">i", -1), raw_token(bytes(3)), raw_token(b"\0\x63" + bytes(8))]
)
def test_api_versions_is_answered_before_what_is_refused(guarded: Guarded, refused: bytes) -> None:
    """Although both came in one packet: Kafka handles one request after another."""
    client = guarded.client()
    client.send(frame(API_VERSIONS, correlation_id=5) + refused + frame(HANDSHAKE, b"PLAIN", version=1))
    assert client.receive()[0] == 5
    assert client.closed_by_server() and guarded.asked == []
    assert len(guarded.log()) == 1


def test_time_to_authenticate_after_what_is_refused(probe: Any) -> None:
    """The control plane does not answer what came before, so the connection would stay. It is counted once."""
    guarded = Guarded(timeout_ms=300)
    try:
        guarded.loops.pop(0).stop()
        client = guarded.client()
        client.send(frame(API_VERSIONS) + frame(ECHO, b"x"))
        while not client.closed_by_server():
            pass  # reactors answer it, if an earlier test has registered their handlers
        wait_until(lambda: guarded.server.counters()["connections"] == 0, "the end")
        assert guarded.log() == ["a request before authentication"]
        assert guarded.server.counters()["closed_bad"] == 1
        (numbers,) = reactor_numbers.reactors(guarded.server)
        assert sum(numbers.authentication_failed) == 1
    finally:
        guarded.stop()


@pytest.mark.parametrize("api_key", [ECHO, COLD, API_VERSIONS, HANDSHAKE])
def test_other_requests_in_the_place_of_a_token(guarded: Guarded, api_key: int) -> None:
    client = guarded.client()
    client.ask(HANDSHAKE, b"PLAIN", version=1)
    client.send(frame(api_key, b"x") + frame(ECHO))
    assert client.receive()[1] == b"illegal" and client.closed_by_server()
    assert guarded.asked[1:] == [(api_key, ILLEGAL, TOKENS, 0)] and guarded.users == []


@pytest.mark.parametrize("token", [b"no", b"close"])
def test_nothing_is_served_after_a_failure(guarded: Guarded, token: bytes) -> None:
    client = guarded.client()
    client.ask(HANDSHAKE, b"PLAIN", version=1)
    client.send(frame(AUTHENTICATE, token) + frame(AUTHENTICATE, b"ann") + frame(COLD))
    if token == b"no":
        assert client.receive()[1] == b"failed"
    assert client.closed_by_server() and guarded.users == [] and len(guarded.asked) == 2


@pytest.mark.parametrize("size", [-1, TOKEN_BYTES_MAX + 1, 1 << 30])
@pytest.mark.parametrize("begun", [False, True])
def test_frames_of_a_wrong_size_are_refused_before_they_are_read(guarded: Guarded, size: int, begun: bool) -> None:
    client = guarded.client()
    if begun:
        client.ask(HANDSHAKE, b"GSSAPI", version=0)
    client.send(struct.pack(">i", size))
    assert client.closed_by_server()


@pytest.mark.parametrize("size", range(8))
def test_frames_without_a_whole_header(guarded: Guarded, size: int) -> None:
    client = guarded.client()
    client.send(raw_token(bytes(size)) + bytes(8))
    assert client.closed_by_server() and guarded.asked == []


def test_tls_and_http_are_named(guarded: Guarded) -> None:
    for greeting, word in ((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03", "TLS"), (b"GET / HTTP/1.1\r\n\r\n", "HTTP")):
        client = guarded.client()
        client.send(greeting)
        assert client.closed_by_server() and word in guarded.log()[0]


def test_large_requests_are_served_when_open(guarded: Guarded) -> None:
    client = guarded.client()
    log_in(client)
    assert client.ask(ECHO, b"x" * 10 * TOKEN_BYTES_MAX) == b"x" * 10 * TOKEN_BYTES_MAX


@pytest.mark.parametrize("expires", [False, True])
@pytest.mark.parametrize("length", [-1, 2, REQUEST_BYTES_MAX + 1, 1 << 30])
@pytest.mark.parametrize("sent", [4, 6])
def test_lengths_are_checked_when_open(probe: Any, expires: bool, length: int, sent: int) -> None:
    """Before the request is read, also if the session expires."""
    guarded = Guarded(request_max_bytes=REQUEST_BYTES_MAX)
    try:
        guarded.expires_ns = FAR_NS if expires else 0
        client = guarded.client()
        log_in(client)
        client.send((struct.pack(">i", length) + bytes(4))[:sent])
        assert client.closed_by_server()
    finally:
        guarded.stop()


def test_a_request_before_authentication_is_not_read_to_its_end(guarded: Guarded) -> None:
    client = guarded.client()
    client.send(frame(ECHO, b"x" * 500)[:12])
    assert client.closed_by_server() and guarded.log() == ["a request before authentication"]


def test_handshake_and_token_when_open_go_to_the_usual_loop(guarded: Guarded) -> None:
    client = guarded.client()
    log_in(client)
    assert client.ask(HANDSHAKE, b"PLAIN", version=1) == b"cold" and client.ask(AUTHENTICATE, b"eve") == b"cold"
    assert guarded.users == ["ann", "ann"]


# -- sessions that expire (KIP-368) --


def test_a_session_is_prolonged(guarded: Guarded) -> None:
    guarded.expires_ns = FAR_NS
    client = guarded.client()
    log_in(client)
    assert client.ask(COLD) == b"cold"
    assert client.ask(API_VERSIONS) is not None  # an ordinary request
    log_in(client)
    assert guarded.asked[2:] == [(HANDSHAKE, REQUEST, OPEN, 4), (AUTHENTICATE, REQUEST, TOKENS, 4)]
    assert client.ask(AUTHENTICATE, b"eve") == b"cold"  # without a handshake it is no step
    assert guarded.users == ["ann", "ann"]


def test_a_request_between_handshake_and_token_of_an_open_connection_ends_it(guarded: Guarded) -> None:
    guarded.expires_ns = FAR_NS
    client = guarded.client()
    log_in(client)
    client.ask(HANDSHAKE, b"PLAIN", version=1)
    client.send(frame(COLD))
    assert client.receive()[1] == b"illegal" and client.closed_by_server() and guarded.users == []


def test_what_came_before_the_end_of_a_session_is_answered(guarded: Guarded) -> None:
    guarded.expires_ns = 1
    client = guarded.client()
    client.send(b"".join((frame(HANDSHAKE, b"PLAIN", version=1), frame(AUTHENTICATE, b"ann"), frame(ECHO, b"x"))))
    assert client.receive()[1] == b"PLAIN" and client.receive()[1] == b"welcome"
    assert client.closed_by_server()


def test_an_expired_session_ends_with_its_next_request(guarded: Guarded) -> None:
    guarded.expires_ns = 1
    client, other = guarded.client(), guarded.client()
    log_in(client)
    log_in(other)
    client.send(frame(COLD))
    assert client.closed_by_server() and guarded.users == []
    guarded.expires_ns = FAR_NS
    log_in(other)  # only a handshake rescues
    assert other.ask(COLD) == b"cold" and guarded.users == ["ann"]


def test_a_failed_prolongation_ends_the_connection(guarded: Guarded) -> None:
    guarded.expires_ns = FAR_NS
    client = guarded.client()
    log_in(client)
    client.ask(HANDSHAKE, b"PLAIN", version=1)
    assert client.ask(AUTHENTICATE, b"no") == b"failed" and client.closed_by_server()


# -- limits --


def test_time_to_authenticate(probe: Any) -> None:
    guarded = Guarded(timeout_ms=300)
    try:
        quick = guarded.client()
        log_in(quick)
        slow = [guarded.client() for _ in range(3)]
        slow[1].ask(API_VERSIONS)
        slow[2].ask(HANDSHAKE, b"PLAIN", version=1)
        slow[2].send(struct.pack(">i", 100) + b"half")
        for client in slow:
            assert client.closed_by_server()
        assert set(guarded.log()) == {"closed: it did not authenticate within kafkacy.authentication.timeout.ms"}
        assert quick.ask(ECHO, b"x") == b"x"
    finally:
        guarded.stop()


def test_connections_that_have_not_authenticated_are_limited(probe: Any) -> None:
    guarded = Guarded(connections_max=2)
    try:
        opened = [guarded.client() for _ in range(2)]
        for client in opened:
            client.ask(API_VERSIONS)
        third = guarded.client()
        third.ask(API_VERSIONS)
        assert opened[0].closed_by_server()  # it had most time
        assert guarded.log() == ["closed: kafkacy.unauthenticated.connections.max is reached"]
        log_in(opened[1])
        fourth = guarded.client()
        fourth.ask(API_VERSIONS)
        assert third.ask(HANDSHAKE, b"PLAIN", version=1) == b"PLAIN"  # one has authenticated: there is room
        third.close()
        wait_until(lambda: guarded.server.counters()["connections"] == 2, "two connections")
        fifth = guarded.client()
        fifth.ask(API_VERSIONS)
        assert fourth.ask(HANDSHAKE, b"PLAIN", version=1) == b"PLAIN" and opened[1].ask(ECHO, b"x") == b"x"
    finally:
        guarded.stop()


def test_a_client_that_leaves_during_a_step(guarded: Guarded) -> None:
    guarded.held = []
    client = guarded.client()
    client.send(frame(HANDSHAKE, b"PLAIN", version=1))
    wait_until(lambda: guarded.held != [], "the handshake")
    client.close()
    wait_until(lambda: guarded.server.counters()["connections"] == 0, "the end of the connection")
    request = guarded.held.pop()
    assert request.connection_closed
    request.authenticate(OPEN, "ann")
    request.respond(b"late")
    del request
    guarded.held = None
    other = guarded.client()
    log_in(other)
    assert other.ask(COLD) == b"cold"


def test_the_loop_is_told_of_connections_that_have_closed(guarded: Guarded) -> None:
    """Of those that it has heard of, whatever became of them."""
    silent, begun, open_one = guarded.client(), guarded.client(), guarded.client()
    silent.ask(API_VERSIONS)
    begun.ask(HANDSHAKE, b"PLAIN", version=1)
    log_in(open_one)
    guarded.loops[1].stop()
    for client in (silent, begun, open_one):
        client.close()
    wait_until(lambda: guarded.server.counters()["connections"] == 0, "the end of the connections")
    assert guarded.server.take_requests(0.0, AUTHENTICATION_QUEUE) == []
    assert len(guarded.server.take_closed(AUTHENTICATION_QUEUE)) == 2


def test_steps_that_are_not_answered_when_the_server_stops(probe: Any) -> None:
    guarded = Guarded()
    guarded.held = []
    for _ in range(3):
        guarded.client().send(frame(HANDSHAKE, b"PLAIN", version=1))
    wait_until(lambda: len(guarded.held or ()) == 3, "the handshakes")
    guarded.stop()
