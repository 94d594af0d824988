"""Produce, every version, byte for byte against kio."""

from __future__ import annotations

import struct
import time
import uuid
from typing import Any

import pytest

from kafka_cy.records import Record, build_batch

from .harness import Connection, HotServer

VERSIONS = range(3, 14)


def batch(count: int = 3, **options: Any) -> bytes:
    return build_batch([Record(value=b"v%d" % i, timestamp_ms=1000 + i) for i in range(count)], **options)


def request(
    version: int, server: HotServer, partitions: dict[tuple[str, int], bytes | None], acks: int = -1,
    timeout_ms: int = 1000, transactional_id: str | None = None,
) -> dict[str, Any]:
    topics: dict[str, list[dict[str, Any]]] = {}
    for (topic, index), records in partitions.items():
        topics.setdefault(topic, []).append({"index": index, "records": records})
    return {
        "transactional_id": transactional_id, "acks": acks, "timeout": timeout_ms,
        "topic_data": [
            {"name": name, "topic_id": server.topic_ids.get(name, uuid.UUID(int=5)), "partition_data": data}
            for name, data in topics.items()
        ],
    }


def only(answer: dict[str, Any]) -> dict[str, Any]:
    (topic,) = answer["responses"]
    (partition,) = topic["partition_responses"]
    result: dict[str, Any] = partition
    return result


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("acks", [1, -1])
def test_append(hot_server: HotServer, connection: Connection, version: int, acks: int) -> None:
    hot_server.create_topic("t")
    for base in (0, 3):
        answer = connection.call(0, version, request(version, hot_server, {("t", 0): batch()}, acks))
        assert answer["throttle_time"] == 0
        partition = only(answer)
        assert (partition["index"], partition["error_code"], partition["base_offset"]) == (0, 0, base)
        assert partition["log_append_time"] is None
        if version >= 5:
            assert partition["log_start_offset"] == 0
        if version >= 8:
            assert partition["record_errors"] == [] and partition["error_message"] is None
    if version >= 13:
        assert answer["responses"][0]["topic_id"] == hot_server.topic_ids["t"]
    else:
        assert answer["responses"][0]["name"] == "t"
    assert hot_server.partitions["t", 0].high_watermark == 6


@pytest.mark.parametrize("version", VERSIONS)
def test_several_partitions_and_unknown_topics(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("a", 2)
    hot_server.create_topic("b")
    answer = connection.call(0, version, request(
        version, hot_server,
        {("a", 0): batch(), ("a", 1): batch(1), ("a", 2): batch(), ("b", 0): batch(), ("nowhere", 0): batch()},
    ))
    partitions = [partition for topic in answer["responses"] for partition in topic["partition_responses"]]
    rows = [(row["index"], row["error_code"], row["base_offset"]) for row in partitions]
    unknown = 100 if version >= 13 else 3
    assert rows == [(0, 0, 0), (1, 0, 0), (2, 3, -1), (0, 0, 0), (0, unknown, -1)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("acks", [2, -2, 32767])
def test_invalid_acks(hot_server: HotServer, connection: Connection, version: int, acks: int) -> None:
    hot_server.create_topic("t")
    partition = only(connection.call(0, version, request(version, hot_server, {("t", 0): batch()}, acks)))
    assert (partition["error_code"], partition["base_offset"]) == (21, -1)
    assert hot_server.partitions["t", 0].log_end_offset == 0


def spoiled(offset: int, data: bytes) -> bytes:
    whole = bytearray(batch())
    whole[offset : offset + len(data)] = data
    return bytes(whole)


@pytest.mark.parametrize(("records", "error"), [
    (None, 87), (b"", 87), (batch()[:-1], 87), (batch() + batch(), 87), (spoiled(16, b"\x01"), 87),
    (spoiled(16, b"\x03"), 2), (spoiled(30, b"\xff\xff"), 2), (spoiled(8, b"\xff\xff\xff\xff"), 2),
])
@pytest.mark.parametrize("version", [3, 8, 9, 13])
def test_bad_batches(
    hot_server: HotServer, connection: Connection, version: int, records: bytes | None, error: int
) -> None:
    hot_server.create_topic("t")
    partition = only(connection.call(0, version, request(version, hot_server, {("t", 0): records})))
    assert (partition["error_code"], partition["base_offset"]) == (error, -1)
    if version >= 8:
        assert partition["error_message"]
    assert hot_server.partitions["t", 0].log_end_offset == 0


def test_versions_before_3_close(hot_server: HotServer, connection: Connection) -> None:
    connection.send(0, 2, struct.pack(">hii", 1, 1000, 0))
    assert connection.receive() is None


def test_acks_0(hot_server: HotServer, connection: Connection) -> None:
    from .kio_wire import encode_request

    hot_server.create_topic("t")
    connection.send(0, 9, encode_request(0, 9, request(9, hot_server, {("t", 0): batch()}, 0)))
    assert only(connection.call(0, 9, request(9, hot_server, {("t", 0): batch()}, 1)))["base_offset"] == 3
    connection.send(0, 9, encode_request(0, 9, request(9, hot_server, {("gone", 0): batch()}, 0)))
    assert connection.receive() is None


@pytest.mark.parametrize("version", VERSIONS)
def test_acks_all_waits_for_the_high_watermark(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", sole_replica=False)
    started = time.monotonic()
    partition = only(connection.call(0, version, request(version, hot_server, {("t", 0): batch()}, timeout_ms=200)))
    assert time.monotonic() - started > 0.15
    assert (partition["error_code"], partition["base_offset"]) == (7, 0)
    partition = only(connection.call(0, version, request(version, hot_server, {("t", 0): batch()}, 1)))
    assert (partition["error_code"], partition["base_offset"]) == (0, 3)


def test_waiting_produce_of_deleted_topic(hot_server: HotServer, connection: Connection) -> None:
    from .kio_wire import encode_request

    hot_server.create_topic("t", sole_replica=False)
    connection.send(0, 9, encode_request(0, 9, request(9, hot_server, {("t", 0): batch()}, timeout_ms=120_000)))
    time.sleep(0.1)
    hot_server.delete_topic("t")
    assert only(connection.answer(0, 9))["error_code"] == 3


def test_min_insync_replicas(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", config={"min.insync.replicas": 2})
    assert only(connection.call(0, 9, request(9, hot_server, {("t", 0): batch()}, -1)))["error_code"] == 19
    assert only(connection.call(0, 9, request(9, hot_server, {("t", 0): batch()}, 1)))["error_code"] == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_led_elsewhere(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", leader=9)
    hot_server.publisher.set_brokers("c", 7, 7, [(7, None, [("127.0.0.1", 1)]), (9, "r9", [("other", 9099)])])
    hot_server.publisher.publish()
    answer = connection.call(0, version, request(version, hot_server, {("t", 0): batch()}))
    assert only(answer)["error_code"] == 6
    if version >= 10:
        assert only(answer)["current_leader"] == {"leader_id": 9, "leader_epoch": 0}
        assert answer["node_endpoints"] == [{"node_id": 9, "host": "other", "port": 9099, "rack": "r9"}]


def test_internal_topic(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("__consumer_offsets", internal=True)
    values = request(9, hot_server, {("__consumer_offsets", 0): batch()})
    assert only(connection.call(0, 9, values))["error_code"] == 17
    assert only(connection.call(0, 9, values, client_id=b"__admin_client"))["error_code"] == 0


def test_idempotent_producer(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")

    def send(sequence: int, epoch: int = 0) -> tuple[int, int]:
        data = batch(producer_id=5, producer_epoch=epoch, base_sequence=sequence)
        partition = only(connection.call(0, 9, request(9, hot_server, {("t", 0): data})))
        return partition["error_code"], partition["base_offset"]

    assert send(0) == (0, 0)
    assert send(3) == (0, 3)
    assert send(0) == (0, 0)
    assert send(3) == (0, 3)
    assert send(9)[0] == 45
    assert send(0, epoch=1) == (0, 6)
    assert send(6, epoch=0)[0] == 47


def test_transactional_batch(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    data = batch(producer_id=5, producer_epoch=0, base_sequence=0, attributes=0x10)
    values = request(9, hot_server, {("t", 0): data}, transactional_id="tx")
    row = only(connection.call(0, 9, values))  # nobody can be asked
    assert (row["error_code"], row["base_offset"]) == (19, -1)
    assert row["error_message"].endswith("Underlying error: COORDINATOR_NOT_AVAILABLE")


@pytest.mark.parametrize("version", VERSIONS)
def test_log_append_time(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", config={"message.timestamp.type": "LogAppendTime"})
    before_ms = int(time.time() * 1000)
    partition = only(connection.call(0, version, request(version, hot_server, {("t", 0): batch()})))
    assert before_ms - 1000 <= partition["log_append_time"] <= int(time.time() * 1000) + 1000


def test_record_errors_of_compacted_topic(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", config={"cleanup.policy": ["compact"]})
    partition = only(connection.call(0, 9, request(9, hot_server, {("t", 0): batch()})))
    assert partition["error_code"] == 87
    assert [row["batch_index"] for row in partition["record_errors"]] == [0, 1, 2]


def test_fsync_before_the_answer(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", config={"flush.messages": 1})
    for acks in (1, -1):
        partition = only(connection.call(0, 9, request(9, hot_server, {("t", 0): batch()}, acks, 60_000)))
        assert partition["error_code"] == 0
