"""Stopping with connected clients: requests in flight are answered, then all connections close."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable
from types import ModuleType

import pytest
from conftest_network import COLD, ECHO, Harness, frame

from kafka_cy.network.control_request import ControlRequest
from kafka_cy.network.server import Server
from tests.waiting import wait_until

Make = Callable[..., Harness]


def test_stop_closes_idle_clients_at_once(harness: Make) -> None:
    made = harness()
    clients = [made.client() for _ in range(10)]
    assert all(client.ask(ECHO, b"a") == b"a" for client in clients)
    started = time.monotonic()
    made.server.stop(60.0)
    assert time.monotonic() - started < 30
    assert all(client.closed_by_server() for client in clients)
    with pytest.raises(OSError):
        made.connect()


def test_stop_waits_for_answers(harness: Make) -> None:
    made = harness()

    taken = threading.Event()

    def later(request: ControlRequest) -> None:
        threading.Timer(0.3, request.respond, (b"late",)).start()
        taken.set()

    made.answer = later
    client = made.client()
    client.send(frame(COLD))
    assert taken.wait(60)
    made.server.stop(60.0)
    assert client.receive()[1] == b"late"
    assert client.closed_by_server()


def test_stop_gives_up_at_its_time_out(harness: Make) -> None:
    made = harness()
    held: list[ControlRequest] = []
    made.answer = held.append
    client = made.client()
    client.send(frame(COLD))
    wait_until(lambda: held, "the request")
    started = time.monotonic()
    made.server.stop(0.3)
    assert time.monotonic() - started > 0.25
    assert client.closed_by_server()
    held[0].respond(b"nobody there")


def test_stop_under_load(harness: Make) -> None:
    made = harness()
    stop = threading.Event()

    rounds = [0] * 4

    def load(index: int) -> None:
        client = made.connect()
        try:
            while not stop.is_set():
                client.send(frame(ECHO, b"x" * 1000) * 20 + frame(COLD))
                for _ in range(21):
                    client.receive()
                rounds[index] += 1
        except (OSError, EOFError):
            pass
        client.close()

    threads = [threading.Thread(target=load, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: min(rounds) > 20, "load of all clients")
    made.server.stop(2.0)
    stop.set()
    for thread in threads:
        thread.join(50)
        assert not thread.is_alive()


def test_many_servers_one_after_the_other(harness: Make) -> None:
    for _ in range(5):
        made = harness(3)
        assert made.client().ask(ECHO, b"a") == b"a"
        made.stop(0.1)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")  # exceptions raised in __dealloc__
def test_a_server_that_is_garbage_in_a_cycle_stops(probe: ModuleType) -> None:
    server = Server(1)
    port = server.listen(0, "PLAINTEXT", "127.0.0.1", 0)
    server.start()
    cycle: dict[str, object] = {"server": server}
    cycle["itself"] = cycle
    del server, cycle
    with pytest.raises(ConnectionRefusedError):
        gc.collect()
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
