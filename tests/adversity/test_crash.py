"""kill -9 under load, and clean stops: acknowledged records are kept and the content at an offset never changes."""

from __future__ import annotations

import random
import signal
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kafka_cy.testing import Broker
from tests.waiting import wait_until

from .load import Committer, Producer, Reader, Worker, read_log
from .wire import FETCH, Connection, batch, fetch_body, list_offset, produce, ready_topic

pytestmark = pytest.mark.crash

TOPIC = "load"
PARTITIONS = 4
SMALL_SEGMENTS = {
    "log.segment.bytes": 1048576,
    "log.index.interval.bytes": 4096,
    "log.retention.ms": -1,
    "num.network.threads": 3,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data folder for the broker of one test."""
    return tmp_path / "broker"


def workers_for(port: int) -> list[Worker]:
    """Two idempotent and two plain producers with different acks, one reader per partition, and a group."""
    workers: list[Worker] = [
        Producer(port, TOPIC, index, idempotent=index < 2, acks=-1 if index % 2 else 1) for index in range(PARTITIONS)
    ]
    workers += [Reader(port, TOPIC, index) for index in range(PARTITIONS)]
    return [*workers, Committer(port, "group", TOPIC)]


def all_stepped(workers: list[Worker], before: list[int], steps: int) -> bool:
    """Whether every worker has made `steps` steps since then, or one has failed."""
    pairs = zip(workers, before, strict=True)
    return any(worker.failure for worker in workers) or all(worker.progress - was >= steps for worker, was in pairs)


def crash_rounds(broker: Broker, workers: list[Worker], rounds: int, steps: int) -> None:
    """`rounds` times: let all workers make `steps` steps, kill the broker at a random moment, and start it."""
    chance = random.Random(rounds * 1000 + steps)
    for _ in range(rounds):
        before = [worker.progress for worker in workers]
        wait_until(lambda: all_stepped(workers, before, steps), "progress of all workers", 120)  # noqa: B023
        time.sleep(chance.random() / 50)  # a random moment for the crash; there is no condition to await
        broker.kill()
        for worker in workers:
            worker.up.clear()
        broker.start()
        for worker in workers:
            worker.up.set()


def check_all(broker: Broker, workers: list[Worker]) -> None:
    """Stop the load and compare every log with the records that its producer and reader have seen."""
    for worker in workers:
        worker.finish()
    connection = Connection(broker.port)
    for worker in workers:
        if isinstance(worker, Producer):
            assert worker.acknowledged
            worker.check(read_log(connection, worker.topic, worker.index))
        elif isinstance(worker, Reader):
            log = read_log(connection, worker.topic, worker.index)
            changed = [offset for offset, content in worker.seen.items() if log.get(offset) != content]
            assert not changed, changed[:10]
        elif isinstance(worker, Committer):
            assert worker.acknowledged > 0
            worker.check(connection)
    connection.close()


@pytest.mark.parametrize(
    ("config", "rounds", "steps"),
    [({}, 4, 30), ({"log.flush.interval.messages": 1}, 2, 20)],
    ids=["page-cache", "flush-every-message"],
)
def test_kill_under_load(folder: Path, config: Mapping[str, object], rounds: int, steps: int) -> None:
    broker = Broker({**SMALL_SEGMENTS, **config, "offsets.topic.num.partitions": 3}, folder=folder).start()
    workers: list[Worker] = []
    try:
        ready_topic(broker.port, TOPIC, PARTITIONS)
        workers = workers_for(broker.port)
        for worker in workers:
            worker.start()
        crash_rounds(broker, workers, rounds, steps)
        check_all(broker, workers)
        assert broker.terminate() == 0
        broker.start()
        check_all(broker, workers)
    finally:
        for worker in workers:
            worker.running = False
            worker.up.set()
        broker.kill()


@pytest.fixture
def broker(folder: Path) -> Iterator[Broker]:
    """A broker with one topic."""
    with Broker(SMALL_SEGMENTS, folder=folder) as started:
        ready_topic(started.port, TOPIC, 1)
        yield started


def attached_clients(broker: Broker) -> list[Connection]:
    """Four connections: idle, in a long poll, in the middle of a request, and with a large response that it does not read."""
    idle, polling, half, deaf = (Connection(broker.port) for _ in range(4))
    producer = Connection(broker.port)
    for _ in range(20):
        assert produce(producer, TOPIC, 0, batch([b"x" * 50_000])).error == 0
    end = list_offset(producer, TOPIC, 0)[1]
    polling.send(FETCH, 4, fetch_body(TOPIC, {0: end}, max_wait_ms=600_000))
    half.send_bytes(struct.pack(">i", 5000) + b"\0\0\0\7half")
    for _ in range(30):
        deaf.send(FETCH, 4, fetch_body(TOPIC, {0: 0}))
    return [idle, polling, half, deaf, producer]


def clean_shutdown_file(broker: Broker) -> Path:
    return broker.data_dir / ".kafka_cleanshutdown"


@pytest.mark.parametrize("repeats", [1, 3], ids=["one-signal", "signals-of-a-group"])
def test_sigterm_with_clients_attached(broker: Broker, repeats: int) -> None:
    """`timeout`, terminals and service managers signal the process and its group, so the same signal arrives twice."""
    clients = attached_clients(broker)
    process = broker.process
    assert process is not None
    for _ in range(repeats):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)  # separated in time, because otherwise the kernel merges them
    assert process.wait(60) == 0
    assert clean_shutdown_file(broker).exists()
    for client in clients:
        client.close()
    broker.process = None
    broker.start()
    connection = Connection(broker.port)
    assert list_offset(connection, TOPIC, 0) == (0, 20)
    assert not clean_shutdown_file(broker).exists(), "a crash now would pass for a clean shutdown"
    assert len(read_log(connection, TOPIC, 0)) == 20
    connection.close()


def test_sigterm_while_starting(folder: Path) -> None:
    """A start that is aborted ends cleanly, too, at any moment."""
    broker = Broker(SMALL_SEGMENTS, folder=folder).start()
    ready_topic(broker.port, TOPIC, 8)
    broker.kill()
    for delay_s in (0.03, 0.08, 0.12, 0.2):
        broker._spawn()
        process, broker.process = broker.process, None
        assert process is not None
        time.sleep(delay_s)
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM), broker.log_text()
    broker.start()
    assert list_offset(Connection(broker.port), TOPIC, 7) == (0, 0)
    assert broker.terminate() == 0


def test_a_killed_broker_frees_port_and_lock_at_once(broker: Broker) -> None:
    """Connections that the kernel still keeps must not prevent the next broker from binding its address."""
    held = [socket.create_connection((broker.host, broker.port)) for _ in range(20)]
    broker.kill()
    broker.start()
    assert list_offset(Connection(broker.port), TOPIC, 0) == (0, 0)
    for each in held:
        each.close()
