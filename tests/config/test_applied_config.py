"""A broker-wide setting reaches the logs of all topics a few partitions at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.base.slices import Slices
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.store import StoreBroken
from kafka_cy.config import BrokerConfig
from kafka_cy.server.applied_config import AppliedConfig

TOPICS = 30


class Loop:
    """Keeps what is to be called later; each call is one turn."""

    def __init__(self) -> None:
        self.later: list[Any] = []

    def call_later(self, delay_s: float, function: Any, *arguments: Any) -> None:
        self.later.append((function, arguments))

    def turn(self) -> None:
        function, arguments = self.later.pop(0)
        function(*arguments)


class Logs:
    """Remembers what each topic got, and counts the steps."""

    def __init__(self) -> None:
        self.applied: dict[str, int] = {}
        self.steps = 0
        self.must_tell = False

    def take_config(self, topic: str, config: dict[str, Any]) -> bool:
        self.applied[topic] = config["retention.ms"]
        return self.must_tell

    def set_config_in_steps(self, topic: str, config: dict[str, Any], partition_count: int) -> Iterator[None]:
        for _ in range(partition_count):
            self.steps += 1
            self.applied[topic] = config["retention.ms"]
            yield


class Subject:
    def __init__(self) -> None:
        self.metadata = ClusterMetadata(EmbeddedStore(None), 1, lambda: 0)
        self.metadata.load("AAAAAAAAAAAAAAAAAAAAAA")
        self.logs, self.loop = Logs(), Loop()
        self.config = BrokerConfig({"node.id": "1", "log.dirs": "data"})
        work = Slices(self.loop, lambda fault: None)
        self.lines: list[str] = []
        AppliedConfig(self.config, self.metadata.cache, self.logs, self, slices=work).start()  # type: ignore[arg-type]
        for number in range(TOPICS):
            self.metadata.topic_changes.create_topic(f"t{number}", [[1], [1]], {"retention.ms": "1"} if number == 3 else {})

    def repeated(self, level: str, what: str, details: dict[str, Any]) -> None:
        """Of the log."""
        self.lines.append(f"{level} {what} " + " ".join(f"{key}={value}" for key, value in details.items()))

    def set_default(self, value: str) -> None:
        self.metadata.config_changes.set_config("brokers", "<default>", {"log.retention.ms": value})


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)  # one step a turn
    return Subject()


def test_one_step_a_turn(subject: Subject) -> None:
    subject.set_default("5000")
    assert subject.logs.steps == 1
    while subject.loop.later:
        before = subject.logs.steps
        subject.loop.turn()
        assert subject.logs.steps <= before + 1
    assert subject.logs.steps == 2 * TOPICS
    assert subject.logs.applied == {f"t{number}": 1 if number == 3 else 5000 for number in range(TOPICS)}


@pytest.mark.parametrize("bad", range(0, TOPICS, 5))
def test_a_topic_whose_settings_are_not_allowed_keeps_those_of_before(subject: Subject, bad: int) -> None:
    """Another version has stored them, or somebody with a tool of ZooKeeper. Wherever it comes in the order: others go on."""
    subject.metadata.config_changes.set_config("topics", f"t{bad}", {"retention.ms": "33"})
    subject.metadata.config_changes.set_config("topics", f"t{bad}", {"retention.ms": "abc", "max.message.bytes": "5"})
    assert subject.logs.applied == {f"t{bad}": 33}
    subject.set_default("5000")
    while subject.loop.later:
        subject.loop.turn()
    expected = {f"t{number}": 1 if number == 3 else 5000 for number in range(TOPICS)}
    assert subject.logs.applied == expected | {f"t{bad}": 33}
    expected_line = f"error a stored setting of a topic is not allowed topic=t{bad} key=retention.ms value=abc"
    assert len(subject.lines) == 2 and all(line.startswith(expected_line) for line in subject.lines), subject.lines
    subject.metadata.config_changes.set_config("topics", f"t{bad}", {"retention.ms": "34"})
    assert subject.logs.applied[f"t{bad}"] == 34


def test_changes_meanwhile(subject: Subject) -> None:
    subject.set_default("5000")
    for _ in range(20):
        subject.loop.turn()
    subject.metadata.config_changes.set_config("topics", "t7", {"retention.ms": "77"})
    subject.metadata.topic_changes.delete_topic("t8")
    subject.logs.applied.pop("t8", None)
    subject.set_default("6000")
    while subject.loop.later:
        assert len(subject.loop.later) == 1
        subject.loop.turn()
    assert set(subject.logs.applied) == {f"t{number}" for number in range(TOPICS) if number != 8}
    expected = {"t3": 1, "t7": 77}
    assert all(value == expected.get(name, 6000) for name, value in subject.logs.applied.items())


def test_what_partitions_are_told_comes_in_steps(subject: Subject) -> None:
    """The settings are in force before, and however many changes there are, one task tells the partitions."""
    change = subject.metadata.config_changes.set_config
    change("topics", "t1", {"retention.ms": "1"})
    assert (subject.logs.applied, subject.logs.steps) == ({"t1": 1}, 0)
    subject.logs.must_tell = True
    for value in range(2, 10):
        change("topics", "t1", {"retention.ms": str(value)})
        assert subject.logs.applied["t1"] == value and len(subject.loop.later) == 1
    assert subject.logs.steps == 1
    while subject.loop.later:
        subject.loop.turn()
    assert subject.logs.steps <= 4, "the walk that had begun, and one more"


def test_a_request_that_cannot_be_stored_changes_nothing(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata, told = subject.metadata, []
    metadata.cache.add_listener(told.append)
    changes = metadata.config_changes
    persist = metadata.store._persist  # type: ignore[attr-defined]

    def fail(changed: object) -> None:
        raise StoreBroken("the disk is full")

    monkeypatch.setattr(metadata.store, "_persist", fail)
    with pytest.raises(StoreBroken), changes.batch():
        changes.set_config("topics", "t1", {"retention.ms": "9"})
        changes.set_config("topics", "t2", {"retention.ms": "9"})
        assert metadata.cache.topic_config("t1") == {}, "not before it is stored"
    assert told == [] and metadata.cache.topic_config("t1") == {} == metadata.cache.topic_config("t2")
    with pytest.raises(StoreBroken), metadata.topic_changes.batch():
        metadata.topic_changes.create_topic("new", [[1]], {})
        metadata.topic_changes.delete_topic("t1")
    assert told == [] and "new" not in metadata.cache.topics and "t1" in metadata.cache.topics
    assert metadata.topic_changes.deleting == []
    transactions: list[int] = []
    monkeypatch.setattr(metadata.store, "_persist", lambda changed: (transactions.append(len(changed)), persist(changed)))
    with changes.batch():
        changes.set_config("topics", "t1", {"retention.ms": "9"})
        changes.set_config("topics", "t2", {"retention.ms": "9"})
    assert transactions == [2] and [change.entity_name for change in told] == ["t1", "t2"]
    assert metadata.cache.topic_config("t1") == {"retention.ms": "9"} == metadata.cache.topic_config("t2")
