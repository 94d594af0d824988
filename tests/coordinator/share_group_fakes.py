"""A group coordinator and a share coordinator over partitions in memory, and shortcuts for requests about share groups."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.offsets import Altered, DeletedTopic, Described, GroupFailure
from kafka_cy.coordinator.share.requests import ShareHeartbeat
from kafka_cy.coordinator.share.state_coordinator import STATE_TOPIC, ShareCoordinator
from kafka_cy.coordinator.share.state_machine import SharePartition, ShareState
from kafka_cy.coordinator.share.state_requests import StateRequests
from kafka_cy.protocol.errors import ErrorCode

from .fakes import CONFIG, FakeCluster, FakeLoop, FakePartition, Harness
from .share_state import CONFIG as STATE_CONFIG
from .share_state import TrimmedPartition

SST = uuid.UUID("e6e7e27f-afca-4c2b-adad-cb279e5e6201")
ST6 = uuid.UUID("1fd3c9a1-e64e-494b-b407-6e7e2ce8a4b4")


class ShareCluster(FakeCluster):
    """Also hosts the topic of share states, and partitions of other topics."""

    def __init__(self, partitions: int = 50) -> None:
        super().__init__(partitions)
        self.states: dict[int, FakePartition] = {index: TrimmedPartition() for index in range(50)}
        self.logs: dict[tuple[str, int], FakePartition] = {}
        topic = SimpleNamespace(name=STATE_TOPIC, id=uuid.uuid4(), partitions=list(self.states))
        self.topics[STATE_TOPIC] = self.topic_by_id[topic.id] = topic

    def partition(self, topic: str, index: int) -> FakePartition | None:
        if topic == STATE_TOPIC:
            return self.states.get(index)
        return super().partition(topic, index) or self.logs.get((topic, index))


class ShareGroupHarness(Harness):
    """Topics st (2 partitions) and st6 (1)."""

    cluster: ShareCluster

    def __init__(self, cluster: ShareCluster | None = None, loop: FakeLoop | None = None, **config: Any) -> None:
        cluster, loop = cluster or ShareCluster(), loop or FakeLoop()
        self.forgotten: list[tuple[SharePartition, ErrorCode]] = []
        self.states = ShareCoordinator(CONFIG | STATE_CONFIG, cluster, loop)
        self.states.start()
        super().__init__(cluster, loop, **config)
        if "st" not in cluster.topics:
            self.topic("st", SST, 2)
            self.topic("st6", ST6, 1)
        loop.advance(0)  # both load

    def share_states(self) -> StateRequests | None:
        return StateRequests(self.states, lambda partition, error: self.forgotten.append((partition, error)))

    def topic(self, name: str, topic_id: uuid.UUID, partitions: int) -> None:
        """Create the topic, or add partitions."""
        topic = self.cluster.put_topic(name, topic_id, partitions)
        self.coordinator.topics.changed([topic], [])

    def delete_topic(self, name: str) -> None:
        topic = self.cluster.topics.pop(name)
        del self.cluster.topic_by_id[topic.id]
        self.coordinator.topics.changed([], [topic])
        self.coordinator.topics_deleted({name: topic.id})
        self.states.topics_deleted({name: topic.id})
        self.loop.advance(0)

    def beat(self, group: str, member: str, epoch: int, topics: Sequence[str] | None = None, **fields: Any) -> dict[str, Any]:
        """A heartbeat; fields that are not given are as before."""
        responses: list[dict[str, Any]] = []
        names = None if topics is None else tuple(topics)
        fields = {"client_id": "sh", "client_host": "/127.0.0.1"} | fields
        self.coordinator.share.heartbeat(ShareHeartbeat(group, member, epoch, topic_names=names, **fields), responses.append)
        while not responses and self.loop.timers and self.loop.timers[0][0] <= self.loop.time_s:
            self.loop.run_next()  # one with much work
        (response,) = responses
        return response

    def settle(self, group: str, member: str = "M1", topics: Sequence[str] = ("st",)) -> dict[str, Any]:
        """The first member joins, and gets its partitions."""
        self.beat(group, member, 0, topics)
        self.loop.advance(1.1)
        return self.beat(group, member, 2)

    def share_group(self, name: str) -> ShareGroup:
        group = self.group(name)
        assert isinstance(group, ShareGroup)
        return group

    def describe_share(self, group: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        for _ in self.coordinator.share.descriptions([group], found):
            pass
        return found[0]

    def alter(self, group: str, offsets: Mapping[str, Mapping[int, int]]) -> GroupFailure | dict[str, Altered]:
        found: list[Any] = []
        self.coordinator.share_offsets.alter(group, offsets, found.append)
        return found[0]  # type: ignore[no-any-return]

    def delete_offsets(self, group: str, *topics: str) -> GroupFailure | dict[str, DeletedTopic]:
        found: list[Any] = []
        self.coordinator.share_offsets.delete(group, topics, found.append)
        return found[0]  # type: ignore[no-any-return]

    def describe_offsets(self, group: str, asked: Mapping[str, Sequence[int]] | None = None) -> Described:
        found: list[Any] = []
        self.coordinator.share_offsets.describe(group, asked, lambda error, described: found.append((error, described)))
        ((error, described),) = found
        assert not error
        return described  # type: ignore[no-any-return]

    def state(self, group: str, topic_id: uuid.UUID, partition: int) -> ShareState | None:
        """The stored state of a share partition."""
        key = SharePartition(group, topic_id, partition)
        _, shard = self.states.runtime.shard_of(key.key)
        assert shard is not None
        return shard.state.states.get(key)


def assigned(response: Mapping[str, Any]) -> dict[uuid.UUID, list[int]] | None:
    """The partitions of a response; None if it has none."""
    if response["assignment"] is None:
        return None
    return {row["topic_id"]: row["partitions"] for row in response["assignment"]["topic_partitions"]}
