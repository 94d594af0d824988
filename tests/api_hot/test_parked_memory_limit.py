"""What happens to fetches that find no room to wait, in servers of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.api import fetch_standing
from kafka_cy.network import jobs
from tests.waiting import wait_until

from .harness import HotServer
from .kio_wire import encode_request
from .test_fetch import fill, request, rows, values
from .test_fetch_cold import make_cold
from .test_fetch_session import open_session
from .test_list_offsets_jobs import send as send_look_up
from .test_parked_memory import LIMIT, LONG_WAIT_MS, PARTITIONS, clients, counter, counts, parked, send

TIGHT_LIMIT = 65536


def test_stopped(tmp_path: Path) -> None:
    server = HotServer(tmp_path, reactors=2, queued_request_bytes_max=LIMIT)
    server.create_topic("t", PARTITIONS)
    client = server.connect()
    send(server, client)
    parked(server, 1)
    server.stop()
    assert counts(server) == (0, 0, 0)
    client.close()


@pytest.fixture
def tight_server(tmp_path: Path) -> Iterator[HotServer]:
    """One fetch of 60 partitions may wait, beside it none of 100. (Standing fetches have the memory of sessions.)"""
    fetch_standing.set_limits(partitions_min=1000)
    started = HotServer(tmp_path, reactors=1, queued_request_bytes_max=TIGHT_LIMIT)
    started.create_topic("t", 100)
    yield started
    jobs.resume_jobs()
    started.stop()
    fetch_standing.set_limits()


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


def test_cold_reads(tight_server: HotServer) -> None:
    """A fetch that waits for the disk is counted as well; beyond the limit the client gets what is in memory."""
    server = tight_server
    make_cold(server, "cold")
    jobs.pause_jobs()
    with clients(server, 2) as (reader, other):
        offsets = {("t", index): 0 for index in range(100)} | {("cold", 0): 0}
        asked = encode_request(1, 12, request(server, offsets, max_wait_ms=LONG_WAIT_MS))
        reader.send(1, 12, asked)
        wait_until(lambda: jobs.waiting_jobs() == 1 and counter(server, "parked_bytes") > 0, "a job is to read, and it is counted")
        assert counter(server, "parked_bytes") < counter(server, "queued_request_bytes")
        other.send(1, 12, asked)
        response = rows(other.answer(1, 12))
        assert len(response) == 101
        assert not any(row["records"] for row in response[:-1])    # The kernel may have read the last one ahead meanwhile.
        jobs.resume_jobs()
        assert sum(values(row) for row in rows(reader.answer(1, 12))) == 2


def test_a_read_goes_on_beyond_the_limit(tmp_path: Path) -> None:
    """However many jobs of other kinds wait: the client would ask again and again, and its data would never be read."""
    server = HotServer(tmp_path, reactors=1, queued_request_bytes_max=TIGHT_LIMIT, queued_requests_max=64 * 32)
    server.create_topic("t", 100)
    make_cold(server, "cold")
    jobs.pause_jobs()
    try:
        with clients(server, 20) as (parker, reader, *others):
            for each in others:
                send_look_up(each, ("cold", 0, 2))
            wait_until(lambda: jobs.waiting_jobs() == len(others), "they wait for jobs")
            send(server, parker, 60)
            parked(server, len(others) + 1)
            offsets = {("t", index): 0 for index in range(99)} | {("cold", 0): 0}
            reader.send(1, 12, encode_request(1, 12, request(server, offsets, max_wait_ms=LONG_WAIT_MS)))
            assert not any(row["records"] for row in rows(reader.answer(1, 12))), "there is no memory to wait"
            assert jobs.waiting_by_kind()["cold-read"] == 1
            jobs.resume_jobs()
            for each in others:
                each.answer(2, 11)
    finally:
        jobs.resume_jobs()
        server.stop()
