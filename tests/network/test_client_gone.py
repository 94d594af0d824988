"""Clients that close a connection which is not read at the moment, and connections that wait for memory."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from types import ModuleType

import pytest
from conftest_network import COLD, ECHO, Client, Harness, frame, plaintext_only
from test_parked import Hosted, hosted, nothing_left, park, publish, read_park

from kafka_cy.network.control_request import ControlRequest
from kafka_cy.network.server import Server
from tests.waiting import wait_until

__all__ = ["hosted"]

Make = Callable[..., Harness]
DAY_MS = 86_400_000
IN_FLIGHT = 4


def full_client(made: Harness) -> Client:
    """A connection with as many waiting requests as allowed, and as many again that are not read."""
    client = made.connect()
    for number in range(2 * IN_FLIGHT):
        client.send(park(24 * DAY_MS, 1 << 40, 0, correlation_id=number))
    made.wait_for_counter("parked", IN_FLIGHT)
    return client


def test_waiting_requests_end_with_their_client(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    made = harness(1, in_flight_max=IN_FLIGHT)
    publish(made, hosted)
    full_client(made).close()
    made.wait_for_counter("connections", 0)
    assert nothing_left(probe, made)


@plaintext_only     # TLS ends both directions
def test_half_a_connection_gets_its_responses(harness: Make, probe: ModuleType, hosted: Hosted) -> None:
    """A client that has shut down its sending side is answered."""
    made = harness(1, in_flight_max=IN_FLIGHT)
    publish(made, hosted)
    client = full_client(made)
    client.socket.shutdown(socket.SHUT_WR)
    assert [read_park(client) for _ in range(2 * IN_FLIGHT)] == [(1, 0)] * (2 * IN_FLIGHT)
    made.wait_for_counter("connections", 0)
    assert nothing_left(probe, made)
    client.close()


@plaintext_only
def test_a_client_leaves_while_the_control_plane_works(harness: Make) -> None:
    """The request is not given up: it may have changed something. What follows it is handled first."""
    made = harness(1, control_requests_per_connection_max=1)
    held: list = []
    made.answer = held.append
    client = made.connect()
    client.send(frame(COLD, b"x") + frame(ECHO, b"a") + frame(COLD, b"y") + frame(ECHO, b"b"))
    made.wait_for_counter("paused", 1)
    wait_until(lambda: bool(held), "the request that is held")
    client.close()
    assert made.client().ask(ECHO, b"c") == b"c"
    assert made.server.counters()["connections"] == 2
    held.pop().respond(b"late")
    made.wait_for_counter("connections", 1)


def test_connections_that_wait_for_memory_are_in_order(probe: ModuleType) -> None:
    numbers = list(range(1000))
    removed = random.Random(5).sample(numbers, 700)
    left = [number for number in numbers if number not in set(removed)]
    assert probe.memory_list(1000, removed) == (left, [])
    # Within a batch the newest comes first: clients that do not send what they announced must not hold up the others.
    first, second = left[:256][::-1], left[256:][::-1]
    assert probe.memory_list(1000, removed, 1) == (left[256:], first)
    assert probe.memory_list(1000, removed, 2) == ([], first + second)
    for ends in ([], [0], [999], [0, 999], numbers, numbers[::-1]):
        assert probe.memory_list(1000, ends)[0] == [number for number in numbers if number not in set(ends)]


def test_many_connections_may_stop_waiting_for_memory(probe: ModuleType) -> None:
    """Each in constant time: a search for the last one of so many would not end."""
    count = 500_000
    assert probe.memory_list(count, range(count - 1, 0, -1)) == ([0], [])


def test_the_control_plane_hears_once_of_each_closed_connection_that_it_watches(harness: Make) -> None:
    made = harness(2)
    ids: list[int] = []
    held: list = []

    def answer(request: ControlRequest) -> None:
        ids.append(request.connection_id)
        if request.body == b"hold":
            held.append(request)
        else:
            request.respond(b"")

    made.answer = answer
    first, second, third = made.connect(), made.connect(), made.client()
    assert first.ask(COLD, b"x") == first.ask(COLD, b"y") == b"" == third.ask(COLD, b"z")
    unwatched = made.connect()
    assert unwatched.ask(ECHO, b"e") == b"e"
    second.send(frame(COLD, b"hold"))
    wait_until(lambda: bool(held), "the request that is held")
    assert made.closed == []
    for client in (first, unwatched, second):
        client.close()
    wait_until(lambda: len(made.closed) == 2, "both connections")  # also of the one whose request is not answered yet
    assert sorted(made.closed) == sorted({ids[0], ids[-1]})
    assert third.ask(COLD, b"z") == b""
    made.wait_for_counter("connections", 1)
    assert len(made.closed) == 2


def test_unknown_apis_are_not_watched() -> None:
    server = Server(1)
    for api_key in (-1, 5, 100_000):
        with pytest.raises(ValueError, match="unknown API key"):
            server.watch_closes(api_key)
