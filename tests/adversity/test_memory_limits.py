"""Named limits bound the memory that clients can make the broker hold, and a quiet client is still served."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.testing import Broker
from tests.waiting import wait_until

from .wire import (
    API_VERSIONS,
    CREATE_TOPICS,
    FETCH,
    METADATA,
    Connection,
    await_coordinator,
    batch,
    commit_offset,
    create_topic,
    produce,
    ready_topic,
    string,
)

MIB = 1 << 20
REQUEST_BYTES = 64 * MIB  # kafkacy.queued.max.request.bytes
RESPONSE_BYTES = 32 * MIB  # kafkacy.queued.max.response.bytes
FRAME_BYTES = 32 * MIB  # socket.request.max.bytes
SESSION_BYTES = 48 * MIB  # kafkacy.fetch.session.cache.max.bytes
DECODED_BYTES = 160 * MIB  # the maximum size of one request as Python objects
CONFIG: dict[str, object] = {
    "kafkacy.queued.max.request.bytes": REQUEST_BYTES,
    "kafkacy.queued.max.response.bytes": RESPONSE_BYTES,
    "kafkacy.fetch.session.cache.max.bytes": SESSION_BYTES,
    "socket.request.max.bytes": FRAME_BYTES,
}
TOPIC = "quiet"
DESCRIBE_GROUPS, LIST_GROUPS, DESCRIBE_CONFIGS, DELETE_GROUPS = 15, 16, 32, 42
FETCH_SESSION_ID_NOT_FOUND = 70


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(CONFIG, folder=tmp_path_factory.mktemp("memory")) as started:
        ready_topic(started.port, TOPIC)
        await_coordinator(Connection(started.port), "quiet-group", TOPIC)
        yield started


def rss_bytes(broker: Broker) -> int:
    """Resident memory of the process without its file mappings."""
    for line in Path(f"/proc/{broker.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


class Watch(threading.Thread):
    """Samples the broker's memory; as a context manager, it compares the growth with a limit."""

    def __init__(self, broker: Broker, limit_bytes: int) -> None:
        super().__init__(daemon=True)
        self.broker, self.limit_bytes = broker, limit_bytes
        self.start_bytes = self.most_bytes = rss_bytes(broker)
        self.ended = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        while not self.ended.wait(0.01):
            self.most_bytes = max(self.most_bytes, rss_bytes(self.broker))

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()
        assert self.most_bytes - self.start_bytes <= self.limit_bytes, (self.start_bytes, self.most_bytes)


@contextlib.contextmanager
def connections(broker: Broker, count: int) -> Iterator[list[socket.socket]]:
    """Non-blocking connections that never read, with a small receive buffer."""
    opened = []
    try:
        for _ in range(count):
            each = Connection(broker.port, receive_buffer=4096).socket
            each.setblocking(False)
            opened.append(each)
        yield opened
    finally:
        for each in opened:
            each.close()


def push(clients: list[socket.socket], data: bytes, seconds: float) -> None:
    """Send `data` on all connections in parallel, as far as the broker reads it in that time."""
    left = {each: memoryview(data) for each in clients}
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        for each in list(left):
            try:
                left[each] = left[each][each.send(left[each][:262144]) :]
                if not left[each]:
                    del left[each]
            except BlockingIOError:
                pass
            except OSError:
                del left[each]
        time.sleep(0.001)


def quiet_client_is_answered(broker: Broker) -> None:
    """Hot and cold requests of another client."""
    client = Connection(broker.port, timeout_s=20)
    assert produce(client, TOPIC, 0, batch()).error == 0
    assert commit_offset(client, "quiet-group", TOPIC, 0, 1) == 0
    client.close()


def frame(api_key: int, version: int, body: bytes, size: int | None = None) -> bytes:
    """A request; `size` is the value of its length field."""
    rest = struct.pack(">hhi", api_key, version, 7) + string("hostile") + body
    return struct.pack(">i", len(rest) if size is None else size) + rest


def test_giant_control_requests_are_refused_before_they_are_read(broker: Broker) -> None:
    giant = frame(CREATE_TOPICS, 2, b"", FRAME_BYTES)
    with Watch(broker, 16 * MIB), connections(broker, 16) as clients:
        push(clients, giant + bytes(FRAME_BYTES // 8), 5)
        quiet_client_is_answered(broker)
    log = broker.log_text
    wait_until(lambda: "kafkacy.control.request.max.bytes" in log() or "lines were suppressed" in log(), "a log line")


def test_pipelined_large_control_requests(broker: Broker) -> None:
    # 12 MB in the configuration of one topic: well-formed, but refused by the handler.
    value = string("v" * 30000)
    configs = struct.pack(">i", 400) + (string("k") + value) * 400
    body = struct.pack(">i", 1) + string("t") + struct.pack(">ihi", 1, 1, 0) + configs + struct.pack(">i?", 1000, True)
    with Watch(broker, REQUEST_BYTES + FRAME_BYTES + DECODED_BYTES), connections(broker, 24) as clients:
        push(clients, frame(CREATE_TOPICS, 2, body) * 4, 8)
        quiet_client_is_answered(broker)


def test_announced_and_half_sent_requests(broker: Broker) -> None:
    half = frame(0, 7, bytes(4 * MIB), FRAME_BYTES)
    with Watch(broker, REQUEST_BYTES + 2 * FRAME_BYTES), connections(broker, 60) as clients:
        push(clients, half, 3)
        quiet_client_is_answered(broker)
        log = broker.log_text
        # Requests up to 1 MiB have a quarter of the memory for themselves: they wait for none of the stalled ones.
        for _ in range(4):
            below_large = Connection(broker.port, timeout_s=30)
            assert produce(below_large, TOPIC, 0, batch([bytes(900_000)])).error == 0
            below_large.close()
        wait_until(lambda: "its request arrives too slowly" in log(), "a stalled client is disconnected")


def test_responses_that_nobody_reads(broker: Broker) -> None:
    client = Connection(broker.port)
    for number in range(20):
        create_topic(client, f"{'n' * 200}-{number}", partitions=100)
    everything = frame(METADATA, 1, struct.pack(">i", -1))
    with Watch(broker, RESPONSE_BYTES + 32 * MIB), connections(broker, 100) as clients:
        push(clients, everything * 2000, 8)
        quiet_client_is_answered(broker)
        log = broker.log_text
        wait_until(lambda: "responses are not read" in log(), "a client that does not read is disconnected")


def test_one_topic_named_again_and_again(broker: Broker) -> None:
    client = Connection(broker.port)
    create_topic(client, "wide", partitions=200)
    wide = struct.pack(">i", 200_000) + string("wide") * 200_000  # a response of 1 GB
    with Watch(broker, DECODED_BYTES):
        assert len(client.ask(METADATA, 1, wide)) < 20_000  # as in Kafka, the response has the topic once


def test_one_resource_described_again_and_again(broker: Broker) -> None:
    resource = struct.pack(">b", 4) + string("1") + struct.pack(">i", -1)  # about 20 kB of settings each
    with Watch(broker, 3 * 128 * MIB):  # encoder.RESPONSE_BYTES_MAX, in a buffer that grows
        hostile = Connection(broker.port)
        hostile.send(DESCRIBE_CONFIGS, 1, struct.pack(">i", 100_000) + resource * 100_000 + b"\0")
        assert hostile.receive() is None
    quiet_client_is_answered(broker)


@pytest.mark.parametrize("api", [(DESCRIBE_GROUPS, 0), (DELETE_GROUPS, 0)])
def test_a_million_group_ids(broker: Broker, api: tuple[int, int]) -> None:
    ids = b"".join(string(f"g{number}") for number in range(1_000_000))
    with Watch(broker, REQUEST_BYTES + DECODED_BYTES):
        hostile = Connection(broker.port)
        hostile.send(*api, struct.pack(">i", 1_000_000) + ids)
        quiet_client_is_answered(broker)
        assert hostile.receive() is None
    log = broker.log_text
    wait_until(lambda: "kafkacy.control.request.max.elements" in log() or "were suppressed" in log(), "a log line")


def test_as_many_group_ids_as_allowed(broker: Broker) -> None:
    ids = b"".join(string(f"g{number}") for number in range(240_000))
    with Watch(broker, REQUEST_BYTES + 3 * DECODED_BYTES):
        client = Connection(broker.port)
        answer = client.ask(DELETE_GROUPS, 0, struct.pack(">i", 240_000) + ids)
    assert struct.unpack_from(">i", answer, 4) == (240_000,)


def test_many_long_requests_at_once(broker: Broker) -> None:
    """They wait undecoded for their turn; those that wait above a limit are disconnected."""
    ids = b"".join(string(f"{number:0100}") for number in range(20_000))
    request = frame(DESCRIBE_GROUPS, 0, struct.pack(">i", 20_000) + ids)
    with Watch(broker, REQUEST_BYTES + DECODED_BYTES), connections(broker, 200) as clients:
        push(clients, request, 10)
        quiet_client_is_answered(broker)
        log = broker.log_text
        wait_until(lambda: "too many long requests wait" in log(), "a log line")
        Connection(broker.port).ask(LIST_GROUPS, 0, b"")  # answered when the others have been


def test_one_control_request_of_a_connection_at_once(broker: Broker) -> None:
    # The broker does not build all responses of many small requests for large data before the first one is read.
    request = frame(DESCRIBE_CONFIGS, 1, struct.pack(">i", 20) + b"".join(
        struct.pack(">b", 2) + string(f"{'n' * 200}-{number}") + struct.pack(">i", -1) for number in range(20)
    ) + b"\0")  # fmt: skip
    with Watch(broker, RESPONSE_BYTES + 48 * MIB), connections(broker, 8) as clients:
        push(clients, request * 500, 6)
        quiet_client_is_answered(broker)


def fetch_v7(session: tuple[int, int], topic: str, partitions: range, max_wait_ms: int = 0) -> bytes:
    """Fetch of the end of partitions, in which nothing was written."""
    body = struct.pack(">iiiibii", -1, max_wait_ms, 1, 50 * MIB, 0, *session) + struct.pack(">i", 1) + string(topic)
    body += struct.pack(">i", len(partitions))
    return body + b"".join(struct.pack(">iqqi", index, 0, -1, MIB) for index in partitions) + struct.pack(">i", 0)


def test_fetch_sessions_with_many_partitions(broker: Broker) -> None:
    """Each connection asks for a session of 100,000 partitions, the most that one may have."""
    full = fetch_v7((0, 0), "nowhere", range(100_000))
    created = []
    # Beside the sessions: what a reactor needs for one such request and its response.
    with Watch(broker, SESSION_BYTES + 3 * FRAME_BYTES):
        for _ in range(40):
            client = Connection(broker.port)
            error, session = struct.unpack_from(">hi", client.ask(FETCH, 7, full), 4)
            assert error == 0
            created.append((client, session))
        quiet_client_is_answered(broker)
    kept = [(client, session) for client, session in created if session]
    assert 2 <= len(kept) < 10
    client, session = kept[0]
    more = fetch_v7((session, 1), "elsewhere", range(1))
    assert struct.unpack_from(">hi", client.ask(FETCH, 7, more), 4) == (FETCH_SESSION_ID_NOT_FOUND, 0)
    assert struct.unpack_from(">hi", client.ask(FETCH, 7, fetch_v7((0, 0), TOPIC, range(1))), 4)[1] > 0
    for client, session in kept[1:]:
        client.ask(FETCH, 7, fetch_v7((session, -1), TOPIC, range(1)))
    for client, _ in created:
        client.close()


def test_fetches_that_wait(broker: Broker) -> None:
    """Fetches of many partitions wait for ever, as many at once as a connection may have."""
    count = 500
    ready_topic(broker.port, "waited", partitions=count)
    waiting = frame(FETCH, 7, fetch_v7((0, -1), "waited", range(count), max_wait_ms=2**31 - 1))
    with Watch(broker, REQUEST_BYTES // 2 + 32 * MIB), connections(broker, 30) as clients:
        push(clients, waiting * 64, 8)
        quiet_client_is_answered(broker)
        other = Connection(broker.port)
        other.ask(FETCH, 7, fetch_v7((0, -1), "waited", range(count), max_wait_ms=2**31 - 1))
    produce(other, "waited", 0, batch())


def test_queued_requests_are_limited_in_number(tmp_path: Path) -> None:
    with Broker({"queued.max.requests": 2}, folder=tmp_path) as broker:
        ready_topic(broker.port, TOPIC)
        await_coordinator(Connection(broker.port), "quiet-group", TOPIC)
        request = frame(API_VERSIONS, 0, b"") + frame(DESCRIBE_GROUPS, 0, struct.pack(">i", 1) + string("g")) * 50
        with connections(broker, 40) as clients:
            for each in clients:
                each.send(request)
            quiet_client_is_answered(broker)
            for each in clients:
                each.setblocking(True)
                each.settimeout(30)
                for _ in range(51):
                    (size,) = struct.unpack(">i", each.recv(4, socket.MSG_WAITALL))
                    assert len(each.recv(size, socket.MSG_WAITALL)) == size
