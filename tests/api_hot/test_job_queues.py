"""Job queues: clients take turns, each has its share of the limit, and what a client left behind is given back."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.network import jobs
from kafka_cy.network.tls import TlsContext
from tests.certificates import Authority
from tests.network.tls_socket import TlsSocket
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_list_offsets_jobs import fill, only_row
from .test_list_offsets_jobs import send as send_list_offsets
from .test_produce import batch, only, request
from .test_produce_jobs import large, send_produce

SHARE = 2  # jobs of one client that may wait
LANES = 64
RECORDS = 4000  # of a large batch
LATE = 6


@pytest.fixture
def hot_server(tmp_path: Path) -> Iterator[HotServer]:
    server = HotServer(tmp_path, reactors=1, queued_requests_max=SHARE * LANES)
    server.create_topic("t")
    jobs.pause_jobs()
    yield server
    jobs.resume_jobs()
    server.stop()


def other_address() -> str:
    """A loopback address whose jobs wait in another lane than those of 127.0.0.1."""
    taken = jobs.lane_of_address(bytes([127, 0, 0, 1]))
    return next(f"127.0.0.{i}" for i in range(2, 255) if jobs.lane_of_address(bytes([127, 0, 0, i])) != taken)


def many(server: HotServer, count: int, acks: int = 1) -> list[Connection]:
    """Connections of one client, each with a batch that needs a job and a small request behind it."""
    clients = [server.connect() for _ in range(count)]
    for each in clients:
        send_produce(each, 9, request(9, server, {("t", 0): large(RECORDS)}, acks))
        send_produce(each, 9, request(9, server, {("t", 0): batch()}, acks))
    return clients


def counter(server: HotServer, name: str) -> int:
    value: int = server.server.counters()[name]
    return value


def test_clients_take_turns(hot_server: HotServer) -> None:
    clients = many(hot_server, SHARE)
    wait_until(lambda: jobs.waiting_jobs() == SHARE, "the first client's jobs wait")
    single = hot_server.connect(other_address())
    send_produce(single, 9, request(9, hot_server, {("t", 0): large(RECORDS)}))
    wait_until(lambda: jobs.waiting_jobs() == SHARE + 1, "the other client's job waits")
    jobs.let_jobs_begin(2)
    assert only(single.answer(0, 9))["error_code"] == 0, "it was not the last one"
    wait_until(lambda: jobs.waiting_jobs() == SHARE - 1, "the rest waits")
    jobs.resume_jobs()
    for each in [*clients, single]:
        each.close()


def test_above_its_share_a_client_is_held_back(hot_server: HotServer) -> None:
    """Its requests stay in memory that counts; others have room; all of them are answered in the end."""
    held_back = 4
    clients = many(hot_server, SHARE + held_back)
    wait_until(lambda: counter(hot_server, "paused") >= SHARE + held_back, "each connection is not read")
    assert jobs.waiting_by_kind()["decompress"] == SHARE == jobs.waiting_jobs()
    assert counter(hot_server, "queued_request_bytes") > 0
    assert counter(hot_server, "parked") == SHARE
    other = hot_server.connect(other_address())
    send_produce(other, 9, request(9, hot_server, {("t", 0): large(RECORDS)}))
    wait_until(lambda: jobs.waiting_jobs() == SHARE + 1, "another client has room")
    jobs.resume_jobs()
    bases = []
    for each in clients:
        bases += [only(each.answer(0, 9))["base_offset"] for _ in range(2)]
    assert only(other.answer(0, 9))["error_code"] == 0
    assert len(set(bases)) == 2 * len(clients), "each batch was appended once"
    wait_until(lambda: counter(hot_server, "queued_request_bytes") == 0, "the memory is given back")
    assert hot_server.partitions["t", 0].high_watermark == len(clients) * (RECORDS + 3) + RECORDS
    for each in [*clients, other]:
        each.close()


def test_a_request_that_has_begun_is_not_held_back(hot_server: HotServer, connection: Connection) -> None:
    """What it has appended must be answered once and not be appended again."""
    hot_server.create_topic("u", 2)
    clients = many(hot_server, SHARE)
    wait_until(lambda: jobs.waiting_jobs() == SHARE, "no room is left")
    send_produce(connection, 9, request(9, hot_server, {("u", 0): batch(), ("u", 1): large(RECORDS)}))
    wait_until(lambda: jobs.waiting_jobs() == SHARE + 1, "its second batch is with a job")
    jobs.resume_jobs()
    (topic,) = connection.answer(0, 9)["responses"]
    assert [row["base_offset"] for row in topic["partition_responses"]] == [0, 0]
    assert hot_server.partitions["u", 0].high_watermark == 3
    for each in clients:
        each.close()


def test_look_ups_by_time_are_held_back_too(hot_server: HotServer) -> None:
    fill(hot_server)
    clients = [hot_server.connect() for _ in range(SHARE + 3)]
    for each in clients:
        send_list_offsets(each, ("t", 0, 1100))
    wait_until(lambda: counter(hot_server, "paused") >= 3, "three connections are not read")
    assert jobs.waiting_jobs() == SHARE
    jobs.resume_jobs()
    assert [only_row(each.answer(2, 11)) for each in clients] == [(0, 1100, 1)] * len(clients)
    for each in clients:
        each.close()


@pytest.mark.parametrize("count", [SHARE, SHARE + 3], ids=["waiting", "held-back"])
def test_what_a_client_leaves_is_given_back(hot_server: HotServer, count: int) -> None:
    """Although its connections are not read, so that the end of the stream is not met."""
    clients = many(hot_server, count)
    wait_until(lambda: counter(hot_server, "paused") >= count, "the connections are not read")
    for each in clients:
        each.close()
    wait_until(lambda: counter(hot_server, "connections") == 0, "the connections are closed")
    wait_until(lambda: jobs.waiting_jobs() == 0, "their jobs are gone")
    assert counter(hot_server, "queued_request_bytes") == 0
    jobs.resume_jobs()
    assert hot_server.partitions["t", 0].high_watermark == 0


@pytest.mark.parametrize("count", [SHARE, SHARE + 3], ids=["waiting", "held-back"])
def test_without_acknowledgement_all_is_appended(hot_server: HotServer, count: int) -> None:
    """As Kafka does: such a client does not wait for a response, so that it has left says nothing."""
    clients = many(hot_server, count, acks=0)
    wait_until(lambda: counter(hot_server, "paused") >= count, "the connections are not read")
    for each in clients:
        each.close()
    other = hot_server.connect(other_address())
    assert only(other.call(0, 9, request(9, hot_server, {("t", 0): batch()})))["error_code"] == 0
    jobs.resume_jobs()
    wait_until(lambda: counter(hot_server, "connections") == 1, "the connections are closed")
    assert hot_server.partitions["t", 0].high_watermark == count * (RECORDS + 3) + 3
    other.close()


def test_held_back_requests_get_room_in_their_order(hot_server: HotServer) -> None:
    waiting = many(hot_server, SHARE)
    wait_until(lambda: jobs.waiting_jobs() == SHARE, "no room is left")
    late = [hot_server.connect() for _ in range(LATE)]
    for number, each in enumerate(late):
        send_produce(each, 9, request(9, hot_server, {("t", 0): large(RECORDS)}))
        wait_until(lambda least=SHARE + number: counter(hot_server, "paused") > least, "it is held back")
    for done in range(1, SHARE + LATE + 1):
        jobs.let_jobs_begin(1)
        wait_until(lambda least=done * RECORDS: hot_server.partitions["t", 0].high_watermark >= least, "a job has ended")
        left = min(SHARE, SHARE + LATE - done)
        wait_until(lambda left=left: jobs.waiting_jobs() == left, "the next one has room")
    jobs.resume_jobs()
    offsets = [only(each.answer(0, 9))["base_offset"] for each in late]
    assert offsets == sorted(offsets)
    for each in [*waiting, *late]:
        each.close()


def test_a_connection_that_is_held_back_is_not_idle(tmp_path: Path) -> None:
    """Its client waits for us, for however long the queue is full."""
    server = HotServer(tmp_path, reactors=1, queued_requests_max=LANES, idle_timeout_ms=300)
    server.create_topic("t")
    jobs.pause_jobs()
    try:
        first, second = server.connect(), server.connect()
        for number, each in enumerate((first, second)):
            send_produce(each, 9, request(9, server, {("t", 0): large(RECORDS)}))
            wait_until(lambda least=number: counter(server, "paused") > least, "it is not read")
        idle = server.connect()
        assert idle.receive() is None, "it was closed later than the others would have been"
        assert counter(server, "closed_idle") == 1
        jobs.resume_jobs()
        assert only(first.answer(0, 9))["error_code"] == only(second.answer(0, 9))["error_code"] == 0
        for each in (first, second, idle):
            each.close()
    finally:
        jobs.resume_jobs()
        server.stop()


def assert_completed(server: HotServer, other: Connection) -> None:
    """The one request is completed although its client has gone, and then the connection is closed."""
    wait_until(lambda: jobs.waiting_jobs() == 1, "its batch is with a job")
    assert only(other.call(0, 9, request(9, server, {("t", 0): batch()})))["error_code"] == 0
    assert jobs.waiting_jobs() == 1, "the reactor has seen that the client has gone"
    jobs.resume_jobs()
    wait_until(lambda: counter(server, "connections") == 1, "the connection is closed")
    assert server.partitions["t", 0].high_watermark == RECORDS + 3
    assert counter(server, "queued_request_bytes") == 0
    other.close()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("answered_before", [False, True])
def test_one_request_without_acknowledgement_is_appended(
    hot_server: HotServer, reset: bool, answered_before: bool
) -> None:
    """The client sends it and closes the connection. A `reset` also discards what the client has not read."""
    other = hot_server.connect(other_address())
    single = hot_server.connect()
    if answered_before:
        send_produce(single, 9, request(9, hot_server, {("t", 1): batch()}))
        single.answer(0, 9)
    send_produce(single, 9, request(9, hot_server, {("t", 0): large(RECORDS)}, 0))
    if reset:
        wait_until(lambda: jobs.waiting_jobs() == 1, "it was received")
        single.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    single.close()
    assert_completed(hot_server, other)


def test_one_request_without_acknowledgement_is_appended_over_tls(hot_server: HotServer, tmp_path: Path) -> None:
    """The request and the end of the session arrive in one read."""
    other = hot_server.connect(other_address())
    only(other.call(0, 9, request(9, hot_server, {("t", 1): batch()})))
    authority = Authority(tmp_path)
    context = TlsContext()
    context.use_pem(authority.broker.read_bytes(), authority.broker.read_bytes())
    hot_server.server.set_transport(0, context)
    single = hot_server.connect()
    jobs.resume_jobs()  # for the handshake, which is over when something is answered
    tls = TlsSocket(single.socket, ssl.create_default_context(cafile=authority.trusted))
    tls.sendall(single.frame(0, 9, encode_request(0, 9, request(9, hot_server, {("t", 1): batch()}))))
    assert tls.recv(1000)
    jobs.pause_jobs()
    values = request(9, hot_server, {("t", 0): large(RECORDS)}, 0)
    tls.session.write(single.frame(0, 9, encode_request(0, 9, values)))
    with pytest.raises(ssl.SSLWantReadError):
        tls.session.unwrap()
    single.socket.sendall(tls.outgoing.read())
    single.close()
    assert_completed(hot_server, other)
