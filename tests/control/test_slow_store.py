"""A metadata store that does not answer holds up the requests that change the metadata, and no others."""

from __future__ import annotations

import re
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversity.wire import (
    CREATE_TOPICS,
    INIT_PRODUCER_ID,
    METADATA,
    Connection,
    await_coordinator,
    commit_offset,
    ready_topic,
    string,
)

DESCRIBE_CONFIGS, INCREMENTAL_ALTER_CONFIGS, DESCRIBE_LOG_DIRS = 32, 44, 35
TOPIC_RESOURCE = 2


class SlowStoreBroker:
    """The broker and its gate."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.gate = folder / "gate"
        options = ["listeners=PLAINTEXT://127.0.0.1:0", f"log.dirs={folder / 'data'}", "kafkacy.metrics.listen=", *more]
        script = Path(__file__).with_name("slow_store_broker.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(self.gate), *options, "kafkacy.lag.listen="],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        found = re.search(r"ready: 127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        assert found is not None
        self.port = int(found[1])

    def stop(self) -> None:
        self.gate.unlink(missing_ok=True)
        self.process.terminate()
        assert self.process.wait(60) == 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SlowStoreBroker]:
    broker = SlowStoreBroker(tmp_path)
    yield broker
    broker.stop()


def create_topic(connection: Connection, name: str) -> None:
    connection.send(CREATE_TOPICS, 2, struct.pack(">i", 1) + string(name) + struct.pack(">ihiiiB", 1, 1, 0, 0, 60_000, 0))


def set_retention(connection: Connection, topic: str, value: bytes) -> None:
    body = struct.pack(">ib", 1, TOPIC_RESOURCE) + string(topic)
    body += struct.pack(">i", 1) + string("retention.ms") + b"\0" + string(value.decode()) + b"\0"
    connection.send(INCREMENTAL_ALTER_CONFIGS, 0, body)


def retention(connection: Connection, topic: str) -> bytes:
    body = struct.pack(">ib", 1, TOPIC_RESOURCE) + string(topic) + struct.pack(">i", 1) + string("retention.ms") + b"\0"
    return connection.ask(DESCRIBE_CONFIGS, 1, body)


def producer_id(connection: Connection) -> int:
    error, given = struct.unpack_from(">hq", connection.ask(INIT_PRODUCER_ID, 0, struct.pack(">hi", -1, 1000)), 4)
    assert error == 0
    return int(given)


def topic_error(connection: Connection, name: str) -> int:
    """Of a Metadata request that creates nothing."""
    answer = connection.ask(METADATA, 4, struct.pack(">i", 1) + string(name) + b"\0")
    at = answer.index(string(name))
    return int(struct.unpack_from(">h", answer, at - 2)[0])


def is_answered(*connections: Connection) -> bool:
    poll = select.poll()
    for each in connections:
        poll.register(each.socket, select.POLLIN)
    return bool(poll.poll(0))


def test_other_requests_while_the_store_is_slow(broker: SlowStoreBroker) -> None:
    ready_topic(broker.port, "t")
    group, other = Connection(broker.port), Connection(broker.port)
    await_coordinator(group, "g", "t")
    assert producer_id(other) == 0
    broker.gate.touch()
    creating, altering = Connection(broker.port), Connection(broker.port)
    create_topic(creating, "new")
    set_retention(altering, "t", b"1234567")
    assert [producer_id(other) for _ in range(700)] == list(range(1, 701)), "from the reserved block"
    assert topic_error(other, "new") == 3, "nobody sees what is not stored"
    assert b"1234567" not in retention(other, "t")
    assert commit_offset(group, "g", "t", 0, 5) == 0
    other.ask(DESCRIBE_LOG_DIRS, 1, struct.pack(">i", -1))
    assert not is_answered(creating, altering)
    broker.gate.unlink()
    answer = creating.receive()
    assert answer is not None and answer.endswith(struct.pack(">hh", 0, -1))
    assert altering.receive() is not None and b"1234567" in retention(altering, "t")
    assert topic_error(other, "new") == 0


def test_requests_of_one_client_stay_in_order(broker: SlowStoreBroker) -> None:
    """Also when loops of the control plane with different work handle them."""
    ready_topic(broker.port, "t")
    client = Connection(broker.port)
    for round_number in range(20):
        value = b"77%05d" % round_number
        set_retention(client, "t", value)
        body = struct.pack(">ib", 1, TOPIC_RESOURCE) + string("t") + struct.pack(">i", 1) + string("retention.ms") + b"\0"
        client.send(DESCRIBE_CONFIGS, 1, body)
        assert client.receive() is not None
        answer = client.receive()
        assert answer is not None and value in answer


def test_requests_that_wait_for_another_loop_do_not_hold_up_the_shutdown(tmp_path: Path) -> None:
    """When the broker stops, the loops end, and nobody would answer these requests before the drain timeout."""
    broker = SlowStoreBroker(tmp_path, "kafkacy.shutdown.drain.timeout.ms=3600000")
    busy, waiting = Connection(broker.port), Connection(broker.port)
    producer_id(busy)
    broker.gate.touch()
    create_topic(busy, "first")
    waiting.send(METADATA, 4, struct.pack(">i", 1) + string("new") + b"\1")
    other = Connection(broker.port)
    assert topic_error(other, "none") == 3, "the admin loop has passed the request on"
    broker.process.terminate()
    assert broker.process.stderr is not None
    assert any("shutting down" in line for line in iter(broker.process.stderr.readline, ""))
    broker.stop()
