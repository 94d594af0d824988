"""A topology with the topics that exist: how many tasks it has, and which internal topics are missing.

Kafka: InternalTopicManager.configureTopics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.streams.limits import TASKS_MAX
from kafka_cy.coordinator.streams.partition_counts import PartitionCounts, TopicProblem, invalid_topology
from kafka_cy.coordinator.streams.records import KeyValue, Subtopology, TopicInfo, Topology
from kafka_cy.coordinator.streams.statuses import (
    INCORRECTLY_PARTITIONED_TOPICS,
    MISSING_INTERNAL_TOPICS,
    MISSING_SOURCE_TOPICS,
    Status,
    summarized,
)


class InternalTopic(NamedTuple):
    """A topic that the broker creates for a topology. `replication_factor` 0 or -1: the broker's default."""

    name: str
    partitions: int
    replication_factor: int
    configs: tuple[KeyValue, ...]


class ConfiguredSubtopology(NamedTuple):
    """`sources` are the topics that its tasks read."""

    tasks_count: int
    is_stateful: bool
    sources: tuple[str, ...]


class ConfiguredTopology(NamedTuple):
    """`subtopologies` is None if source topics are missing or do not fit. `partitions`: of internal topics, by name."""

    subtopologies: Mapping[str, ConfiguredSubtopology] | None
    partitions: Mapping[str, int]
    missing: tuple[InternalTopic, ...] = ()
    problem: Status | None = None

    @property
    def is_ready(self) -> bool:
        """Whether its tasks can be assigned."""
        return self.problem is None


def internal_topics(subtopology: Subtopology) -> Iterable[TopicInfo]:
    """Its repartition topics and changelogs."""
    yield from subtopology.repartition_source_topics
    yield from subtopology.state_changelog_topics


def source_names(subtopology: Subtopology) -> tuple[str, ...]:
    """The topics that its tasks read, repartition topics too."""
    return (*subtopology.source_topics, *(each.name for each in subtopology.repartition_source_topics))


def required_topics(topology: Topology) -> set[str]:
    """The topics that have to exist."""
    return {
        name
        for each in topology.subtopologies
        for name in (*each.source_topics, *(topic.name for topic in internal_topics(each)))
    }


def configure(topology: Topology, topics: Topics) -> ConfiguredTopology:
    """Compare a topology with the topics. Raises GroupError (STREAMS_INVALID_TOPOLOGY) if it can never run."""
    try:
        return _configure(topology, lambda name: _count(topics, name))
    except TopicProblem as problem:
        return ConfiguredTopology(None, {}, problem=Status(problem.code, problem.text))


def _count(topics: Topics, name: str) -> int | None:
    topic = topics.find(name)
    return None if topic is None else len(topic.partitions)


def _configure(topology: Topology, count_of: Callable[[str], int | None]) -> ConfiguredTopology:
    names = {name for each in topology.subtopologies for name in each.source_topics}
    absent = [name for name in names if count_of(name) is None]
    if absent:
        raise TopicProblem(MISSING_SOURCE_TOPICS, f"Source topics {summarized(absent)} are missing.")
    counts = PartitionCounts(topology.subtopologies, count_of)
    counts.decide()
    found = {
        each.subtopology_id: ConfiguredSubtopology(
            counts.tasks_count(each), bool(each.state_changelog_topics), tuple(dict.fromkeys(source_names(each)))
        )
        for each in topology.subtopologies
    }
    if sum(each.tasks_count for each in found.values()) > TASKS_MAX:
        raise invalid_topology(f"The topology has more than {TASKS_MAX} tasks.")
    wanted = {
        topic.name: InternalTopic(
            topic.name, topic.partitions or counts.decided[topic.name], topic.replication_factor, topic.topic_configs
        )
        for each in topology.subtopologies
        for topic in internal_topics(each)
    }
    missing = tuple(topic for topic in wanted.values() if _is_missing(topic, count_of(topic.name)))
    problem = None
    if missing:
        text = f"Internal topics are missing: {summarized([topic.name for topic in missing])}"
        problem = Status(MISSING_INTERNAL_TOPICS, text)
    return ConfiguredTopology(found, {name: each.partitions for name, each in wanted.items()}, missing, problem)


def _is_missing(topic: InternalTopic, count: int | None) -> bool:
    if count not in (None, topic.partitions):
        text = (
            f"Existing topic {topic.name} has different number of partitions: expected {topic.partitions}, found {count}"
        )
        raise TopicProblem(INCORRECTLY_PARTITIONED_TOPICS, text)
    return count is None
