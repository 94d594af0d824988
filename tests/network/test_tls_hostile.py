"""TLS clients that no library implements: none can keep a reactor busy, or a connection open after its end."""

from __future__ import annotations

import queue
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest_network import COLD, ECHO, Harness, frame
from tls_records import ALERT, DATA, GOODBYE, HANDSHAKE, KEY_UPDATE, RecordClient

from kafka_cy.network.control_request import ControlRequest
from kafka_cy.network.tls import TlsContext
from tests.certificates import Authority

Make = Callable[..., Harness]
READ_BYTES_MAX = 131072  # limit of one turn

pytestmark = pytest.mark.parametrize("harness", ["TLS"], indirect=True)


@pytest.fixture
def connect(authority: Authority, tmp_path: Path) -> Iterator[Callable[[Harness], RecordClient]]:
    opened: list[RecordClient] = []

    def open_one(made: Harness) -> RecordClient:
        opened.append(RecordClient(made.port, authority.trusted, tmp_path))
        return opened[-1]

    yield open_one
    for each in opened:
        each.client.close()


def test_many_key_updates_take_turns(harness: Make, connect: Callable[[Harness], RecordClient]) -> None:
    """OpenSSL alone would continue to read as long as they arrive."""
    made = harness(1)
    client = connect(made)
    before = made.server.counters()["loops"]
    updates = b"".join(client.key_update() for _ in range(20_000))
    client.plain.sendall(updates + client.record(DATA, frame(ECHO, b"behind")))
    assert client.client.receive() == (1, b"behind")
    assert made.server.counters()["loops"] - before >= len(updates) // READ_BYTES_MAX


def test_many_tiny_records_take_turns(harness: Make, connect: Callable[[Harness], RecordClient]) -> None:
    made = harness(1)
    client = connect(made)
    before = made.server.counters()["loops"]
    asked = frame(ECHO, b"x" * 50)
    records = b"".join(client.record(DATA, asked[i : i + 1]) for _ in range(500) for i in range(len(asked)))
    client.plain.sendall(records)
    for _ in range(500):
        assert client.client.receive() == (1, b"x" * 50)
    assert made.server.counters()["loops"] - before >= len(records) // READ_BYTES_MAX


def test_half_a_key_update(harness: Make, connect: Callable[[Harness], RecordClient]) -> None:
    """No response can be sent before the second half arrives, so the connection is closed."""
    made = harness(1)
    client = connect(made)
    client.plain.sendall(client.record(DATA, frame(ECHO)) + client.record(HANDSHAKE, KEY_UPDATE[:4]))
    made.wait_for_counter("connections", 0)


def test_empty_records_end(harness: Make, connect: Callable[[Harness], RecordClient]) -> None:
    made = harness(1)
    client = connect(made)
    client.plain.sendall(client.record(DATA, frame(ECHO)))
    client.client.receive()
    client.plain.sendall(b"".join(client.record(DATA, b"") for _ in range(40)))
    made.wait_for_counter("closed_bad", 1)
    assert made.log() == ["TLS failed: record too small"]


@pytest.mark.parametrize("failed", [False, True], ids=["goodbye", "broken record"])
def test_the_end_is_seen_while_the_connection_is_paused(
    harness: Make, connect: Callable[[Harness], RecordClient], failed: bool
) -> None:
    """The client leaves the socket open; epoll does not report again what OpenSSL has already read."""
    made = harness(1, in_flight_max=1)
    waiting: queue.Queue[ControlRequest] = queue.Queue()
    made.answer = waiting.put
    client = connect(made)
    asked = client.record(DATA, frame(COLD, b"held") + frame(ECHO))
    end = b"\x17\x03\x03\x00\x20" + bytes(32) if failed else client.record(ALERT, GOODBYE)
    client.plain.sendall(asked + end)
    request = waiting.get(timeout=60)
    made.wait_for_counter("paused", 1)
    request.respond(b"")
    del request
    made.wait_for_counter("connections", 0)
    assert made.log() == (["TLS failed: decryption failed or bad record mac"] if failed else [])


def test_a_goodbye_behind_a_full_buffer(harness: Make, connect: Callable[[Harness], RecordClient]) -> None:
    made = harness(1)
    client = connect(made)
    asked = frame(ECHO, b"x" * 16_000)
    records = b"".join(client.record(DATA, asked) for _ in range(60))
    client.plain.sendall(records + client.record(ALERT, GOODBYE))
    made.wait_for_counter("connections", 0)


def test_a_handshake_whose_answer_nobody_takes(harness: Make, authority: Authority) -> None:
    """The reactor sleeps until the socket accepts bytes again, whatever the client sends meanwhile."""
    made = harness(1, send_buffer_bytes=1)
    context = TlsContext()
    long_chain = authority.broker.read_bytes() + authority.trusted.read_bytes() * 100
    context.use_pem(authority.broker.read_bytes(), long_chain)
    made.server.set_transport(0, context)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    assert made.client_tls is not None
    session = made.client_tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.connect(("127.0.0.1", made.port))
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
        client.sendall(outgoing.read() + b"\x14\x03\x03\x00\x01\x01")  # a record that must be skipped
        made.wait_for_counter("accepted", 1)
        made.wait_until_it_sleeps()
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(client.recv(65536))
        session.write(frame(ECHO, b"at last"))
        client.sendall(outgoing.read())
        received = b""
        while not received.endswith(b"at last"):
            try:
                received += session.read(100)
            except ssl.SSLWantReadError:
                incoming.write(client.recv(65536))
