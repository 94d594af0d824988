"""Fetch of a follower, as its leader sees it: what it reports, the high watermark, waiting producers and consumers, the ISR."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.storage.isr_candidates import forget_candidates, take_candidates
from kafka_cy.storage.live_brokers import set_live_brokers
from tests.waiting import wait_until

from .harness import BROKER_ID, Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import VERSIONS, fill, request, rows

FOLLOWER = 9


def lead(server: HotServer, topic: str = "t", *, epoch: int = 5, isr: tuple[int, ...] = (BROKER_ID, FOLLOWER)) -> None:
    server.partitions[topic, 0].lead(epoch, [BROKER_ID, FOLLOWER], isr, BROKER_ID)


def asked(server: HotServer, offset: int, *, replica: int = FOLLOWER, topic: str = "t", **options: Any) -> dict[str, Any]:
    options = {"current_leader_epoch": 5, "last_fetched_epoch": -1, "log_start_offset": 0, **options}
    state = {"replica_id": replica, "replica_state": {"replica_id": replica, "replica_epoch": 3}}
    return request(server, {(topic, 0): offset}, **options) | state


def fetch(connection: Connection, version: int, values: dict[str, Any]) -> dict[str, Any]:
    [row] = rows(connection.call(1, version, values))
    return row


@pytest.mark.parametrize("version", VERSIONS)
def test_the_high_watermark_moves_with_the_fetch(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server)
    fill(hot_server, "t", batches=3)
    partition = hot_server.partitions["t", 0]
    row = fetch(connection, version, asked(hot_server, 0))
    assert (row["error_code"], row["high_watermark"], partition.high_watermark) == (0, 0, 0)
    row = fetch(connection, version, asked(hot_server, 4))
    assert (row["error_code"], row["high_watermark"], partition.high_watermark) == (0, 4, 4)


@pytest.mark.parametrize(("epoch", "code"), [(4, 74), (6, 75), (5, 0), (-1, 0)])
def test_epochs(hot_server: HotServer, connection: Connection, epoch: int, code: int) -> None:
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server)
    fill(hot_server, "t", batches=2)
    assert fetch(connection, 17, asked(hot_server, 2, current_leader_epoch=epoch))["error_code"] == code
    assert hot_server.partitions["t", 0].high_watermark == (0 if code else 2)


@pytest.mark.parametrize(("epoch", "code"), [(5, 75), (-1, 6)])
def test_a_broker_without_a_replica(hot_server: HotServer, connection: Connection, epoch: int, code: int) -> None:
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server)
    fill(hot_server, "t")
    assert fetch(connection, 17, asked(hot_server, 0, replica=11, current_leader_epoch=epoch))["error_code"] == code
    hot_server.create_topic("alone")
    fill(hot_server, "alone")
    answer = asked(hot_server, 0, topic="alone", current_leader_epoch=0 if epoch >= 0 else -1)
    assert fetch(connection, 17, answer)["error_code"] == code


def test_what_counts_as_no_report(hot_server: HotServer, connection: Connection) -> None:
    """A log that diverged, and a fetch out of range, say nothing of what the follower has."""
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server)
    fill(hot_server, "t", batches=2)
    lead(hot_server, epoch=8)
    row = fetch(connection, 17, asked(hot_server, 4, current_leader_epoch=8, last_fetched_epoch=7))
    assert (row["error_code"], row["diverging_epoch"]) == (0, {"epoch": 5, "end_offset": 4})
    row = fetch(connection, 17, asked(hot_server, 6, current_leader_epoch=8, last_fetched_epoch=5))  # its epoch ends before
    assert (row["error_code"], row["diverging_epoch"]) == (0, {"epoch": 5, "end_offset": 4})
    assert fetch(connection, 17, asked(hot_server, 6, current_leader_epoch=8))["error_code"] == 1  # no epoch is said
    assert hot_server.partitions["t", 0].high_watermark == 0
    row = fetch(connection, 17, asked(hot_server, 4, current_leader_epoch=8, last_fetched_epoch=5))
    assert (row["error_code"], hot_server.partitions["t", 0].high_watermark) == (0, 4)


def test_a_diverging_follower_is_told_the_high_watermark_again(hot_server: HotServer, connection: Connection) -> None:
    """It does not take the one that comes with the divergence, and its next fetches may tell nothing new of the partition."""
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server)
    fill(hot_server, "t", batches=2)
    lead(hot_server, epoch=8, isr=(BROKER_ID,))
    session_id = 0
    for epoch in range(0, 4, 2):  # with the session's first fetch, and within it
        diverging = asked(hot_server, 4, current_leader_epoch=8, last_fetched_epoch=7, session=(session_id, epoch))
        answer = connection.call(1, 17, diverging)
        [row] = rows(answer)
        assert row["diverging_epoch"] == {"epoch": 5, "end_offset": 4} and row["high_watermark"] == 4
        session_id = answer["session_id"]
        cut = asked(hot_server, 4, current_leader_epoch=8, last_fetched_epoch=5, session=(session_id, epoch + 1))
        assert [row["high_watermark"] for row in rows(connection.call(1, 17, cut))] == [4]
    cut = asked(hot_server, 4, current_leader_epoch=8, last_fetched_epoch=5, session=(session_id, 4))
    assert rows(connection.call(1, 17, cut)) == [], "it was told"


def test_a_waiting_producer_and_consumer_are_woken(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server)
    fill(hot_server, "t")
    consumer, follower = hot_server.connect(), hot_server.connect()
    consumer.send(1, 17, encode_request(1, 17, request(hot_server, {("t", 0): 0}, max_wait_ms=60_000)))
    wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the consumer waits")
    fetch(follower, 17, asked(hot_server, 2))
    [row] = rows(consumer.answer(1, 17))
    assert (row["high_watermark"], len(row["records"]) > 0) == (2, True)
    consumer.close()
    follower.close()


def test_a_follower_that_waits_gets_new_records(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server)
    connection.send(1, 17, encode_request(1, 17, asked(hot_server, 0, max_wait_ms=60_000)))
    wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the follower waits")
    fill(hot_server, "t")
    [row] = rows(connection.answer(1, 17))
    assert (row["high_watermark"], len(row["records"]) > 0) == (0, True)


def test_the_log_start_offset_of_the_leader(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server)
    fill(hot_server, "t", batches=3)
    fetch(connection, 17, asked(hot_server, 6))
    hot_server.partitions["t", 0].delete_records(3)
    assert fetch(connection, 17, asked(hot_server, 6))["log_start_offset"] == 3
    assert fetch(connection, 17, asked(hot_server, 2))["error_code"] == 1


def test_a_replica_that_may_join_is_noted(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server, isr=(BROKER_ID,))
    partition = hot_server.partitions["t", 0]
    fill(hot_server, "t")
    take_candidates(0)
    fetch(connection, 17, asked(hot_server, 0))
    assert (take_candidates(0), partition.joinable()) == ([], [])  # it lacks what is committed
    fetch(connection, 17, asked(hot_server, 2))
    fetch(connection, 17, asked(hot_server, 2))
    assert (take_candidates(10), partition.joinable()) == ([("t", 0)], [(FOLLOWER, 3)])
    assert partition.propose_isr(5, FOLLOWER)
    fetch(connection, 17, asked(hot_server, 2))
    assert take_candidates(0) == []  # one change at a time
    partition.set_replicas([BROKER_ID, FOLLOWER], [BROKER_ID, FOLLOWER], BROKER_ID)
    fill(hot_server, "t")
    assert partition.high_watermark == 2


def test_nothing_is_noted_if_nobody_takes_it(hot_server: HotServer, connection: Connection) -> None:
    """A broker by itself, whose metadata may name other replicas: it would keep deleted partitions."""
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server, isr=(BROKER_ID,))
    forget_candidates()
    fetch(connection, 17, asked(hot_server, 0))
    assert hot_server.partitions["t", 0].joinable() == [(FOLLOWER, 3)]
    assert take_candidates(0) == []
    fetch(connection, 17, asked(hot_server, 0))
    assert take_candidates(10) == [("t", 0)]


def test_the_broker_of_a_dead_replica_cannot_join(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server, isr=(BROKER_ID,))
    fill(hot_server, "t")
    set_live_brokers([BROKER_ID])
    try:
        fetch(connection, 17, asked(hot_server, 2))
        assert take_candidates(0) == []
        fill(hot_server, "t")
        assert hot_server.partitions["t", 0].high_watermark == 4  # nobody is waited for
    finally:
        set_live_brokers(range(16))


def test_a_session_of_a_follower(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t", sole_replica=False)
    lead(hot_server)
    fill(hot_server, "t", batches=2)
    first = connection.call(1, 17, asked(hot_server, 0, session=(0, 0)))
    session_id = first["session_id"]
    assert session_id > 0
    again = connection.call(1, 17, asked(hot_server, 4, session=(session_id, 1)))
    assert [row["high_watermark"] for row in rows(again)] == [4]
    idle = request(hot_server, {}, session=(session_id, 2)) | {"replica_state": {"replica_id": FOLLOWER, "replica_epoch": 3}}
    assert rows(connection.call(1, 17, idle)) == []
    fill(hot_server, "t")
    idle["session_epoch"] = 3
    [row] = rows(connection.call(1, 17, idle))
    assert len(row["records"]) > 0
