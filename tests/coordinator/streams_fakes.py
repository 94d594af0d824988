"""Requests of members of streams groups, with a broker that creates internal topics."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka_cy.coordinator.streams.group import StreamsGroup
from kafka_cy.coordinator.streams.internal_topics import InternalTopic
from kafka_cy.coordinator.streams.records import CopartitionGroup, KeyValue, Subtopology, TopicInfo, Topology
from kafka_cy.coordinator.streams.requests import StreamsHeartbeat
from kafka_cy.coordinator.streams.tasks import NO_TASKS, Tasks
from kafka_cy.protocol.errors import ErrorCode

from .fakes import Harness

SIN = uuid.UUID("c6872e2e-0452-44a0-90ef-d62bc8725c4e")
Owned = Mapping[str, Sequence[int]]


def internal(name: str, partitions: int = 0, **configs: str) -> TopicInfo:
    """A repartition topic or a changelog."""
    return TopicInfo(name, partitions, 1, tuple(KeyValue(key, value) for key, value in configs.items()))


def part(
    name: str, sources: Sequence[str] = (), *, sinks: Sequence[str] = (), reads: Sequence[TopicInfo] = (),
    changelogs: Sequence[TopicInfo] = (), copartitioned: Sequence[CopartitionGroup] = (),
) -> Subtopology:  # fmt: skip
    """A subtopology; `reads` are repartition topics."""
    return Subtopology(
        name, tuple(sources), (), tuple(changelogs), tuple(sinks), tuple(reads), tuple(copartitioned)
    )


SIMPLE = Topology(0, (part("0", ["sin"]),))
STATEFUL = Topology(0, (part("0", ["sin"], changelogs=[internal("g-changelog")]),))


def task_map(owned: Owned) -> dict[str, frozenset[int]]:
    return {name: frozenset(each) for name, each in owned.items() if each}


class StreamsHarness(Harness):
    """Topic sin with 2 partitions. Internal topics are created at once, unless `refused` says why not, or with create_late()."""

    def __init__(self, *arguments: Any, **config: Any) -> None:
        self.refused: dict[str, str] = {}
        self.created: list[InternalTopic] = []
        self.late: list[Callable[[], object]] | None = None  # creations that wait for create_late(), if it is a list
        super().__init__(*arguments, **config)
        if "sin" not in self.cluster.topics:
            self.topic("sin", 2, SIN)

    def create_topics(self, topics: Sequence[InternalTopic], sender: Any, done: Callable[[dict[str, str]], object]) -> None:
        if self.late is not None:
            self.late.append(lambda: self._create(topics, done))
        else:
            self._create(topics, done)

    def create_late(self) -> None:
        waiting, self.late = self.late or [], None
        for create in waiting:
            create()

    def _create(self, topics: Sequence[InternalTopic], done: Callable[[dict[str, str]], object]) -> None:
        for each in topics:
            if each.name not in self.refused:
                self.created.append(each)
                self.topic(each.name, each.partitions)
        done({each.name: self.refused[each.name] for each in topics if each.name in self.refused})

    def topic(self, name: str, partitions: int, topic_id: uuid.UUID | None = None) -> None:
        """Create the topic, or add partitions."""
        known = self.cluster.topics.get(name)
        topic_id = topic_id or (known.id if known is not None else uuid.uuid5(uuid.NAMESPACE_URL, name))
        self.coordinator.topics.changed([self.cluster.put_topic(name, topic_id, partitions)], [])

    def delete_topic(self, name: str) -> None:
        topic = self.cluster.topics.pop(name)
        del self.cluster.topic_by_id[topic.id]
        self.coordinator.topics.changed([], [topic])

    def send(self, request: StreamsHeartbeat) -> dict[str, Any]:
        responses: list[dict[str, Any]] = []
        self.coordinator.streams.heartbeat(request, responses.append)
        (response,) = responses
        return response

    def beat(
        self, group: str, member: str, epoch: int, owned: Owned | Tasks | None = None, **fields: Any
    ) -> dict[str, Any]:
        """A heartbeat; fields that are not given are as before. `owned`: active tasks."""
        tasks = owned if isinstance(owned, Tasks) or owned is None else Tasks(task_map(owned))
        if tasks is not None:
            fields = {"active": tasks.active, "standby": tasks.standby, "warmup": tasks.warmup} | fields
        fields = {"client_id": "sg", "client_host": "/127.0.0.1", "endpoint_epoch": 0} | fields
        return self.send(StreamsHeartbeat(group, member, epoch, **fields))

    def join_streams(
        self, group: str, member: str, topology: Topology = SIMPLE, *, process: str = "P1", **fields: Any
    ) -> dict[str, Any]:
        fields = {"rebalance_timeout_ms": 5000, "topology": topology, "process_id": process} | fields
        return self.beat(group, member, 0, NO_TASKS, **fields)

    def delete_offsets(self, topic: str, partition: int = 0, group: str = "g") -> ErrorCode:
        """OffsetDelete of one partition."""
        found: list[ErrorCode] = []
        key = (topic, partition)
        self.coordinator.delete_offsets(group, [key], lambda error, errors: found.append(error or errors[key]))
        return found[0]

    def streams_group(self, name: str = "g") -> StreamsGroup:
        group = self.group(name)
        assert isinstance(group, StreamsGroup)
        return group

    def describe_streams(self, group: str = "g") -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        for _ in self.coordinator.streams.descriptions([group], found):
            pass
        return found[0]


def tasks_in(response: Mapping[str, Any], role: str = "active") -> dict[str, list[int]] | None:
    """The tasks of a response; None if it has none."""
    rows = response[f"{role}_tasks"]
    return None if rows is None else {row["subtopology_id"]: row["partitions"] for row in rows}


def statuses(response: Mapping[str, Any]) -> list[int]:
    return [each["status_code"] for each in response["status"]]
