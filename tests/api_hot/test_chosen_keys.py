"""Clients that choose names, ids and indices to collide in a hash table, and long names.

Also clients that name one partition many times: this costs no more than naming as many partitions once.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.api import fetch_session_cache, named_partitions
from kafka_cy.coordinator import heartbeat_table

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import request
from .test_fetch_session import open_session

REACTORS = 1
PARTITIONS = 80_000
TOPIC = b"victim"
UNKNOWN_TOPIC_OR_PARTITION = 3
INVALID_FETCH_SESSION_EPOCH = 71


def colliding_indices() -> list[int]:
    """Partition indices of TOPIC that an unseeded FNV-1a with multiplication maps to five of 2^18 slots."""
    topic_hash = 2166136261
    for byte in TOPIC:
        topic_hash = (topic_hash ^ byte) * 16777619 & 0xFFFFFFFF
    inverse = pow(2654435761, -1, 1 << 32)
    found = []
    for high in range(1 << 14):
        for place in range(5):
            mixed = high << 18 | place
            product = mixed ^ mixed >> 15 ^ mixed >> 30
            found.append((product * inverse & 0xFFFFFFFF) ^ topic_hash)
    return found[:PARTITIONS]


def list_offsets(indices: list[int]) -> tuple[int, int, bytes]:
    rows = b"".join(struct.pack(">Iq", index, -1) for index in indices)
    head = struct.pack(">ii", -1, 1) + struct.pack(">h", len(TOPIC)) + TOPIC + struct.pack(">i", PARTITIONS)
    return 2, 1, head + rows


def produce(indices: list[int]) -> tuple[int, int, bytes]:
    rows = b"".join(struct.pack(">Ii", index, -1) for index in indices)     # null records
    head = struct.pack(">hhii", -1, 1, 1000, 1) + struct.pack(">h", len(TOPIC)) + TOPIC + struct.pack(">i", PARTITIONS)
    return 0, 3, head + rows


def fetch(session_id: int, session_epoch: int, indices: list[int] | None = None) -> tuple[int, int, bytes]:
    indices = colliding_indices() if indices is None else indices
    rows = b"".join(struct.pack(">Iqqi", index, 0, -1, 1000) for index in indices)
    head = struct.pack(">iiiibii", -1, 0, 1, 1000, 0, session_id, session_epoch)
    head += struct.pack(">i", 1) + struct.pack(">h", len(TOPIC)) + TOPIC + struct.pack(">i", PARTITIONS)
    return 1, 7, head + rows + struct.pack(">i", 0)


@pytest.fixture
def other(hot_server: HotServer) -> Iterator[Connection]:
    client = hot_server.connect()
    yield client
    client.close()


def answered(connection: Connection, other: Connection, asked: tuple[int, int, bytes]) -> bytes:
    """The response to the large request; meanwhile the other connection is served."""
    connection.send(*asked)
    assert other.call(18, 0, {})["error_code"] == 0
    frame = connection.receive()
    assert frame is not None and len(frame) > PARTITIONS * 10
    return frame


def named() -> tuple[int, int]:
    """The partitions and probes of the large request."""
    return named_partitions.probes(0)


def offset_for_leader_epoch(indices: list[int]) -> tuple[int, int, bytes]:
    rows = b"".join(struct.pack(">Iii", index, -1, 0) for index in indices)
    head = struct.pack(">i", 1) + struct.pack(">h", len(TOPIC)) + TOPIC + struct.pack(">i", PARTITIONS)
    return 23, 2, head + rows


@pytest.mark.parametrize(
    "asked", [list_offsets(colliding_indices()), produce(colliding_indices()), fetch(0, -1)],
    ids=["ListOffsets", "Produce", "Fetch"],
)
def test_requests(
    hot_server: HotServer, connection: Connection, other: Connection, asked: tuple[int, int, bytes]
) -> None:
    hot_server.create_topic(TOPIC.decode())
    answered(connection, other, asked)
    partitions, probes = named()
    assert partitions == PARTITIONS
    assert probes < 6 * PARTITIONS              # about 3: each is inserted once, and again when the table grows


@pytest.mark.parametrize(
    "asked", [list_offsets([0] * PARTITIONS), produce([0] * PARTITIONS), fetch(0, -1, [0] * PARTITIONS)],
    ids=["ListOffsets", "Produce", "Fetch"],
)
def test_one_partition_over_and_over(
    hot_server: HotServer, connection: Connection, other: Connection, asked: tuple[int, int, bytes]
) -> None:
    """The tables hold the partition once, so that each mention finds it at once; so does the response."""
    hot_server.create_topic(TOPIC.decode())
    connection.send(*asked)
    assert other.call(18, 0, {})["error_code"] == 0
    frame = connection.receive()
    assert frame is not None and len(frame) < 100
    partitions, probes = named()
    assert partitions == 1
    assert 0 < probes < 10


def test_one_partition_over_and_over_in_a_session(
    hot_server: HotServer, connection: Connection, other: Connection
) -> None:
    hot_server.create_topic(TOPIC.decode())
    session_id = open_session(hot_server, connection, 7, {(TOPIC.decode(), 0): 0})
    connection.send(*fetch(session_id, 1, [0] * PARTITIONS))
    assert other.call(18, 0, {})["error_code"] == 0
    assert connection.receive() is not None
    partitions, probes = fetch_session_cache.probes(session_id)
    assert partitions == 1 and probes < 10


def test_one_partition_over_and_over_is_answered_as_often(
    hot_server: HotServer, connection: Connection, other: Connection
) -> None:
    """OffsetForLeaderEpoch responds to each mention, as Kafka does, and looks nothing up among the mentions."""
    hot_server.create_topic(TOPIC.decode())
    frame = answered(connection, other, offset_for_leader_epoch([0] * PARTITIONS))
    row = struct.pack(">hiiq", 0, 0, 0, 0)
    assert frame[4:] == struct.pack(">iih", 0, 1, len(TOPIC)) + TOPIC + struct.pack(">i", PARTITIONS) + row * PARTITIONS


def test_sessions(hot_server: HotServer, connection: Connection, other: Connection) -> None:
    """New sessions and incremental requests."""
    (session_id,) = struct.unpack_from(">i", answered(connection, other, fetch(0, 0)), 10)
    partitions, probes = fetch_session_cache.probes(session_id)
    assert partitions == PARTITIONS and probes < 6 * PARTITIONS
    small = open_session(hot_server, connection, 7, {("small", 0): 0})
    answered(connection, other, fetch(small, 1))
    partitions, probes = fetch_session_cache.probes(small)
    assert partitions == PARTITIONS + 1 and probes < 6 * PARTITIONS


@contextlib.contextmanager
def holding(session_id: int) -> Iterator[None]:
    """Hold the lock of the session, as a long request does."""
    held, end = os.pipe(), os.pipe()
    thread = threading.Thread(target=fetch_session_cache.hold, args=(session_id, held[1], end[0]))
    thread.start()
    os.read(held[0], 1)
    try:
        yield
    finally:
        os.write(end[1], b"x")
        thread.join()
        for descriptor in (*held, *end):
            os.close(descriptor)


def test_a_session_holds_up_only_itself(tmp_path: Path) -> None:
    """While one session is in use, a reactor neither waits for it nor stops: sessions are used, created and closed."""
    fetch_session_cache.set_slots(1000)       # no sessions of earlier tests
    server = HotServer(tmp_path, reactors=2)
    first, second = server.connect(), server.connect()      # each on its own reactor
    try:
        server.create_topic("t")
        held = open_session(server, first, 12, {("t", 0): 0})
        free = open_session(server, second, 12, {("t", 0): 0})
        with holding(held):
            first.send(1, 12, encode_request(1, 12, request(server, {}, session=(held, 1))))
            answer = first.answer(1, 12)
            assert (answer["error_code"], answer["session_id"]) == (INVALID_FETCH_SESSION_EPOCH, 0)
            assert second.call(1, 12, request(server, {}, session=(free, 1)))["error_code"] == 0
            another = open_session(server, second, 12, {("t", 0): 0})
            assert second.call(1, 12, request(server, {}, session=(another, -1)))["error_code"] == 0
            assert fetch_session_cache.counters()["sessions"] == 2
        assert first.call(1, 12, request(server, {}, session=(held, 1)))["error_code"] == 0
    finally:
        first.close()
        second.close()
        server.stop()


def test_members() -> None:
    """The heartbeat table, with group and member ids at equal distances."""
    heartbeat_table.clear()
    for number in range(20_000):
        heartbeat_table.set_member(b"g%d" % (number % 7), b"m-%08x" % (number << 12), None, 1, True, 0)
    members, probes = heartbeat_table.probes()
    assert members == 20_000 and probes < 6 * members
    assert heartbeat_table.stamp(b"g3", b"m-%08x" % (3 << 12), None, 1, 5)
    for number in range(0, 20_000, 2):
        heartbeat_table.remove_member(b"g%d" % (number % 7), b"m-%08x" % (number << 12))
    left = [
        heartbeat_table.last_heartbeat_ns(b"g%d" % (number % 7), b"m-%08x" % (number << 12)) >= 0
        for number in range(20_000)
    ]
    assert left == [False, True] * 10_000
    heartbeat_table.clear()
