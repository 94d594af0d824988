"""Fetch asks the ACLs: in sessions, of followers, while it waits, and when its data comes from a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kafka_cy.api import fetch_cold, fetch_session_cache, fetch_standing
from kafka_cy.network import jobs
from tests.waiting import wait_until

from .acls import CLUSTER, CLUSTER_ACTION, DESCRIBE, READ, TOPIC_DENIED, WRITE, Acls
from .harness import BROKER_ID, Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import fill, request, rows, values
from .test_fetch_standing import FOLLOWER, VERSION, Session, counters, lead, since

REACTORS = 1
UNKNOWN_TOPIC, UNKNOWN_ID, ALLOWED = 3, 100, 0
LONG_WAIT_MS = 120_000
MANY = 40  # partitions: enough for a standing fetch


@pytest.fixture(autouse=True)
def limits(hot_server: HotServer) -> Iterator[None]:
    wait_until(lambda: fetch_session_cache.counters()["bytes"] == 0, "sessions of earlier tests are freed")
    fetch_standing.set_limits(look_ms=0)
    yield
    fetch_standing.set_limits()


def codes(answer: list[dict[str, Any]]) -> list[int]:
    for row in answer:
        if row["error_code"]:
            assert (row["records"], row["high_watermark"], row["last_stable_offset"]) == (b"", -1, -1)
    return [row["error_code"] for row in answer]


@pytest.mark.parametrize("version", range(4, 19))
def test_topics(hot_server: HotServer, connection: Connection, version: int) -> None:
    acls = Acls(hot_server)
    for name in ("read", "described", "denied"):
        hot_server.create_topic(name)
        fill(hot_server, name)
    acls.allow(READ, "read")
    acls.allow(DESCRIBE, "described")
    acls.allow(READ, "denied")
    acls.deny(READ, "denied", host="127.0.0.1")
    asked = request(hot_server, {(name, 0): 0 for name in ("read", "described", "denied", "no")}, isolation_level=1)
    answer = rows(connection.call(1, version, asked))
    no = UNKNOWN_ID if version >= 13 else TOPIC_DENIED
    assert codes(answer) == [ALLOWED, TOPIC_DENIED, TOPIC_DENIED, no]
    assert values(answer[0]) == 2 and answer[1]["aborted_transactions"] == []
    acls.allow(READ, "no")
    answer = rows(connection.call(1, version, asked))
    assert codes(answer)[3] == (UNKNOWN_ID if version >= 13 else UNKNOWN_TOPIC)


@pytest.mark.parametrize("version", [5, 12, 13, 17])
def test_who_says_that_he_is_a_follower(hot_server: HotServer, connection: Connection, version: int) -> None:
    """He needs CLUSTER_ACTION, and then no right of the topics."""
    acls = Acls(hot_server)
    acls.allow(READ, "*")
    hot_server.create_topic("t", sole_replica=False)
    hot_server.partitions["t", 0].lead(5, [BROKER_ID, FOLLOWER], [BROKER_ID, FOLLOWER], BROKER_ID)
    fill(hot_server, "t")
    asked = request(hot_server, {("t", 0): 0, ("no", 0): 0}, current_leader_epoch=5, log_start_offset=0)
    asked |= {"replica_id": FOLLOWER, "replica_state": {"replica_id": FOLLOWER, "replica_epoch": -1}}
    assert codes(rows(connection.call(1, version, asked))) == [TOPIC_DENIED, TOPIC_DENIED]
    acls.revoke("*")
    acls.allow(CLUSTER_ACTION, "kafka-cluster", CLUSTER)
    first, second = rows(connection.call(1, version, asked))
    assert first["error_code"] == ALLOWED and values(first) == 2
    assert second["error_code"] == (UNKNOWN_ID if version >= 13 else UNKNOWN_TOPIC)


@pytest.mark.parametrize("follower", [False, True])
@pytest.mark.parametrize("partitions", [3, MANY])
def test_sessions(hot_server: HotServer, connection: Connection, partitions: int, follower: bool) -> None:
    """Each fetch is asked about all of its session; a right that comes back brings the records."""
    acls = Acls(hot_server)
    hot_server.create_topic("t", partitions, sole_replica=not follower)
    if follower:
        lead(hot_server, "t")
    hot_server.create_topic("other")

    def allow() -> None:
        if follower:
            acls.allow(CLUSTER_ACTION, "kafka-cluster", CLUSTER)
        else:
            acls.allow(READ, "t")

    allow()
    session = Session(hot_server, connection, follower=follower)
    session.fetch({("t", i): 0 for i in range(partitions)})
    fill(hot_server, "t", 1)
    assert [(row["partition_index"], values(row)) for row in session.fetch()] == [(1, 2)]
    for _ in range(2):
        acls.revoke("kafka-cluster" if follower else "t", CLUSTER if follower else 2)   # type: ignore[arg-type]
        for _ in range(2):
            assert codes(session.fetch({("t", 1): 2})) == [TOPIC_DENIED] * partitions
        allow()
        fill(hot_server, "t", 2)
        found = {row["partition_index"]: row for row in session.fetch({("t", 1): 2})}
        assert len(found) == partitions and codes(list(found.values())) == [ALLOWED] * partitions
        assert values(found[2]) >= 2


def test_a_standing_fetch_stays_while_nothing_changes(hot_server: HotServer, connection: Connection) -> None:
    acls = Acls(hot_server)
    acls.allow(READ, "t")
    hot_server.create_topic("t", MANY)
    session = Session(hot_server, connection)
    session.fetch({("t", i): 0 for i in range(MANY)})
    session.fetch()
    before = counters()
    for _ in range(3):
        assert session.fetch() == []
    assert since(before, "taken") == 3 and since(before, "built") == 0
    acls.allow(WRITE, "other")
    assert session.fetch() == []
    assert since(before, "built") == 1


@pytest.mark.parametrize("partitions", [0, 3, MANY])
def test_revoked_while_it_waits(hot_server: HotServer, connection: Connection, partitions: int) -> None:
    """Records that come then are not sent; the next fetch is denied. `partitions` 0: without a session."""
    acls = Acls(hot_server)
    acls.allow(READ, "t")
    hot_server.create_topic("t", max(partitions, 1))
    session = Session(hot_server, connection)
    if partitions:
        session.fetch({("t", i): 0 for i in range(partitions)})
        session.fetch()
        session.wait()
    else:
        asked = request(hot_server, {("t", 0): 0}, max_wait_ms=LONG_WAIT_MS)
        connection.send(1, VERSION, encode_request(1, VERSION, asked))
        wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the fetch waits")
    acls.revoke("t")
    fill(hot_server, "t", 0)
    answer = connection.answer(1, VERSION)
    assert (answer["error_code"], answer["responses"]) == (0, [])
    if partitions:
        assert codes(session.fetch()) == [TOPIC_DENIED] * partitions
        acls.allow(READ, "t")
        assert {row["partition_index"]: values(row) for row in session.fetch()}[0] == 2
    else:
        assert codes(rows(connection.call(1, VERSION, asked))) == [TOPIC_DENIED]


def test_other_changes_of_the_metadata_do_not_end_a_wait(hot_server: HotServer, connection: Connection) -> None:
    acls = Acls(hot_server)
    acls.allow(READ, "t")
    hot_server.create_topic("t")
    asked = request(hot_server, {("t", 0): 0}, max_wait_ms=LONG_WAIT_MS)
    connection.send(1, VERSION, encode_request(1, VERSION, asked))
    wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the fetch waits")
    hot_server.create_topic("other")
    fill(hot_server, "t")
    (row,) = rows(connection.answer(1, VERSION))
    assert values(row) == 2


def test_revoked_while_a_job_reads(hot_server: HotServer, connection: Connection) -> None:
    acls = Acls(hot_server)
    acls.allow(READ, "t")
    hot_server.create_topic("t")
    fill(hot_server, "t")
    fetch_cold.forget_all(True)
    jobs.pause_jobs()
    try:
        asked = request(hot_server, {("t", 0): 0}, max_wait_ms=LONG_WAIT_MS)
        connection.send(1, VERSION, encode_request(1, VERSION, asked))
        wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the fetch waits for its job")
        acls.revoke("t")
        jobs.resume_jobs()
        assert connection.answer(1, VERSION)["responses"] == []
        assert codes(rows(connection.call(1, VERSION, asked))) == [TOPIC_DENIED]
    finally:
        jobs.resume_jobs()
        fetch_cold.forget_all(False)


def test_a_denied_topic_does_not_hold_up_the_others(hot_server: HotServer, connection: Connection) -> None:
    acls = Acls(hot_server)
    acls.allow(READ, "mine")
    for name in ("mine", "hidden"):
        hot_server.create_topic(name)
        fill(hot_server, name)
    session = Session(hot_server, connection)
    answer = session.fetch({("hidden", 0): 0, ("mine", 0): 0}, max_wait_ms=LONG_WAIT_MS)
    assert codes(answer) == [TOPIC_DENIED, ALLOWED] and values(answer[1]) == 2
    fill(hot_server, "mine")
    answer = session.fetch({("mine", 0): 2})
    assert codes(answer) == [TOPIC_DENIED, ALLOWED] and values(answer[1]) == 2
