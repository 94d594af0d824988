"""What waiting fetches hold is counted in the memory for requests, and given back exactly once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.waiting import wait_until

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import fill, request, rows, values

LIMIT = 1 << 20  # of all requests; waiting ones may use half of it
PARTITIONS = 60  # a fetch of them takes more than 10 kB while it waits
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
        wait_until(lambda: counts(server) == (0, 0, 0), "the last job has returned what it held")


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
    """The reactor has counted their memory, too, which it does a moment later."""
    wait_until(lambda: counter(server, "parked") == count, f"{count} requests wait")
    handled(server)


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


def test_long_waits_do_not_keep_the_memory(server: HotServer) -> None:
    """While much of it is used, a large fetch waits a second at most."""
    with clients(server, 2) as (first, other):
        while counter(server, "parked_bytes") <= LIMIT // 4:
            send(server, first)
            handled(server)
        send(server, other)
        assert len(rows(other.answer(1, 12))) == PARTITIONS
        assert counter(server, "parked") > 0


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
