"""leader.replication.throttled.rate: what followers get from a leader while it is used up (KIP-73)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kafka_cy.quota import replication_quota
from kafka_cy.storage.replicated_bytes import reassigned_bytes
from tests.waiting import wait_until

from .harness import BROKER_ID, Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import fill, request, rows
from .test_follower_fetch import FOLLOWER, asked, fetch, lead


@pytest.fixture(autouse=True)
def used_up() -> Iterator[None]:
    replication_quota.set_windows("leader", 11, 1)
    replication_quota.set_limit("leader", 1)
    replication_quota.record("leader", 1 << 40)
    yield
    replication_quota.set_limit("leader", None)
    replication_quota.set_windows("leader", 11, 1)


def led(server: HotServer, topic: str = "t", *, isr: tuple[int, ...] = (BROKER_ID,), throttled: bool = True) -> Any:
    server.create_topic(topic, sole_replica=False)
    lead(server, topic, isr=isr)
    partition = server.partitions[topic, 0]
    partition.set_throttled(throttled, False)
    fill(server, topic, batches=3)
    return partition


def test_a_follower_out_of_sync_gets_nothing(hot_server: HotServer, connection: Connection) -> None:
    partition = led(hot_server)
    row = fetch(connection, 17, asked(hot_server, 0))
    assert (row["error_code"], row["records"], row["high_watermark"]) == (0, b"", 6)
    replication_quota.set_limit("leader", None)
    assert fetch(connection, 17, asked(hot_server, 0))["records"]
    replication_quota.set_limit("leader", 1)
    assert not fetch(connection, 17, asked(hot_server, 0))["records"]
    partition.set_throttled(False, True)
    assert fetch(connection, 17, asked(hot_server, 0))["records"], "the quota of followers is not that of leaders"


def test_a_member_of_the_isr_and_a_consumer_get_everything(hot_server: HotServer, connection: Connection) -> None:
    led(hot_server, isr=(BROKER_ID, FOLLOWER))
    assert fetch(connection, 17, asked(hot_server, 0))["records"]
    fetch(connection, 17, asked(hot_server, 6))
    assert rows(connection.call(1, 17, request(hot_server, {("t", 0): 0})))[0]["records"]


def test_what_is_sent_counts(hot_server: HotServer, connection: Connection) -> None:
    replication_quota.set_windows("leader", 11, 1)
    led(hot_server)
    led(hot_server, "u", throttled=False)
    fetch(connection, 17, asked(hot_server, 0, topic="u"))
    assert replication_quota.byte_rate("leader") == 0
    records = fetch(connection, 17, asked(hot_server, 0))["records"]
    assert records and 0 < replication_quota.byte_rate("leader") <= len(records)
    assert not fetch(connection, 17, asked(hot_server, 0))["records"], "the first answer has used up the quota"


def test_a_throttled_partition_leaves_its_room_to_the_others(hot_server: HotServer, connection: Connection) -> None:
    led(hot_server)
    led(hot_server, "u", throttled=False)
    values = request(hot_server, {("t", 0): 0, ("u", 0): 0}, current_leader_epoch=5, max_bytes=1, max_wait_ms=60_000)
    values["replica_state"] = {"replica_id": FOLLOWER, "replica_epoch": 3}
    first, second = rows(connection.call(1, 17, values))
    assert (bool(first["records"]), bool(second["records"])) == (False, True)


def test_a_fetch_of_throttled_partitions_waits_its_time(hot_server: HotServer, connection: Connection) -> None:
    led(hot_server)
    row = fetch(connection, 17, asked(hot_server, 0, max_wait_ms=50))
    assert (row["error_code"], row["records"]) == (0, b"")


def test_appends_do_not_wake_a_fetch_of_a_throttled_partition(hot_server: HotServer, connection: Connection) -> None:
    """Each would have all partitions of the fetch read again, and nothing to send."""
    led(hot_server)
    led(hot_server, "u", throttled=False)
    values = request(hot_server, {("t", 0): 0, ("u", 0): 6}, current_leader_epoch=5, max_wait_ms=60_000)
    values["replica_state"] = {"replica_id": FOLLOWER, "replica_epoch": 3}
    connection.send(1, 17, encode_request(1, 17, values))
    wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the follower waits")
    replication_quota.set_limit("leader", None)
    fill(hot_server, "t")
    other = hot_server.connect()
    other.call(1, 17, request(hot_server, {("t", 0): 0}))  # after the append has woken whom it wakes
    assert hot_server.server.counters()["parked"] == 1
    fill(hot_server, "u")
    assert [bool(row["records"]) for row in rows(connection.answer(1, 17))] == [True, True]
    other.close()


def test_bytes_of_reassignments(hot_server: HotServer, connection: Connection) -> None:
    partition = led(hot_server, throttled=False)
    before = reassigned_bytes()
    records = fetch(connection, 17, asked(hot_server, 0))["records"]
    assert reassigned_bytes() == before
    partition.set_adding([FOLLOWER, 11], BROKER_ID)
    fetch(connection, 17, asked(hot_server, 0))
    assert reassigned_bytes() == (before[0], before[1] + len(records))
    partition.set_adding([], BROKER_ID)
    fetch(connection, 17, asked(hot_server, 0))
    assert reassigned_bytes() == (before[0], before[1] + len(records))
