"""Appends to a slow disk leave the reactor; other connections are answered meanwhile, and every response stays as it was."""

from __future__ import annotations

import subprocess
import sys
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

REACTORS = 1

TRANSACTIONAL_ID_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_OR_PARTITION = 53, 3
TRANSACTIONAL = 16


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


def test_the_log_tells_that_the_disk_is_fast_again(slow: HotServer, connection: Connection) -> None:
    for _ in range(2):
        assert only(connection.call(0, 9, request(9, slow, {("t", 0): batch()})))["error_code"] == 0
    assert slow.server.take_log_events() == []
    slow_disk.set_slow(str(slow.folder), 0)
    for _ in range(2):
        assert only(connection.call(0, 9, request(9, slow, {("t", 0): batch()})))["error_code"] == 0
    (event,) = slow.server.take_log_events()
    assert "is fast again" in event.message and str(slow.folder) in event.message


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
        (0, 0, 0), (1, 0, 0), (2, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, -1), (9, UNKNOWN_TOPIC_OR_PARTITION, -1)]
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


def test_a_topic_created_anew_meanwhile(slow: HotServer, connection: Connection) -> None:
    """The old topic's offset is no response for the new one."""
    jobs.pause_jobs()
    send_produce(connection, 9, request(9, slow, {("t", 0): batch()}))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the append is with a job")
    old = slow.partitions["t", 0]
    slow.delete_topic("t")
    slow.create_topic("t", 1)
    jobs.resume_jobs()
    assert only(connection.answer(0, 9))["error_code"] == UNKNOWN_TOPIC_OR_PARTITION
    assert old.log is not slow.partitions["t", 0].log
    assert slow.partitions["t", 0].log.log_end_offset == 0


def test_a_bomb_on_a_slow_disk(slow: HotServer, connection: Connection) -> None:
    """It is decompressed by the threads of low priority, not by those that wait for disks."""
    jobs.pause_jobs()
    send_produce(connection, 9, request(9, slow, {("t", 0): large()}))
    wait_until(lambda: jobs.waiting_jobs() == 1, "the batch is with a job")
    assert jobs.waiting_by_kind()["decompress"] == 1
    jobs.let_jobs_begin(1)
    wait_until(lambda: jobs.waiting_by_kind()["slow-append"] == 1 or slow.partitions["t", 0].log.log_end_offset, "validated")
    jobs.resume_jobs()
    assert only(connection.answer(0, 9))["base_offset"] == 0
    assert slow.partitions["t", 0].log.log_end_offset == 4000


HANGING = """
import ctypes, sys, threading, time
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
started = time.monotonic()
wait_until(lambda: time.monotonic() > started + 0.02, "a new reactor can compare its clocks")   # CALIBRATION_NS_MIN
is_slow = lambda: slow_disk.slow_appends(str(folder))[1]
def begin_append(client):
    library.disk_hang(0, 1)
    hanging = library.disk_waiting(0)
    client.send(0, 9, encode_request(0, 9, request(9, server, {("t", 0): batch()})))
    return hanging
def end_append(client):
    library.disk_hang(0, 0)
    return only(client.answer(0, 9))["error_code"]
def hang(seconds):
    begin_append(connection)
    wait_until(lambda: library.disk_waiting(0) == 1, "the append hangs")
    threading.Event().wait(seconds)     # what the disk takes
def reactor_answers():
    return other.call(18, 0, {})["error_code"] == 0
"""


def run_hanging(tmp_path: Path, code: str, limits: str = "") -> list[str]:
    """Run code in a process with a disk that hangs when told; `limits` are arguments of its server. The lines that it prints."""
    source, library = tmp_path / "disk.c", tmp_path / "disk.so"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    (tmp_path / "logs").mkdir()
    start = HANGING.replace("HotServer(folder, 1)", f"HotServer(folder, 1, {limits})")
    ran = subprocess.run([sys.executable, "-c", start + code + "server.stop()\n", str(tmp_path / "logs")],
                         env=preloaded(library), capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_a_disk_becomes_slow(tmp_path: Path) -> None:
    """Appends of 10 ms: the reactor waits for two, then no more."""
    code = """
while not is_slow():
    hang(0.01)
    assert end_append(connection) == 0
count = slow_disk.slow_appends(str(folder))[0]
hang(0.01)
print(reactor_answers(), end_append(connection))
print(slow_disk.slow_appends(str(folder))[0] - count, count >= 1)
print(["leave the reactors" in event.message for event in server.server.take_log_events()])
"""
    assert run_hanging(tmp_path, code) == ["True 0", "1 True", "[True]"]


def test_one_long_append_is_enough(tmp_path: Path) -> None:
    code = """
hang(0.6)
print(is_slow(), end_append(connection), is_slow())
"""
    assert run_hanging(tmp_path, code) == ["False 0 True"]


def test_a_disk_is_slow_as_long_as_an_append_hangs(tmp_path: Path) -> None:
    """Longer than the memory of slow appends lasts: a reactor that tried would wait for the append mutex."""
    code = """
slow_disk.set_slow(str(folder), 0.2)
hang(0)
wait_until(lambda: time.monotonic() > began + 0.3, "the verdict has expired") if (began := time.monotonic()) else None
print(is_slow())
second = server.connect()
second.send(0, 9, encode_request(0, 9, request(9, server, {("t", 0): batch()})))
print(reactor_answers(), end_append(connection), only(second.answer(0, 9))["error_code"])
"""
    assert run_hanging(tmp_path, code) == ["True", "True 0 0"]
