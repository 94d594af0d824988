"""Kafka Connect's exactly-once source support: the worker and the broker are killed, and each line arrives once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from exactly_once import KILLS, create_topics, end_offset, read_committed
from foreign_tools import require
from java_connect import CONNECT_JARS, FILE_SOURCE, ConnectWorker

from kafka_cy.testing import Broker
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.crash, pytest.mark.timeout(240 + 60 * KILLS)]
LINES_PER_STEP = 400
TIMEOUT_S = 90


@pytest.fixture
def broker() -> Iterator[Broker]:
    settings = {
        "transaction.state.log.num.partitions": 3,
        "offsets.topic.num.partitions": 3,
        "group.min.session.timeout.ms": 1000,
    }
    with Broker(settings) as started:
        yield started


def line(number: int) -> str:
    """Long, because the connector reads 1024 characters at a time: about ten lines are one transaction."""
    return f"{number:0100}"


class GrowingFile:
    """The source file, with a number in each line."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def grow(self, lines: int) -> None:
        """Append lines."""
        with open(self.path, "a") as file:
            file.writelines(f"{line(number)}\n" for number in range(self.count, self.count + lines))
        self.count += lines


def test_a_file_source_with_kills(broker: Broker, tmp_path: Path) -> None:
    require(CONNECT_JARS.is_dir(), f"Kafka Connect in {CONNECT_JARS}")
    bootstrap = broker.bootstrap_servers
    create_topics(bootstrap, 1, "from-file")
    source = GrowingFile(tmp_path / "lines")
    source.grow(LINES_PER_STEP)
    worker = ConnectWorker(bootstrap, tmp_path)
    try:
        worker.put_connector(
            "lines",
            {
                "connector.class": FILE_SOURCE, "file": str(source.path), "topic": "from-file", "tasks.max": "1",
                "exactly.once.support": "required",
            },
        )  # fmt: skip
        chance = random.Random(KILLS)
        for kill in range(2 * KILLS):
            few = source.count - LINES_PER_STEP + chance.randrange(1, LINES_PER_STEP // 2)
            wait_until(
                lambda few=few: end_offset(bootstrap, "from-file") > few, f"records: {worker.log_path}", TIMEOUT_S
            )
            if kill % 2:
                broker.kill()
                broker.start()
            else:
                worker.kill()
                worker.start()
            source.grow(LINES_PER_STEP)
        wait_until(
            lambda: len(read_committed(bootstrap, "from-file")) >= source.count,
            f"all lines: {worker.log_path}",
            TIMEOUT_S,
        )
    finally:
        worker.kill()
    assert [value for _, value in read_committed(bootstrap, "from-file")] == [
        line(number).encode() for number in range(source.count)
    ]
