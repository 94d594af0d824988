"""Kafka Streams applications, killed and started again: every record is counted once."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from exactly_once import RESULTS_S
from java_streams import StreamsApplication
from java_tools import JavaTools

from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]
QUIET = {"log_level": 0}
PARTITIONS = 2
WORDS = ["an", "ox", "a", "fly", "a", "bee", "an", "ant", "a", "fox", "an", "owl", "a", "cow"]


def produce(bootstrap: str, topic: str, first: int, count: int) -> Counter[str]:
    """Send lines of three words; returns how often each word is in them."""
    producer, sent = Producer({"bootstrap.servers": bootstrap, **QUIET}), Counter[str]()
    for number in range(first, first + count):
        line = [WORDS[(number * 7 + step) % len(WORDS)] for step in range(3)]
        producer.produce(topic, " ".join(line), str(number))
        sent.update(line)
    assert producer.flush(60) == 0
    return sent


class Output:
    """Reads the counts of each word, in order; only what is committed."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        settings = {"bootstrap.servers": bootstrap, "group.id": "reader", "isolation.level": "read_committed", **QUIET}
        self._consumer = Consumer(settings | {"enable.auto.commit": False})
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        self.counts: dict[str, list[int]] = defaultdict(list)

    def await_counts(self, expected: Counter[str]) -> None:
        """Wait until each word has its count, and look whether each count came once and in order."""

        def reached() -> bool:
            for message in self._consumer.consume(500, 0.1):
                error = message.error()
                assert error is None or error.code() == KafkaError._PARTITION_EOF, error
                key, value = message.key(), message.value()
                if error is None and key is not None and value is not None:
                    self.counts[key.decode()].append(int(value))
            return all(self.counts[word] and self.counts[word][-1] >= count for word, count in expected.items())

        wait_until(reached, f"{expected}", RESULTS_S)
        assert self.counts == {word: list(range(1, count + 1)) for word, count in expected.items()}

    def close(self) -> None:
        self._consumer.close()


@pytest.mark.parametrize("group_protocol", ["classic", "streams"])
def test_words_are_counted_once_although_an_instance_is_killed(
    bootstrap: str, streams_classes: Path, create_topic: Callable[..., str], tmp_path: Path, java: JavaTools,
    group_protocol: str,
) -> None:  # fmt: skip
    lines, counts = create_topic(PARTITIONS), create_topic(PARTITIONS)
    application_id = f"words-{uuid.uuid4().hex[:8]}"
    server = ("--bootstrap-server", bootstrap)
    if group_protocol == "streams":
        entity = ("--entity-type", "groups", "--entity-name", application_id)
        setting = "streams.num.standby.replicas=1"
        java.check("kafka.admin.ConfigCommand", *server, *entity, "--alter", "--add-config", setting)

    def start(name: str) -> StreamsApplication:
        return StreamsApplication(
            streams_classes, "WordCount", lines, counts, bootstrap=bootstrap, application_id=application_id,
            state_dir=tmp_path / name, group_protocol=group_protocol,
            settings={"session.timeout.ms": 6000} if group_protocol == "classic" else {},
        )  # fmt: skip

    first, second = start("first"), start("second")
    output = Output(bootstrap, counts)
    try:
        first.wait_for("RUNNING")
        second.wait_for("RUNNING")
        sent = produce(bootstrap, lines, 0, 300)
        output.await_counts(sent)
        if group_protocol == "streams":
            command = ("streams.StreamsGroupCommand", *server, "--describe", "--group", application_id)

            def standby_tasks() -> int:
                return java.check(*command, "--members", "--verbose").out.count("; STANDBY: 1:[")

            wait_until(lambda: standby_tasks() == PARTITIONS, "each counting task has a copy in the other process")
        sent += produce(bootstrap, lines, 300, 300)
        first.kill()
        sent += produce(bootstrap, lines, 600, 300)
        again = start("first")
        try:
            again.wait_for("RUNNING")
            output.await_counts(sent)
            again.close()
        finally:
            again.kill()
        second.close()
    finally:
        first.kill()
        second.kill()
        output.close()
