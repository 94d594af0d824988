"""A socket with TLS for kazoo: handshakes, data that no poll sees, the end of a connection."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kafka_cy.cluster.zookeeper_connection import _Handler
from kafka_cy.network.tls import TlsContext
from kafka_cy.network.tls_client import TlsClient
from kafka_cy.network.tls_stream import TlsStream
from tests.certificates import Authority
from tests.waiting import wait_until

Serve = Callable[[ssl.SSLSocket], object]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def connect(authority: Authority) -> Iterator[Callable[[Serve], TlsStream]]:
    """Makes a stream to a server of one connection."""
    listeners: list[socket.socket] = []

    def made(serve: Serve) -> TlsStream:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.broker)
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            with suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                serve(connection)

        threading.Thread(target=run, daemon=True).start()
        return stream_to(listener, authority)

    yield made
    for each in listeners:
        each.close()


def stream_to(listener: socket.socket, authority: Authority) -> TlsStream:
    context = TlsContext()
    context.trust_pem(authority.trusted.read_bytes())
    return TlsStream(socket.create_connection(listener.getsockname()), TlsClient(context).transport, "127.0.0.1")


def received(stream: TlsStream, size: int) -> bytes:
    """Waits for some bytes."""
    found: list[bytes] = []

    def ask() -> bool:
        with suppress(ssl.SSLError):
            found.append(stream.recv(size))
        return bool(found)

    wait_until(ask, "bytes")
    return found[0]


def test_data_that_is_decrypted_already_is_seen(connect: Callable[[Serve], TlsStream]) -> None:
    ended = threading.Event()

    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"first" + b"second")  # one record
        ended.wait(60)

    stream = connect(serve)
    stream.shake_hands(60)
    assert received(stream, 5) == b"first"
    assert stream.pending() == 6
    handler = _Handler(lambda event: None, lambda: None, None, lambda why: None, 0.0)
    assert handler.select([stream], [], [], 60) == ([stream], [], [])
    assert received(stream, 100) == b"second"
    assert stream.pending() == 0
    assert handler.select([stream], [], [], 0) == ([], [], [])
    assert handler.select([], [stream], [], 60) == ([], [stream], [])
    with pytest.raises(ssl.SSLError) as nothing_yet:
        stream.recv(1)
    assert nothing_yet.value.errno == ssl.SSL_ERROR_WANT_READ
    ended.set()
    assert received(stream, 1) == b""
    stream.close()
    with pytest.raises(ConnectionError, match="closed"):
        stream.recv(1)


def test_much_data_both_ways(connect: Callable[[Serve], TlsStream]) -> None:
    size = 5_000_000
    sent = b"x" * size

    def serve(connection: ssl.SSLSocket) -> None:
        got = 0
        while got < size:
            got += len(connection.recv(1 << 16))
        connection.sendall(sent)

    stream = connect(serve)
    stream.shake_hands(60)
    done = 0

    def send() -> bool:
        nonlocal done
        with suppress(ssl.SSLError):
            done += stream.send(memoryview(sent)[done:])
        return done == size

    wait_until(send, "everything is sent")
    got = 0
    while got < size:
        got += len(received(stream, 1 << 16))
    stream.close()


def test_handshakes_that_fail(tmp_path: Path, authority: Authority, connect: Callable[[Serve], TlsStream]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(OSError, match="timed out"):
            stream_to(silent, authority).shake_hands(0.05)
        stream = stream_to(silent, authority)
        silent.accept()[0].close()  # of the first
        silent.accept()[0].close()
        with pytest.raises(ConnectionError):
            stream.shake_hands(60)
    stranger = connect(lambda connection: None)
    stranger.close()
    other = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other.broker)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with suppress(OSError):
                context.wrap_socket(listener.accept()[0], server_side=True)

        threading.Thread(target=run, daemon=True).start()
        with pytest.raises(ConnectionError, match="its certificate is not accepted"):
            stream_to(listener, authority).shake_hands(60)
