"""A fetch that waits already, and then finds that its data is not in memory, has no job beside another one of its connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.network import jobs
from kafka_cy.records import Record, build_batch
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .test_fetch import request, rows, values
from .test_fetch_cold import BATCHES, VALUE_BYTES, drop_from_cache
from .test_fetch_cold import send as send_fetch
from .test_parked_memory import LONG_WAIT_MS, counter, handled, parked
from .test_produce import batch, only
from .test_produce import request as produce_request
from .test_produce_jobs import large, send_produce

FETCHES = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HotServer]:
    """With topic `t`, whose data no consumer may read until the follower has it, and topic `u`."""
    started = HotServer(tmp_path, reactors=1)
    started.create_topic("t", FETCHES, sole_replica=False)
    started.create_topic("u")
    write(started)
    jobs.pause_jobs()
    yield started
    jobs.resume_jobs()
    started.stop()


@pytest.fixture
def connection(server: HotServer) -> Iterator[Connection]:
    client = server.connect()
    yield client
    client.close()


def write(server: HotServer) -> None:
    """Data in each partition, which is not in memory; consumers do not see it yet."""
    for index in range(FETCHES):
        for _ in range(BATCHES):
            server.partitions["t", index].append(build_batch([Record(value=b"v" * VALUE_BYTES, timestamp_ms=1)]))
    drop_from_cache(server.folder, "t")


def wait_for_data(server: HotServer, connection: Connection, max_wait_ms: int = LONG_WAIT_MS) -> None:
    """Fetches of one partition each, which wait."""
    for index in range(FETCHES):
        send_fetch(connection, request(server, {("t", index): 0}, max_wait_ms=max_wait_ms))
    parked(server, FETCHES)


def wake(server: HotServer) -> None:
    """The follower has the data, so consumers see it."""
    for index in range(FETCHES):
        server.partitions["t", index].follower_fetched(9, BATCHES)
    handled(server)


def answered(connection: Connection, count: int = FETCHES) -> None:
    for _ in range(count):
        (row,) = rows(connection.answer(1, 12))
        assert row["error_code"] == 0 and values(row) == 1


def test_fetches_take_turns(server: HotServer, connection: Connection) -> None:
    wait_for_data(server, connection)
    wake(server)
    assert jobs.waiting_jobs() == 1
    for left in range(FETCHES - 1, 0, -1):
        jobs.let_jobs_begin(1)
        parked(server, left)            # one has its response, and the next has its turn
        wait_until(lambda: jobs.waiting_jobs() == 1, "its job waits")
        handled(server)
        assert jobs.waiting_jobs() == 1 and counter(server, "parked") == left
    jobs.resume_jobs()
    answered(connection)


def test_behind_the_job_of_a_produce(server: HotServer, connection: Connection) -> None:
    wait_for_data(server, connection)
    send_produce(connection, 9, produce_request(9, server, {("u", 0): large()}, 1))
    send_produce(connection, 9, produce_request(9, server, {("u", 0): batch()}, 1))
    wait_until(lambda: jobs.waiting_jobs() == 1, "its batch is with a job")
    wake(server)
    assert jobs.waiting_jobs() == jobs.waiting_by_kind()["decompress"] == 1
    jobs.resume_jobs()
    answered(connection)
    assert [only(connection.answer(0, 9))["base_offset"] for _ in range(2)] == [0, 4000]


def test_the_time_to_wait_ends_before_its_turn(server: HotServer, connection: Connection) -> None:
    """It is answered after its turn, as is a fetch whose time ends while its own job reads."""
    wait_for_data(server, connection, max_wait_ms=1000)
    wake(server)
    assert jobs.waiting_jobs() == 1
    checked = counter(server, "loops")
    wait_until(lambda: counter(server, "loops") > checked + 100, "it is looked at again and again")
    assert jobs.waiting_jobs() == 1 and counter(server, "parked") == FETCHES
    jobs.resume_jobs()
    answered(connection)


def test_the_connection_closes(server: HotServer, connection: Connection) -> None:
    wait_for_data(server, connection)
    wake(server)
    assert jobs.waiting_jobs() == 1
    connection.close()
    parked(server, 0)
    assert jobs.waiting_jobs() == 0


def test_a_deleted_topic(server: HotServer, connection: Connection) -> None:
    wait_for_data(server, connection)
    wake(server)
    server.delete_topic("t")
    assert jobs.waiting_jobs() == 1
    jobs.resume_jobs()
    for _ in range(FETCHES):
        assert rows(connection.answer(1, 12))[0]["error_code"] == 3


def test_stop(server: HotServer, connection: Connection) -> None:
    wait_for_data(server, connection)
    wake(server)
    server.server.stop(0.0)
    assert jobs.waiting_jobs() == 0 and counter(server, "parked") == 0
