"""Many connections that end at once: the others do not wait for all of them."""

from __future__ import annotations

import struct
from collections.abc import Callable

from conftest_network import COLD, ECHO, END_OTHERS, Harness, frame

from kafka_cy.network.control_request import ControlRequest
from tests.waiting import wait_until

from .test_parked import Hosted, park, publish

Make = Callable[..., Harness]
COUNT = 400
IN_ONE_TURN = 50  # DESTROYED_MAX of the reactor


def end_others(made: Harness) -> int:
    (count,) = struct.unpack(">q", made.client().ask(END_OTHERS))
    return int(count)


def test_each_turn_ends_some(harness: Make) -> None:
    made = harness(1)
    for _ in range(COUNT):
        assert made.client().ask(ECHO, b"x") == b"x"
    witness = made.client()
    made.wait_until_it_sleeps()
    before = made.server.counters()["loops"]
    (count,) = struct.unpack(">q", witness.ask(END_OTHERS))
    assert count == COUNT
    made.wait_for_counter("closed", COUNT)
    assert made.server.counters()["loops"] - before >= COUNT // IN_ONE_TURN
    assert all(client.closed_by_server() for client in made.clients[:COUNT])
    assert witness.ask(ECHO, b"x") == b"x"
    counters = made.server.counters()
    assert counters["connections"] == counters["reactor_connections"][0] == 1
    made.wait_until_it_sleeps()


def test_who_takes_the_place_of_one_is_not_refused(harness: Make) -> None:
    """Those that are not destroyed yet count."""
    made = harness(1, connections_max=COUNT + 1)
    for _ in range(COUNT):
        assert made.client().ask(ECHO, b"x") == b"x"
    witness = made.client()
    assert witness.ask(END_OTHERS) == struct.pack(">q", COUNT)
    assert all(made.client().ask(ECHO, b"y") == b"y" for _ in range(COUNT))
    assert made.server.counters()["refused"] == 0
    made.wait_for_counter("connections", COUNT + 1)


def test_what_they_waited_for_may_come_before_their_end(harness: Make, partitions: Callable[[int], Hosted]) -> None:
    """Half of them have a request at the control plane, and half a parked one whose time is over soon."""
    made, hosted = harness(1), partitions(1)
    publisher = publish(made, hosted)
    waiting: list[ControlRequest] = []
    made.answer = waiting.append
    for i in range(COUNT):
        made.client().send(frame(COLD, b"x") if i % 2 else park(50, 1, 0))
    wait_until(lambda: len(waiting) == COUNT // 2, "the requests")
    assert end_others(made) == COUNT
    hosted[0].wake()
    while waiting:
        waiting.pop().respond(b"late")
    made.wait_for_counter("connections", 1)
    for counter in ("parked", "parked_bytes", "queued_request_bytes", "queued_response_bytes"):  # late responses come after all
        made.wait_for_counter(counter, 0)
    assert publisher.retired_count() == 0


def test_stop_ends_all_of_them(harness: Make) -> None:
    made = harness(1)
    for _ in range(COUNT):
        made.client().send(frame(ECHO, b"x"))
    assert end_others(made) == COUNT
    made.server.stop(0.2)
    assert made.server.counters()["connections"] == 0
