"""ListOffsets and OffsetForLeaderEpoch: every version compared with kio."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.records import Record, build_batch

from .harness import Connection, HotServer

VERSIONS = range(1, 12)


def ask(
    connection: Connection, version: int, timestamp_ms: int, index: int = 0, topic: str = "t", **more: Any
) -> dict[str, Any]:
    answer = connection.call(2, version, {
        "replica_id": more.pop("replica_id", -1), "isolation_level": more.pop("isolation_level", 0), "timeout": 1000,
        "topics": [{"name": topic, "partitions": [{"partition_index": index, "timestamp": timestamp_ms} | more]}],
    })
    assert answer.get("throttle_time", 0) == 0 and answer["topics"][0]["name"] == topic
    (row,) = answer["topics"][0]["partitions"]
    assert row["partition_index"] == index
    result: dict[str, Any] = row
    return result


def found(row: dict[str, Any]) -> tuple[int, int, int]:
    return row["error_code"], row["timestamp"], row["offset"]


def fill(server: HotServer, compression: str = "none") -> None:
    for base_ms in (1000, 3000, 2000):
        records = [Record(value=b"v", timestamp_ms=base_ms + i * 100) for i in range(5)]
        server.partitions["t", 0].append(build_batch(records, compression=compression))


@pytest.mark.parametrize("version", VERSIONS)
def test_specs(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    fill(hot_server)
    assert found(ask(connection, version, -1)) == (0, -1, 15)
    assert found(ask(connection, version, -2)) == (0, -1, 0)
    assert found(ask(connection, version, -3)) == ((0, 3400, 9) if version >= 7 else (35, -1, -1))
    assert found(ask(connection, version, -4)) == ((0, -1, 0) if version >= 8 else (35, -1, -1))
    assert found(ask(connection, version, -5)) == ((0, -1, -1) if version >= 9 else (35, -1, -1))
    assert found(ask(connection, version, -6)) == ((0, -1, -1) if version >= 11 else (35, -1, -1))
    assert found(ask(connection, version, -7)) == (35, -1, -1)
    if version >= 4:
        assert ask(connection, version, -1)["leader_epoch"] == 0
        assert ask(connection, version, -2)["leader_epoch"] == 0


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("version", [1, 4, 6, 11])
def test_timestamps(hot_server: HotServer, connection: Connection, version: int, compression: str) -> None:
    hot_server.create_topic("t")
    fill(hot_server, compression)
    assert found(ask(connection, version, 0)) == (0, 1000, 0)
    assert found(ask(connection, version, 1150)) == (0, 1200, 2)
    assert found(ask(connection, version, 1401)) == (0, 3000, 5)
    assert found(ask(connection, version, 3400)) == (0, 3400, 9)
    assert found(ask(connection, version, 3401)) == (0, -1, -1)
    if version >= 4:
        assert ask(connection, version, 1150)["leader_epoch"] == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_empty_log(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    assert found(ask(connection, version, -1)) == (0, -1, 0)
    assert found(ask(connection, version, -2)) == (0, -1, 0)
    assert found(ask(connection, version, 5)) == (0, -1, -1)
    if version >= 7:
        assert found(ask(connection, version, -3)) == (0, -1, -1)


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_beyond_the_high_watermark(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", sole_replica=False)
    fill(hot_server)
    assert found(ask(connection, version, -1)) == (0, -1, 0)
    assert found(ask(connection, version, -1, isolation_level=1)) == (0, -1, 0)
    assert found(ask(connection, version, -1, replica_id=9)) == (0, -1, 15)
    assert found(ask(connection, version, 1000)) == (0, -1, -1)


@pytest.mark.parametrize("version", VERSIONS)
def test_errors(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    hot_server.create_topic("elsewhere", leader=9)
    assert found(ask(connection, version, -1, index=4)) == (3, -1, -1)
    assert found(ask(connection, version, -1, topic="unknown")) == (3, -1, -1)
    assert found(ask(connection, version, -1, topic="elsewhere")) == (6, -1, -1)
    if version >= 4:
        assert found(ask(connection, version, -1, current_leader_epoch=3)) == (75, -1, -1)


@pytest.mark.parametrize("version", range(2, 5))
def test_offset_for_leader_epoch(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    fill(hot_server)

    def end(epoch: int, index: int = 0, current: int = -1) -> tuple[int, int, int, int]:
        row = {"partition": index, "current_leader_epoch": current, "leader_epoch": epoch}
        answer = connection.call(23, version, {"replica_id": -1, "topics": [{"topic": "t", "partitions": [row]}]})
        (topic,) = answer["topics"]
        (found_row,) = topic["partitions"]
        assert topic["topic"] == "t" and answer["throttle_time"] == 0
        return found_row["error_code"], found_row["partition"], found_row["leader_epoch"], found_row["end_offset"]

    assert end(0) == (0, 0, 0, 15)
    assert end(0, current=0) == (0, 0, 0, 15)
    assert end(4) == (0, 0, -1, -1)
    assert end(0, index=1) == (3, 1, -1, -1)
    assert end(0, current=2) == (75, 0, -1, -1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_new_leader_tells_no_end_before_its_followers_have_fetched(
    hot_server: HotServer, connection: Connection, version: int
) -> None:
    """KIP-207: its high watermark may be behind that of the leader before it."""
    hot_server.create_topic("t")
    partition = hot_server.partitions["t", 0]
    partition.append(build_batch([Record(value=b"v", timestamp_ms=1000)]))
    partition.lead(1, [1, 2], [1, 2], 1)
    partition.append(build_batch([Record(value=b"v", timestamp_ms=2000)]))
    assert found(ask(connection, version, -1)) == (0, -1, 1), "what came in its own epoch was never told"
    partition.lead(2, [1, 2], [1, 2], 1)
    refused = (78 if version >= 5 else 5, -1, -1)
    assert found(ask(connection, version, -1)) == refused
    if version >= 2:
        assert found(ask(connection, version, -1, isolation_level=1)) == refused
    assert found(ask(connection, version, 2000)) == found(ask(connection, version, 3000)) == refused
    assert found(ask(connection, version, 1000)) == (0, 1000, 0)
    assert found(ask(connection, version, -2)) == (0, -1, 0)
    assert found(ask(connection, version, -1, replica_id=2)) == (0, -1, 2)
    partition.follower_fetched(2, 2, leader_epoch=2)
    assert found(ask(connection, version, -1)) == (0, -1, 2)
    assert found(ask(connection, version, 3000)) == (0, -1, -1)
