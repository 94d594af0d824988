"""Thousands of clients that begin to authenticate, or a TLS handshake, and say no more."""

from __future__ import annotations

import resource
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from tests.waiting import wait_until

from .conftest_network import COLD, ECHO, Client, Harness
from .sasl_server import API_VERSIONS, CANARY, SaslServerUnderTest, dialogue
from .sasl_session import HANDSHAKE, authenticate, request, sized, string

Make = Callable[..., Harness]
COUNT, LIMIT = 2100, 200
APIS: list[tuple[int, int, int, int | None]] = [(ECHO, 0, 9, 5), (COLD, 0, 9, 5), (API_VERSIONS, 0, 4, 3)]


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * COUNT + 500
    if hard < wanted:
        pytest.skip("too few file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def log_in(client: Client) -> None:
    assert client.ask(HANDSHAKE, string("PLAIN"), version=1)[:2] == b"\0\0"
    token = next(dialogue("PLAIN", "ann", "", knows=True))
    client.send(sized(authenticate(token, 1)))
    assert client.receive()[1][:2] == b"\0\0"


def test_sasl(probe: object) -> None:
    """As many are kept as kafkacy.unauthenticated.connections.max says, those that came last, until their time is over."""
    handshake = sized(request(HANDSHAKE, 1, string("SCRAM-SHA-256")))
    half = sized(authenticate(b"n,,n=ann,r=" + b"x" * 2000, 1))[:1000]
    said = (handshake, handshake + sized(authenticate(b"n,,n=ann,r=abc", 1)), handshake + half)
    under_test = SaslServerUnderTest(APIS, timeout_ms=3000, connections_max=LIMIT)
    opened = []
    try:
        server, conversations = under_test.server, under_test.authenticator
        witness = Client(under_test.port)
        opened.append(witness)
        log_in(witness)
        for i in range(COUNT):
            opened.append(Client(under_test.port))
            opened[-1].send(said[i % 3])
            if i % 500 == 0:
                assert witness.ask(COLD) == CANARY + b"ann" and witness.ask(ECHO, b"x") == b"x"
        wait_until(lambda: server.counters()["accepted"] == COUNT + 1, "all are accepted")
        wait_until(lambda: server.counters()["connections"] <= LIMIT + 1, "few are kept")
        wait_until(lambda: len(conversations) <= LIMIT + 1, "few conversations are kept")
        newcomer = Client(under_test.port)
        opened.append(newcomer)
        log_in(newcomer)
        wait_until(lambda: server.counters()["connections"] == 2, "the end of those that say nothing")
        wait_until(lambda: len(conversations) == 0, "the end of their conversations")
        assert witness.ask(COLD) == newcomer.ask(COLD) == CANARY + b"ann"
        assert server.counters()["queued_request_bytes"] == 0 and under_test.faults == []
    finally:
        for client in opened:
            client.close()
        under_test.stop()


@pytest.mark.parametrize("harness", ["TLS"], indirect=True)
def test_tls(harness: Make) -> None:
    """After a whole ClientHello. All connections together are limited by max.connections, and an idle one in time."""
    made = harness(2, connections_max=LIMIT + 1, idle_timeout_ms=2000)
    assert made.client_tls is not None
    witness = made.client()
    assert witness.ask(ECHO, b"x") == b"x"
    opened = []
    for i in range(COUNT // 3):
        session = made.client_tls.wrap_bio(ssl.MemoryBIO(), outgoing := ssl.MemoryBIO(), server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
        opened.append(socket.create_connection(("127.0.0.1", made.port)))
        try:
            opened[-1].sendall(outgoing.read())
        except ConnectionError:
            pass  # refused
        if i % 100 == 0:
            assert witness.ask(ECHO, b"x") == b"x"
    assert made.server.counters()["connections"] <= LIMIT + 1
    while made.server.counters()["connections"] > 1:
        assert witness.ask(ECHO, b"x") == b"x"
    wait_until(lambda: made.server.counters()["closed_idle"] >= LIMIT, "the end of those that were kept")  # or more
    assert made.client().ask(ECHO, b"x") == b"x"
    for each in opened:
        each.close()
