"""Incremental fetches (KIP-227)."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest

from kafka_cy.api import fetch_session_cache

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import fill, request, rows, values

VERSIONS = range(7, 19)


def open_session(server: HotServer, connection: Connection, version: int, offsets: dict[tuple[str, int], int]) -> int:
    answer = connection.call(1, version, request(server, offsets, session=(0, 0)))
    assert answer["error_code"] == 0 and answer["session_id"] > 0
    session_id: int = answer["session_id"]
    return session_id


@pytest.mark.parametrize("version", VERSIONS)
def test_only_what_changed(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", 3)
    session = open_session(hot_server, connection, version, {("t", i): 0 for i in range(3)})
    answer = connection.call(1, version, request(hot_server, {}, session=(session, 1)))
    assert (answer["error_code"], answer["session_id"], answer["responses"]) == (0, session, [])
    fill(hot_server, "t", 1)
    answer = connection.call(1, version, request(hot_server, {}, session=(session, 2), max_wait_ms=120_000))
    (row,) = rows(answer)
    assert row["partition_index"] == 1 and values(row) == 2
    answer = connection.call(1, version, request(hot_server, {("t", 1): 2}, session=(session, 3)))
    assert answer["responses"] == []
    fill(hot_server, "t", 0)
    fill(hot_server, "t", 1)
    answer = connection.call(1, version, request(hot_server, {}, session=(session, 4), forget=[("t", 0)]))
    assert [row["partition_index"] for row in rows(answer)] == [1]


@pytest.mark.parametrize("version", VERSIONS)
def test_empty_incremental_waits(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", 2)
    session = open_session(hot_server, connection, version, {("t", 0): 0, ("t", 1): 0})
    asked = request(hot_server, {}, session=(session, 1), max_wait_ms=120_000)
    connection.send(1, version, encode_request(1, version, asked))
    time.sleep(0.1)
    fill(hot_server, "t", 1)
    (row,) = rows(connection.answer(1, version))
    assert values(row) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_wrong_epoch_and_id(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    session = open_session(hot_server, connection, version, {("t", 0): 0})

    def error(session_id: int, epoch: int) -> tuple[int, int, Any]:
        answer = connection.call(1, version, request(hot_server, {}, session=(session_id, epoch)))
        return answer["error_code"], answer["session_id"], answer["responses"]

    assert error(session, 2) == (71, 0, [])
    assert error(session, -5) == (71, 0, [])
    assert error(session ^ 0x40000000, 1)[0] == 70
    assert error(session, 1)[:2] == (0, session)
    assert error(session, 1)[0] == 71
    assert error(session, -1)[:2] == (0, 0)                     # closes it
    assert error(session, 2)[0] == 70


def test_names_and_ids_do_not_mix(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    session = open_session(hot_server, connection, 12, {("t", 0): 0})
    assert connection.call(1, 13, request(hot_server, {}, session=(session, 1)))["error_code"] == 106


def test_recreated_topic_is_another(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    session = open_session(hot_server, connection, 13, {("t", 0): 0})
    hot_server.delete_topic("t")
    for epoch in (1, 2):                                        # an error is repeated in each response
        (row,) = rows(connection.call(1, 13, request(hot_server, {}, session=(session, epoch))))
        assert row["error_code"] == 100


def test_unknown_topic_appears(hot_server: HotServer, connection: Connection) -> None:
    session = open_session(hot_server, connection, 12, {("later", 0): 0})
    (row,) = rows(connection.call(1, 12, request(hot_server, {}, session=(session, 1))))
    assert row["error_code"] == 3
    hot_server.create_topic("later")
    (row,) = rows(connection.call(1, 12, request(hot_server, {}, session=(session, 2))))
    assert (row["error_code"], row["high_watermark"]) == (0, 0)
    assert connection.call(1, 12, request(hot_server, {}, session=(session, 3)))["responses"] == []


def test_turns(hot_server: HotServer, connection: Connection) -> None:
    """A partition that returned data moves to the end of the order."""
    hot_server.create_topic("t", 2)
    session = open_session(hot_server, connection, 12, {("t", 0): 0, ("t", 1): 0})
    for index in (0, 1):
        fill(hot_server, "t", index, 3, 1000)
    order = []
    for epoch in range(1, 5):
        answer = connection.call(1, 12, request(hot_server, {}, session=(session, epoch), max_bytes=10))
        order += [row["partition_index"] for row in rows(answer) if row["records"]]
    assert order == [0, 1, 0, 1]


def test_forgetting_everything_closes(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    session = open_session(hot_server, connection, 12, {("t", 0): 0})
    answer = connection.call(1, 12, request(hot_server, {}, session=(session, 1), forget=[("t", 0)]))
    assert (answer["error_code"], answer["session_id"]) == (0, 0)
    assert connection.call(1, 12, request(hot_server, {}, session=(session, 2)))["error_code"] == 70


def test_the_cache_is_bounded(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    fetch_session_cache.set_slots(3)
    try:
        ids = [open_session(hot_server, connection, 12, {("t", 0): 0}) for _ in range(3)]
        assert len(set(ids)) == 3
        answer = connection.call(1, 12, request(hot_server, {("t", 0): 0}, session=(0, 0)))
        assert (answer["error_code"], answer["session_id"]) == (0, 0)
        assert fetch_session_cache.counters()["sessions"] == 3
        connection.call(1, 12, request(hot_server, {}, session=(ids[1], -1)))
        assert open_session(hot_server, connection, 12, {("t", 0): 0}) not in ids
        fetch_session_cache.set_slots(0)
        answer = connection.call(1, 12, request(hot_server, {("t", 0): 0}, session=(0, 0)))
        assert (answer["error_code"], answer["session_id"]) == (0, 0)
    finally:
        fetch_session_cache.set_slots(1000)


def test_every_shard_evicts_its_own_sessions(hot_server: HotServer, connection: Connection) -> None:
    """With a full cache of one-partition sessions, each new session of two partitions evicts an old one, until all are gone."""
    hot_server.create_topic("t", 2)
    fetch_session_cache.set_slots(24)
    try:
        small = {open_session(hot_server, connection, 12, {("t", 0): 0}) for _ in range(24)}
        fetch_session_cache.age(10 * 60_000)
        before = fetch_session_cache.counters()["evictions"]
        large = {open_session(hot_server, connection, 12, {("t", 0): 0, ("t", 1): 0}) for _ in range(24)}
        counters = fetch_session_cache.counters()
        assert len(small) == len(large) == 24 and not small & large
        assert (counters["sessions"], counters["partitions"], counters["evictions"] - before) == (24, 48, 24)
    finally:
        fetch_session_cache.set_slots(1000)


def test_many_partitions_come_and_go(hot_server: HotServer, connection: Connection) -> None:
    """The tables of a session, compared with a set as the model."""
    import random

    chance = random.Random(5)
    hot_server.create_topic("t")
    names = [(f"n{i}", index) for i in range(30) for index in range(10)]
    model = set(chance.sample(names, 50))
    session = open_session(hot_server, connection, 12, dict.fromkeys(sorted(model), 0))
    for epoch in range(1, 40):
        added = set(chance.sample(names, 30))
        gone = chance.sample(names, 30)
        model = (model | added) - set(gone)
        answer = connection.call(
            1, 12, request(hot_server, dict.fromkeys(sorted(added), 0), session=(session, epoch), forget=gone)
        )
        found = []
        for topic in answer["responses"]:
            found += [(topic["topic"], row["partition_index"]) for row in topic["partitions"]]
        assert len(found) == len(set(found)) and set(found) == model
    assert fetch_session_cache.counters()["partitions"] >= len(model)


def test_long_unknown_name_is_not_copied_per_partition(hot_server: HotServer, connection: Connection) -> None:
    offsets = {("u" * 249, i): 0 for i in range(40_000)}        # the longest possible name
    connection.send(1, 12, encode_request(1, 12, request(hot_server, offsets, session=(0, 0))))
    frame = connection.receive()                # not decoded: that takes more memory than the broker
    assert frame is not None
    (session,) = struct.unpack_from(">i", frame, 11)
    body = encode_request(1, 12, request(hot_server, {}, session=(session, 1)))
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before = memory_peak_bytes()
    connection.send(1, 12, body)
    frame = connection.receive()
    assert frame is not None and len(frame) > 40_000 * 20
    assert memory_peak_bytes() - before < 15 << 20, "copies of the name would add 10 MB to 9 MB"


def memory_peak_bytes() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
