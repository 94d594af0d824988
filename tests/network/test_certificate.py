"""Users of client certificates on the reactors: who is asked, what waits meanwhile, and what a refusal does."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest_network import COLD, ECHO, Client, Harness, frame
from cryptography import x509

from kafka_cy.network.control_request import ControlRequest
from kafka_cy.network.tls import TlsContext
from kafka_cy.telemetry import reactor_numbers
from tests.certificates import Authority
from tests.waiting import wait_until

AUTHENTICATION_QUEUE = 3
Make = Callable[..., Harness]
pytestmark = pytest.mark.parametrize("harness", ["TLS"], indirect=True)


def subject(certificate: Path) -> bytes:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).subject.public_bytes()


class Named:
    """A listener that requests certificates. `name` answers who somebody is; None refuses; "hold" keeps the question."""

    def __init__(self, made: Harness, authority: Authority) -> None:
        self.made, self.authority = made, authority
        self.name: Callable[[bytes], str | None] = lambda subject: "alice"
        self.asked: list[bytes] = []
        self.held: list[ControlRequest] = []
        self.users: list[str | None] = []
        self.clients: list[Client] = []
        self.is_stopping = False
        made.answer = self._cold
        context = TlsContext()
        context.use_pem(authority.broker.read_bytes(), authority.broker.read_bytes())
        context.trust_pem(authority.trusted.read_bytes())
        context.ask_clients(False)
        made.server.set_transport(0, context)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _cold(self, request: ControlRequest) -> None:
        self.users.append(request.principal)
        request.respond(b"cold")

    def _run(self) -> None:
        while not self.is_stopping:
            questions = self.made.server.take_requests(1.0, AUTHENTICATION_QUEUE)
            while questions:
                self._answer(questions.pop(0))  # keep no reference here: a dropped question must close its connection

    def _answer(self, question: ControlRequest) -> None:
        question.begin()
        assert question.is_question and question.api_key == -1 and question.client_host == "127.0.0.1"
        self.asked.append(question.body)
        name = self.name(question.body)
        if name == "hold":
            self.held.append(question)
        elif name is None:
            question.close("no")
        else:
            question.respond(name.encode())

    def tls(self, certificate: Path | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority.trusted)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    def client(self, certificate: Path | None) -> Client:
        self.clients.append(Client(self.made.port, self.tls(certificate)))
        return self.clients[-1]

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.is_stopping = True
        self.made.server.wake(AUTHENTICATION_QUEUE)
        self.thread.join()
        self.held.clear()


@pytest.fixture
def make(harness: Make, authority: Authority) -> Iterator[Callable[..., Named]]:
    made: list[Named] = []

    def named(**limits: int) -> Named:
        made.append(Named(harness(1, names_certificates=True, **limits), authority))
        return made[-1]

    yield named
    for each in made:
        each.stop()


@pytest.fixture
def named(make: Callable[..., Named]) -> Named:
    return make()


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Path:
    return authority.issue("alice.example.org", common_name="alice")


def authenticated(made: Harness) -> tuple[int, int]:
    """How many connections have authenticated, and how many have failed."""
    (numbers,) = reactor_numbers.reactors(made.server)
    return sum(numbers.authenticated), sum(numbers.authentication_failed)


def test_the_user_of_a_certificate(named: Named, certificate: Path) -> None:
    client = named.client(certificate)
    assert named.asked == []  # without a request, nobody is asked
    for _ in range(3):
        assert client.ask(COLD) == b"cold"
    assert named.asked == [subject(certificate)] and named.users == ["alice"] * 3
    assert client.ask(ECHO, b"hot") == b"hot"
    assert authenticated(named.made) == (1, 0)


def test_nobody_without_a_certificate_is_asked_about(named: Named) -> None:
    assert named.client(None).ask(COLD) == b"cold"
    assert named.asked == [] and named.users == [None] and authenticated(named.made) == (1, 0)


@pytest.mark.parametrize("name", ["", "ü" * 5000, "a\0b"])
def test_names_of_any_kind(named: Named, certificate: Path, name: str) -> None:
    named.name = lambda _: name
    assert named.client(certificate).ask(COLD) == b"cold"
    assert named.users == [name]


def test_requests_wait_for_the_name_and_keep_their_order(named: Named, certificate: Path) -> None:
    named.name = lambda _: "hold"
    client = named.client(certificate)
    large = bytes(300_000)
    client.send(b"".join(frame(ECHO, b"%d" % i, correlation_id=i) for i in range(50)) + frame(ECHO, large, correlation_id=50))
    wait_until(lambda: bool(named.held), "the question")
    assert named.client(None).ask(ECHO, b"other") == b"other"  # others do not wait
    client.send(frame(COLD, correlation_id=51))
    named.held.pop().respond(b"bob")
    assert [client.receive() for _ in range(50)] == [(i, b"%d" % i) for i in range(50)]
    assert client.receive() == (50, large) and client.receive() == (51, b"cold")
    assert named.users == ["bob"] and len(named.asked) == 1


def test_who_has_no_name_is_closed(named: Named, certificate: Path) -> None:
    named.name = lambda _: None
    client = named.client(certificate)
    client.send(frame(COLD) + frame(ECHO, b"x"))
    assert client.closed_by_server() and named.users == []
    named.made.wait_for_counter("closed_bad", 1)
    assert authenticated(named.made) == (0, 1) and named.made.log() == []  # the loop has told the reason
    named.name = lambda _: "alice"
    assert named.client(certificate).ask(COLD) == b"cold"


def test_a_question_that_is_dropped_closes_the_connection(named: Named, certificate: Path) -> None:
    named.name = lambda _: "hold"
    client = named.client(certificate)
    client.send(frame(COLD))
    wait_until(lambda: bool(named.held), "the question")
    named.held.clear()
    assert client.closed_by_server() and authenticated(named.made) == (0, 1)


def test_a_client_that_leaves_before_the_answer(named: Named, certificate: Path) -> None:
    named.name = lambda _: "hold"
    leaving = [named.client(certificate) for _ in range(20)]
    for client in leaving:
        client.send(frame(COLD) + struct.pack(">i", 100) + b"part")
    wait_until(lambda: len(named.held) == 20, "the questions")
    for number, client in enumerate(leaving):
        if number % 2:  # with a reset
            client.socket.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    for question in named.held[:10]:
        question.respond(b"late")
    named.held.clear()
    named.made.wait_for_counter("connections", 0)
    named.name = lambda _: "alice"
    assert named.client(certificate).ask(ECHO, b"x") == b"x"


def test_the_queue_of_questions_has_a_limit(make: Callable[..., Named], certificate: Path) -> None:
    """Those that find it full wait, and are asked about later."""
    named = make(queued_requests_max=2)
    gate = threading.Event()

    def slow(_: bytes) -> str:
        gate.wait(60)
        return "alice"

    named.name = slow
    clients = [named.client(certificate) for _ in range(8)]
    for client in clients:
        client.send(frame(COLD))
    assert named.client(None).ask(ECHO, b"other") == b"other"
    gate.set()
    assert [client.receive()[1] for client in clients] == [b"cold"] * 8
    assert named.users == ["alice"] * 8 and len(named.asked) == 8


def test_a_resumed_session_has_the_same_certificate(named: Named, certificate: Path) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        named.asked.clear()
        context = named.tls(certificate)
        context.minimum_version = context.maximum_version = version
        session: ssl.SSLSession | None = None
        for turn in range(2):
            plain = socket.create_connection(("127.0.0.1", named.made.port), timeout=60)
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as tls:
                tls.sendall(frame(COLD))
                assert tls.recv(100).endswith(b"cold")
                assert tls.session_reused == bool(turn), version
                session = tls.session
        assert named.asked == [subject(certificate)] * 2


def test_a_name_that_is_too_long(named: Named) -> None:
    """OpenSSL takes certificates of 100 KB."""
    authority = named.authority
    unit = x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "x" * 60)
    long = authority.issue_to(x509.Name([unit] * 80))
    client = named.client(long)
    client.send(frame(COLD))
    assert client.closed_by_server() and named.asked == []
    wait_until(lambda: authenticated(named.made) == (0, 1), "the failure")
    assert named.made.log() == ["closed: the subject of its certificate has more than 4096 bytes"]
    assert len(subject(long)) > 4096


def test_the_listener_need_not_ask(harness: Make, authority: Authority, certificate: Path) -> None:
    named = Named(harness(1), authority)
    try:
        assert named.client(certificate).ask(COLD) == b"cold"
        assert named.asked == [] and named.users == [None]
    finally:
        named.stop()
