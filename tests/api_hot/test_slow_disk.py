"""Appends to a slow disk leave the reactor; other connections are answered meanwhile, and every response stays as it was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.network import jobs
from kafka_cy.storage import slow_disk
from tests.storage.failing_disk import SOURCE, preloaded
from tests.waiting import wait_until

from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_produce import batch, only, request
from .test_produce_jobs import large, send_produce

INVALID_TXN_STATE, UNKNOWN_TOPIC_OR_PARTITION = 48, 3
TRANSACTIONAL = 16


@pytest.fixture
def hot_server(tmp_path: Path) -> Iterator[HotServer]:
    server = HotServer(tmp_path, reactors=1)
    yield server
    jobs.resume_jobs()
    server.stop()


@pytest.fixture
def slow(hot_server: HotServer) -> HotServer:
    """With topic `t` on a disk that counts as slow."""
    hot_server.create_topic("t", 3)
    slow_disk.set_slow(str(hot_server.folder), 600)
    return hot_server


@pytest.mark.parametrize("acks", [1, -1])
def test_others_are_answered_meanwhile(slow: HotServer, connection: Connection, acks: int) -> None:
    jobs.pause_jobs()
    send_produce(connection, 9, request(9, slow, {("t", 0): batch()}, acks))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the append is with a job")
    slow_disk.set_slow(str(slow.folder), 0)
    other = slow.connect()
    assert only(other.call(0, 9, request(9, slow, {("t", 0): batch()}, acks)))["base_offset"] == 0
    jobs.resume_jobs()
    row = only(connection.answer(0, 9))
    assert (row["error_code"], row["base_offset"], row["log_start_offset"]) == (0, 3, 0)
    assert slow.partitions["t", 0].high_watermark == 6
    other.close()


def test_the_order_of_a_connection(slow: HotServer, connection: Connection) -> None:
    for records in (batch(), large(), batch(), batch()):
        send_produce(connection, 9, request(9, slow, {("t", 0): records}, acks=1))
    assert [only(connection.answer(0, 9))["base_offset"] for _ in range(4)] == [0, 3, 4003, 4006]


def test_several_partitions(slow: HotServer, connection: Connection) -> None:
    transactional = batch(attributes=TRANSACTIONAL, producer_id=4, producer_epoch=0, base_sequence=0)
    answer = connection.call(0, 9, request(9, slow, {
        ("t", 0): batch(), ("t", 1): large(), ("t", 2): transactional, ("t", 9): batch(),
    }))
    rows = [row for topic in answer["responses"] for row in topic["partition_responses"]]
    assert [(row["index"], row["error_code"], row["base_offset"]) for row in rows] == [
        (0, 0, 0), (1, 0, 0), (2, INVALID_TXN_STATE, -1), (9, UNKNOWN_TOPIC_OR_PARTITION, -1)]
    assert slow.partitions["t", 2].log.log_end_offset == 0, "what the reactor refuses, no job may have appended"


def test_idempotent_retries(slow: HotServer, connection: Connection) -> None:
    records = batch(producer_id=4, producer_epoch=0, base_sequence=0)
    bases = [only(connection.call(0, 9, request(9, slow, {("t", 0): records})))["base_offset"] for _ in range(2)]
    assert bases == [0, 0]
    assert slow.partitions["t", 0].log.log_end_offset == 3


def test_a_deleted_topic(slow: HotServer, connection: Connection) -> None:
    jobs.pause_jobs()
    send_produce(connection, 9, request(9, slow, {("t", 0): batch()}))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the append is with a job")
    slow.delete_topic("t")
    jobs.resume_jobs()
    assert only(connection.answer(0, 9))["error_code"] == UNKNOWN_TOPIC_OR_PARTITION


def test_a_closed_connection(slow: HotServer) -> None:
    jobs.pause_jobs()
    gone = slow.connect()
    gone.send(0, 9, encode_request(0, 9, request(9, slow, {("t", 0): batch()})))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the append is with a job")
    gone.close()
    wait_until(lambda: jobs.waiting_jobs() == 0, "nobody waits for it, so it does not run")
    jobs.resume_jobs()
    assert slow.partitions["t", 0].log.log_end_offset == 0


def test_a_disk_becomes_slow_and_fast_again(tmp_path: Path) -> None:
    """With a disk that hangs in pwrite: the reactor waits for three appends, then no more."""
    code = """
import ctypes, sys, threading
from pathlib import Path
from kafka_cy.storage import slow_disk
from tests.api_hot.harness import HotServer
from tests.api_hot.kio_wire import encode_request
from tests.api_hot.test_produce import batch, only, request
from tests.waiting import wait_until
library = ctypes.CDLL(None)
folder = Path(sys.argv[1])
server = HotServer(folder, 1)
server.create_topic("t")
connection, other = server.connect(), server.connect()
def slow_append():
    library.disk_hang(0, 1)
    connection.send(0, 9, encode_request(0, 9, request(9, server, {("t", 0): batch()})))
    wait_until(lambda: library.disk_waiting(0) == 1, "the append hangs")
    threading.Event().wait(0.01)        # what the disk takes
while not slow_disk.slow_appends(str(folder))[1]:
    slow_append()
    library.disk_hang(0, 0)
    assert only(connection.answer(0, 9))["error_code"] == 0
count = slow_disk.slow_appends(str(folder))[0]
slow_append()
print(other.call(18, 0, {})["error_code"])
library.disk_hang(0, 0)
print(only(connection.answer(0, 9))["error_code"], slow_disk.slow_appends(str(folder))[0] - count, count >= 3)
print(["leave the reactors" in event.message for event in server.server.take_log_events()])
server.stop()
"""
    source, library = tmp_path / "disk.c", tmp_path / "disk.so"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    (tmp_path / "logs").mkdir()
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "logs")], env=preloaded(library), capture_output=True,
                         text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["0", "0 1 True", "[True]"]
