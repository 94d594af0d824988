"""Logs that come and go in steps, while settings change and log directories fail."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.hosting import IMAGE_STEP, Hosting
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.storage.hosted_partition import STATE_OFFLINE

MANY = 3 * IMAGE_STEP


class Partition:
    state = 0
    leader_epoch = 0

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def set_replicas(self, replicas: list[int], isr: list[int], broker_id: int) -> None:
        pass


class Logs:
    """As LogManager, without files. `unsynced`: folders whose names are not durable."""

    offline_dirs: set[str]
    begun: dict[tuple[str, int], str] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.partitions: dict[tuple[str, int], Partition] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.offline_dirs = set()
        self.unsynced = 0
        self.failing = False

    def directory_ids(self) -> dict[str, str]:
        return {}

    def create(self, topic: str, index: int, topic_id: bytes, config: dict[str, Any] | None) -> None:
        if self.failing:
            raise OSError(28, "full")
        if config is not None:
            self.configs[topic] = config
        self.partitions[topic, index] = Partition(self.configs[topic])
        self.unsynced += 1

    def delete(self, topic: str, index: int) -> None:
        del self.partitions[topic, index]
        self.unsynced += 1

    def set_config(self, topic: str, config: dict[str, Any], count: int) -> None:
        self.configs[topic] = config
        for index in range(count):
            self.partitions[topic, index].config = config

    def sync_directories(self) -> None:
        self.unsynced = 0


class Images:
    def __init__(self, logs: Logs) -> None:
        self.logs = logs
        self.topics: dict[str, list[Any]] = {}

    def set_topics(self, images: list[Any], removed: list[str]) -> None:
        for name in removed:
            del self.topics[name]
        for image in images:
            assert self.logs.unsynced == 0, "clients see what a power cut may take away"
            self.topics[image[0]] = image[3]

    def publish(self) -> None:
        pass


class Subject:
    def __init__(self) -> None:
        self.metadata = ClusterMetadata(EmbeddedStore(None), 1, lambda: 0)
        self.metadata.load("AAAAAAAAAAAAAAAAAAAAAA")
        self.logs = Logs()
        self.metadata.cache.logs = self.logs
        self.images = Images(self.logs)
        self.failed: list[int] = []
        self.default = 0

        def topic_config(overrides: dict[str, str]) -> dict[str, Any]:
            return {"retention.ms": self.default, **overrides}

        def fail(topic: str, index: int, error: Exception) -> None:
            self.failed.append(index)

        Hosting(self.metadata, self.logs, self.images, topic_config, fail).start()
        self.changes = self.metadata.topic_changes

    def create(self, name: str = "t", count: int = MANY) -> Any:
        with self.changes.batch(in_steps=True):
            self.changes.create_topic(name, [[1]] * count, {})
        return self.changes.announce_in_steps()

    def run_until(self, steps: Any, count: int) -> None:
        while len(self.logs.partitions) < count:
            next(steps)

    def configs(self) -> list[dict[str, Any]]:
        return [partition.config for partition in self.logs.partitions.values()]


@pytest.fixture
def subject() -> Subject:
    return Subject()


def test_one_folder_in_each_step(subject: Subject) -> None:
    known = 0
    for _ in subject.create():
        assert abs(len(subject.logs.partitions) - known) <= 1
        known = len(subject.logs.partitions)
    assert known == MANY == len(subject.images.topics["t"])
    with subject.changes.batch(in_steps=True):
        subject.changes.delete_topic("t")
    for _ in subject.changes.announce_in_steps():
        assert abs(len(subject.logs.partitions) - known) <= 1 and subject.images.topics == {}
        known = len(subject.logs.partitions)
    assert known == 0 == subject.logs.unsynced


def test_few_known_partitions_are_looked_at_in_each_step(subject: Subject) -> None:
    """A topic that has many gets one more."""
    for _ in subject.create():
        pass
    looked = 0

    class Counted(dict[tuple[str, int], Partition]):
        def __contains__(self, key: object) -> bool:
            nonlocal looked
            looked += 1
            return super().__contains__(key)

    subject.logs.partitions = Counted(subject.logs.partitions)
    with subject.changes.batch(in_steps=True):
        subject.changes.create_partitions("t", [[1]])
    before = 0
    for _ in subject.changes.announce_in_steps():
        assert looked - before <= IMAGE_STEP
        before = looked
    assert len(subject.logs.partitions) == MANY + 1 == looked


def test_the_image_is_made_in_steps(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = subject.metadata.cache.partition

    def counted(topic: str, index: int) -> Any:
        nonlocal calls
        calls += 1
        return real(topic, index)

    monkeypatch.setattr(subject.metadata.cache, "partition", counted)
    before = 0
    for _ in subject.create():
        assert calls - before <= IMAGE_STEP
        before = calls
    assert calls == MANY


def test_settings_that_change_meanwhile_reach_all_logs(subject: Subject) -> None:
    for _ in subject.create(count=1):
        pass
    with subject.changes.batch(in_steps=True):
        subject.changes.create_partitions("t", [[1]] * (MANY - 1))
    steps = subject.changes.announce_in_steps()
    subject.run_until(steps, MANY // 2)
    subject.metadata.config_changes.set_config("topics", "t", {"retention.ms": "7"})
    subject.logs.set_config("t", {"retention.ms": "7"}, 1)  # as AppliedConfig: it knows the partitions that readers see
    for _ in steps:
        assert subject.logs.partitions["t", 0].config == {"retention.ms": "7"} == subject.logs.configs["t"]
    assert subject.configs() == [{"retention.ms": "7"}] * MANY


def test_a_default_that_changes_meanwhile_reaches_a_new_topic(subject: Subject) -> None:
    steps = subject.create()
    subject.run_until(steps, MANY // 2)
    subject.default = 5
    for _ in steps:
        pass
    assert subject.configs() == [{"retention.ms": 5}] * MANY


def test_a_directory_that_fails_meanwhile_is_seen(subject: Subject) -> None:
    steps = subject.create()
    subject.run_until(steps, MANY)
    next(steps)
    subject.logs.partitions["t", 0].state = STATE_OFFLINE
    subject.logs.offline_dirs.add("a")
    for _ in steps:
        pass
    leaders = [partition[1] for partition in subject.images.topics["t"]]
    assert leaders == [-1] + [1] * (MANY - 1)


def test_logs_that_cannot_be_created_are_told(subject: Subject) -> None:
    steps = subject.create(count=10)
    subject.run_until(steps, 5)
    subject.logs.failing = True
    for _ in steps:
        pass
    assert subject.failed == [5, 6, 7, 8, 9]
    assert [partition[1] for partition in subject.images.topics["t"]] == [1] * 5 + [-1] * 5
