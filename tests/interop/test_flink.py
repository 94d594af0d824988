"""Apache Flink's exactly-once sink: the job and the broker are killed, and each number arrives once."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from exactly_once import KILLS, QUIET, RESULTS_S, TIMEOUT_S, abort_markers, create_topics, end_offset, read_committed
from java_flink import FlinkJob

from kafka_cy.testing import Broker
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.interop,
    pytest.mark.crash,
    pytest.mark.timeout(240 + 120 * KILLS),
    pytest.mark.skipif("EXACTLY_ONCE_KILLS" not in os.environ, reason="`make exactly-once` runs it"),
]
PARTITIONS = 2
NUMBERS_PER_WRITE = 20
OFFSETS_PER_STEP = 400
HELD_WRITES = 100  # enough that records wait when the job stops


@pytest.fixture
def broker() -> Iterator[Broker]:
    settings = {"transaction.state.log.num.partitions": 3, "offsets.topic.num.partitions": 3}
    with Broker(settings) as started:
        yield started


class Copying:
    """A job that copies numbers, its input, and what of its output is committed. Owner: one test."""

    def __init__(self, broker: Broker, classes: Path, folder: Path, naming: str) -> None:
        self._bootstrap, self.count = broker.bootstrap_servers, 0
        create_topics(self._bootstrap, PARTITIONS, "numbers", "copies")
        self._producer = Producer({"bootstrap.servers": self._bootstrap, "linger.ms": 0, **QUIET})
        self.job = FlinkJob(
            classes, folder, bootstrap=self._bootstrap, input_topic="numbers", output_topic="copies", naming=naming,
            parallelism=PARTITIONS,
        )  # fmt: skip

    def write(self) -> None:
        """Some more numbers, in all partitions."""
        for number in range(self.count, self.count + NUMBERS_PER_WRITE):
            self._producer.produce("numbers", str(number), partition=number % PARTITIONS)
        self.count += NUMBERS_PER_WRITE
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all of them are in the input."""
        assert self._producer.flush(TIMEOUT_S) == 0

    def _end(self, level: str) -> int:
        return sum(end_offset(self._bootstrap, "copies", index, level) for index in range(PARTITIONS))

    def committed(self) -> int:
        """The sum of the output's last stable offsets."""
        return self._end("read_committed")

    def uncommitted(self) -> int:
        """How many offsets lie behind the last stable ones: those of open transactions."""
        stable = self.committed()  # first: it only grows
        return self._end("read_uncommitted") - stable

    def copies(self) -> list[int]:
        """The committed output."""
        return [int(value or b"") for _, value in read_committed(self._bootstrap, "copies", PARTITIONS)]

    def wait_for_the_middle(self, least: int) -> None:
        """Write while the job copies, until `least` offsets more are committed and a transaction is open."""
        aim = self.committed() + least

        def reached() -> bool:
            self.job.check()
            self.write()
            return self.committed() > aim and self.uncommitted() > 0

        wait_until(reached, f"copies: {self.job.log_path}", RESULTS_S)

    def wait_between_checkpoint_and_commit(self) -> None:
        """Write while the job copies, until it has a checkpoint whose transactions it will not commit."""
        self.job.hold()
        for _ in range(HELD_WRITES):
            self.write()

        def held() -> bool:
            self.job.check()
            self.write()
            return self.job.is_held()

        wait_until(held, f"the checkpoint: {self.job.log_path}", RESULTS_S)

    def finish(self) -> None:
        """Wait until everything is copied, and check that it is there once."""
        self.flush()

        def complete() -> bool:
            self.job.check()
            return self.uncommitted() == 0 and len(self.copies()) >= self.count

        wait_until(complete, f"all copies: {self.job.log_path}", RESULTS_S)
        self.job.kill()
        assert sorted(self.copies()) == list(range(self.count))


@pytest.fixture(params=["INCREMENTING", "POOLING"])
def copying(broker: Broker, flink_classes: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Copying]:
    """With either of Flink's ways to name transactions: POOLING finds the open ones with ListTransactions."""
    started = Copying(broker, flink_classes, tmp_path, request.param)
    yield started
    started.job.kill()


def test_kills_in_the_middle(broker: Broker, copying: Copying) -> None:
    """The job starts from its last checkpoint: its open transactions are aborted and their numbers are copied again."""
    chance = random.Random(KILLS)
    for kill in range(2 * KILLS):
        copying.wait_for_the_middle(chance.randrange(OFFSETS_PER_STEP, 2 * OFFSETS_PER_STEP))
        if kill % 2:
            broker.kill()
            broker.start()
        else:
            copying.job.kill()
            copying.job.start()
    copying.finish()
    assert abort_markers(broker, "copies") > 0, "no transaction was aborted"


def test_kills_between_checkpoint_and_commit(broker: Broker, copying: Copying) -> None:
    """The next start of the job commits the transactions that the checkpoint holds, after the broker was killed too."""
    for _ in range(KILLS):
        copying.wait_for_the_middle(OFFSETS_PER_STEP)
        copying.wait_between_checkpoint_and_commit()
        copying.job.kill()
        broker.kill()
        broker.start()
        assert copying.uncommitted() > 0
        copying.job.start()
    copying.finish()
    refused = copying.job.log_path.read_text().count("Unable to commit transaction")
    assert refused < PARTITIONS * KILLS, "all transactions were committed before"
