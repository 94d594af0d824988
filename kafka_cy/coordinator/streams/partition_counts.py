"""How many partitions the internal topics of a topology need.

Kafka: RepartitionTopics, CopartitionedTopicsEnforcer, ChangelogTopics.

A repartition topic has as many as the largest topic that flows into it, unless its number is given; topics that are joined have
the same number; a changelog has as many as its subtopology has tasks.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Final

from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.streams.records import CopartitionGroup, Subtopology
from kafka_cy.coordinator.streams.statuses import INCORRECTLY_PARTITIONED_TOPICS
from kafka_cy.protocol.errors import ErrorCode

CountOf = Callable[[str], int | None]  # how many partitions a topic has; None if it does not exist

LOOPS: Final = (
    "Failed to compute number of partitions for all repartition topics. "
    "There may be loops in the topology that cannot be resolved."
)
NO_SINK: Final = (
    "Failed to compute number of partitions for all repartition topics, "
    "because a repartition source topic is never used as a sink topic."
)


class TopicProblem(Exception):
    """The topics that exist do not fit the topology: the group is not ready, with this status."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def invalid_topology(text: str) -> GroupError:
    """The topology can never run."""
    return GroupError(ErrorCode.STREAMS_INVALID_TOPOLOGY, text)


class PartitionCounts:
    """The computation for one topology, in linear time. All its source topics exist."""

    def __init__(self, subtopologies: Sequence[Subtopology], count_of: CountOf) -> None:
        self._subtopologies = subtopologies
        self._existing = count_of
        self.decided: dict[str, int] = {}  # of internal topics

    def count_of(self, name: str) -> int:
        """How many partitions the topic has, or shall have. Raises GroupError for an unknown one."""
        found = self._existing(name)
        if found is None:
            found = self.decided.get(name)
        if found is None:
            raise invalid_topology(f"Number of partitions is not set for topic: {name}")
        return found

    def tasks_count(self, subtopology: Subtopology) -> int:
        """As many tasks as the largest source topic has partitions. Raises GroupError if there is none."""
        names = [*subtopology.source_topics, *(each.name for each in subtopology.repartition_source_topics)]
        if not names:
            raise invalid_topology(f"No source topics found for subtopology {subtopology.subtopology_id}")
        return max(map(self.count_of, names))

    def decide(self) -> None:
        """Fill `decided`. Raises TopicProblem, and GroupError (STREAMS_INVALID_TOPOLOGY)."""
        self._decide_repartition_topics()
        for subtopology in self._subtopologies:
            for group in subtopology.copartition_groups:
                self._enforce_copartitioning(subtopology, group)
        for subtopology in self._subtopologies:
            count = self.tasks_count(subtopology)
            self.decided.update(dict.fromkeys((each.name for each in subtopology.state_changelog_topics), count))

    # -- repartition topics --

    def _decide_repartition_topics(self) -> None:
        """Visit subtopologies in their order, and again those that waited for a topic once its number is known."""
        readers: dict[str, list[int]] = {}
        for place, subtopology in enumerate(self._subtopologies):
            for topic in subtopology.repartition_source_topics:
                readers.setdefault(topic.name, []).append(place)
                if topic.partitions:
                    self.decided[topic.name] = topic.partitions
        visits = [(0, place) for place in range(len(self._subtopologies))]  # (round, place): a heap
        waiting: set[int] = set()
        while visits:
            turn, place = heapq.heappop(visits)
            subtopology = self._subtopologies[place]
            sinks = [name for name in subtopology.repartition_sink_topics if name not in self.decided]
            count = self._input_count(subtopology) if sinks else 0
            if count is None:
                waiting.add(place)
                continue
            waiting.discard(place)
            for name in sinks:
                self.decided[name] = count
                for reader in readers.get(name, ()):
                    if reader in waiting:
                        waiting.discard(reader)
                        heapq.heappush(visits, (turn + (reader < place), reader))
        if waiting:
            raise invalid_topology(LOOPS)
        if any(name not in self.decided for name in readers):
            raise invalid_topology(NO_SINK)

    def _input_count(self, subtopology: Subtopology) -> int | None:
        """The largest number of partitions of the inputs, as far as they are known."""
        found = [self.decided.get(each.name) for each in subtopology.repartition_source_topics]
        found += [self._existing(name) for name in subtopology.source_topics]
        return max((count for count in found if count is not None), default=None)

    # -- copartitioned topics --

    def _enforce_copartitioning(self, subtopology: Subtopology, group: CopartitionGroup) -> None:
        """Topics of the group have the same number of partitions. Repartition topics follow the others.

        If all are repartition topics, they follow one whose number is given (Kafka 4.3.1 takes one of any group), else the
        largest.
        """
        topics = subtopology.repartition_source_topics
        internal = {topics[index].name: self.count_of(topics[index].name) for index in group.repartition_source_topics}
        given = {topics[index].name for index in group.repartition_source_topics if topics[index].partitions}
        names = [subtopology.source_topics[index] for index in group.source_topics]
        others = {name: self.count_of(name) for name in names if name not in internal}
        if others:
            count = _same(others)
        elif internal:
            count = _same({name: internal[name] for name in given}) if given else max(internal.values())
        else:
            return
        for name in given:
            if internal[name] != count:
                text = f"Number of partitions [{internal[name]}] of repartition topic [{name}] "
                text += f"doesn't match number of partitions [{count}] of the source topic."
                raise TopicProblem(INCORRECTLY_PARTITIONED_TOPICS, text)
        self.decided.update(dict.fromkeys(internal, count))


def _same(counts: dict[str, int]) -> int:
    """The number that all topics have. Raises TopicProblem."""
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name}={counts[name]}" for name in sorted(counts))
        text = f"Following topics do not have the same number of partitions: [{{{each}}}]"
        raise TopicProblem(INCORRECTLY_PARTITIONED_TOPICS, text)
    return next(iter(counts.values()))
