"""Transactional batches of topics with log append time.

Validation changes a batch in the request. A batch about which the coordinator is asked is validated twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.network.control_request import ControlRequest
from kafka_cy.records import Batch, iterate_batches
from kafka_cy.storage import slow_disk, transaction_table
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_produce import only, request
from .test_produce_transaction import Coordinator, codes, compressed, data, produce, send

APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}


class BusyCoordinator(Coordinator):
    """Begins no question as long as `may_begin` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.may_begin = threading.Event()
        self.may_begin.set()

    def __call__(self, control: ControlRequest) -> None:
        self.may_begin.wait()
        super().__call__(control)


@pytest.fixture
def coordinator() -> BusyCoordinator:
    return BusyCoordinator()


@pytest.fixture
def hot_server(tmp_path: Path, coordinator: BusyCoordinator) -> Iterator[HotServer]:
    transaction_table.clear()
    server = coordinator.server = HotServer(tmp_path, 1, queued_requests_max=1, on_question=coordinator)
    server.create_topic("t", 4, APPEND_TIME)
    server.create_topic("recompressed", 4, {**APPEND_TIME, "compression.type": "lz4"})
    server.create_topic("created", 4)
    yield server
    coordinator.may_begin.set()
    server.stop()
    transaction_table.clear()


def stored(server: HotServer, topic: str, index: int) -> Batch:
    (batch,) = iterate_batches(server.partitions[topic, index].log.read(0, 1 << 20))
    return batch


@pytest.mark.parametrize("topic", ["t", "recompressed"])
@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("version", [11, 12])
def test_the_coordinator_is_asked(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator, version: int, codec: str, topic: str
) -> None:
    before_ms = int(time.time() * 1000) - 1000
    rows = produce(connection, hot_server, version, {(topic, index): data(compression=codec) for index in range(2)})
    assert codes(rows) == [(0, 0, 0), (1, 0, 0)]
    assert len(coordinator.questions) == 1
    for index in range(2):
        batch = stored(hot_server, topic, index)
        assert batch.crc_matches and batch.is_log_append_time and batch.max_timestamp_ms >= before_ms


@pytest.mark.parametrize("version", [11, 12])
def test_the_topic_changes_while_the_coordinator_is_asked(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator, version: int
) -> None:
    """The batch is stored as the topic is when the answer comes: with the times of the client."""
    coordinator.held = []
    connection.send(0, version, encode_request(0, version, request(
        version, hot_server, {("t", 0): data()}, transactional_id="tx",
    )))  # fmt: skip
    wait_until(lambda: len(coordinator.questions) == 1, "the coordinator is asked")
    hot_server.partitions["t", 0].log.settings.replace({})
    coordinator.answer(coordinator.held.pop())
    assert only(connection.answer(0, version))["error_code"] == 0
    batch = stored(hot_server, "t", 0)
    assert batch.crc_matches and not batch.is_log_append_time and batch.max_timestamp_ms == 1002


def test_a_batch_that_a_job_decompresses(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    rows = produce(connection, hot_server, 12, {("t", 0): compressed(), ("t", 1): data(), ("t", 2): compressed()})
    assert codes(rows) == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]


def test_a_disk_that_becomes_slow_while_the_coordinator_is_asked(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    coordinator.held = []
    send(connection, hot_server, {("t", 0): data()})
    wait_until(lambda: len(coordinator.questions) == 1, "the coordinator is asked")
    slow_disk.set_slow(str(hot_server.folder), 600)
    try:
        coordinator.answer(coordinator.held.pop())
        assert only(connection.answer(0, 12))["error_code"] == 0
    finally:
        slow_disk.set_slow(str(hot_server.folder), 0)


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_the_request_is_held_back(
    hot_server: HotServer, connection: Connection, coordinator: BusyCoordinator, codec: str
) -> None:
    def paused() -> int:
        count: int = hot_server.server.counters()["paused"]
        return count

    coordinator.may_begin.clear()
    first = hot_server.connect()
    send(first, hot_server, {("created", 0): data()})
    wait_until(lambda: hot_server.server.counters()["queued_request_bytes"] > 0, "the queue of questions is full")
    before = paused()
    send(connection, hot_server, {("t", 0): data(producer_id=8, compression=codec)})
    wait_until(lambda: paused() > before, "the request waits for room")
    coordinator.may_begin.set()
    assert only(first.answer(0, 12))["error_code"] == 0
    assert only(connection.answer(0, 12))["error_code"] == 0
    assert stored(hot_server, "t", 0).is_log_append_time
    first.close()
