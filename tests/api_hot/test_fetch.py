"""Fetch, every version, byte for byte against kio."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import pytest

from kafka_cy.records import Record, build_batch, iterate_batches

from .harness import Connection, HotServer
from .kio_wire import encode_request

VERSIONS = range(4, 19)


def fill(server: HotServer, topic: str, index: int = 0, batches: int = 1, size: int = 10) -> None:
    for _ in range(batches):
        server.partitions[topic, index].append(
            build_batch([Record(value=b"x" * size, timestamp_ms=1), Record(value=b"y", timestamp_ms=2)])
        )


def request(
    server: HotServer, offsets: dict[tuple[str, int], int], *, max_wait_ms: int = 0, min_bytes: int = 1,
    max_bytes: int = 1 << 20, partition_max_bytes: int = 1 << 20, isolation_level: int = 0,
    session: tuple[int, int] = (0, -1), forget: list[tuple[str, int]] | None = None, **partition: Any,
) -> dict[str, Any]:
    topics: dict[str, list[dict[str, Any]]] = {}
    for (topic, index), offset in offsets.items():
        row = {"partition": index, "fetch_offset": offset, "partition_max_bytes": partition_max_bytes} | partition
        topics.setdefault(topic, []).append(row)

    def named(name: str) -> dict[str, Any]:
        return {"topic": name, "topic_id": server.topic_ids.get(name, uuid.UUID(int=5))}

    return {
        "replica_id": -1, "max_wait": max_wait_ms, "min_bytes": min_bytes, "max_bytes": max_bytes,
        "isolation_level": isolation_level, "session_id": session[0], "session_epoch": session[1],
        "topics": [named(name) | {"partitions": rows} for name, rows in topics.items()],
        "forgotten_topics_data": [named(name) | {"partitions": [index]} for name, index in forget or []],
        "rack_id": "",
    }


def rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for topic in answer["responses"] for row in topic["partitions"]]


def values(row: dict[str, Any]) -> int:
    return sum(len(each.records()) for each in iterate_batches(row["records"]))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [10, 100_000])
def test_read(hot_server: HotServer, connection: Connection, version: int, size: int) -> None:
    hot_server.create_topic("t")
    fill(hot_server, "t", batches=3, size=size)
    answer = connection.call(1, version, request(hot_server, {("t", 0): 0}))
    assert answer["throttle_time"] == 0
    if version >= 7:
        assert (answer["error_code"], answer["session_id"]) == (0, 0)
    (topic,) = answer["responses"]
    topic_id = hot_server.topic_ids["t"]
    assert topic.get("topic", "t") == "t" and topic.get("topic_id", topic_id) == topic_id
    (row,) = topic["partitions"]
    assert (row["partition_index"], row["error_code"], row["high_watermark"], row["last_stable_offset"]) == (0, 0, 6, 6)
    assert values(row) == 6 and row["aborted_transactions"] is None
    if version >= 5:
        assert row["log_start_offset"] == 0
    if version >= 11:
        assert row["preferred_read_replica"] == -1


@pytest.mark.parametrize("version", VERSIONS)
def test_empty_records_are_not_null(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    fill(hot_server, "t")
    (row,) = rows(connection.call(1, version, request(hot_server, {("t", 0): 2}, isolation_level=1)))
    assert row["records"] == b"" and row["aborted_transactions"] == [] and row["high_watermark"] == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_errors(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    fill(hot_server, "t")
    answer = connection.call(
        1, version, request(hot_server, {("t", 0): 9, ("t", 1): 0, ("nowhere", 0): 0}, max_wait_ms=20000)
    )
    found = [(row["error_code"], row["high_watermark"]) for row in rows(answer)]
    assert found == [(1, -1), (3, -1), (100 if version >= 13 else 3, -1)]
    assert all(row["records"] == b"" for row in rows(answer))


@pytest.mark.parametrize("version", range(9, 19))
def test_current_leader_epoch(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    (row,) = rows(connection.call(1, version, request(hot_server, {("t", 0): 0}, current_leader_epoch=5)))
    assert row["error_code"] == 75 and row["high_watermark"] == -1
    (row,) = rows(connection.call(1, version, request(hot_server, {("t", 0): 0}, current_leader_epoch=0)))
    assert row["error_code"] == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_led_elsewhere(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", leader=9)
    hot_server.publisher.set_brokers("c", 7, 7, [(7, None, [("127.0.0.1", 1)]), (9, None, [("other", 9099)])])
    hot_server.publisher.publish()
    answer = connection.call(1, version, request(hot_server, {("t", 0): 0}))
    (row,) = rows(answer)
    assert row["error_code"] == 6
    if version >= 16:
        assert row["current_leader"] == {"leader_id": 9, "leader_epoch": 0}
        assert answer["node_endpoints"] == [{"node_id": 9, "host": "other", "port": 9099, "rack": None}]


def test_limits(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", 2)
    for index in (0, 1):
        fill(hot_server, "t", index, batches=4, size=1000)
    both = {("t", 0): 0, ("t", 1): 0}
    first, second = rows(connection.call(1, 12, request(hot_server, both, max_bytes=1)))
    assert values(first) == 2 and second["records"] == b""      # the first batch, regardless of the limits
    first, second = rows(connection.call(1, 12, request(hot_server, both, partition_max_bytes=2500)))
    assert values(first) == 4 and values(second) == 4
    first, second = rows(connection.call(1, 12, request(hot_server, both, max_bytes=6000)))
    assert values(first) == 8 and values(second) == 2
    (row,) = rows(connection.call(1, 12, request(hot_server, {("t", 0): 3})))
    assert next(iter(iterate_batches(row["records"]))).base_offset == 2     # an offset inside a batch returns the whole batch


@pytest.mark.parametrize("version", VERSIONS)
def test_long_poll(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", 2)
    started = time.monotonic()
    offsets = {("t", 0): 0, ("t", 1): 0}
    assert len(rows(connection.call(1, version, request(hot_server, offsets, max_wait_ms=150)))) == 2
    assert time.monotonic() - started > 0.1
    connection.send(1, version, encode_request(1, version, request(hot_server, offsets, max_wait_ms=120_000)))
    time.sleep(0.05)
    fill(hot_server, "t", 1)
    empty, full = rows(connection.answer(1, version))
    assert empty["records"] == b"" and values(full) == 2


def test_long_poll_waits_for_min_bytes(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    asked = request(hot_server, {("t", 0): 0}, max_wait_ms=120_000, min_bytes=3000)
    connection.send(1, 12, encode_request(1, 12, asked))
    fill(hot_server, "t", 0, 1, 1000)
    threading.Timer(0.2, fill, (hot_server, "t", 0, 1, 3000)).start()
    (row,) = rows(connection.answer(1, 12))
    assert values(row) == 4


def test_deleted_while_waiting(hot_server: HotServer, connection: Connection) -> None:
    for version, error in ((12, 3), (13, 100)):
        hot_server.create_topic("t")
        connection.send(1, version, encode_request(1, version, request(hot_server, {("t", 0): 0}, max_wait_ms=120_000)))
        time.sleep(0.1)
        hot_server.delete_topic("t")
        (row,) = rows(connection.answer(1, version))
        assert row["error_code"] == error


def test_a_waiting_fetch_holds_up_nobody_else(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    connection.send(1, 12, encode_request(1, 12, request(hot_server, {("t", 0): 0}, max_wait_ms=120_000)))
    other = hot_server.connect()
    assert other.call(18, 0, {})["error_code"] == 0
    other.close()
    connection.close()                                          # with its request still parked


@pytest.mark.parametrize("version", VERSIONS)
def test_replica_reads_beyond_the_high_watermark(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", sole_replica=False)
    fill(hot_server, "t")
    values_of_consumer = request(hot_server, {("t", 0): 0})
    (row,) = rows(connection.call(1, version, values_of_consumer))
    assert row["records"] == b"" and row["high_watermark"] == 0
    as_replica = values_of_consumer | {"replica_id": 9, "replica_state": {"replica_id": 9, "replica_epoch": -1}}
    (row,) = rows(connection.call(1, version, as_replica))
    assert values(row) == 2


@pytest.mark.parametrize("version", range(12, 19))
def test_diverging_epoch(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    fill(hot_server, "t")
    hot_server.partitions["t", 0].become_leader(2)
    fill(hot_server, "t")
    asked = request(hot_server, {("t", 0): 4}, last_fetched_epoch=1, max_wait_ms=9000)
    (row,) = rows(connection.call(1, version, asked))
    assert row["error_code"] == 0 and row["diverging_epoch"] == {"epoch": 0, "end_offset": 2}
    (row,) = rows(connection.call(1, version, request(hot_server, {("t", 0): 2}, last_fetched_epoch=0)))
    assert row["diverging_epoch"] == {"epoch": -1, "end_offset": -1}
    (row,) = rows(connection.call(1, version, request(hot_server, {("t", 0): 2}, last_fetched_epoch=9)))
    assert row["error_code"] == 1                               # an epoch that never existed



def test_aborted_transactions_are_those_of_what_is_returned(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", config={"segment.bytes": 2000})
    partition = hot_server.partitions["t", 0]
    for producer_id in range(50):  # batches at 0, 2, 4...; markers at 1, 3, 5...
        producer: dict[str, Any] = {"producer_id": producer_id, "producer_epoch": 0}
        partition.append(build_batch([Record(value=b"x" * 50)], attributes=0x10, base_sequence=0, **producer))
        partition.append_marker(producer_id, 0, 0, False, 1)
    for offset in (0, 1, 40, 98):
        asked = request(hot_server, {("t", 0): offset}, isolation_level=1, partition_max_bytes=400)
        (row,) = rows(connection.call(1, 12, asked))
        batches = list(iterate_batches(row["records"]))
        assert row["last_stable_offset"] == 100 and 1 <= len(batches) <= 4
        returned = {each.producer_id for each in batches}
        told = [each["producer_id"] for each in row["aborted_transactions"]]
        assert told == sorted(returned), "no more, and no fewer"


@pytest.mark.parametrize("version", VERSIONS)
def test_read_committed(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    fill(hot_server, "t")
    producer: dict[str, Any] = {"producer_id": 5, "producer_epoch": 0}
    partition = hot_server.partitions["t", 0]
    partition.append(build_batch([Record(value=b"a")], attributes=0x10, base_sequence=0, **producer))
    asked = request(hot_server, {("t", 0): 0}, isolation_level=1)
    (row,) = rows(connection.call(1, version, asked))
    assert (row["high_watermark"], row["last_stable_offset"], values(row)) == (3, 2, 2)
    assert row["aborted_transactions"] == []
    waiting = request(hot_server, {("t", 0): 2}, isolation_level=1, max_wait_ms=120_000)
    connection.send(1, version, encode_request(1, version, waiting))
    time.sleep(0.03)
    marker = Record(key=b"\0\0\0\0", value=b"\0\0\0\0\0\0", timestamp_ms=5)
    partition.append(build_batch([marker], attributes=0x30, **producer))
    (row,) = rows(connection.answer(1, version))                # the abort wakes the waiting reader
    assert row["last_stable_offset"] == 4
    assert row["aborted_transactions"] == [{"producer_id": 5, "first_offset": 2}]
