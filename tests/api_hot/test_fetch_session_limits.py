"""Fetch sessions have limits of partitions and memory; beyond them clients go on with full fetches."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from kafka_cy.api import fetch_session_cache
from kafka_cy.network import jobs
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_chosen_keys import holding
from .test_fetch import fill, request, rows
from .test_fetch_session import open_session

PARTITIONS_MAX, BYTES_MAX = 100_000, 256 << 20  # the defaults
UNKNOWN_TOPIC_OR_PARTITION = 3
FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH = 70, 71
ILLEGAL = ["x" * 250, "u" * 30_000, "", ".", "..", "a/b", "naïve", "a b"]


@pytest.fixture(autouse=True)
def limits(hot_server: HotServer) -> Iterator[None]:
    wait_until(lambda: fetch_session_cache.counters()["bytes"] == 0, "sessions of earlier tests are freed")
    yield
    jobs.resume_jobs()
    fetch_session_cache.set_slots(1000)
    fetch_session_cache.set_limits(partitions_max=PARTITIONS_MAX, bytes_max=BYTES_MAX)


def counters(name: str) -> int:
    return fetch_session_cache.counters()[name]


def unknown(count: int, topic: str = "none") -> dict[tuple[str, int], int]:
    return {(topic, index): 0 for index in range(count)}


def fetch(
    server: HotServer, connection: Connection, session: tuple[int, int], offsets: dict[tuple[str, int], int], **more: Any
) -> tuple[int, int, int]:
    """(error, session id, number of partitions in the response)."""
    response = connection.call(1, 12, request(server, offsets, session=session, **more))
    return response["error_code"], response["session_id"], len(rows(response))


def test_a_session_with_too_many_partitions_is_not_created(hot_server: HotServer, connection: Connection) -> None:
    fetch_session_cache.set_limits(partitions_max=20, bytes_max=BYTES_MAX)
    refused = counters("refused")
    assert fetch(hot_server, connection, (0, 0), unknown(21)) == (0, 0, 21)
    assert counters("refused") == refused + 1
    assert (counters("sessions"), counters("bytes")) == (0, 0)
    assert fetch(hot_server, connection, (0, 0), unknown(20))[1] > 0
    assert counters("refused") == refused + 1


def test_a_session_that_grows_too_large_ends(hot_server: HotServer, connection: Connection) -> None:
    fetch_session_cache.set_limits(partitions_max=20, bytes_max=BYTES_MAX)
    session = open_session(hot_server, connection, 12, unknown(15))
    assert fetch(hot_server, connection, (session, 1), unknown(5, "more")) == (0, session, 20)
    assert fetch(hot_server, connection, (session, 2), unknown(1, "last")) == (FETCH_SESSION_ID_NOT_FOUND, 0, 0)
    assert (counters("sessions"), counters("partitions"), counters("bytes")) == (0, 0, 0)
    assert fetch(hot_server, connection, (session, 3), {}) == (FETCH_SESSION_ID_NOT_FOUND, 0, 0)
    assert fetch(hot_server, connection, (0, 0), unknown(21)) == (0, 0, 21)     # what Java clients send next


def test_known_partitions_may_change_in_a_full_session(hot_server: HotServer, connection: Connection) -> None:
    fetch_session_cache.set_limits(partitions_max=20, bytes_max=BYTES_MAX)
    session = open_session(hot_server, connection, 12, unknown(20))
    for epoch in range(1, 4):
        assert fetch(hot_server, connection, (session, epoch), unknown(20)) == (0, session, 20)
    gone = [("none", index) for index in range(10)]
    assert fetch(hot_server, connection, (session, 4), {}, forget=gone) == (0, session, 10)
    assert fetch(hot_server, connection, (session, 5), unknown(10)) == (0, session, 20)


def test_all_sessions_share_a_limit_of_memory(hot_server: HotServer, connection: Connection) -> None:
    limit = 1 << 20
    fetch_session_cache.set_limits(partitions_max=PARTITIONS_MAX, bytes_max=limit)
    sessions = []
    while True:
        error, session, count = fetch(hot_server, connection, (0, 0), unknown(1000))
        assert (error, count) == (0, 1000)
        if session == 0:
            break
        sessions.append(session)
        assert counters("bytes") <= limit
    assert len(sessions) > 5 and counters("refused") > 0
    assert fetch(hot_server, connection, (sessions[0], 1), unknown(1000, "more")) == (FETCH_SESSION_ID_NOT_FOUND, 0, 0)
    assert fetch(hot_server, connection, (sessions[1], -1), unknown(1)) == (0, 0, 1)        # closes it
    assert fetch(hot_server, connection, (0, 0), unknown(1000))[1] > 0
    fetch_session_cache.set_slots(1000)
    wait_until(lambda: counters("bytes") == 0, "all memory is given back")


def test_one_session_may_use_a_quarter_of_the_memory(hot_server: HotServer, connection: Connection) -> None:
    fetch_session_cache.set_limits(partitions_max=PARTITIONS_MAX, bytes_max=1 << 20)
    assert fetch(hot_server, connection, (0, 0), unknown(5000)) == (0, 0, 5000)
    assert counters("bytes") == 0
    names = {("n" * 240 + str(number), 0): 0 for number in range(1000)}
    assert fetch(hot_server, connection, (0, 0), names) == (0, 0, 1000)
    assert counters("bytes") == 0


def test_idle_sessions_give_their_memory_to_new_ones(hot_server: HotServer, connection: Connection) -> None:
    fetch_session_cache.set_limits(partitions_max=PARTITIONS_MAX, bytes_max=1 << 20)
    while fetch(hot_server, connection, (0, 0), unknown(1000))[1]:
        pass
    evictions = counters("evictions")
    assert fetch(hot_server, connection, (0, 0), unknown(1000))[1] == 0
    assert counters("evictions") == evictions, "they are in use"
    fetch_session_cache.age(10 * 60_000)
    tries = 0
    while not fetch(hot_server, connection, (0, 0), unknown(1000))[1]:
        tries += 1
    assert 1 <= tries <= 8 and counters("evictions") > evictions


def test_large_sessions_are_freed_by_a_job(hot_server: HotServer, connection: Connection) -> None:
    session = open_session(hot_server, connection, 12, unknown(20_000))
    jobs.pause_jobs()
    assert fetch(hot_server, connection, (session, -1), unknown(1)) == (0, 0, 1)
    assert counters("sessions") == 0 and counters("bytes") > 20_000 * 64
    assert jobs.waiting_jobs() == 1
    jobs.resume_jobs()
    wait_until(lambda: counters("bytes") == 0, "the session is freed")


def test_a_session_in_use_is_not_waited_for(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    session = open_session(hot_server, connection, 12, {("t", 0): 0})
    with holding(session):
        assert fetch(hot_server, connection, (session, 1), {}) == (INVALID_FETCH_SESSION_EPOCH, 0, 0)
        assert fetch(hot_server, connection, (session, 5), {}) == (INVALID_FETCH_SESSION_EPOCH, 0, 0)
    assert fetch(hot_server, connection, (session, 1), {}) == (0, session, 0)


def test_a_response_does_not_wait_for_a_session_in_use(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    session = open_session(hot_server, connection, 12, {("t", 0): 0})
    asked = request(hot_server, {}, session=(session, 1), max_wait_ms=120_000)
    connection.send(1, 12, encode_request(1, 12, asked))
    wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the fetch waits")
    with holding(session):
        fill(hot_server, "t")
        response = connection.answer(1, 12)
    assert (response["error_code"], response["session_id"], response["responses"]) == (INVALID_FETCH_SESSION_EPOCH, session, [])


@pytest.mark.parametrize("how", ["forget", "grow"])
def test_a_session_ends_while_a_fetch_waits_with_it(hot_server: HotServer, connection: Connection, how: str) -> None:
    fetch_session_cache.set_limits(partitions_max=3, bytes_max=BYTES_MAX)
    hot_server.create_topic("t", 3)
    offsets = {("t", index): 0 for index in range(3)}
    session = open_session(hot_server, connection, 12, offsets)
    asked = request(hot_server, {}, session=(session, 1), max_wait_ms=120_000)
    connection.send(1, 12, encode_request(1, 12, asked))
    wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the fetch waits")
    other = hot_server.connect()
    if how == "forget":
        assert fetch(hot_server, other, (session, 2), {}, forget=list(offsets)) == (0, 0, 0)
    else:
        assert fetch(hot_server, other, (session, 2), unknown(1))[:2] == (FETCH_SESSION_ID_NOT_FOUND, 0)
    for index in range(3):
        fill(hot_server, "t", index)
    response = connection.answer(1, 12)
    assert (response["error_code"], response["responses"]) == (INVALID_FETCH_SESSION_EPOCH, [])
    wait_until(lambda: counters("bytes") == 0, "the session is freed")
    other.close()


@pytest.mark.parametrize("version", [4, 7, 12])
@pytest.mark.parametrize("name", ILLEGAL)
def test_names_that_no_topic_can_have(hot_server: HotServer, connection: Connection, version: int, name: str) -> None:
    hot_server.create_topic("t")
    response = connection.call(1, version, request(hot_server, {(name, 7): 0, ("t", 0): 0}, session=(0, 0)))
    topics = [(topic["topic"], [row["error_code"] for row in topic["partitions"]]) for topic in response["responses"]]
    assert topics == [(name, [UNKNOWN_TOPIC_OR_PARTITION]), ("t", [0])]
    if version < 7:
        return
    session = response["session_id"]
    assert session > 0 and counters("partitions") == 1 and counters("bytes") < 2000
    response = connection.call(1, version, request(hot_server, {(name, 7): 0, (name, 8): 0}, session=(session, 1)))
    assert (response["error_code"], response["session_id"]) == (0, session)
    assert [row["error_code"] for row in rows(response)] == [UNKNOWN_TOPIC_OR_PARTITION] * 2
    assert counters("partitions") == 1 and counters("bytes") < 2000
    response = connection.call(1, version, request(hot_server, {}, session=(session, 2), forget=[(name, 7), (name, 9)]))
    assert (response["error_code"], response["session_id"], response["responses"]) == (0, session, [])
    response = connection.call(1, version, request(hot_server, {(name, 7): 0}, session=(session, -1)))
    assert [row["error_code"] for row in rows(response)] == [UNKNOWN_TOPIC_OR_PARTITION]
    response = connection.call(1, version, request(hot_server, {(name, 7): 0}, session=(0, 0)))
    assert (response["error_code"], response["session_id"]) == (0, 0)
    assert counters("bytes") == 0


def test_the_longest_name_is_stored(hot_server: HotServer, connection: Connection) -> None:
    session = open_session(hot_server, connection, 12, {("x" * 249, 0): 0})
    response = connection.call(1, 12, request(hot_server, {}, session=(session, 1)))
    assert [topic["topic"] for topic in response["responses"]] == ["x" * 249]
    assert counters("partitions") == 1


def test_more_partitions_than_a_fetch_may_name(hot_server: HotServer, connection: Connection) -> None:
    count = 1_000_001
    body = struct.pack(">iiiibiii", -1, 0, 1, 1000, 0, 0, -1, 1) + struct.pack(">h", 1) + b"t" + struct.pack(">i", count)
    body += struct.pack(">iqqi", 0, 0, -1, 0) * count + struct.pack(">i", 0)
    connection.send(1, 7, body)
    assert connection.receive() is None
    assert any("more than 1000000 partitions" in each.message for each in hot_server.server.take_log_events())
