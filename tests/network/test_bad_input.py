"""Garbage, forged lengths and half-open connections cost at most their connection."""

from __future__ import annotations

import random
import resource
import socket
import struct
import time
from collections.abc import Callable

import pytest
from conftest_network import COLD, ECHO, LARGE, Harness, frame, plaintext_only

from kafka_cy.telemetry import reactor_numbers
from tests.waiting import wait_until

Make = Callable[..., Harness]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack(">i", -1), "negative request size"),
        (struct.pack(">i", 2**31 - 1), "request larger than socket.request.max.bytes"),
        (struct.pack(">i", 3) + b"abc", "request shorter than its header"),
        (b"GET / HTTP/1.1\r\n\r\n", "this is HTTP; the listener speaks the Kafka protocol"),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "this is TLS; the listener speaks the Kafka protocol in plaintext",
        ),
        (frame(99), "unknown API key"),
        (frame(-1), "unknown API key"),
        (frame(32767), "unknown API key"),
        (frame(ECHO, version=77), "unsupported API version"),
        (struct.pack(">ihhih", 10, ECHO, 0, 1, 100), "malformed request header"),
    ],
)
def test_closes_with_one_log_line(harness: Make, data: bytes, message: str) -> None:
    made = harness(1)
    client = made.client()
    client.send(data)
    assert client.closed_by_server()
    events = made.server.take_log_events()
    assert [event.message for event in events] == [message]
    assert events[0].peer == f"127.0.0.1:{client.socket.getsockname()[1]}"
    assert made.client().ask(ECHO, b"ok") == b"ok"
    made.wait_for_counter("closed_bad", 1)


BAD = [
    struct.pack(">i", -1), struct.pack(">i", 3), b"GET / HTTP/1.1\r\n\r\n", frame(99), frame(ECHO, version=77),
    frame(COLD, bytes(99_000))[:30_000],
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_earlier_requests_are_answered(harness: Make, bad: bytes) -> None:
    """Kafka handles one request of a connection after another."""
    made = harness(1, control_request_bytes_max=50_000)
    client = made.client()
    client.send(frame(ECHO, b"a") + frame(COLD, b"b", correlation_id=2) + bad + frame(ECHO, b"c"))
    assert client.receive() == (1, b"a") and client.receive() == (2, b"cold:b")
    assert client.closed_by_server()
    assert len(made.log()) == 1
    made.wait_for_counter("connections", 0)
    counters = made.server.counters()
    assert counters["closed_bad"] == 1 and counters["queued_request_bytes"] == counters["queued_response_bytes"] == 0


def test_who_does_not_read_the_earlier_responses_is_closed_in_time(harness: Make) -> None:
    made = harness(1, idle_timeout_ms=500)
    client = made.client()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send(frame(LARGE, struct.pack(">i", 7_900_000)) + frame(99))
    made.wait_for_counter("closed_idle", 1)
    made.wait_for_counter("connections", 0)
    assert made.log() == ["unknown API key"] and made.server.counters()["queued_response_bytes"] == 0


def test_unknown_version_of_api_versions_is_forwarded(harness: Make) -> None:
    made = harness()
    answer = made.client().ask(18, b"x", version=90)
    # The process has one table of handlers: if the tests of the hot APIs ran before, ApiVersions itself answers error 35.
    assert answer == b"cold:x" or answer.startswith(b"\x00\x23\x00\x00\x00\x01\x00\x12"), answer


@pytest.mark.parametrize("length", [-1, -2, -32768])
def test_null_client_id(harness: Make, length: int) -> None:
    """Any negative length is null, as in Kafka."""
    made = harness()
    client = made.client()
    client.send(struct.pack(">ihhih", 10, ECHO, 0, 1, length))
    assert client.receive() == (1, b"")


def test_random_bytes_never_hurt_others(harness: Make) -> None:
    made = harness()
    chance = random.Random(1)
    good = made.client()
    for _ in range(200):
        client = made.connect()
        data = bytearray(frame(chance.choice([ECHO, COLD]), chance.randbytes(50)))
        for _ in range(3):
            data[chance.randrange(len(data))] = chance.randrange(256)
        client.send(bytes(data) + chance.randbytes(chance.randrange(100)))
        client.close()
        assert good.ask(ECHO, b"fine") == b"fine"


@plaintext_only
def test_log_lines_are_limited(harness: Make) -> None:
    made = harness()
    for _ in range(300):
        client = made.connect()
        client.send(b"\xff\xff\xff\xff")
        client.closed_by_server()
        client.close()
    events = made.server.take_log_events()
    assert len(events) <= 256 + 1
    made.wait_for_counter("closed_bad", 300)


@plaintext_only
def test_thousands_of_half_open_connections(harness: Make) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 2000
    wanted = 2 * count + 200
    if hard < wanted:
        pytest.skip("too few file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    made = harness()
    lying = struct.pack(">i", 50_000_000) + struct.pack(">hhih", ECHO, 0, 1, -1)
    sockets = []
    for i in range(count):
        each = socket.create_connection(("127.0.0.1", made.port))
        each.send(lying if i % 3 == 0 else b"\0\0" if i % 3 == 1 else b"")
        sockets.append(each)
    client = made.client()
    for _ in range(200):
        assert client.ask(ECHO, b"ok") == b"ok"
    made.wait_for_counter("connections", count + 1)
    spread = made.server.counters()["reactor_connections"]
    assert abs(spread[0] - spread[1]) <= 2
    for each in sockets:
        each.close()
    made.wait_for_counter("connections", 1)
    made.wait_for_counter("queued_request_bytes", 0)


@plaintext_only
def test_connection_limits(harness: Make) -> None:
    made = harness(connections_max=3)
    clients = [made.client() for _ in range(3)]
    assert all(client.ask(ECHO, b"a") == b"a" for client in clients)
    assert made.client().closed_by_server()
    clients[0].close()
    made.wait_for_counter("connections", 2)
    assert made.client().ask(ECHO, b"b") == b"b"
    assert "refused: max.connections is reached" in made.log()


@plaintext_only
def test_connection_limit_per_address(harness: Make) -> None:
    made = harness(connections_per_ip_max=2)
    clients = [made.client() for _ in range(2)]
    assert all(client.ask(ECHO, b"a") == b"a" for client in clients)
    assert made.client().closed_by_server()
    clients[0].close()
    made.wait_for_counter("connections", 1)
    assert made.client().ask(ECHO, b"b") == b"b"
    assert "refused: max.connections.per.ip is reached" in made.log()


@plaintext_only
def test_limit_per_address_at_run_time(harness: Make) -> None:
    """Connections from before the limit count, and closing them causes no error. A limit of 0 refuses every client."""
    made = harness()
    early = [made.client() for _ in range(3)]
    assert all(client.ask(ECHO, b"a") == b"a" for client in early)
    made.server.set_connections_per_ip_max(2)
    assert made.client().closed_by_server()
    early[0].close()
    early[1].close()
    made.wait_for_counter("connections", 1)
    assert made.client().ask(ECHO, b"b") == b"b"
    assert made.client().closed_by_server()
    made.server.set_connections_per_ip_max(0)
    early[2].close()
    assert made.client().closed_by_server()


@plaintext_only
def test_overrides_of_the_limit_per_address(harness: Make) -> None:
    """A limit of 0 admits only addresses that have their own limit."""
    made = harness()
    made.server.set_connections_per_ip_max(0)
    assert made.client().closed_by_server()
    made.server.set_connections_per_ip_overrides({bytes([127, 0, 0, 1]): 2, bytes(16): 9})
    clients = [made.client() for _ in range(2)]
    assert all(client.ask(ECHO, b"a") == b"a" for client in clients)
    assert made.client().closed_by_server()
    made.server.set_connections_per_ip_max(5)
    assert made.client().closed_by_server()
    made.server.set_connections_per_ip_overrides({bytes([127, 0, 0, 1]): 0})
    clients[0].close()
    assert made.client().closed_by_server()
    made.server.set_connections_per_ip_overrides({})
    assert made.client().ask(ECHO, b"b") == b"b"


@plaintext_only
def test_rate_of_new_connections(harness: Make) -> None:
    """Connections above the rate wait in the backlog; those of one second may come at once."""
    made = harness()
    made.server.set_connection_creation_rate(10)
    begun = time.monotonic()
    clients = [made.client() for _ in range(25)]
    assert all(client.ask(ECHO, b"a") == b"a" for client in clients)
    # 11 at once, and each of the other 14 a tenth of a second later: the measured time can only be longer.
    assert time.monotonic() - begun >= 1.3
    made.server.set_connection_creation_rate(0x7FFFFFFF)
    assert made.client().ask(ECHO, b"b") == b"b"
    reactors = reactor_numbers.reactors(made.server)
    assert sum(reactor.opened[0] for reactor in reactors) == 26
    throttled, spent_ns = (sum(getattr(r, name)[0] for r in reactors) for name in ("accepts_throttled", "accept_throttle_ns"))
    assert throttled > 0 and 0 < spent_ns <= throttled * 1_000_000_000


def test_idle_connections_are_closed(harness: Make) -> None:
    made = harness(idle_timeout_ms=2000)
    idle, busy = made.client(), made.client()
    assert idle.ask(ECHO, b"a") == b"a"
    while not made.server.counters()["closed_idle"]:
        assert busy.ask(ECHO, b"a") == b"a"
    assert idle.closed_by_server()
    assert busy.ask(ECHO, b"a") == b"a"


def test_connection_dies_while_its_request_is_at_the_control_plane(harness: Make) -> None:
    made = harness()
    held = []
    made.answer = held.append
    for count in range(1, 21):
        client = made.connect()
        client.send(frame(COLD, b"x") * 3)
        wait_until(lambda count=count: len(held) == 3 * count, "all requests")
        client.close()
    made.wait_for_counter("connections", 0)
    for request in held:
        request.respond(b"too late")
    made.answer = lambda request: request.respond(b"now")
    assert made.client().ask(COLD) == b"now"
    made.wait_for_counter("queued_request_bytes", 0)
