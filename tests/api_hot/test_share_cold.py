"""A share fetch of data that the page cache does not keep: no reactor waits for a disk, and there is an answer all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kafka_cy.api import fetch_cold
from kafka_cy.network import jobs
from kafka_cy.records import Record, build_batch
from kafka_cy.share.log_reader import split
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .share_member import LIMITS, ShareMember, rows_of

REACTORS = 1
ROUNDS = 3  # jobs that read into the page cache; the one after them keeps what it reads
VALUE_BYTES = 20_000
LONG_MS = 600_000


@pytest.fixture
def cold(hot_server: HotServer) -> Iterator[HotServer]:
    """Two batches of two records, which a reactor never finds in the page cache. Jobs are paused."""
    hot_server.create_topic("t")
    for number in range(2):
        records = [Record(value=bytes([number + 1]) * VALUE_BYTES, timestamp_ms=1)] * 2
        hot_server.partitions["t", 0].append(build_batch(records))
    fetch_cold.forget_all(True)
    jobs.pause_jobs()
    yield hot_server
    fetch_cold.forget_all(False)


def let_jobs_read(count: int) -> None:
    """So many jobs end, one after the other, and each time the fetch looks again."""
    wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to read")
    jobs.let_jobs_begin(count)
    wait_until(lambda: jobs.least_that_may_begin() == 0, "they have begun")


def records_of(answer: dict[str, Any]) -> bytes:
    return b"".join(each["records"] or b"" for topic in answer["responses"] for each in topic["partitions"])


def test_what_the_page_cache_loses_is_sent_from_memory(cold: HotServer, connection: Connection) -> None:
    member = ShareMember(cold, [("t", 0)])
    member.send(connection)
    let_jobs_read(ROUNDS)
    wait_until(lambda: jobs.waiting_jobs() == 1, "the reactor does not read it: one more job does")
    jobs.resume_jobs()
    answer = connection.answer(78, 2)
    assert rows_of(answer) == [(0, 3, 1)]
    assert records_of(answer) == cold.partitions["t", 0].read(0, 1 << 20)
    wait_until(lambda: cold.server.counters()["queued_request_bytes"] == 0, "the memory is given back")
    assert cold.server.counters()["parked"] == 0


@pytest.mark.parametrize(("others", "rest"), [([(0, 1)], [(2, 3, 1)]), ([(0, 1), (2, 3)], [])], ids=["a part", "all"])
def test_others_get_records_while_a_job_reads_them(
    cold: HotServer, connection: Connection, others: list[tuple[int, int]], rest: list[tuple[int, int, int]]
) -> None:
    member = ShareMember(cold, [("t", 0)])
    member.send(connection, max_wait=LONG_MS if rest else 100)
    let_jobs_read(ROUNDS)
    wait_until(lambda: jobs.waiting_jobs() == 1, "the last job is to read")
    member.in_flight["t", 0].acquire("other", 0, others, LIMITS, 0.0, 100, 100, strict=False)
    jobs.resume_jobs()
    answer = connection.answer(78, 2)
    assert rows_of(answer) == rest
    assert [each[:2] for each in split(records_of(answer))] == [row[:2] for row in rest]
    assert fetch_cold.kept_bytes() == 0


def test_a_fetch_does_not_wait_with_a_piece_that_others_got(cold: HotServer, connection: Connection) -> None:
    member = ShareMember(cold, [("t", 0)])
    member.send(connection, max_wait=LONG_MS)
    let_jobs_read(ROUNDS)
    wait_until(lambda: jobs.waiting_jobs() == 1, "the last job is to read")
    member.in_flight["t", 0].acquire("other", 0, [(0, 1), (2, 3)], LIMITS, 0.0, 100, 100, strict=False)
    assert fetch_cold.kept_bytes() == 0
    jobs.resume_jobs()
    wait_until(lambda: cold.server.counters()["queued_request_bytes"] == 0, "the job has ended: its memory is not counted any more")
    assert cold.server.counters()["parked"] == 1
    wait_until(lambda: fetch_cold.kept_bytes() == 0, "the memory is given back while the fetch waits")
    member.session.end()
    fetch_cold.forget_all(False)
    cold.partitions["t", 0].append(build_batch([Record(value=b"v", timestamp_ms=1)]))
    assert rows_of(connection.answer(78, 2)) == []


def test_records_before_the_piece_stay_for_the_next_fetch(cold: HotServer, connection: Connection) -> None:
    """They were locked when the job was asked to read, and are not mistaken for records that the log has lost."""
    member = ShareMember(cold, [("t", 0)])
    in_flight = member.in_flight["t", 0]
    in_flight.acquire("other", 0, [(0, 1)], LIMITS, 0.0, 100, 100, strict=False)
    member.send(connection, max_wait=LONG_MS)
    let_jobs_read(ROUNDS)
    wait_until(lambda: jobs.waiting_jobs() == 1, "the last job is to read")
    in_flight.release("other", LIMITS).finish()
    jobs.resume_jobs()
    assert rows_of(connection.answer(78, 2)) == [(2, 3, 1)]
    fetch_cold.forget_all(False)
    assert rows_of(member.fetch(connection)) == [(0, 1, 2)]


def test_without_memory_for_the_piece_the_answer_is_empty(tmp_path: Any) -> None:
    server = HotServer(tmp_path, 1, queued_request_bytes_max=1)
    server.create_topic("t")
    server.partitions["t", 0].append(build_batch([Record(value=b"v", timestamp_ms=1)]))
    fetch_cold.forget_all(True)
    try:
        connection = server.connect()
        member = ShareMember(server, [("t", 0)])
        assert rows_of(member.fetch(connection, max_wait=LONG_MS)) == []
        fetch_cold.forget_all(False)
        assert rows_of(member.fetch(connection)) == [(0, 0, 1)]
        connection.close()
    finally:
        fetch_cold.forget_all(False)
        server.stop()


def test_a_session_can_end_while_a_job_reads_for_it(cold: HotServer, connection: Connection) -> None:
    member = ShareMember(cold, [("t", 0)])
    member.send(connection, max_wait=LONG_MS)
    wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to read")
    member.session.end()
    jobs.resume_jobs()
    assert rows_of(connection.answer(78, 2)) == []
    assert member.in_flight["t", 0].ranges == []


def test_a_client_that_leaves_while_the_last_job_reads(cold: HotServer) -> None:
    connection = cold.connect()
    member = ShareMember(cold, [("t", 0)])
    member.send(connection, max_wait=LONG_MS)
    let_jobs_read(ROUNDS)
    wait_until(lambda: jobs.waiting_jobs() == 1, "the last job is to read")
    connection.close()
    wait_until(lambda: cold.server.counters()["connections"] == 0, "the connection is closed")
    jobs.resume_jobs()
    wait_until(lambda: jobs.waiting_jobs() == 0, "no job is left")
    wait_until(lambda: cold.server.counters()["queued_request_bytes"] == 0, "the memory is given back")
    assert member.in_flight["t", 0].ranges == []
