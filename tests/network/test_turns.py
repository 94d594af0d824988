"""A client whose small requests are much work does not keep the reactor from the others."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import ModuleType

from conftest_network import BUSY, ECHO, Harness, frame

Make = Callable[..., Harness]
REQUESTS = 300  # about a second of work, received at once


def test_others_are_answered_between_the_requests_of_one_client(harness: Make, probe: ModuleType) -> None:
    made = harness(1)
    other, busy = made.client(), made.client()
    for _ in range(5):
        assert other.ask(BUSY, b"a") == b"a"  # a new reactor first measures its clock
    before = probe.busy_count()
    bodies = [struct.pack(">i", number) for number in range(REQUESTS)]
    busy.send(b"".join(frame(BUSY, body, correlation_id=number) for number, body in enumerate(bodies)))
    assert busy.receive() == (0, bodies[0])
    assert other.ask(ECHO, b"b") == b"b"
    assert probe.busy_count() - before < REQUESTS, "the others did not wait for all of them"
    assert [busy.receive() for _ in range(REQUESTS - 1)] == list(enumerate(bodies))[1:]
    assert busy.ask(ECHO, b"c") == b"c"


def test_what_is_left_is_handled_although_the_client_has_gone(harness: Make, probe: ModuleType) -> None:
    made = harness(1)
    busy = made.connect()
    for _ in range(5):
        assert busy.ask(BUSY, b"a") == b"a"  # a new reactor first measures its clock
    before = probe.busy_count()
    busy.send(frame(BUSY, b"x") * 10)
    assert busy.receive() == (1, b"x")
    busy.close()
    made.wait_for_counter("connections", 0)
    assert 1 <= probe.busy_count() - before <= 10
