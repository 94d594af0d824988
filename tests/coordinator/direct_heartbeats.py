"""Heartbeats of share groups and streams groups that a reactor responds to, or, if it forwards them, the coordinator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from kafka_cy.coordinator.streams.tasks import Tasks

from .consumer_fakes import ConsumerHarness
from .direct_commits import Direct
from .fakes import FakeCluster
from .share_group_fakes import ShareCluster, ShareGroupHarness
from .streams_fakes import StreamsHarness, task_map

SETTLED_BEATS = 3


class DirectGroups(ABC):
    """Groups of one kind. `direct.harness` is their coordinator."""

    API_KEY: ClassVar[int]
    VERSION: ClassVar[int]
    KIND: ClassVar[Any]
    CLUSTER: ClassVar[Any] = FakeCluster
    CLIENT: ClassVar[bytes]
    SAID: ClassVar[list[dict[str, Any]]]  # each of them is something that a steady member does not say
    NOTHING: ClassVar[dict[str, Any]] = {}  # fields that cannot be left out
    QUIET: ClassVar[str] = "_changes_nothing"  # what the coordinator asks itself of each heartbeat first

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.direct = Direct(folder, kind=self.KIND, cluster=self.CLUSTER, **settings)
        self.harness = self.direct.harness

    def by_reactor(
        self, member: str, epoch: int, *, group: str = "g", client_id: bytes | None = None, **fields: Any
    ) -> dict[str, Any] | None:
        """The response of a reactor; None if it forwards the request."""
        values = {"group_id": group, "member_id": member, "member_epoch": epoch, **self.NOTHING, **fields}
        return self.direct.ask(self.API_KEY, self.VERSION, values, self.CLIENT if client_id is None else client_id)

    def by_coordinator(self, member: str, epoch: int, group: str = "g") -> dict[str, Any]:
        response: dict[str, Any] = self.harness.beat(group, member, epoch)
        return response

    def beat(self, member: str, epoch: int, group: str = "g") -> tuple[dict[str, Any], bool]:
        """A heartbeat that says nothing: the response, and whether it is a reactor's."""
        response = self.by_reactor(member, epoch, group=group)
        if response is not None:
            return response, True
        response = self.by_coordinator(member, epoch, group)
        self.direct.settle()
        return response, False

    @abstractmethod
    def join(self, member: str, group: str = "g") -> int:
        """Returns the member's epoch."""

    def acknowledge(self, member: str, epoch: int, group: str) -> int:
        """The member has what it is assigned. Returns its epoch."""
        return int(self.by_coordinator(member, epoch, group)["member_epoch"])

    def settled(self, *members: str, group: str = "g") -> int:
        """The members join, and get all that they are assigned; no reactor has heard of them yet. Returns the epoch."""
        epochs = {member: self.join(member, group) for member in members}
        for _ in range(SETTLED_BEATS):
            self.harness.loop.advance(1.1)
            for each in members:
                epochs[each] = self.acknowledge(each, epochs[each], group)
        for each in members:
            self.by_coordinator(each, epochs[each], group)
        assert self.harness.group(group).steady is not None and len(set(epochs.values())) == 1
        return epochs[members[0]]

    @abstractmethod
    def change_topics(self) -> None:
        """The topic that the members read gets another partition."""

    def grow(self, topic: str) -> None:
        """Another partition, as the coordinator hears of it."""
        known = self.harness.cluster.topics[topic]
        changed = self.harness.cluster.put_topic(topic, known.id, len(known.partitions) + 1)
        self.harness.coordinator.on_change(SimpleNamespace(changed=[changed], removed=[]))

    def members(self, group: str = "g") -> set[str]:
        return set(self.harness.group(group).members)


class DirectConsumerGroups(DirectGroups):
    """m1 is a static member, m2 subscribes with a regular expression, m3 by name."""

    API_KEY, VERSION, KIND, CLIENT = 68, 1, ConsumerHarness, b"k848"
    NOTHING: ClassVar[dict[str, Any]] = dict.fromkeys(("subscribed_topic_names", "topic_partitions"))
    QUIET = "_steady_for_s"

    def join(self, member: str, group: str = "g") -> int:
        said = {"m1": {"topic_names": ("ct",), "instance_id": "i1"}, "m2": {"topic_regex": "c."}, "m3": {"topic_names": ("ct",)}}
        response = self.harness.beat(group, member, 0, rebalance_timeout_ms=5000, owned={}, **said[member])
        return int(response["member_epoch"])

    def acknowledge(self, member: str, epoch: int, group: str) -> int:
        found = self.harness.group(group).members[member].assigned
        owned = {topic_id: list(each) for topic_id, each in found.items()}
        return int(self.harness.beat(group, member, epoch, owned=owned)["member_epoch"])

    def change_topics(self) -> None:
        self.grow("ct")


class DirectShareGroups(DirectGroups):
    API_KEY, VERSION, KIND, CLUSTER, CLIENT = 76, 1, ShareGroupHarness, ShareCluster, b"sh"
    QUIET = "changes_nothing"
    SAID: ClassVar[list[dict[str, Any]]] = [{"rack_id": "r"}, {"subscribed_topic_names": ["st"]}, {"client_id": b"other"}]

    def join(self, member: str, group: str = "g") -> int:
        epoch: int = self.harness.beat(group, member, 0, ["st"])["member_epoch"]
        return epoch

    def change_topics(self) -> None:
        self.grow("st")


class DirectStreamsGroups(DirectGroups):
    API_KEY, VERSION, KIND, CLIENT = 88, 0, StreamsHarness, b"sg"
    LISTS = ("active_tasks", "standby_tasks", "warmup_tasks", "client_tags", "task_offsets", "task_end_offsets")
    NOTHING: ClassVar[dict[str, Any]] = {"endpoint_information_epoch": 0, **dict.fromkeys(LISTS)}
    SAID: ClassVar[list[dict[str, Any]]] = [
        *({name: []} for name in LISTS),
        {"rack_id": "r"}, {"instance_id": "i"}, {"rebalance_timeout": 5000}, {"process_id": "P1"}, {"client_id": b"other"},
        {"topology": {"epoch": 0, "subtopologies": []}}, {"user_endpoint": {"host": "h", "port": 1}},
        {"shutdown_application": True}, {"endpoint_information_epoch": 1},
    ]  # fmt: skip

    def join(self, member: str, group: str = "g") -> int:
        epoch: int = self.harness.join_streams(group, member)["member_epoch"]
        return epoch

    def acknowledge(self, member: str, epoch: int, group: str) -> int:
        found = self.harness.group(group).members[member].assigned
        owned = Tasks(task_map(found.active), task_map(found.standby))
        response = self.harness.beat(group, member, epoch, owned=owned)
        return int(response["member_epoch"])

    def change_topics(self) -> None:
        self.grow("sin")
