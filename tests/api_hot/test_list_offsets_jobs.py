"""Offsets are looked up by time on job threads; nothing else waits for them, and responses stay in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafka_cy.network import jobs
from kafka_cy.records import Record, build_batch
from kafka_cy.storage import slow_disk
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_list_offsets import ask, found
from .test_produce import batch, only
from .test_produce import request as produce_request

REACTORS = 1

LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3
UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER, UNSUPPORTED_VERSION, INVALID_REQUEST = 3, 6, 35, 42
VERSION = 11


def values(partitions: list[tuple[str, int, int]]) -> dict[str, Any]:
    """A request for (topic, partition, timestamp) each."""
    topics: dict[str, list[dict[str, int]]] = {}
    for topic, index, timestamp_ms in partitions:
        row = {"partition_index": index, "current_leader_epoch": -1, "timestamp": timestamp_ms}
        topics.setdefault(topic, []).append(row)
    return {
        "replica_id": -1, "isolation_level": 0, "timeout": 1000,
        "topics": [{"name": name, "partitions": rows} for name, rows in topics.items()],
    }


def send(connection: Connection, *partitions: tuple[str, int, int], client_id: bytes | None = b"hot-tests") -> None:
    connection.send(2, VERSION, encode_request(2, VERSION, values(list(partitions))), client_id)


def rows(answer: dict[str, Any]) -> list[tuple[str, int, int, int, int]]:
    return [
        (topic["name"], row["partition_index"], *found(row))
        for topic in answer["topics"] for row in topic["partitions"]
    ]


def only_row(answer: dict[str, Any]) -> tuple[int, int, int]:
    ((_, _, *row),) = rows(answer)
    return row[0], row[1], row[2]


def fill(server: HotServer, topic: str = "t", index: int = 0) -> None:
    records = [Record(value=b"v", timestamp_ms=1000 + i * 100) for i in range(5)]
    server.partitions[topic, index].append(build_batch(records))


def append_bomb(server: HotServer, topic: str = "t", index: int = 0) -> None:
    """Some kilobytes that decompress to 200 MB; records of 5000 and 6000 ms."""
    records = [Record(value=bytes(100 << 20), timestamp_ms=5000 + 1000 * i) for i in range(2)]
    server.partitions[topic, index].append(build_batch(records, compression="zstd"))


def test_a_bomb_holds_up_nobody(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    fill(hot_server)
    append_bomb(hot_server)
    slow_disk.set_slow(str(hot_server.folder), 0)  # else, on a busy machine, the append of the other client is a job as well
    jobs.pause_jobs()
    send(connection, ("t", 0, 5500))
    wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to look up")
    other = hot_server.connect()
    assert only(other.call(0, 9, produce_request(9, hot_server, {("t", 0): batch()})))["base_offset"] == 7
    assert found(ask(other, VERSION, LATEST)) == (0, -1, 10)
    assert found(ask(other, VERSION, EARLIEST)) == (0, -1, 0)
    assert jobs.waiting_jobs() == 1
    jobs.resume_jobs()
    assert only_row(connection.answer(2, VERSION)) == (0, 6000, 6)
    assert found(ask(other, VERSION, MAX_TIMESTAMP)) == (0, 6000, 6)
    other.close()


def test_offsets_alone_need_no_job(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", 2)
    jobs.pause_jobs()
    answer = connection.call(2, VERSION, values(
        [("t", 0, LATEST), ("t", 1, EARLIEST), ("nowhere", 0, 5), ("t", 5, MAX_TIMESTAMP), ("t", 1, -4)]))
    assert rows(answer) == [
        ("t", 0, 0, -1, 0), ("t", 1, INVALID_REQUEST, -1, -1), ("t", 5, UNKNOWN_TOPIC_OR_PARTITION, -1, -1),
        ("nowhere", 0, UNKNOWN_TOPIC_OR_PARTITION, -1, -1),
    ]
    assert jobs.waiting_jobs() == 0


def test_all_kinds_in_one_request(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("a", 6)
    hot_server.create_topic("b")
    hot_server.create_topic("elsewhere", leader=9)
    for index in range(6):
        fill(hot_server, "a", index)
    fill(hot_server, "b")
    answer = connection.call(2, VERSION, values([
        ("a", 5, LATEST), ("a", 4, 1150), ("b", 0, MAX_TIMESTAMP), ("a", 3, 9000), ("elsewhere", 0, 7), ("a", 2, EARLIEST),
        ("a", 1, 1000), ("a", 0, -9), ("a", 9, 3), ("a", 1, 1000), ("nowhere", 0, 1),
    ]))
    assert rows(answer) == [
        ("a", 5, 0, -1, 5), ("a", 4, 0, 1200, 2), ("a", 3, 0, -1, -1), ("a", 2, 0, -1, 0), ("a", 1, INVALID_REQUEST, -1, -1),
        ("a", 0, UNSUPPORTED_VERSION, -1, -1), ("a", 9, UNKNOWN_TOPIC_OR_PARTITION, -1, -1), ("b", 0, 0, 1400, 4),
        ("elsewhere", 0, NOT_LEADER, -1, -1), ("nowhere", 0, UNKNOWN_TOPIC_OR_PARTITION, -1, -1),
    ]


def test_later_requests_do_not_overtake(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    fill(hot_server)
    jobs.pause_jobs()
    for timestamp_ms in (1100, LATEST, 1300):
        send(connection, ("t", 0, timestamp_ms))
    wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to look up")
    assert hot_server.server.counters()["parked"] == 1
    jobs.resume_jobs()
    assert [only_row(connection.answer(2, VERSION)) for _ in range(3)] == [(0, 1100, 1), (0, -1, 5), (0, 1300, 3)]


def test_leadership_is_lost_meanwhile(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    fill(hot_server)
    jobs.pause_jobs()
    send(connection, ("t", 0, 1100))
    wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to look up")
    hot_server.move_leadership("t")
    jobs.resume_jobs()
    assert only_row(connection.answer(2, VERSION)) == (NOT_LEADER, -1, -1)


def test_a_partition_becomes_a_follower_meanwhile(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    fill(hot_server)
    jobs.pause_jobs()
    send(connection, ("t", 0, 1100))
    wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to look up")
    hot_server.partitions["t", 0].retire("follower")
    jobs.resume_jobs()
    assert only_row(connection.answer(2, VERSION)) == (NOT_LEADER, -1, -1)


@pytest.mark.parametrize("anew", [False, True], ids=["deleted", "created-anew"])
def test_a_topic_is_deleted_meanwhile(hot_server: HotServer, connection: Connection, anew: bool, tmp_path: Path) -> None:
    hot_server.create_topic("t")
    fill(hot_server)
    jobs.pause_jobs()
    send(connection, ("t", 0, 1100))
    wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to look up")
    hot_server.delete_topic("t")
    if anew:
        hot_server.folder = tmp_path / "anew"
        hot_server.create_topic("t")
    jobs.resume_jobs()
    assert only_row(connection.answer(2, VERSION)) == (NOT_LEADER if anew else UNKNOWN_TOPIC_OR_PARTITION, -1, -1)


def test_closed_connections(hot_server: HotServer) -> None:
    hot_server.create_topic("t")
    fill(hot_server)
    jobs.pause_jobs()
    connections = [hot_server.connect() for _ in range(5)]
    for each in connections:
        send(each, ("t", 0, 1100))
    wait_until(lambda: jobs.waiting_jobs() == 5, "jobs are to look up")
    assert hot_server.server.counters()["queued_request_bytes"] > 0
    for each in connections:
        each.close()
    wait_until(lambda: hot_server.server.counters()["connections"] == 0, "the connections are closed")
    wait_until(lambda: jobs.waiting_jobs() == 0, "nobody waits for the jobs, so they do not run")
    assert hot_server.server.counters()["queued_request_bytes"] == 0 == hot_server.server.counters()["parked"]


def test_a_long_request_is_worked_on_in_slices(hot_server: HotServer, connection: Connection) -> None:
    """It takes turns with other jobs, and ends when its client leaves."""
    hot_server.create_topic("t", 3)
    for index in range(3):
        append_bomb(hot_server, index=index)
    jobs.pause_jobs()
    bombs = [("t", index, 5500) for index in range(3)]
    send(connection, *bombs)
    leaving = hot_server.connect()
    send(leaving, *bombs)
    wait_until(lambda: jobs.waiting_jobs() == 2, "two jobs are to look up")
    jobs.let_jobs_begin(2)
    wait_until(lambda: jobs.waiting_jobs() == 2, "each of them waits for its next turn")
    leaving.close()
    wait_until(lambda: jobs.waiting_jobs() == 1, "the other one goes on")
    jobs.resume_jobs()
    assert rows(connection.answer(2, VERSION)) == [("t", index, 0, 6000, 1) for index in range(3)]


def test_stop_while_a_job_waits(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    fill(hot_server)
    jobs.pause_jobs()
    send(connection, ("t", 0, 1100))
    wait_until(lambda: jobs.waiting_jobs() == 1, "a job is to look up")
    hot_server.server.stop(0.0)
    assert jobs.waiting_jobs() == 0
