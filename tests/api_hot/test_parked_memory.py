"""What waiting fetches hold is counted in the memory for requests, and given back exactly once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.network import jobs
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import fill, request, rows, values
from .test_fetch_cold import make_cold
from .test_fetch_session import open_session

LIMIT = 1 << 20  # of all requests; waiting ones may use half of it
PARTITIONS = 60  # a fetch of them takes more than 10 kB while it waits
TIGHT_LIMIT = 65536
FREE = 4096  # bytes of a connection's waiting fetches that are not counted
LONG_WAIT_MS = 120_000  # longer than a client of these tests waits


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HotServer]:
    started = HotServer(tmp_path_factory.mktemp("parked"), reactors=1, queued_request_bytes_max=LIMIT)
    started.create_topic("t", PARTITIONS)
    yield started
    started.stop()


@contextlib.contextmanager
def clients(server: HotServer, count: int) -> Iterator[list[Connection]]:
    """Connections that are closed in the end; then nothing is counted any more."""
    opened = [server.connect() for _ in range(count)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()
        wait_until(lambda: counter(server, "connections") == 0, "the connections are closed")
        assert counts(server) == (0, 0, 0)


def counter(server: HotServer, name: str) -> int:
    return int(server.server.counters()[name])


def counts(server: HotServer) -> tuple[int, int, int]:
    """(waiting requests, bytes of waiting requests, bytes of all requests)."""
    found = server.server.counters()
    return found["parked"], found["parked_bytes"], found["queued_request_bytes"]


def send(server: HotServer, client: Connection, partitions: int = PARTITIONS, max_wait_ms: int = LONG_WAIT_MS) -> None:
    """A fetch of the end of some partitions."""
    offsets = {("t", index): server.partitions["t", index].high_watermark for index in range(partitions)}
    client.send(1, 12, encode_request(1, 12, request(server, offsets, max_wait_ms=max_wait_ms)))


def parked(server: HotServer, count: int) -> None:
    wait_until(lambda: counter(server, "parked") == count, f"{count} requests wait")


def test_woken(server: HotServer) -> None:
    with clients(server, 1) as (client,):
        send(server, client)
        parked(server, 1)
        one = counter(server, "parked_bytes") + FREE
        assert PARTITIONS * 200 < one < PARTITIONS * 400 + 1000
        assert counts(server) == (1, one - FREE, one - FREE)
        send(server, client)
        parked(server, 2)
        assert counts(server) == (2, 2 * one - FREE, 2 * one - FREE)
        fill(server, "t", 7)
        for _ in range(2):
            assert sum(values(row) for row in rows(client.answer(1, 12))) == 2
        assert counts(server) == (0, 0, 0)


def test_expired(server: HotServer) -> None:
    with clients(server, 1) as (client,):
        send(server, client, max_wait_ms=50)
        parked(server, 1)
        assert counter(server, "parked_bytes") > 0
        client.answer(1, 12)
        assert counts(server) == (0, 0, 0)


def test_closed(server: HotServer) -> None:
    with clients(server, 3) as opened:
        for each in opened:
            for _ in range(4):
                send(server, each)
        parked(server, 12)
        assert counter(server, "parked_bytes") > 12 * PARTITIONS * 200 - 3 * FREE
        opened[0].close()
        parked(server, 8)


def test_failed(server: HotServer) -> None:
    """A partition that is deleted ends the wait with an error."""
    server.create_topic("u")
    offsets = {("t", index): server.partitions["t", index].high_watermark for index in range(PARTITIONS)}
    with clients(server, 1) as (client,):
        asked = request(server, {**offsets, ("u", 0): 0}, max_wait_ms=LONG_WAIT_MS)
        client.send(1, 12, encode_request(1, 12, asked))
        parked(server, 1)
        server.delete_topic("u")
        assert {row["error_code"] for row in rows(client.answer(1, 12))} == {0, 3}


def test_stopped(tmp_path: Path) -> None:
    server = HotServer(tmp_path, reactors=2, queued_request_bytes_max=LIMIT)
    server.create_topic("t", PARTITIONS)
    client = server.connect()
    send(server, client)
    parked(server, 1)
    server.stop()
    assert counts(server) == (0, 0, 0)
    client.close()


def test_a_modest_client_needs_no_budget(server: HotServer) -> None:
    with clients(server, 5) as opened:
        for each in opened:
            send(server, each, 10)
        parked(server, 5)
        assert counts(server) == (5, 0, 0)


def handled(server: HotServer) -> None:
    """The reactor has handled what was sent before: a new client is answered after it."""
    probe = server.connect()
    probe.call(18, 0, {})
    probe.close()


@pytest.fixture
def tight_server(tmp_path: Path) -> Iterator[HotServer]:
    """One fetch of 60 partitions may wait, beside it none of 100."""
    started = HotServer(tmp_path, reactors=1, queued_request_bytes_max=TIGHT_LIMIT)
    started.create_topic("t", 100)
    yield started
    jobs.resume_jobs()
    started.stop()


def test_beyond_the_limit_nobody_waits(tight_server: HotServer) -> None:
    server = tight_server
    with clients(server, 3) as (first, other, modest):
        send(server, first, 60)
        parked(server, 1)
        held = counts(server)
        assert 0 < held[1] < TIGHT_LIMIT // 4
        send(server, other, 100)
        response = other.answer(1, 12)                            # at once, though it may wait for two minutes
        assert len(rows(response)) == 100 and not any(row["records"] for row in rows(response))
        session = open_session(server, other, 12, {("t", index): 0 for index in range(100)})
        asked = request(server, {}, session=(session, 1), max_wait_ms=LONG_WAIT_MS)
        response = other.call(1, 12, asked)
        assert (response["error_code"], response["session_id"], response["responses"]) == (0, session, [])
        assert counts(server) == held
        send(server, modest, 10)
        parked(server, 2)
        fill(server, "t", 3)
        for each in (first, modest):
            assert sum(values(row) for row in rows(each.answer(1, 12))) == 2
        send(server, other, 100)                                # now there is room
        parked(server, 1)


def test_long_waits_do_not_keep_the_memory(server: HotServer) -> None:
    """While much of it is used, a large fetch waits a second at most."""
    with clients(server, 2) as (first, other):
        while counter(server, "parked_bytes") <= LIMIT // 4:
            send(server, first)
            handled(server)
        send(server, other)
        assert len(rows(other.answer(1, 12))) == PARTITIONS
        assert counter(server, "parked") > 0


def test_cold_reads(tight_server: HotServer) -> None:
    """A fetch that waits for the disk is counted as well; beyond the limit the client gets what is in memory."""
    server = tight_server
    make_cold(server, "cold")
    jobs.pause_jobs()
    with clients(server, 2) as (reader, other):
        offsets = {("t", index): 0 for index in range(100)} | {("cold", 0): 0}
        asked = encode_request(1, 12, request(server, offsets, max_wait_ms=LONG_WAIT_MS))
        reader.send(1, 12, asked)
        wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to read")
        assert 0 < counter(server, "parked_bytes") < counter(server, "queued_request_bytes")
        other.send(1, 12, asked)
        response = rows(other.answer(1, 12))
        assert len(response) == 101 and not any(row["records"] for row in response)
        jobs.resume_jobs()
        assert sum(values(row) for row in rows(reader.answer(1, 12))) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("fetch"), st.integers(0, 4), st.integers(1, PARTITIONS), st.sampled_from([1, 20, LONG_WAIT_MS])),
            st.tuples(st.just("fill"), st.integers(0, PARTITIONS - 1)),
            st.tuples(st.just("close"), st.integers(0, 4)),
        ),
        max_size=60,
    )
)
def test_nothing_is_left(server: HotServer, steps: list[tuple[str, int] | tuple[str, int, int, int]]) -> None:
    with clients(server, 5) as opened:
        for step in steps:
            if step[0] == "fill":
                fill(server, "t", step[1])
            elif step[0] == "close":
                opened[step[1]].close()
                opened[step[1]] = server.connect()
            else:
                send(server, opened[step[1]], *step[2:])
            _, waiting_bytes, all_bytes = counts(server)
            assert 0 <= waiting_bytes <= LIMIT // 2 and 0 <= all_bytes <= LIMIT
