"""Corrupted requests of every hot API and version to a server in this process, for a bounded time.

Under `make fuzz` the extensions are built with the address sanitizer: a read past the end ends the process. kio must be
able to decode every response in the requested version.
"""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from kio.serial.errors import InvalidUnicode
from mutation import INT32, SECONDS, SEED, mutate

from kafka_cy.api import fetch_session_cache
from kafka_cy.coordinator import heartbeat_table, open_groups
from kafka_cy.coordinator.committed_offsets import CommittedOffsets
from kafka_cy.coordinator.open_groups import OPEN_FOR_MEMBERS, OpenGroup, OpenLog, Steady
from kafka_cy.network.control_request import ControlRequest
from kafka_cy.records import Record, build_batch
from kafka_cy.share.in_flight import InFlight, take_changes
from kafka_cy.share.in_flight_values import Limits
from kafka_cy.share.sessions import SessionKey
from kafka_cy.share.share_session import ShareSession
from kafka_cy.share.shared_records import version_of_terms

from .harness import API_TABLE, Connection, HotServer
from .kio_wire import decode_response, encode_request, is_flexible
from .test_bad_input import valid_body
from .test_fetch import request as fetch_request
from .test_produce import request as produce_request

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(SECONDS + 120)]

HOT = [(key, version) for key, low, high in API_TABLE if key != 60 for version in range(max(low, 3 if key == 0 else 0), high + 1)]
WAIT_S = 0.2  # a Fetch may wait as long as its corrupted max_wait says
API_VERSIONS = 18
Answers = list[tuple[int, int, bytes]]


def seeds_of(server: HotServer, api_key: int, version: int) -> list[bytes]:
    """Encoded, valid bodies of one API."""
    bodies = [valid_body(server, api_key, version)]
    if api_key == 0:
        records = [Record(b"k", b"v" * 40, 1000 + i) for i in range(4)]
        for options in ({"compression": "zstd"}, {"compression": "gzip"}, {"producer_id": 7, "base_sequence": 0}):
            spoilt = {("t", 0): build_batch(records, **options), ("t", 1): None, ("u", 9): b""}
            for acks in (-1, 0, 1):
                bodies.append(encode_request(0, version, produce_request(version, server, spoilt, acks=acks, timeout_ms=1)))
    if api_key == 1:
        asked = {("t", 0): 0, ("t", 1): 5, ("u", 0): 0}
        for more in ({"isolation_level": 1}, {"last_fetched_epoch": 0, "current_leader_epoch": 0}, {"max_bytes": 0}):
            bodies.append(encode_request(1, version, fetch_request(server, asked, **more)))
    return bodies


def fill(server: HotServer) -> None:
    server.create_topic("t", 2)
    server.create_topic("u", 1, {"max.message.bytes": 100})
    for index, size in ((0, 10), (0, 40_000), (1, 10)):  # one response is copied, the other is sent from the file
        server.partitions["t", index].append(build_batch([Record(value=b"x" * size, timestamp_ms=1000)] * 3))
    heartbeat_table.set_member(b"g", b"m", b"i", 1, True, 0)
    server.create_topic("__consumer_offsets", 1, internal=True)
    group = OpenGroup(b"g", CommittedOffsets(), OpenLog(server.partitions["__consumer_offsets", 0]))
    group.open(OPEN_FOR_MEMBERS, 1 << 20, 4096)
    server.kept = [group]
    for api_key in (68, 76, 88):
        name = f"k{api_key}".encode()
        settled = OpenGroup(name, CommittedOffsets(), OpenLog(server.partitions["__consumer_offsets", 0]))
        settled.open(OPEN_FOR_MEMBERS, 1 << 20, 4096, Steady(api_key, 1, 5000, open_groups.version(), time.monotonic() + 3600))
        heartbeat_table.set_modern_member(name, b"m", 1, True, b"hot-tests", b"127.0.0.1", b"i", b"r.")
        server.kept.append(settled)
    server.kept += share_session(server)


def share_session(server: HotServer) -> list[Any]:
    """A member with a share session. What it acknowledges is released: it never runs out of records."""
    session = ShareSession(SessionKey("s", "m"), 1)
    kept: list[Any] = [session]
    for index in (0, 1):
        in_flight = InFlight(0, (), server.partitions["t", index])
        in_flight.set_terms(Limits(5, 2000, 30.0), index == 1, True, version_of_terms())
        session.add((server.topic_ids["t"], index))
        session.attach((server.topic_ids["t"], index), in_flight)
        kept.append(in_flight)

    def store(question: ControlRequest) -> None:
        changes = take_changes(question.body)
        for place, (_, change) in enumerate(changes):
            assert change.batches()
            if place % 2 == 0:
                change.finish()
        question.respond(bytes(2 * len(changes)))

    def rewind() -> None:
        session.next_epoch = 1

    server.on_question, server.rewind = store, rewind
    return kept


class Exchange:
    """One connection, which is reopened when it can no longer be used."""

    def __init__(self, server: HotServer) -> None:
        self.server = server
        self.client: Connection | None = None
        self.answered = self.closed = self.silent = 0

    def send(self, api_key: int, version: int, body: bytes) -> bytes | None:
        """The frame of the response; None: closed, none (acks=0), or none within WAIT_S. A second request bounds the wait."""
        self.server.rewind()
        client = self.client = self.client or self.server.connect()
        client.socket.settimeout(WAIT_S)
        try:
            wanted = client.send(api_key, version, body)
            after = client.send(API_VERSIONS, 0, b"")
            frame = client.receive()
            if frame is not None and frame[:4] == struct.pack(">i", wanted):
                following = client.receive()
                assert following is None or following[:4] == struct.pack(">i", after)
                self.answered += 1
                if following is None:
                    self.drop()
                return frame
            if frame is not None:
                assert frame[:4] == struct.pack(">i", after), frame[:20]
                self.silent += 1
                return None
        except (TimeoutError, ConnectionError):
            pass
        self.closed += 1
        self.drop()
        return None

    def drop(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None


def decode(api_key: int, version: int, frame: bytes) -> dict[str, Any] | None:
    """The response as kio decodes it; None if it repeats a topic name that is not UTF-8."""
    head = 5 if api_key != API_VERSIONS and is_flexible(api_key, version) else 4
    try:
        return decode_response(api_key, version, frame[head:])
    except InvalidUnicode:
        return None


def alive(server: HotServer) -> None:
    probe = server.connect()
    assert probe.call(API_VERSIONS, 0, {})["error_code"] == 0
    probe.close()


@pytest.fixture
def server(hot_server: HotServer) -> HotServer:
    fill(hot_server)
    return hot_server


def test_spoiled_bodies(server: HotServer) -> None:
    chance = random.Random(SEED)
    seeds = {row: seeds_of(server, *row) for row in HOT}
    everything = [body for bodies in seeds.values() for body in bodies]
    exchange = Exchange(server)
    deadline, rounds = time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline:
        api_key, version = chance.choice(HOT)
        body = mutate(chance, chance.choice(seeds[api_key, version]), everything)
        try:
            frame = exchange.send(api_key, version, body)
            if frame is not None:
                decode(api_key, version, frame)
        except BaseException:
            print(f"seed {SEED}, round {rounds}: API {api_key} v{version} {body.hex()}")
            raise
        rounds += 1
    exchange.drop()
    alive(server)
    print(f"{rounds} rounds from seed {SEED}: {exchange.answered} answered, {exchange.silent} silent, {exchange.closed} closed")
    assert exchange.answered and exchange.closed


def test_spoiled_frames(server: HotServer) -> None:
    """Complete streams: sizes, headers, several requests at once, split anywhere, abandoned half way."""
    chance = random.Random(SEED)
    seeds = [(key, version, seeds_of(server, key, version)[0]) for key, version in HOT]

    def frame(api_key: int, version: int, body: bytes) -> bytes:
        tags = b"\0" if is_flexible(api_key, version) else b""
        header = struct.pack(">hhih", api_key, version, 7, 2) + b"me" + tags
        return struct.pack(">i", len(header) + len(body)) + header + body

    frames = [frame(key, version, body) for key, version, body in seeds]
    deadline, rounds = time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline:
        stream = b"".join(chance.choice(frames) for _ in range(chance.randrange(1, 6)))
        stream = mutate(chance, stream, frames)
        if chance.random() < 0.3:
            stream = struct.pack(">i", chance.choice((*INT32, len(stream), len(stream) - 4))) + stream[4:]
        client = server.connect()
        client.socket.settimeout(0.02)
        try:
            at = 0
            while at < len(stream):
                size = chance.choice((1, 3, 4, 5, 50, 1000, 1 << 20))
                client.socket.sendall(stream[at : at + size])
                at += size
            while chance.random() < 0.7 and client.receive() is not None:
                pass
        except (TimeoutError, ConnectionError):
            pass
        client.close()
        rounds += 1
        if rounds % 200 == 0:
            alive(server)
    alive(server)
    print(f"{rounds} rounds from seed {SEED}")


def test_spoiled_fetch_sessions(server: HotServer) -> None:
    """Sequences of incremental fetches (KIP-227) whose partitions are added, changed, removed or missing; some are corrupted."""
    chance = random.Random(SEED)
    exchange = Exchange(server)
    named = [("t", 0), ("t", 1), ("t", 2), ("u", 0), ("none", 0)]
    deadline, rounds, incremental = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < deadline:
        version = chance.randrange(7, 19)
        session, epoch = 0, 0
        for _ in range(chance.randrange(1, 12)):
            asked = {each: chance.choice((0, 1, 3, 99, -1)) for each in chance.sample(named, chance.randrange(0, 5))}
            forgotten = chance.sample(named, chance.randrange(0, 3)) if epoch else []
            values = fetch_request(server, asked, session=(session, epoch), forget=forgotten, min_bytes=0)
            body = encode_request(1, version, values)
            if chance.random() < 0.3:
                body = mutate(chance, body, [body])
            frame = exchange.send(1, version, body)
            answer = decode(1, version, frame) if frame is not None else None
            rounds += 1
            if answer is None or answer["error_code"] or not answer["session_id"]:
                break
            incremental += epoch > 0
            session, epoch = answer["session_id"], epoch + 1
    exchange.drop()
    alive(server)
    print(f"{rounds} fetches from seed {SEED}, {incremental} of them incremental")
    assert incremental


def test_spoiled_while_sessions_are_few(tmp_path: Path) -> None:
    """Sessions evict each other while their fetches wait."""
    fetch_session_cache.set_slots(3)
    server = HotServer(tmp_path)
    fill(server)
    chance = random.Random(SEED)
    deadline = time.monotonic() + min(SECONDS, 20)
    clients = [server.connect() for _ in range(6)]
    sessions = [(0, 0)] * len(clients)
    while time.monotonic() < deadline:
        which = chance.randrange(len(clients))
        session, epoch = sessions[which]
        values = fetch_request(
            server, {("t", 0): 99 if epoch else 0, ("t", 1): 0}, session=(session, epoch), max_wait_ms=chance.choice((0, 1, 3))
        )
        answer = clients[which].call(1, 13, values)
        known = answer["error_code"] == 0 and answer["session_id"]
        sessions[which] = (answer["session_id"], epoch + 1) if known and chance.random() < 0.95 else (0, 0)
        if chance.random() < 0.05:
            clients[which].send(1, 13, encode_request(1, 13, values))
            clients[which].close()
            clients[which], sessions[which] = server.connect(), (0, 0)
    assert fetch_session_cache.counters()["sessions"] <= 3
    for client in clients:
        client.close()
    server.stop()
    fetch_session_cache.set_slots(1000)
