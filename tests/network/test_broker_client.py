"""The connection to another broker: framing, time-outs, back-off, interruption; plaintext and TLS."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kafka_cy.network.broker_connection import BrokerConnection, BrokerConnectionError
from kafka_cy.network.tls import TlsContext
from kafka_cy.network.tls_client import TlsClient, handshake_problem
from tests.certificates import Authority
from tests.waiting import wait_until

NO_PAUSE = {"backoff_min_ms": 0, "backoff_max_ms": 0}
Respond = Callable[[bytes], bytes | None]


class Peer:
    """Answers frames as a test says; None closes the connection."""

    def __init__(self, respond: Respond, tls: ssl.SSLContext | None = None) -> None:
        self.respond = respond
        self.tls = tls
        self.frames: list[bytes] = []
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with contextlib.suppress(OSError, EOFError), connection:
                if self.tls is not None:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                while self._one(connection):
                    pass
                connection.close()

    def _one(self, connection: socket.socket) -> bool:
        (size,) = struct.unpack(">i", exactly(connection, 4))
        frame = exactly(connection, size)
        self.frames.append(frame)
        response = self.respond(frame)
        if response is None:
            return False
        connection.sendall(struct.pack(">i", len(response)) + response)
        return True

    def close(self) -> None:
        self._socket.close()


def exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def echo(frame: bytes) -> bytes:
    """The correlation id, and what follows the client id "me"."""
    return frame[4:8] + frame[12:]


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer(echo)
    yield made
    made.close()


def ask(connection: BrokerConnection, body: bytes, *, flexible: bool = False) -> bytes:
    return connection.request(3, 12, body, flexible=flexible, flexible_response=False)


def test_frames(peer: Peer) -> None:
    connection = BrokerConnection("127.0.0.1", peer.port, "me")
    for number, body in enumerate([b"one", b"", b"x" * 3_000_000], 1):
        assert ask(connection, body) == body
        assert peer.frames[-1] == struct.pack(">hhih", 3, 12, number, 2) + b"me" + body
    assert ask(connection, b"four", flexible=True) == b"\0four"
    assert peer.connections == 1
    connection.close()
    assert ask(connection, b"five") == b"five"
    assert peer.connections == 2


def refused(connection: BrokerConnection) -> BrokerConnectionError:
    with pytest.raises(BrokerConnectionError) as failure:
        ask(connection, b"x")
    return failure.value


def test_the_tags_of_a_response_header() -> None:
    peer = Peer(lambda frame: frame[4:8] + b"\x01\x05\x02ab" + b"body")
    connection = BrokerConnection("127.0.0.1", peer.port, "me")
    assert connection.request(1, 12, b"", flexible=True, flexible_response=True) == b"body"
    peer.close()


@pytest.mark.parametrize(
    ("respond", "kind"),
    [
        (lambda frame: None, "closed"),
        (lambda frame: b"\0\0\0\x63" + b"of another request", "confused"),
        (lambda frame: frame[4:8] + bytes(2000), "confused"),  # larger than allowed
        (lambda frame: b"\0\0", "confused"),  # no header
    ],
)
def test_a_response_that_is_none(respond: Respond, kind: str) -> None:
    peer = Peer(respond)
    connection = BrokerConnection("127.0.0.1", peer.port, "me", response_bytes_max=1000, backoff_min_ms=0, backoff_max_ms=0)
    failure = refused(connection)
    assert failure.kind == kind
    assert f"127.0.0.1:{peer.port}: " in str(failure)
    peer.respond = echo
    assert ask(connection, b"again") == b"again"  # over another connection
    assert peer.connections == 2
    peer.close()


def test_a_peer_that_is_silent() -> None:
    ended = threading.Event()

    def wait(frame: bytes) -> None:
        ended.wait(60)

    peer = Peer(wait)
    connection = BrokerConnection("127.0.0.1", peer.port, "me", timeout_ms=50)
    assert refused(connection).kind == "timed out"
    ended.set()
    peer.close()


def test_an_unreachable_peer_is_left_alone_for_a_while() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    connection = BrokerConnection("127.0.0.1", port, "me", backoff_min_ms=60_000, backoff_max_ms=60_000)
    first = refused(connection)
    second = refused(connection)
    assert (first.kind, second.kind) == ("unreachable", "backing off")
    assert str(second) == str(first)


def test_a_name_that_does_not_resolve() -> None:
    assert refused(BrokerConnection("does-not-exist.invalid", 9092, "me")).kind == "unreachable"


def test_an_interrupted_request() -> None:
    arrived, ended = threading.Event(), threading.Event()

    def wait(frame: bytes) -> None:
        arrived.set()
        ended.wait(60)

    peer = Peer(wait)
    connection = BrokerConnection("127.0.0.1", peer.port, "me", timeout_ms=600_000)
    kinds: list[str] = []
    thread = threading.Thread(target=lambda: kinds.append(refused(connection).kind))
    thread.start()
    assert arrived.wait(60)
    connection.interrupt()
    thread.join(60)
    assert kinds == ["stopped"]
    assert refused(connection).kind == "stopped"
    ended.set()
    peer.close()


# -- TLS --


def server_side(authority: Authority, *names: str, asks_for_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue(*names))
    if asks_for_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.trusted)
    return context


def client_side(authority: Authority, *, verify_host: bool = True) -> TlsClient:
    """With the context of a listener: its certificate is shown where the peer asks for one."""
    return TlsClient(context_of(authority), verify_host)


def context_of(authority: Authority) -> TlsContext:
    context = TlsContext()
    context.use_pem(authority.broker.read_bytes(), authority.broker.read_bytes())
    context.trust_pem(authority.trusted.read_bytes())
    return context


def answers(connection: BrokerConnection) -> bool:
    with contextlib.suppress(BrokerConnectionError):
        return ask(connection, b"z") == b"z"
    return False


@pytest.mark.parametrize("asks_for_certificate", [False, True])
def test_tls(tmp_path: Path, asks_for_certificate: bool) -> None:
    authority = Authority(tmp_path)
    peer = Peer(echo, server_side(authority, "127.0.0.1", asks_for_certificate=asks_for_certificate))
    client = client_side(authority)
    connection = BrokerConnection("127.0.0.1", peer.port, "me", client.transport)
    for body in (b"one", b"x" * 3_000_000, b"three"):
        assert ask(connection, body) == body
    assert peer.connections == 1
    connection.close()
    peer.close()


def test_a_certificate_of_another_host(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    peer = Peer(echo, server_side(authority, "other.example"))
    strict, lax = client_side(authority), client_side(authority, verify_host=False)
    failure = refused(BrokerConnection("127.0.0.1", peer.port, "me", strict.transport))
    assert (failure.kind, "its certificate is not accepted" in str(failure)) == ("closed", True)
    assert ask(BrokerConnection("127.0.0.1", peer.port, "me", lax.transport), b"x") == b"x"
    assert refused(BrokerConnection("localhost", peer.port, "me", strict.transport)).kind == "closed"
    assert ask(BrokerConnection("localhost", peer.port, "me", lax.transport), b"x") == b"x"
    peer.close()


def test_a_certificate_of_another_authority(tmp_path: Path) -> None:
    peer = Peer(echo, server_side(Authority(tmp_path / "a"), "127.0.0.1"))
    client = client_side(Authority(tmp_path / "b"), verify_host=False)
    failure = refused(BrokerConnection("127.0.0.1", peer.port, "me", client.transport))
    assert (failure.kind, "its certificate is not accepted" in str(failure)) == ("closed", True)
    peer.close()


def test_tls_with_a_peer_that_speaks_none(tmp_path: Path) -> None:
    peer = Peer(lambda frame: None)
    client = client_side(Authority(tmp_path))
    failure = refused(BrokerConnection("127.0.0.1", peer.port, "me", client.transport, timeout_ms=200))
    assert failure.kind in ("closed", "timed out")
    peer.close()


def test_new_connections_use_the_newest_certificates(tmp_path: Path) -> None:
    """Also those of a client that exists already; an open one goes on."""
    before, after = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    peers = [Peer(echo, server_side(each, "127.0.0.1", asks_for_certificate=True)) for each in (before, after)]
    client = client_side(before)
    old, new = (BrokerConnection("127.0.0.1", peer.port, "me", client.transport, **NO_PAUSE) for peer in peers)
    assert ask(old, b"x") == b"x"
    assert "its certificate is not accepted" in str(refused(new))
    client.use(context_of(after), True)
    assert ask(new, b"x") == b"x"
    assert ask(old, b"y") == b"y"
    assert (peers[0].connections, peers[1].connections) == (1, 2)
    old.close()
    assert "its certificate is not accepted" in str(refused(old))
    client.use(context_of(before), True)
    wait_until(lambda: answers(old), "the end of the pause")
    for peer in peers:
        peer.close()


def test_a_transport_keeps_its_client(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    peer = Peer(echo, server_side(authority, "127.0.0.1"))
    connection = BrokerConnection("127.0.0.1", peer.port, "me", client_side(authority).transport)
    gc.collect()
    assert ask(connection, b"x") == b"x"
    peer.close()


@pytest.mark.parametrize("shows_certificate", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_peer_does_not_accept_the_certificate(
    tmp_path: Path, shows_certificate: bool, version: ssl.TLSVersion
) -> None:
    """The peer's alert is the reason; in TLS 1.3 it may be lost."""
    authority = Authority(tmp_path / "a")
    server = server_side(authority, "127.0.0.1", asks_for_certificate=True)
    server.maximum_version = version
    peer = Peer(echo, server)
    context = context_of(Authority(tmp_path / "b")) if shows_certificate else TlsContext()
    context.trust_pem(authority.trusted.read_bytes())
    failure = refused(BrokerConnection("127.0.0.1", peer.port, "me", TlsClient(context).transport))
    assert failure.kind == "closed"
    lost = version is ssl.TLSVersion.TLSv1_3 and "closed the connection at once; its log may say why" in str(failure)
    assert lost or ": TLS: " in str(failure)
    peer.close()


def test_a_refused_handshake_is_not_repeated_in_a_loop(tmp_path: Path) -> None:
    """Whatever pause is configured: each handshake costs both sides milliseconds."""
    peer = Peer(echo, server_side(Authority(tmp_path / "a"), "127.0.0.1"))
    client = client_side(Authority(tmp_path / "b"))
    connection = BrokerConnection(
        "127.0.0.1", peer.port, "me", client.transport, backoff_min_ms=60_000, backoff_max_ms=0
    )  # the pause is doubled until a second here, not until 0 ms
    wait_until(lambda: refused(connection).kind == "backing off", "a pause")
    peer.close()


def test_whether_two_brokers_would_connect(tmp_path: Path) -> None:
    one, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    server = context_of(one)
    assert handshake_problem(context_of(one), server) is None
    assert "its certificate is not accepted" in str(handshake_problem(context_of(other), server))
    server.ask_clients(True)
    assert handshake_problem(context_of(one), server) is None
    stranger = context_of(other)
    stranger.trust_pem(one.trusted.read_bytes())
    assert "its certificate is not accepted" in str(handshake_problem(stranger, server))
