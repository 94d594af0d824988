"""Many connections that were paused may become ready together. One turn of the reactor takes on a millisecond of their work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until

from . import test_fetch, test_produce
from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_parked_memory import LONG_WAIT_MS, counter, parked

PARTITIONS = 200
LIMIT = 16 << 20
# The kept requests of one client take less than a millisecond together, those of all clients take much longer. They come in one
# write of less than 32 kB, which the reactor receives at once, so that it keeps what it does not handle.
CLIENTS, KEPT = 200, 3
ROWS_WAITING = 100  # a request with so many holds more than a client may hold for nothing
FETCH = 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HotServer]:
    started = HotServer(tmp_path, reactors=1, queued_request_bytes_max=LIMIT)
    started.create_topic("t", PARTITIONS, sole_replica=False)
    yield started
    started.stop()


def produce(server: HotServer) -> bytes:
    """A request that waits until the follower has its batch. Only one partition exists: after many appends on a busy machine, the
    disk may count as slow, and then the clients would wait for jobs."""
    records = test_produce.batch(1)
    rows = {("t", index): records for index in range(PARTITIONS - 1, PARTITIONS - 1 + ROWS_WAITING)}
    return encode_request(0, 9, test_produce.request(9, server, rows, -1, LONG_WAIT_MS))


def fetch(server: HotServer) -> bytes:
    """A request that finds nothing and does not wait."""
    return encode_request(FETCH, 12, test_fetch.request(server, {("t", index): 0 for index in range(PARTITIONS)}))


def fetches(server: HotServer) -> int:
    return int(server.server.counters()["requests"].get(FETCH, 0))


def clients(server: HotServer, opened: contextlib.ExitStack, count: int) -> list[Connection]:
    return [opened.enter_context(contextlib.closing(server.connect())) for _ in range(count)]


def use_much_memory(server: HotServer, client: Connection, waits: bytes) -> None:
    while counter(server, "parked_bytes") <= LIMIT // 4:
        before = counter(server, "parked_bytes")
        client.send(0, 9, waits)
        wait_until(lambda before=before: counter(server, "parked_bytes") > before, "it waits")  # type: ignore[misc]


def kept(server: HotServer) -> int:
    """Bytes of requests that have arrived, and are not handled yet."""
    found = server.server.counters()
    return int(found["queued_request_bytes"]) - int(found["parked_bytes"])


def test_one_turn_is_short(server: HotServer) -> None:
    with contextlib.ExitStack() as opened:
        (first,) = clients(server, opened, 1)
        waits, asks = produce(server), fetch(server)
        use_much_memory(server, first, waits)
        before = counter(server, "parked")
        others = clients(server, opened, CLIENTS)
        wanted = 0
        for each in others:
            frames = [each.frame(0, 9, waits)] + [each.frame(FETCH, 12, asks) for _ in range(KEPT)]
            each.socket.sendall(b"".join(frames))
            wanted += sum(map(len, frames[1:]))
        parked(server, before + CLIENTS)
        # A connection's buffer may still hold its handled request, and now and then the reactor receives a write in two parts.
        wait_until(lambda: kept(server) > wanted * 3 // 4, "most requests are kept")
        assert fetches(server) == 0
        paused = counter(server, "paused")
        first.close()
        wait_until(lambda: fetches(server) == CLIENTS * KEPT, "the kept requests are handled")
        assert counter(server, "paused") - paused > CLIENTS // 2, "some waited for more than one turn"
