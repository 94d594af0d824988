"""Batches that take long to decompress or recompress are validated in a job; nothing else waits for them."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from kafka_cy.network import jobs
from kafka_cy.records import Record, build_batch, iterate_batches
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_produce import batch, only, request

REACTORS = 1

MESSAGE_TOO_LARGE, INVALID_RECORD = 10, 87


@pytest.fixture(autouse=True)
def _jobs_run_in_the_end() -> Iterator[None]:
    yield
    jobs.resume_jobs()


def large(count: int = 4000, compression: str = "zstd", **options: object) -> bytes:
    """A small batch that decompresses to about 800 kB."""
    return build_batch([Record(value=b"v" * 200, timestamp_ms=1000 + i) for i in range(count)],
                       compression=compression, **options)  # type: ignore[arg-type]


def bomb() -> bytes:
    """A batch that decompresses to 300 MB, more than the limit."""
    return build_batch([Record(value=bytes(100 << 20)) for _ in range(3)], compression="zstd")


def send_produce(connection: Connection, version: int, values: dict[str, object]) -> None:
    connection.send(0, version, encode_request(0, version, values))


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_others_are_answered_meanwhile(hot_server: HotServer, connection: Connection, codec: str) -> None:
    hot_server.create_topic("t")
    jobs.pause_jobs()
    send_produce(connection, 9, request(9, hot_server, {("t", 0): large(compression=codec)}))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the batch is with a job")
    other = hot_server.connect()
    assert only(other.call(0, 9, request(9, hot_server, {("t", 0): batch()})))["base_offset"] == 0
    jobs.resume_jobs()
    assert only(connection.answer(0, 9))["base_offset"] == 3
    assert hot_server.partitions["t", 0].high_watermark == 4003
    other.close()


def test_a_bomb_is_refused_meanwhile(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    jobs.pause_jobs()
    send_produce(connection, 9, request(9, hot_server, {("t", 0): bomb()}))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the bomb is with a job")
    other = hot_server.connect()
    assert only(other.call(0, 9, request(9, hot_server, {("t", 0): batch()})))["error_code"] == 0
    jobs.resume_jobs()
    assert only(connection.answer(0, 9))["error_code"] == MESSAGE_TOO_LARGE
    other.close()


def test_pipelined_requests_share_a_budget(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    jobs.pause_jobs()
    count, records = 20, 1000           # each about 200 kB, small enough for a reactor that has nothing else to do
    body = encode_request(0, 9, request(9, hot_server, {("t", 0): large(records)}))
    connection.send_together(0, 9, [body] * count)
    wait_until(lambda: jobs.waiting_jobs() == 1, "a turn of the reactor decompresses so much and no more")
    assert 0 < hot_server.partitions["t", 0].high_watermark < count * records
    jobs.resume_jobs()
    assert [only(connection.answer(0, 9))["base_offset"] for _ in range(count)] == list(range(0, count * records, records))


def test_later_requests_do_not_overtake(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    jobs.pause_jobs()
    for records in (large(), batch(), large(), batch(), batch()):
        send_produce(connection, 9, request(9, hot_server, {("t", 0): records}, acks=1))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the first batch is with a job")
    jobs.resume_jobs()
    bases = [only(connection.answer(0, 9))["base_offset"] for _ in range(5)]
    assert bases == [0, 4000, 4003, 8003, 8006]


@pytest.mark.parametrize("version", [3, 8, 9, 13])
def test_several_batches_in_one_request(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("a", 3)
    hot_server.create_topic("b", 2)
    codec = "zstd" if version >= 7 else "lz4"
    jobs.pause_jobs()
    send_produce(connection, version, request(version, hot_server, {
        ("a", 0): batch(), ("a", 1): large(compression=codec), ("a", 2): batch(), ("b", 0): large(compression=codec),
        ("b", 1): large(compression=codec), ("nowhere", 0): large(compression=codec), ("b", 7): batch(),
    }))
    wait_until(lambda: jobs.waiting_jobs() == 1, "a batch is with a job")
    jobs.resume_jobs()
    answer = connection.answer(0, version)
    rows = [row for topic in answer["responses"] for row in topic["partition_responses"]]
    assert [(row["index"], row["error_code"]) for row in rows] == [
        (0, 0), (1, 0), (2, 0), (0, 0), (1, 0), (7, 3), (0, 100 if version >= 13 else 3)]
    ends = {key: hosted.high_watermark for key, hosted in hot_server.partitions.items()}
    assert ends == {("a", 0): 3, ("a", 1): 4000, ("a", 2): 3, ("b", 0): 4000, ("b", 1): 4000}


def test_recompression(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", config={"compression.type": "gzip", "compression.gzip.level": 9})
    value = random.Random(3).randbytes(100_000)
    jobs.pause_jobs()
    send_produce(connection, 9, request(9, hot_server, {("t", 0): build_batch([Record(value=value, timestamp_ms=5)])}))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the batch is with a job")
    jobs.resume_jobs()
    assert only(connection.answer(0, 9))["error_code"] == 0
    (stored,) = iterate_batches(hot_server.partitions["t", 0].log.read(0, 1 << 20))
    assert stored.compression == "gzip" and [record.value for record in stored.records()] == [value]


def test_refused_records_are_named(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", config={"cleanup.policy": ["compact"]})
    records = large(20_000)
    answer = only(connection.call(0, 9, request(9, hot_server, {("t", 0): records})))
    assert answer["error_code"] == INVALID_RECORD
    listed = [row["batch_index"] for row in answer["record_errors"]]
    assert listed == list(range(1000 + len(records) // 7)), "bounded by the request's own size"


def test_without_acknowledgement(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    send_produce(connection, 9, request(9, hot_server, {("t", 0): large()}, acks=0))
    assert only(connection.call(0, 9, request(9, hot_server, {("t", 0): batch()})))["base_offset"] == 4000
    send_produce(connection, 9, request(9, hot_server, {("t", 0): bomb()}, acks=0))
    assert connection.receive() is None, "closed: that is how the client is told"


def test_closed_connections(hot_server: HotServer) -> None:
    hot_server.create_topic("t")
    jobs.pause_jobs()
    connections = [hot_server.connect() for _ in range(5)]
    for each in connections:
        send_produce(each, 9, request(9, hot_server, {("t", 0): large()}))
    wait_until(lambda: jobs.waiting_jobs() == 5, "all batches are with jobs")
    assert hot_server.server.counters()["queued_request_bytes"] > 0
    for each in connections:
        each.close()
    other = hot_server.connect()
    assert only(other.call(0, 9, request(9, hot_server, {("t", 0): batch()})))["base_offset"] == 0
    wait_until(lambda: hot_server.server.counters()["queued_request_bytes"] == 0, "what the jobs kept is given back")
    wait_until(lambda: hot_server.server.counters()["connections"] == 1, "the connections are closed")
    assert jobs.waiting_jobs() == 0, "nobody waits for the jobs, so they do not run"
    jobs.resume_jobs()
    assert hot_server.server.counters()["parked"] == 0
    assert only(other.call(0, 9, request(9, hot_server, {("t", 0): batch()})))["error_code"] == 0
    other.close()


def test_stop_while_a_job_waits(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    jobs.pause_jobs()
    send_produce(connection, 9, request(9, hot_server, {("t", 0): large()}))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the batch is with a job")
    hot_server.server.stop(0.0)         # jobs are still paused: it waits only for running ones
    assert jobs.waiting_jobs() == 0


def test_a_deleted_topic(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    jobs.pause_jobs()
    send_produce(connection, 9, request(9, hot_server, {("t", 0): large()}))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the batch is with a job")
    hot_server.delete_topic("t")
    jobs.resume_jobs()
    assert only(connection.answer(0, 9))["error_code"] == 3
