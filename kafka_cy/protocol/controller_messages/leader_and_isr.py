"""LeaderAndIsr: the controller tells a broker which partitions it leads or follows. Versions 0 to 7."""

from __future__ import annotations

import struct
from functools import partial
from typing import NamedTuple
from uuid import UUID

from kafka_cy.protocol.controller_messages.wire import Input, Output
from kafka_cy.protocol.decoder import ELEMENTS_MAX

API_KEY = 4
VERSIONS = range(8)
FLEXIBLE_FROM = 4
_TOPICS_FROM = 2  # before, each partition names its topic
TOPIC_IDS_FROM = 5
_RECOVERY_STATE_FROM = 6
_partition = struct.Struct(">iiii")
_epoch = struct.Struct(">q")
_error = struct.Struct(">ih")


class PartitionState(NamedTuple):
    """The state of one partition. `controller_epoch` is of the controller that wrote it; `is_new`: the replica may be created.

    `leader` -1: there is none. `leader_recovery_state` 1: elected uncleanly and not yet recovered (version 6 and later).
    """

    partition: int
    controller_epoch: int
    leader: int
    leader_epoch: int
    isr: tuple[int, ...]
    partition_epoch: int
    replicas: tuple[int, ...]
    adding_replicas: tuple[int, ...] = ()
    removing_replicas: tuple[int, ...] = ()
    is_new: bool = False
    leader_recovery_state: int = 0


class TopicState(NamedTuple):
    """Partitions of one topic; the id is None before version 5."""

    topic: str
    topic_id: UUID | None
    partitions: tuple[PartitionState, ...]


class LiveLeader(NamedTuple):
    """The inter-broker endpoint of a broker that leads one of the partitions."""

    broker_id: int
    host: str
    port: int


class LeaderAndIsrRequest(NamedTuple):
    """`broker_epoch` is the receiver's (-1 before version 2). `type`: 0 from a ZooKeeper controller, 1 incremental, 2 full."""

    controller_id: int
    controller_epoch: int
    broker_epoch: int
    topics: tuple[TopicState, ...]
    live_leaders: tuple[LiveLeader, ...]
    is_kraft_controller: bool = False
    type: int = 0

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(version >= FLEXIBLE_FROM)
        out += self.encode_head(version)
        encode = partial(encode_state, version=version)
        out.topics(self.topics, encode, with_topics=version >= _TOPICS_FROM, with_ids=version >= TOPIC_IDS_FROM)
        out += self.encode_end(version)
        return bytes(out)

    def encode_head(self, version: int) -> bytes:
        """The fields before the topics."""
        out = bytearray(struct.pack(">i", self.controller_id))
        if version >= 7:
            out.append(self.is_kraft_controller)
        out += struct.pack(">i", self.controller_epoch)
        if version >= 2:
            out += _epoch.pack(self.broker_epoch)
        if version >= 5:
            out += struct.pack(">b", self.type)
        return bytes(out)

    def encode_end(self, version: int) -> bytes:
        """The fields after the topics."""
        out = Output(version >= FLEXIBLE_FROM)
        out.array_length(len(self.live_leaders))
        for leader in self.live_leaders:
            out += struct.pack(">i", leader.broker_id)
            out.string(leader.host)
            out += struct.pack(">i", leader.port)
            out.no_tags()
        out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> LeaderAndIsrRequest:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, version >= FLEXIBLE_FROM, elements_max)
        controller_id = given.int32()
        is_kraft = given.boolean() if version >= 7 else False
        controller_epoch = given.int32()
        broker_epoch = given.fixed(_epoch)[0] if version >= 2 else -1
        type_ = given.int8() if version >= 5 else 0
        if version < _TOPICS_FROM:
            topics = _read_partitions(given, version)
        else:
            topics = tuple([_read_topic(given, version) for _ in range(given.array_length(6))])
        leaders = tuple([_read_leader(given) for _ in range(given.array_length(9))])
        given.skip_tags()
        return cls(controller_id, controller_epoch, broker_epoch, topics, leaders, is_kraft, type_)


class PartitionError(NamedTuple):
    """What became of one partition; 11 (STALE_CONTROLLER_EPOCH) stands for a known leader epoch, too."""

    partition: int
    error_code: int


class TopicErrors(NamedTuple):
    """Partitions of one topic: named before version 5, with its id since then."""

    topic: str
    topic_id: UUID | None
    partitions: tuple[PartitionError, ...]


class LeaderAndIsrResponse(NamedTuple):
    """With an `error_code`, nothing was done."""

    error_code: int
    topics: tuple[TopicErrors, ...] = ()

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(version >= FLEXIBLE_FROM)
        out += struct.pack(">h", self.error_code)
        if version < 5:
            out.array_length(sum(len(topic.partitions) for topic in self.topics))
            for topic in self.topics:
                for partition in topic.partitions:
                    out.string(topic.topic)
                    out += _error.pack(*partition)
                    out.no_tags()
        else:
            out.array_length(len(self.topics))
            for topic in self.topics:
                out.topic_id(topic.topic_id)
                out.array_length(len(topic.partitions))
                for partition in topic.partitions:
                    out += _error.pack(*partition)
                    out.no_tags()
                out.no_tags()
        out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> LeaderAndIsrResponse:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, version >= FLEXIBLE_FROM, elements_max)
        error_code = given.int16()
        topics: list[tuple[str, UUID | None, list[PartitionError]]] = []
        for _ in range(given.array_length(7)):
            if version < 5:
                topic = given.string()
                if not topics or topics[-1][0] != topic:
                    topics.append((topic, None, []))
                topics[-1][2].append(_read_error(given))
            else:
                topic_id = given.topic_id()
                topics.append(("", topic_id, [_read_error(given) for _ in range(given.array_length(6))]))
                given.skip_tags()
        given.skip_tags()
        return cls(error_code, tuple([TopicErrors(name, id_, tuple(errors)) for name, id_, errors in topics]))


def encode_state(state: PartitionState, version: int) -> bytes:
    """One partition: equal for all brokers that hear of it, hence encoded once."""
    out = Output(version >= FLEXIBLE_FROM)
    _write_state(out, state, version)
    return bytes(out)


def _write_state(out: Output, state: PartitionState, version: int) -> None:
    out += _partition.pack(state.partition, state.controller_epoch, state.leader, state.leader_epoch)
    out.int32s(state.isr)
    out += struct.pack(">i", state.partition_epoch)
    out.int32s(state.replicas)
    if version >= 3:
        out.int32s(state.adding_replicas)
        out.int32s(state.removing_replicas)
    if version >= 1:
        out.append(state.is_new)
    if version >= _RECOVERY_STATE_FROM:
        out += struct.pack(">b", state.leader_recovery_state)
    out.no_tags()


def _read_state(given: Input, version: int) -> PartitionState:
    partition, controller_epoch, leader, leader_epoch = given.fixed(_partition)
    isr = given.int32s()
    partition_epoch = given.int32()
    replicas = given.int32s()
    adding = given.int32s() if version >= 3 else ()
    removing = given.int32s() if version >= 3 else ()
    is_new = given.boolean() if version >= 1 else False
    recovery_state = given.int8() if version >= _RECOVERY_STATE_FROM else 0
    given.skip_tags()
    return PartitionState(
        partition,
        controller_epoch,
        leader,
        leader_epoch,
        isr,
        partition_epoch,
        replicas,
        adding,
        removing,
        is_new,
        recovery_state,
    )


def _read_topic(given: Input, version: int) -> TopicState:
    topic = given.string()
    topic_id = given.topic_id() if version >= 5 else None
    states = tuple([_read_state(given, version) for _ in range(given.array_length(22))])
    given.skip_tags()
    return TopicState(topic, topic_id, states)


def _read_partitions(given: Input, version: int) -> tuple[TopicState, ...]:
    """Partitions of a version that names the topic in each: those of one topic that follow each other belong together."""
    topics: list[tuple[str, list[PartitionState]]] = []
    for _ in range(given.array_length(30)):
        topic = given.string()
        if not topics or topics[-1][0] != topic:
            topics.append((topic, []))
        topics[-1][1].append(_read_state(given, version))
    return tuple([TopicState(topic, None, tuple(states)) for topic, states in topics])


def _read_leader(given: Input) -> LiveLeader:
    leader = LiveLeader(given.int32(), given.string(), given.int32())
    given.skip_tags()
    return leader


def _read_error(given: Input) -> PartitionError:
    partition, error_code = given.fixed(_error)
    given.skip_tags()
    return PartitionError(partition, error_code)
