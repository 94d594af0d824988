"""Many more partitions and segments than file descriptors, and more clients than file descriptors."""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.testing import Broker
from tests.waiting import wait_until

from .load import read_log
from .wire import (
    METADATA,
    PRODUCE,
    Connection,
    batch,
    create_topic,
    fetch,
    list_offset,
    produce,
    produce_body,
    produced,
    ready_topic,
)

DESCRIPTORS = 256
PARTITIONS = 500
TOPIC = "many"
START_MS = 1_700_000_000_000


class LimitedBroker(Broker):
    """A broker under `ulimit -n 256`."""

    def command(self) -> list[str]:
        """The same command, with the limit set."""
        return ["sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$@"', "sh", *super().command()]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker; partitions must not cause log lines about file descriptors."""
    config = {"log.retention.ms": -1, "log.index.interval.bytes": 100}
    with LimitedBroker(config, folder=tmp_path_factory.mktemp("descriptors")) as started:
        yield started


def value_of(index: int, turn: int) -> bytes:
    return b"%d:%d:" % (index, turn) + b"." * 2000


def write_round(connection: Connection, turn: int) -> None:
    """Send one record to every partition, 50 partitions per request."""
    for first in range(0, PARTITIONS, 50):
        batches = {
            index: batch([value_of(index, turn)], timestamp_ms=START_MS + 1000 * turn)
            for index in range(first, first + 50)
        }
        answers = produced(connection.ask(PRODUCE, 7, produce_body(TOPIC, batches)))
        assert {(a.error, a.base_offset) for a in answers.values()} == {(0, turn)}


def check(connection: Connection, turns: int) -> None:
    """Random reads everywhere: at the start, in the middle, by timestamp."""
    chance = random.Random(turns)
    for index in chance.sample(range(PARTITIONS), 150):
        start = chance.randrange(turns)
        log = read_log(connection, TOPIC, index, start)
        assert log == {turn: (b"key", value_of(index, turn)) for turn in range(start, turns)}
        assert list_offset(connection, TOPIC, index, START_MS + 1000 * start) == (0, start)


def test_many_partitions(broker: Broker) -> None:
    # The minimum of segment.bytes is large; rolling by time puts each record in its own segment.
    ready_topic(broker.port, TOPIC, PARTITIONS, {"segment.bytes": 1048576, "segment.ms": 1})
    connection = Connection(broker.port)
    for turn in range(4):
        write_round(connection, turn)
    folder = broker.data_dir / f"{TOPIC}-0"
    assert len(list(folder.glob("*.log"))) == 4
    check(connection, 4)
    assert len(list(Path(f"/proc/{broker.pid}/fd").iterdir())) < DESCRIPTORS
    broker.kill()
    broker.start()
    connection = Connection(broker.port)
    check(connection, 4)
    write_round(connection, 4)
    assert broker.terminate() == 0
    broker.start()
    check(Connection(broker.port), 5)
    assert "offline" not in broker.log_text()


def cpu_s(broker: Broker) -> float:
    """The CPU seconds that the broker has used."""
    fields = Path(f"/proc/{broker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_more_clients_than_descriptors(broker: Broker) -> None:
    """Clients above the limit wait or are refused; the others are served, files can be opened, and everything recovers."""
    ready_topic(broker.port, "small", 1)
    first = Connection(broker.port)
    held = [Connection(broker.port, 1) for _ in range(DESCRIPTORS + 100)]
    for each in held:
        each.send(METADATA, 1, struct.pack(">i", 0))
    assert produce(first, "small", 0, batch()).error == 0
    assert fetch(first, "small", 0, 0)[0] == 0
    before, begun = cpu_s(broker), time.monotonic()
    time.sleep(0.5)  # a full listener must not make the broker spin
    assert cpu_s(broker) - before < 0.5 * (time.monotonic() - begun)
    for each in held:
        each.close()
    connection = Connection(broker.port)
    assert create_topic(connection, "afterwards", 3) == 0
    wait_until(lambda: all(produce(connection, "afterwards", i, batch()).error == 0 for i in range(3)), "a topic")
    assert produce(first, "small", 0, batch()).error == 0
    process = broker.process
    assert process is not None and process.poll() is None
    assert "offline" not in broker.log_text(), broker.log_text()[-2000:]
