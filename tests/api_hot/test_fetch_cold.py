"""A job reads data that is not in the page cache; nothing else waits for the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kafka_cy.network import jobs
from kafka_cy.records import Record, build_batch
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import fill, request, rows, values

REACTORS = 1

BATCHES = 6
VALUE_BYTES = 600_000  # six batches, so that the first ones do not count as recently written


def drop_from_cache(folder: Path, topic: str) -> None:
    """Make the segments of the topic cold; skip if the file system keeps them in memory or cannot tell."""
    for path in folder.glob(f"{topic}-*/*.log"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                continue
            pytest.skip(f"this file system cannot tell what is in memory: {error}")
        else:
            pytest.skip("this file system keeps its data in memory")
        finally:
            os.close(fd)


def make_cold(server: HotServer, topic: str = "t", **config: object) -> None:
    server.create_topic(topic, config=dict(config))
    for number in range(BATCHES):
        server.partitions[topic, 0].append(
            build_batch([Record(value=bytes([number]) * VALUE_BYTES, timestamp_ms=1), Record(value=b"y", timestamp_ms=2)]))
    drop_from_cache(server.folder, topic)


def send(connection: Connection, values: dict[str, object]) -> None:
    connection.send(1, 12, encode_request(1, 12, values))


@pytest.mark.parametrize("config", [{}, {"segment.bytes": 1 << 20}], ids=["active", "closed"])
def test_others_are_answered_meanwhile(hot_server: HotServer, connection: Connection, config: dict[str, int]) -> None:
    make_cold(hot_server, **config)
    hot_server.create_topic("hot")
    fill(hot_server, "hot")
    jobs.pause_jobs()
    send(connection, request(hot_server, {("t", 0): 0}))
    wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to read")
    other = hot_server.connect()
    (row,) = rows(other.call(1, 12, request(hot_server, {("hot", 0): 0})))
    assert values(row) == 2
    jobs.resume_jobs()
    (row,) = rows(connection.answer(1, 12))
    assert row["error_code"] == 0 and values(row) == 2
    assert row["records"].count(b"\0" * VALUE_BYTES) == 1
    other.close()


def test_all_of_it_is_read(hot_server: HotServer, connection: Connection) -> None:
    make_cold(hot_server)
    offset = 0
    while offset < 2 * BATCHES:
        (row,) = rows(connection.call(1, 12, request(hot_server, {("t", 0): offset}, max_wait_ms=1000)))
        assert row["error_code"] == 0 and values(row) > 0
        offset += values(row)


def test_a_warm_partition_beside_a_cold_one(hot_server: HotServer, connection: Connection) -> None:
    make_cold(hot_server)
    hot_server.create_topic("hot")
    fill(hot_server, "hot")
    answer = connection.call(1, 12, request(hot_server, {("hot", 0): 0, ("t", 0): 0}, max_wait_ms=1000))
    assert [values(row) for row in rows(answer)] == [2, 2]


def test_an_error_does_not_wait(hot_server: HotServer, connection: Connection) -> None:
    make_cold(hot_server)
    jobs.pause_jobs()
    answer = connection.call(1, 12, request(hot_server, {("nowhere", 0): 0, ("t", 0): 0}, max_wait_ms=1000))
    assert [(row["error_code"], row["records"]) for row in rows(answer)] == [(3, b""), (0, b"")]
    assert jobs.waiting_jobs() == 1, "it reads for the next fetch"
    jobs.resume_jobs()

    def read() -> int:
        answer = connection.call(1, 12, request(hot_server, {("nowhere", 0): 0, ("t", 0): 0}))
        return values(rows(answer)[1])

    wait_until(lambda: read() == 2, "the data came")


def test_closed_connections(hot_server: HotServer) -> None:
    make_cold(hot_server)
    jobs.pause_jobs()
    connections = [hot_server.connect() for _ in range(5)]
    for each in connections:
        send(each, request(hot_server, {("t", 0): 0}, max_wait_ms=60_000))
    wait_until(lambda: jobs.waiting_jobs() == 5, "jobs are to read")
    for each in connections:
        each.close()
    other = hot_server.connect()
    wait_until(lambda: hot_server.server.counters()["connections"] == 1, "the connections are closed")
    wait_until(lambda: jobs.waiting_jobs() == 0, "nobody waits for the jobs, so they do not run")
    jobs.resume_jobs()
    (row,) = rows(other.call(1, 12, request(hot_server, {("t", 0): 0})))
    assert values(row) == 2
    other.close()


def test_one_read_for_each_connection(hot_server: HotServer, connection: Connection) -> None:
    make_cold(hot_server)
    jobs.pause_jobs()
    frames = 5
    for _ in range(frames):
        send(connection, request(hot_server, {("t", 0): 0}))
    other = hot_server.connect()
    send(other, request(hot_server, {("t", 0): 0}))
    wait_until(lambda: jobs.waiting_jobs() == 2, "each connection has a job")
    wait_until(lambda: hot_server.server.counters()["parked"] >= 2, "both fetches wait")     # a moment after the job is there
    assert hot_server.server.counters()["parked"] == 2, "later requests are not handled yet"
    jobs.resume_jobs()
    for each in [connection] * frames + [other]:
        (row,) = rows(each.answer(1, 12))
        assert row["error_code"] == 0 and values(row) == 2
    other.close()


def test_stop_does_not_wait_for_reads(hot_server: HotServer, connection: Connection) -> None:
    make_cold(hot_server)
    jobs.pause_jobs()
    send(connection, request(hot_server, {("t", 0): 0}, max_wait_ms=60_000))
    other = hot_server.connect()
    other.call(1, 12, request(hot_server, {("nowhere", 0): 0, ("t", 0): 0}))
    wait_until(lambda: jobs.waiting_jobs() == 2, "one reads for a fetch that waits, one for the next fetch")
    hot_server.server.stop(0.0)
    assert jobs.waiting_jobs() == 0
    other.close()


def test_a_deleted_topic(hot_server: HotServer, connection: Connection) -> None:
    make_cold(hot_server)
    jobs.pause_jobs()
    send(connection, request(hot_server, {("t", 0): 0}, max_wait_ms=60_000))
    wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to read")
    hot_server.delete_topic("t")
    jobs.resume_jobs()
    (row,) = rows(connection.answer(1, 12))
    assert row["error_code"] == 3
