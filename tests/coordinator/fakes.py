"""A loop whose clock the test controls, a partition that keeps its batches, and a cluster with both, without a broker."""

from __future__ import annotations

import heapq
import itertools
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self

from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.requests import JoinRequest, SyncRequest
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.group_coordinator import OFFSETS_TOPIC, GroupCoordinator
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.state_requests import StateRequests
from kafka_cy.coordinator.state_machine import GroupStateMachine
from kafka_cy.coordinator.streams.group import StreamsGroup
from kafka_cy.coordinator.streams.internal_topics import InternalTopic
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import iterate_batches
from kafka_cy.storage.hosted_partition import STATE_ONLINE
from kafka_cy.storage.log import StorageFailure

CONFIG = {
    "group.initial.rebalance.delay.ms": 1000,
    "group.min.session.timeout.ms": 1000,
    "group.max.session.timeout.ms": 1_800_000,
    "group.max.size": 2**31 - 1,
    "kafkacy.committed.offsets.max.bytes": 1 << 30,
    "kafkacy.groups.max.bytes": 1 << 30,
    "group.coordinator.rebalance.protocols": ["classic", "consumer", "streams"],
    "group.consumer.assignors": ["uniform", "range"],
    "group.consumer.max.size": 2**31 - 1,
    "group.consumer.migration.policy": "bidirectional",
    "group.consumer.regex.refresh.interval.ms": 600_000,
    "group.consumer.session.timeout.ms": 45_000,
    "group.consumer.heartbeat.interval.ms": 5000,
    "group.consumer.assignment.interval.ms": 1000,
    "group.consumer.min.session.timeout.ms": 45_000,
    "group.consumer.max.session.timeout.ms": 60_000,
    "group.consumer.min.heartbeat.interval.ms": 5000,
    "group.consumer.max.heartbeat.interval.ms": 15_000,
    "group.consumer.min.assignment.interval.ms": 0,
    "group.consumer.max.assignment.interval.ms": 15_000,
    "group.share.max.size": 200,
    "group.share.initialize.retry.interval.ms": 30_000,
    "group.share.session.timeout.ms": 45_000,
    "group.share.heartbeat.interval.ms": 5000,
    "group.share.assignment.interval.ms": 1000,
    "group.share.min.session.timeout.ms": 45_000,
    "group.share.max.session.timeout.ms": 60_000,
    "group.share.min.heartbeat.interval.ms": 5000,
    "group.share.max.heartbeat.interval.ms": 15_000,
    "group.share.min.assignment.interval.ms": 0,
    "group.share.max.assignment.interval.ms": 15_000,
    "group.streams.max.size": 2**31 - 1,
    "group.streams.initial.rebalance.delay.ms": 1000,
    "group.streams.num.standby.replicas": 0,
    "group.streams.max.standby.replicas": 2,
    "group.streams.session.timeout.ms": 45_000,
    "group.streams.heartbeat.interval.ms": 5000,
    "group.streams.assignment.interval.ms": 1000,
    "group.streams.min.session.timeout.ms": 45_000,
    "group.streams.max.session.timeout.ms": 60_000,
    "group.streams.min.heartbeat.interval.ms": 5000,
    "group.streams.max.heartbeat.interval.ms": 15_000,
    "group.streams.min.assignment.interval.ms": 0,
    "group.streams.max.assignment.interval.ms": 15_000,
    "broker.rack": None,
    "message.max.bytes": 1_048_588,
    "inter.broker.protocol.version": "3.9",
    "offsets.topic.compression.codec": 0,
    "offset.metadata.max.bytes": 4096,
    "offsets.retention.minutes": 10080,
    "offsets.commit.timeout.ms": 5000,
    "offsets.retention.check.interval.ms": 600_000,
}
STORAGE_NOT_LEADER = 11
SUBSCRIPTION = bytes.fromhex("00010000000100026374ffffffff00000000")  # topic "ct"


def subscription(names: Sequence[str]) -> bytes:
    """What a consumer sends in JoinGroup (version 0)."""
    parts = [struct.pack(">hi", 0, len(names))]
    parts += [struct.pack(">h", len(name)) + name.encode() for name in names]
    return b"".join(parts) + struct.pack(">i", -1)




class FakeLoop:
    def __init__(self) -> None:
        self.time_s = 100.0
        self.timers: list[tuple[float, int, SimpleNamespace]] = []
        self.order = itertools.count()
        self.threads: list[tuple[Callable[[], object], Callable[[], object]]] | None = None

    def now(self) -> float:
        return self.time_s

    def wall_clock_ms(self) -> int:
        return 1_700_000_000_000 + int(self.time_s * 1000)

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: Any) -> Any:
        timer = SimpleNamespace(function=function, arguments=arguments)
        timer.cancel = lambda: setattr(timer, "function", None)
        heapq.heappush(self.timers, (self.time_s + delay_s, next(self.order), timer))
        return timer

    def call_soon_threadsafe(self, function: Callable[..., object], *arguments: Any) -> None:
        function(*arguments)

    def run_in_thread(self, work: Callable[[], object], done: Callable[[], object]) -> None:
        """At once; `threads` keeps the work for the test, if it is a list."""
        if self.threads is not None:
            self.threads.append((work, done))
            return
        work()
        done()

    def repeat(self, interval_s: float, function: Callable[..., object], *arguments: Any) -> Any:
        def again() -> None:
            function(*arguments)
            if timer.function is not None:
                heapq.heappush(self.timers, (self.time_s + interval_s, next(self.order), timer))

        timer = self.call_later(interval_s, again)
        return timer

    def run_next(self) -> None:
        """Run only the next due timer."""
        due, _, timer = heapq.heappop(self.timers)
        assert due <= self.time_s
        if timer.function is not None:
            timer.function(*timer.arguments)

    def advance(self, seconds: float) -> None:
        end = self.time_s + seconds
        while self.timers and self.timers[0][0] <= end:
            due, _, timer = heapq.heappop(self.timers)
            self.time_s = max(self.time_s, due)
            if timer.function is not None:
                timer.function(*timer.arguments)
        self.time_s = end

    @property
    def pending(self) -> int:
        return sum(timer.function is not None for _, _, timer in self.timers)


@dataclass
class FakePartition:
    log_start_offset: int = 0
    high_watermark: int = 0
    batches: list[bytes] = field(default_factory=list)
    failing: Exception | None = None
    state: int = 0
    held: bool = False  # the high watermark does not follow the appends
    log_end_offset: int = 0
    watched: bool = False
    leader_since_epoch: int = 0

    def check_leader(self, leader_since: int) -> None:
        if self.state != STATE_ONLINE or leader_since not in (-1, self.leader_since_epoch):
            raise StorageFailure("this broker does not lead the partition", STORAGE_NOT_LEADER)

    def append(self, batch: bytes, origin: str, leader_since: int = -1) -> int:
        assert origin == "coordinator"
        self.check_leader(leader_since)
        if self.failing is not None:
            raise self.failing
        (parsed,) = iterate_batches(batch)
        assert (parsed.base_sequence, parsed.producer_id, parsed.attributes & ~0x07) == (0, -1, 0)  # any codec
        base = self.log_end_offset
        self.batches.append(rebase(batch, base))
        self.log_end_offset = base + parsed.last_offset_delta + 1
        if not self.held:
            self.high_watermark = self.log_end_offset
        return base

    def watch(self) -> None:
        self.watched = True

    def read(self, offset: int, max_bytes: int, end_offset: int) -> bytes:
        found = b""
        for batch in self.batches:
            if offset <= next(iter(iterate_batches(batch))).last_offset < end_offset:
                if found and len(found) + len(batch) > max_bytes:
                    break
                found += batch
        return found

    def records(self) -> list[tuple[bytes, bytes | None]]:
        return [(r.key or b"", r.value) for data in self.batches for b in iterate_batches(data) for r in b.records()]


def rebase(batch: bytes, base_offset: int) -> bytes:
    return base_offset.to_bytes(8, "big") + batch[8:]


def replayed(pairs: Iterable[tuple[bytes, bytes | None]]) -> GroupStateMachine:
    """The groups that loading a log with these records creates, without soft state."""
    machine = GroupStateMachine({}, lambda *_: None)
    for offset, (key, value) in enumerate(pairs):
        record = machine.decode(key, value)
        if record is not None:
            machine.replay(record, offset)
    for group in machine.groups.values():
        if isinstance(group, ClassicGroup):
            group.restore(0.0)
    return machine


def replicated(machine: GroupStateMachine) -> dict[str, Any]:
    """The stored state of each group as comparable values."""
    return {
        name: (stored_state(group), {topic: dict(partitions) for topic, partitions in group.offsets.items()})
        for name, group in machine.groups.items()
        if group.is_recorded or group.offsets
    }


def observe_replays(machine: GroupStateMachine, held: list[dict[str, Any]]) -> None:
    """Add the stored state to `held` after each record that is replayed."""
    replay, replay_steps = machine.replay, machine.replay_steps

    def observed(record: Any, offset: int, producer_id: int = -1) -> None:
        replay(record, offset, producer_id)
        held.append(replicated(machine))

    def observed_steps(record: Any, offset: int, producer_id: int = -1) -> Iterator[object]:
        yield from replay_steps(record, offset, producer_id)
        held.append(replicated(machine))

    machine.replay, machine.replay_steps = observed, observed_steps  # type: ignore[method-assign]


def stored_state(group: Any) -> Any:
    if isinstance(group, ClassicGroup):
        return group.stored
    if isinstance(group, ShareGroup):
        return (
            group.recorded, group.epoch, group.metadata_hash, group.assignment_epoch, group.assignment_timestamp_ms,
            dict(group.members), dict(group.target), group.states, group.states_recorded, dict(group.by_name), group.held_bytes,
        )  # fmt: skip
    if isinstance(group, StreamsGroup):
        return (
            group.recorded, group.epoch, group.metadata_hash, group.validated_epoch, group.assignment_configs,
            group.assignment_epoch, group.assignment_timestamp_ms, dict(group.members), dict(group.target), group.topology,
            group.owners.stored(), dict(group.facts.subtopology_of), group.held_bytes,
        )  # fmt: skip
    assert isinstance(group, ConsumerGroup)
    subscriptions = group.subscriptions
    return (
        group.recorded, group.epoch, group.metadata_hash, group.assignment_epoch, group.assignment_timestamp_ms,
        dict(group.members), dict(group.target), dict(subscriptions.resolved), dict(subscriptions.by_name),
        dict(subscriptions.by_regex), dict(subscriptions.regexes), dict(group.static_members),
        {topic_id: dict(each) for topic_id, each in group.owners.items()}, dict(group.classic_protocols), group.held_bytes,
    )  # fmt: skip


class FakeCluster:
    def __init__(self, partitions: int = 50) -> None:
        self.hosted = {index: FakePartition() for index in range(partitions)}
        topic = SimpleNamespace(name=OFFSETS_TOPIC, id=uuid.uuid4(), partitions=list(self.hosted))
        self.topics = {OFFSETS_TOPIC: topic}
        self.topic_by_id = {topic.id: topic}
        self.broker_id = 0
        self.features = SimpleNamespace(levels={"group.version": 1, "share.version": 1, "streams.version": 1})
        self.configs: dict[tuple[str, str], dict[str, str]] = {}
        self.listeners: list[Any] = []

    def partition_count(self, name: str) -> int:
        return len(self.topics[name].partitions) if name in self.topics else 0

    def partition(self, topic: str, index: int) -> FakePartition | None:
        return self.hosted.get(index) if topic == OFFSETS_TOPIC else None

    def find_config(self, entity_type: str, entity_name: str) -> dict[str, str] | None:
        return self.configs.get((entity_type, entity_name))

    def put_topic(self, name: str, topic_id: uuid.UUID, partitions: int) -> Any:
        """Create the topic, or give it that many partitions. Returns it."""
        rows = [SimpleNamespace(index=index, replicas=[0]) for index in range(partitions)]
        topic = SimpleNamespace(name=name, id=topic_id, partitions=rows)
        self.topics[name] = self.topic_by_id[topic_id] = topic
        return topic

    def add_listener(self, listener: Any) -> None:
        self.listeners.append(listener)


class Harness:
    """A coordinator with its environment, and shortcuts for requests."""

    def __init__(self, cluster: FakeCluster | None = None, loop: FakeLoop | None = None, **config: Any) -> None:
        self.loop = loop or FakeLoop()
        self.cluster = cluster or FakeCluster()
        config = CONFIG | {key.replace("_", "."): value for key, value in config.items()}
        self.coordinator = GroupCoordinator(
            config, self.cluster, self.loop, share_states=self.share_states(), create_topics=self.create_topics
        )
        self.coordinator.start()

    def share_states(self) -> StateRequests | None:
        """Requests to a share coordinator, for harnesses that have one."""
        return None

    def create_topics(self, topics: Sequence[InternalTopic], sender: Any, done: Callable[[dict[str, str]], object]) -> None:
        """Create internal topics of streams groups."""
        raise NotImplementedError

    def reload(self, **config: Any) -> Self:
        """Another coordinator over the same log."""
        return type(self)(self.cluster, self.loop, **config)

    def join(
        self, group: str = "g", member: str = "", *, instance: str | None = None, protocols: Any = None,
        client: str = "c", session_ms: int = 10_000, rebalance_ms: int = 30_000, kind: str = "consumer",
        known: bool = False, skip: bool = True,
    ) -> list[dict[str, Any]]:  # fmt: skip
        responses: list[dict[str, Any]] = []
        protocols = [("range", SUBSCRIPTION)] if protocols is None else protocols
        self.coordinator.classic.join(
            JoinRequest(
                group, member, instance, client, "/127.0.0.1", session_ms, rebalance_ms, kind, protocols, known, skip
            ),
            responses.append,
        )
        return responses

    def sync(
        self, member: str, generation: int, assignments: dict[str, bytes] | None = None, *, group: str = "g",
        instance: str | None = None, kind: str | None = None, protocol: str | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        responses: list[dict[str, Any]] = []
        request = SyncRequest(group, generation, member, instance, kind, protocol, assignments or {})
        self.coordinator.classic.sync(request, responses.append)
        return responses

    def heartbeat(self, member: str, generation: int, *, group: str = "g", instance: str | None = None) -> ErrorCode:
        found: list[ErrorCode] = []
        self.coordinator.classic.heartbeat(group, member, instance, generation, found.append)
        return found[0]

    def commit(
        self, *, group: str = "g", member: str = "", generation: int = -1, instance: str | None = None,
        topic: str = "ct", partition: int = 0, offset: int = 5, metadata: str | None = None, retention_ms: int = -1,
        new: bool = True, topic_id: uuid.UUID | None = None,
    ) -> ErrorCode:  # fmt: skip
        found: list[ErrorCode] = []
        each = CommitPartition(topic, topic_id, partition, offset, -1, metadata)
        request = CommitRequest(group, generation, member, instance, retention_ms, new, [each])
        self.coordinator.commit(request, lambda error, errors: found.append(error or errors[topic, partition]))
        return found[0]

    def stable(self, members: int = 1, *, group: str = "g", **options: Any) -> tuple[list[str], int]:
        """A Stable group with this many members (the leader first), and its generation."""
        waiting = [self.join(group, **options) for _ in range(members)]
        while not all(waiting):
            self.loop.advance(0.25)
        responses = [response[0] for response in waiting]
        leader, generation = responses[0]["leader"], responses[0]["generation_id"]
        names = sorted((response["member_id"] for response in responses), key=lambda name: name != leader)
        for name in reversed(names):
            assert (
                not self.sync(name, generation, {each: each.encode() for each in names}, group=group) or name == leader
            )
        return names, generation

    def leave(
        self, members: list[tuple[str, str | None]], *, group: str = "g"
    ) -> tuple[ErrorCode, list[dict[str, Any]]]:
        found: list[tuple[ErrorCode, list[dict[str, Any]]]] = []
        self.coordinator.classic.leave(group, members, lambda error, left: found.append((error, left)))
        return found[0]

    def delete_group(self, group: str = "g") -> ErrorCode:
        found: list[ErrorCode] = []
        self.coordinator.deletion.delete_group(group, found.append)
        return found[0]

    def describe(self, group: str = "g", version: int = 6) -> dict[str, Any]:
        from kafka_cy.api.describe_groups import handle

        body = SimpleNamespace(groups=[group], include_authorized_operations=False)
        request = SimpleNamespace(api_version=version, authorizer=None, body=body)
        (described,) = handle(request, SimpleNamespace(groups=self.coordinator))["groups"]  # type: ignore[arg-type]
        return dict(described)

    def partition_index(self, group: str = "g") -> int:
        index = self.coordinator.runtime.partition_index(group)
        assert index is not None
        return index

    def group(self, name: str = "g") -> Any:
        error, group = self.coordinator.group(name)
        assert not error
        return group

    def written(self, group: str = "g") -> list[tuple[bytes, bytes | None]]:
        return self.cluster.hosted[self.partition_index(group)].records()
