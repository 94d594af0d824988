"""Fetching from followers (KIP-392): whom a leader sends a consumer to, and what a follower answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kafka_cy.api import fetch_preferred
from kafka_cy.storage.hosted_partition import HostedPartition
from tests.storage.batches import TRANSACTIONAL, batch
from tests.storage.test_follower_append import everything
from tests.waiting import wait_until

from .harness import BROKER_ID, CLUSTER_ID, Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import fill, request, rows

FOLLOWERS = (8, 9, 10)
VERSIONS = (11, 12, 13, 17)


@pytest.fixture(autouse=True)
def selector() -> Iterator[None]:
    fetch_preferred.set_rack_aware(True)
    yield
    fetch_preferred.set_rack_aware(False)


def racks(server: HotServer, of: dict[int, str | None]) -> None:
    """The brokers that are alive, with their racks."""
    brokers = [(broker, rack, [("127.0.0.1", server.port)]) for broker, rack in of.items()]
    server.publisher.set_brokers(CLUSTER_ID, BROKER_ID, BROKER_ID, brokers)
    server.publisher.publish()


def led(server: HotServer, isr: tuple[int, ...] = (BROKER_ID, *FOLLOWERS), fetched: int = 6) -> HostedPartition:
    server.create_topic("t", sole_replica=False)
    partition = server.partitions["t", 0]
    partition.lead(5, [BROKER_ID, *FOLLOWERS], isr, BROKER_ID)
    fill(server, "t", batches=3)
    for follower in FOLLOWERS:
        partition.follower_fetched(follower, fetched, start_offset=0)
    racks(server, {BROKER_ID: "a", 8: "b", 9: "b", 10: "c"})
    return partition


def asked(server: HotServer, offset: int, rack: str, **options: Any) -> dict[str, Any]:
    return request(server, {("t", 0): offset}, **options) | {"rack_id": rack}


def fetch(connection: Connection, values: dict[str, Any], version: int = 17) -> dict[str, Any]:
    [row] = rows(connection.call(1, version, values))
    return row


@pytest.mark.parametrize("version", VERSIONS)
def test_a_consumer_is_sent_to_its_rack(hot_server: HotServer, connection: Connection, version: int) -> None:
    led(hot_server)
    row = fetch(connection, asked(hot_server, 2, "c", max_wait_ms=60_000), version)
    assert (row["error_code"], row["preferred_read_replica"], row["records"]) == (0, 10, b"")
    assert (row["high_watermark"], row["last_stable_offset"], row["log_start_offset"]) == (6, 6, 0)
    row = fetch(connection, asked(hot_server, 6, "c", max_wait_ms=60_000), version)
    assert row["preferred_read_replica"] == 10, "also at the end of the log, without a wait"


@pytest.mark.parametrize("rack", ["", "a", "d"])
def test_others_read_here(hot_server: HotServer, connection: Connection, rack: str) -> None:
    led(hot_server)
    row = fetch(connection, asked(hot_server, 2, rack))
    assert row["preferred_read_replica"] == -1 and row["records"]


def test_the_leader_is_preferred_in_its_own_rack(hot_server: HotServer, connection: Connection) -> None:
    led(hot_server)
    racks(hot_server, {8: "b", BROKER_ID: "b", 9: "b"})
    assert fetch(connection, asked(hot_server, 2, "b"))["preferred_read_replica"] == -1


def test_without_the_selector_and_without_live_replicas(hot_server: HotServer, connection: Connection) -> None:
    led(hot_server)
    fetch_preferred.set_rack_aware(False)
    assert fetch(connection, asked(hot_server, 2, "c"))["records"]
    fetch_preferred.set_rack_aware(True)
    racks(hot_server, {BROKER_ID: None, 8: "b", 9: "b"})
    assert fetch(connection, asked(hot_server, 2, "c"))["records"]


def test_a_replica_out_of_sync_or_without_the_offset_is_not_chosen(hot_server: HotServer, connection: Connection) -> None:
    partition = led(hot_server, isr=(BROKER_ID, 8, 9), fetched=4)
    assert fetch(connection, asked(hot_server, 2, "c"))["preferred_read_replica"] == -1
    assert fetch(connection, asked(hot_server, 4, "b"))["preferred_read_replica"] in (8, 9)
    assert fetch(connection, asked(hot_server, 5, "b"))["preferred_read_replica"] == -1
    partition.follower_fetched(8, 4, start_offset=3)
    partition.follower_fetched(9, 4, start_offset=3)
    assert fetch(connection, asked(hot_server, 2, "b"))["preferred_read_replica"] == -1
    row = fetch(connection, asked(hot_server, 7, "b"))
    assert (row["error_code"], row["preferred_read_replica"]) == (1, -1)


def test_the_most_caught_up_replica_is_chosen(hot_server: HotServer, connection: Connection) -> None:
    partition = led(hot_server, fetched=3)
    partition.follower_fetched(8, 5, start_offset=0)
    assert fetch(connection, asked(hot_server, 2, "b"))["preferred_read_replica"] == 8
    partition.follower_fetched(9, 6, start_offset=0)
    assert fetch(connection, asked(hot_server, 2, "b"))["preferred_read_replica"] == 9
    assert fetch(connection, asked(hot_server, 2, "b", current_leader_epoch=4))["error_code"] == 74


def test_a_session_tells_it_although_nothing_else_changed(hot_server: HotServer, connection: Connection) -> None:
    led(hot_server)
    racks(hot_server, {BROKER_ID: "a"})
    answer = connection.call(1, 17, asked(hot_server, 6, "c", session=(0, 0)))
    session = answer["session_id"]
    assert session and [row["preferred_read_replica"] for row in rows(answer)] == [-1]
    nothing = request(hot_server, {}, session=(session, 1)) | {"rack_id": "c"}
    assert rows(connection.call(1, 17, nothing)) == []
    racks(hot_server, {BROKER_ID: "a", 10: "c"})
    nothing["session_epoch"] = 2
    assert [row["preferred_read_replica"] for row in rows(connection.call(1, 17, nothing))] == [10]


def followed(server: HotServer, high_watermark: int = 4) -> HostedPartition:
    """The log has the offsets 0 to 5."""
    server.create_topic("t", sole_replica=False)
    partition = server.partitions["t", 0]
    fill(server, "t", batches=3)
    data = partition.log.read(0, 1 << 20)
    partition.follow(5)
    partition.truncate_fully(0)
    partition.append_received(data, 5, high_watermark)
    assert (partition.log_end_offset, partition.high_watermark) == (6, high_watermark)
    return partition


@pytest.mark.parametrize("version", VERSIONS)
def test_a_follower_answers_up_to_its_high_watermark(hot_server: HotServer, connection: Connection, version: int) -> None:
    followed(hot_server)
    row = fetch(connection, asked(hot_server, 0, "b"), version)
    assert (row["error_code"], row["high_watermark"], row["last_stable_offset"], row["preferred_read_replica"]) == (0, 4, 4, -1)
    assert len(row["records"]) == 2 * len(fetch(connection, asked(hot_server, 2, ""), version)["records"]) > 0
    for offset in (4, 5, 6):
        row = fetch(connection, asked(hot_server, offset, "b"), version)
        assert (row["error_code"], row["records"], row["high_watermark"]) == (0, b"", 4)
    assert fetch(connection, asked(hot_server, 7, "b"), version)["error_code"] == 1


def test_whom_a_follower_refuses(hot_server: HotServer, connection: Connection) -> None:
    partition = followed(hot_server)
    assert fetch(connection, request(hot_server, {("t", 0): 0}), 10)["error_code"] == 6, "the version knows no followers"
    replica = asked(hot_server, 0, "") | {"replica_id": 9, "replica_state": {"replica_id": 9, "replica_epoch": 3}}
    assert fetch(connection, replica)["error_code"] == 6
    for epoch, code in ((4, 74), (5, 0), (6, 75)):
        assert fetch(connection, asked(hot_server, 0, "b", current_leader_epoch=epoch))["error_code"] == code
    partition.retire("offline")
    assert fetch(connection, asked(hot_server, 0, "b"))["error_code"] == 56


def test_a_follower_without_a_role_answers_nobody(hot_server: HotServer, connection: Connection) -> None:
    followed(hot_server).follow(-1)
    assert fetch(connection, asked(hot_server, 0, "b"))["error_code"] == 6


def test_a_waiting_consumer_is_woken_at_a_follower(hot_server: HotServer, connection: Connection) -> None:
    partition = followed(hot_server)
    connection.send(1, 17, encode_request(1, 17, asked(hot_server, 4, "b", max_wait_ms=60_000)))
    wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the consumer waits")
    partition.append_received(b"", 5, 6)
    [row] = rows(connection.answer(1, 17))
    assert (row["high_watermark"], len(row["records"]) > 0) == (6, True)


def test_a_waiting_consumer_hears_of_a_new_leader(hot_server: HotServer, connection: Connection) -> None:
    partition = followed(hot_server)
    values = asked(hot_server, 4, "b", max_wait_ms=60_000, current_leader_epoch=5)
    connection.send(1, 17, encode_request(1, 17, values))
    wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the consumer waits")
    partition.follow(6)
    assert [row["error_code"] for row in rows(connection.answer(1, 17))] == [74]


def test_read_committed_at_a_follower(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", sole_replica=False)
    partition = hot_server.partitions["t", 0]
    fill(hot_server, "t")
    partition.append(batch(2, producer_id=7, producer_epoch=0, base_sequence=0, attributes=TRANSACTIONAL))
    partition.append_marker(7, 0, 0, False, 1)
    partition.append(batch(2, producer_id=8, producer_epoch=0, base_sequence=0, attributes=TRANSACTIONAL))
    data, end = everything(partition), partition.log_end_offset
    partition.follow(5)
    partition.truncate_fully(0)
    partition.append_received(data, 5, end)
    row = fetch(connection, asked(hot_server, 0, "b", isolation_level=1))
    assert (row["high_watermark"], row["last_stable_offset"]) == (end, end - 2)
    assert row["aborted_transactions"] == [{"producer_id": 7, "first_offset": 2}]
