"""Requests that wait for a place in a job queue: who gets it, and when."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from conftest_network import BUSY, ECHO, HOLD, JOB, Client, Harness, frame, plaintext_only
from test_parked import Hosted, hosted, publish  # noqa: F401

from kafka_cy.network import jobs
from tests.waiting import wait_until

Make = Callable[..., Harness]
ONE_PLACE = 64  # queued_requests_max: there are as many lanes
NEVER_MS = 3_600_000
RETRIES_PER_TURN_MAX = 256
PLACES_KEPT = 64  # of connections of a lane that wait for something else, too


@pytest.fixture(autouse=True)
def paused_jobs() -> Iterator[None]:
    jobs.pause_jobs()
    yield
    jobs.resume_jobs()


class Line:
    """Clients with one request each that needs a job. There is one place; the first of them has it."""

    def __init__(self, made: Harness, probe: ModuleType) -> None:
        self.made, self.probe = made, probe
        self.begun_before = len(probe.begun_jobs())
        self.other = made.client()
        self.clients: list[Client] = []

    def join(self, before: bytes = b"") -> None:
        """One more client, with `before` as its earlier requests."""
        paused = self.made.server.counters()["paused"]
        self.clients.append(client := self.made.client())
        client.send(before + frame(JOB, bytes([len(self.clients)]), correlation_id=99))
        wait_until(lambda: self.made.server.counters()["paused"] > paused, "it has a job, or is held back")
        self.settled()

    def settled(self) -> None:
        """The turns of all reactors that have begun end."""
        for _ in range(2):
            assert self.other.ask(ECHO, b"e") == b"e"

    def begun(self) -> list[int]:
        return list(self.probe.begun_jobs()[self.begun_before :])

    def let_begin(self, left: int = 1) -> None:
        """The next job ends. `left`: how many wait then."""
        done = len(self.begun())
        jobs.let_jobs_begin(1)
        wait_until(lambda: len(self.begun()) > done, "a job has begun")
        wait_until(lambda: jobs.waiting_jobs() == left, "its place is taken")


def hold(wait_ms: int = 600_000) -> bytes:
    """Parked. Its connection is held from the first `bump` on, and answered at the second."""
    return frame(HOLD, struct.pack(">qqi", wait_ms, 2, 0))


@plaintext_only
def test_a_connection_that_waits_for_something_else_keeps_its_place(harness: Make, probe: ModuleType, hosted: Hosted) -> None:  # noqa: F811
    made = harness(1, queued_requests_max=ONE_PLACE)
    publish(made, hosted)
    line = Line(made, probe)
    line.join()
    line.join(hold())
    line.join()
    held = probe.held_count()
    probe.bump(hosted[0])
    wait_until(lambda: probe.held_count() > held, "the second one waits for something else, too")
    line.settled()
    probe.bump(hosted[0])
    assert line.clients[1].receive()[0] == 1, "it does not any more"
    line.settled()
    line.let_begin()
    line.let_begin()
    line.let_begin(0)
    assert line.begun() == [1, 2, 3]


@plaintext_only
def test_others_need_not_wait_for_it(harness: Make, probe: ModuleType, hosted: Hosted) -> None:  # noqa: F811
    made = harness(1, queued_requests_max=ONE_PLACE)
    publish(made, hosted)
    line = Line(made, probe)
    line.join()
    line.join(hold())
    line.join()
    held = probe.held_count()
    probe.bump(hosted[0])
    wait_until(lambda: probe.held_count() > held, "the second one waits for something else, too")
    line.settled()
    line.let_begin()
    line.let_begin(0)
    assert line.begun() == [1, 3]
    probe.bump(hosted[0])
    wait_until(lambda: jobs.waiting_jobs() == 1, "it has the place now")
    line.let_begin(0)
    assert line.begun() == [1, 3, 2]


@plaintext_only
def test_so_many_keep_their_places_and_the_others_come_last(harness: Make, probe: ModuleType, hosted: Hosted) -> None:  # noqa: F811
    made = harness(1, queued_requests_max=ONE_PLACE)
    publish(made, hosted)
    line = Line(made, probe)
    line.join()
    count = PLACES_KEPT + 3
    for _ in range(count):
        line.join(hold())
    line.join()
    held = probe.held_count()
    probe.bump(hosted[0])
    wait_until(lambda: probe.held_count() == held + count, "they wait for something else, too")
    line.settled()
    probe.bump(hosted[0])
    for each in line.clients[1:-1]:
        assert each.receive()[0] == 1
    line.settled()
    for left in range(count + 1, -1, -1):
        line.let_begin(min(left, 1))
    begun = line.begun()
    assert sorted(begun) == list(range(1, count + 3)), "nobody is forgotten"
    place_of_last = begun.index(count + 2)
    assert begun[:place_of_last] == sorted(begun[:place_of_last]) and place_of_last == PLACES_KEPT + 1


@plaintext_only
@pytest.mark.parametrize("reactors", [1, 2, 3])
def test_a_free_place_is_taken_without_waiting_for_a_timer(harness: Make, probe: ModuleType, reactors: int) -> None:
    """The reactor that held the request back is woken, whichever it is."""
    made = harness(reactors, queued_requests_max=ONE_PLACE, retry_ms=NEVER_MS)
    line = Line(made, probe)
    count = 7
    for _ in range(count):
        line.join()
    for number in range(1, count + 1):
        line.let_begin(1 if number < count else 0)
    assert line.begun() == list(range(1, count + 1))


@plaintext_only
def test_a_client_that_leaves_gives_its_place_to_the_next(harness: Make, probe: ModuleType) -> None:
    made = harness(2, queued_requests_max=ONE_PLACE, retry_ms=NEVER_MS)
    line = Line(made, probe)
    for _ in range(3):
        line.join()
    connections = made.server.counters()["connections"]
    line.clients[1].close()
    made.wait_for_counter("connections", connections - 1)
    line.let_begin()
    line.let_begin(0)
    assert line.begun() == [1, 3]


@plaintext_only
@pytest.mark.parametrize("reactors", [1, 3])
def test_no_request_is_left_waiting(harness: Make, reactors: int) -> None:
    """Some clients leave while their requests wait. Without a timer that looks again, each free place has to be told of."""
    made = harness(reactors, queued_requests_max=ONE_PLACE, retry_ms=NEVER_MS)
    jobs.resume_jobs()
    answered: list[int] = []

    def use(number: int) -> None:
        choose = random.Random(number)
        for _ in range(10):
            client = made.connect()
            count = choose.randint(1, 6)
            kinds = [JOB if choose.random() < 0.7 else ECHO for _ in range(count)]
            client.send(b"".join(frame(kind, b"x", correlation_id=place) for place, kind in enumerate(kinds)))
            if choose.random() < 0.7:
                assert [client.receive()[0] for _ in range(count)] == list(range(count))
            client.close()
        answered.append(number)

    users = [threading.Thread(target=use, args=(number,)) for number in range(12)]
    for each in users:
        each.start()
    for each in users:
        each.join()
    assert sorted(answered) == list(range(len(users)))
    made.wait_for_counter("connections", 0)
    assert jobs.waiting_jobs() == 0


@plaintext_only
def test_reactors_sleep_while_many_wait(harness: Make) -> None:
    """One request waits for the next turn. That does not make its reactor look again and again after those that need a place."""
    made = harness(2, queued_requests_max=ONE_PLACE, retry_ms=NEVER_MS)
    busy = [made.client() for _ in range(2)]  # one for each reactor; one of these has the timer of the request with the place
    for each in busy * 5:
        assert each.ask(BUSY, b"a") == b"a"  # a new reactor first measures its clock
    count = 2 * (RETRIES_PER_TURN_MAX + 10)
    for _ in range(1 + count):
        made.client().send(frame(JOB, b"x"))
    wait_until(lambda: made.server.counters()["paused"] >= count, "the others are held back")
    for each in busy:
        each.send(frame(BUSY, b"b") * 2)
    for each in busy * 2:
        assert each.receive()[1] == b"b"
    asked, before = 200, made.server.counters()["loops"]
    for each in busy * (asked // 2):
        assert each.ask(ECHO, b"c") == b"c"
    assert made.server.counters()["loops"] - before < 2 * asked, "they take a turn for each request, and a few for timers"
