"""The network layer as a client sees it: framing, order of responses, forwarding, closing."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from conftest_network import COLD, ECHO, LARGE, REFUSE, SILENT, Client, Harness, frame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.network.control_request import ControlRequest
from tests.waiting import wait_until

Make = Callable[..., Harness]


def test_echo(harness: Make) -> None:
    client = harness().client()
    assert client.ask(ECHO, b"hello") == b"hello"
    assert client.ask(ECHO, b"hello", version=5) == b"\0hello", "flexible: header v1 has a tag section"


def test_pipelined_answers_keep_their_order(harness: Make) -> None:
    client = harness().client()
    client.send(b"".join(frame(ECHO, b"%d" % i, correlation_id=i) for i in range(500)))
    assert [client.receive() for _ in range(500)] == [(i, b"%d" % i) for i in range(500)]


def test_forward_round_trip(harness: Make) -> None:
    made = harness()
    seen: list[ControlRequest] = []

    def answer(request: ControlRequest) -> None:
        seen.append(request)
        request.respond(b"cold:" + request.body)

    made.answer = answer
    client = made.client()
    assert client.ask(COLD, b"body", version=3, correlation_id=7, client=b"me") == b"cold:body"
    assert client.ask(COLD, b"body", version=5) == b"\0cold:body"
    request = seen[0]
    assert (request.api_key, request.api_version, request.correlation_id) == (COLD, 3, 7)
    assert (request.client_id, request.client_host, request.listener_index) == ("me", "127.0.0.1", 0)
    assert request.client_port == client.socket.getsockname()[1]
    with pytest.raises(RuntimeError):
        request.respond(b"again")


def test_out_of_order_completion_is_sent_in_order(harness: Make) -> None:
    made = harness()
    held: list[ControlRequest] = []
    enough = threading.Event()

    def hold(request: ControlRequest) -> None:
        held.append(request)
        if len(held) == 3:
            enough.set()

    made.answer = hold
    client = made.client()
    client.send(b"".join(frame(COLD if i % 2 else ECHO, b"%d" % i, correlation_id=i) for i in range(6)))
    assert enough.wait(60)
    for request in reversed(held):
        request.respond(b"c" + request.body)
    assert [client.receive() for _ in range(6)] == [(i, (b"c%d" if i % 2 else b"%d") % i) for i in range(6)]


def test_dropped_request_closes_the_connection(harness: Make) -> None:
    made = harness()
    made.answer = lambda request: None
    client = made.client()
    client.send(frame(ECHO, b"first", correlation_id=1) + frame(COLD))
    assert client.receive() == (1, b"first")
    assert client.closed_by_server()
    assert "the broker gave no response" in made.log()


def test_close_flushes_earlier_answers(harness: Make) -> None:
    made = harness()
    made.answer = lambda request: request.close("not today")
    client = made.client()
    client.send(frame(ECHO, b"a") + frame(COLD) + frame(ECHO, b"never"))
    assert client.receive()[1] == b"a"
    assert client.closed_by_server()
    client = made.client()
    client.send(frame(ECHO, b"b") + frame(REFUSE) + frame(ECHO, b"never"))
    assert client.receive()[1] == b"b"
    assert client.closed_by_server()
    assert {"not today", "refused by the probe"} <= set(made.log())


def test_requests_without_answer_take_no_slot(harness: Make) -> None:
    made = harness(in_flight_max=4)
    client = made.client()
    client.send(frame(SILENT) * 5000 + frame(ECHO, b"x"))
    assert client.receive()[1] == b"x"


def test_socket_buffers(harness: Make) -> None:
    """The buffer size as requested (Linux doubles it for its own use), or the system's default."""
    client = harness(send_buffer_bytes=50_000, receive_buffer_bytes=40_000).client()
    client.send(frame(ECHO, b"x"))
    assert client.receive()[1] == b"x"
    accepted = accepted_socket(client)
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 100_000
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 80_000
    accepted.close()


def accepted_socket(client: Client) -> socket.socket:
    """The server's end of the connection, which is in this process."""
    for path in Path("/proc/self/fd").iterdir():
        if path.is_socket():
            found = socket.socket(fileno=os.dup(int(path.name)))
            with contextlib.suppress(OSError):  # not connected
                if found.getpeername() == client.socket.getsockname():
                    return found
            found.close()
    raise AssertionError("not found")


def test_a_client_whose_machine_vanishes_is_noticed(harness: Make) -> None:
    """The system asks whether it is there, as with Kafka: a connection may have no limit of idleness."""
    client = harness(1, idle_timeout_ms=-1).client()
    assert client.ask(ECHO, b"x") == b"x"
    with accepted_socket(client) as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_more_in_flight_than_allowed(harness: Make) -> None:
    made = harness(in_flight_max=3)
    held: list[ControlRequest] = []
    made.answer = held.append
    client = made.client()
    client.send(b"".join(frame(COLD, b"%d" % i, correlation_id=i) for i in range(10)))
    for i in range(10):
        wait_until(lambda: held, "a request")
        assert len(held) <= 3
        held.pop(0).respond(b"ok")
        assert client.receive() == (i, b"ok")


@pytest.mark.parametrize("size", [0, 100, 5000, 130_000, 140_000, 900_000, 3_000_000, 20_000_000])
def test_frame_sizes(harness: Make, size: int) -> None:
    client = harness().client()
    body = random.Random(size).randbytes(size)
    sender = threading.Thread(target=client.send, args=(frame(ECHO, body) + frame(ECHO, b"small") + frame(ECHO, body),))
    sender.start()
    assert client.receive()[1] == body
    assert client.receive()[1] == b"small"
    assert client.receive()[1] == body
    sender.join()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 40) | st.integers(100, 30000) | st.just(200_000), min_size=1, max_size=12),
    cuts=st.lists(st.integers(1, 300) | st.integers(1, 100_000), max_size=30),
    cold=st.booleans(),
)
def test_any_chunking(shared: Harness, sizes: list[int], cuts: list[int], cold: bool) -> None:
    client = shared.client()
    bodies = [bytes([i % 251]) * size for i, size in enumerate(sizes)]
    keys = [COLD if cold and i % 3 == 0 else ECHO for i in range(len(bodies))]
    stream = b"".join(frame(k, b, correlation_id=i) for i, (k, b) in enumerate(zip(keys, bodies, strict=True)))

    def send() -> None:
        at = 0
        for cut in cuts:
            client.send(stream[at : at + cut])
            at += cut
            time.sleep(0.0002)
        client.send(stream[at:])

    sender = threading.Thread(target=send)
    sender.start()
    for i, (key, body) in enumerate(zip(keys, bodies, strict=True)):
        assert client.receive() == (i, b"cold:" + body if key == COLD else body)
    sender.join()
    client.close()


@pytest.fixture
def shared(harness: Make) -> Harness:
    return harness()


def test_slow_reader_is_not_read(harness: Make) -> None:
    """The buffers of its sockets are small, so that they are full soon."""
    made = harness(queued_response_bytes_max=1 << 20, receive_buffer_bytes=65536)
    client = made.client()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    requests = frame(LARGE, struct.pack(">i", 300_000)) * 50_000

    def send() -> None:
        with contextlib.suppress(OSError):  # it waits until the connection ends
            client.send(requests)

    sender = threading.Thread(target=send)
    sender.start()
    wait_until(lambda: made.server.counters()["paused"] > 0, "the reactor no longer reads")
    made.wait_until_it_sleeps()
    counters = made.server.counters()
    assert counters["bytes_in"] < len(requests) // 2
    assert counters["queued_response_bytes"] < 3 << 20
    other = made.client()
    assert other.ask(ECHO, b"still here") == b"still here"
    assert len(client.receive()[1]) == 300_000
    client.socket.shutdown(socket.SHUT_RDWR)
    sender.join()
    client.close()
    made.wait_for_counter("queued_response_bytes", 0)


def test_request_memory_is_bounded(harness: Make, probe: ModuleType) -> None:
    made = harness(queued_request_bytes_max=1 << 20)
    body = b"x" * 600_000
    half = [made.client() for _ in range(8)]
    for client in half:
        client.send(frame(ECHO, body)[:400_000])
    time.sleep(0.2)
    assert made.server.counters()["queued_request_bytes"] <= (1 << 20) + 600_100
    for client in half[:]:
        threading.Thread(target=client.send, args=(frame(ECHO, body)[400_000:],)).start()
    for client in half:
        assert client.receive()[1] == body
    made.wait_for_counter("queued_request_bytes", 0)


def test_a_large_frame_is_copied_a_few_times_only(harness: Make) -> None:
    """The buffer grows by doubling: the number of touched pages shows how much is copied, on any machine."""
    client = harness(1).client()
    request = frame(SILENT, bytes(60_000_000)) + frame(ECHO, b"behind")
    assert client.ask(ECHO) == b""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    client.send(request)
    assert client.receive() == (1, b"behind")
    touched = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize()
    assert touched < 8 * len(request)


def test_listener_port_taken(harness: Make) -> None:
    from kafka_cy.network.server import Server

    made = harness()
    with pytest.raises(OSError):
        Server(1).listen(0, "PLAINTEXT", "127.0.0.1", made.port)
