"""AlterPartition: a leader asks the controller to change the ISR (KIP-497, KIP-704, KIP-903). Versions 0 to 3."""

from __future__ import annotations

import struct
from typing import NamedTuple
from uuid import UUID

from kafka_cy.protocol.controller_messages.wire import Input, Output
from kafka_cy.protocol.decoder import ELEMENTS_MAX

API_KEY = 56
VERSIONS = range(4)
FLEXIBLE_FROM = 0
TOPIC_IDS_FROM = 2  # before, topics are named
_ISR_EPOCHS_FROM = 3
_NO_ID = UUID(int=0)
_sender = struct.Struct(">iq")
_head = struct.Struct(">ih")
_changed = struct.Struct(">ihii")
_epochs = struct.Struct(">ii")


class IsrMember(NamedTuple):
    """A member of the new ISR. `broker_epoch`: as the leader knows it; -1 in ZooKeeper mode and before version 3."""

    broker_id: int
    broker_epoch: int = -1


class PartitionChange(NamedTuple):
    """The ISR that the leader wants, and the epochs of the state that it knows."""

    partition: int
    leader_epoch: int
    new_isr: tuple[IsrMember, ...]
    leader_recovery_state: int
    partition_epoch: int


class TopicChange(NamedTuple):
    """Partitions of one topic: named before version 2, with its id since then."""

    topic: str
    topic_id: UUID | None
    partitions: tuple[PartitionChange, ...]


class AlterPartitionRequest(NamedTuple):
    """The leader and its broker epoch."""

    broker_id: int
    broker_epoch: int
    topics: tuple[TopicChange, ...]

    @property
    def newest_version(self) -> int:
        """Topics are named if one of them has no id: inter.broker.protocol.version is below 2.8, or was when it was created."""
        has_ids = all(topic.topic_id is not None and topic.topic_id != _NO_ID for topic in self.topics)
        return VERSIONS[-1] if has_ids else TOPIC_IDS_FROM - 1

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(True)
        out += _sender.pack(self.broker_id, self.broker_epoch)
        out.array_length(len(self.topics))
        for topic in self.topics:
            _write_topic(out, topic.topic, topic.topic_id, version)
            out.array_length(len(topic.partitions))
            for change in topic.partitions:
                _write_change(out, change, version)
            out.no_tags()
        out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> AlterPartitionRequest:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, True, elements_max)
        broker_id, broker_epoch = given.fixed(_sender)
        topics = []
        for _ in range(given.array_length(3)):
            topic, topic_id = _read_topic(given, version)
            changes = tuple([_read_change(given, version) for _ in range(given.array_length(14))])
            given.skip_tags()
            topics.append(TopicChange(topic, topic_id, changes))
        given.skip_tags()
        return cls(broker_id, broker_epoch, tuple(topics))


class ChangedPartition(NamedTuple):
    """The state after the change; with an `error_code`, the other fields are 0 and empty."""

    partition: int
    error_code: int
    leader: int = 0
    leader_epoch: int = 0
    isr: tuple[int, ...] = ()
    leader_recovery_state: int = 0
    partition_epoch: int = 0


class ChangedTopic(NamedTuple):
    """Partitions of one topic: named before version 2, with its id since then."""

    topic: str
    topic_id: UUID | None
    partitions: tuple[ChangedPartition, ...]


class AlterPartitionResponse(NamedTuple):
    """With an `error_code`, nothing was done."""

    error_code: int
    topics: tuple[ChangedTopic, ...] = ()
    throttle_time_ms: int = 0

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(True)
        out += _head.pack(self.throttle_time_ms, self.error_code)
        out.array_length(len(self.topics))
        for topic in self.topics:
            _write_topic(out, topic.topic, topic.topic_id, version)
            out.array_length(len(topic.partitions))
            for each in topic.partitions:
                out += _changed.pack(each.partition, each.error_code, each.leader, each.leader_epoch)
                out.int32s(each.isr)
                if version >= 1:
                    out += struct.pack(">b", each.leader_recovery_state)
                out += struct.pack(">i", each.partition_epoch)
                out.no_tags()
            out.no_tags()
        out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> AlterPartitionResponse:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, True, elements_max)
        throttle_time_ms, error_code = given.fixed(_head)
        topics = []
        for _ in range(given.array_length(3)):
            topic, topic_id = _read_topic(given, version)
            changed = tuple([_read_changed(given, version) for _ in range(given.array_length(20))])
            given.skip_tags()
            topics.append(ChangedTopic(topic, topic_id, changed))
        given.skip_tags()
        return cls(error_code, tuple(topics), throttle_time_ms)


def _write_topic(out: Output, topic: str, topic_id: UUID | None, version: int) -> None:
    if version < TOPIC_IDS_FROM:
        out.string(topic)
    else:
        out.topic_id(topic_id)


def _read_topic(given: Input, version: int) -> tuple[str, UUID | None]:
    return (given.string(), None) if version < TOPIC_IDS_FROM else ("", given.topic_id())


def _write_change(out: Output, change: PartitionChange, version: int) -> None:
    out += _epochs.pack(change.partition, change.leader_epoch)
    if version < _ISR_EPOCHS_FROM:
        out.int32s([member.broker_id for member in change.new_isr])
    else:
        out.array_length(len(change.new_isr))
        for member in change.new_isr:
            out += _sender.pack(*member)
            out.no_tags()
    if version >= 1:
        out += struct.pack(">b", change.leader_recovery_state)
    out += struct.pack(">i", change.partition_epoch)
    out.no_tags()


def _read_change(given: Input, version: int) -> PartitionChange:
    partition, leader_epoch = given.fixed(_epochs)
    if version < _ISR_EPOCHS_FROM:
        new_isr = [IsrMember(broker_id) for broker_id in given.int32s()]
    else:
        new_isr = []
        for _ in range(given.array_length(13)):
            new_isr.append(IsrMember(*given.fixed(_sender)))
            given.skip_tags()
    recovery_state = given.int8() if version >= 1 else 0
    partition_epoch = given.int32()
    given.skip_tags()
    return PartitionChange(partition, leader_epoch, tuple(new_isr), recovery_state, partition_epoch)


def _read_changed(given: Input, version: int) -> ChangedPartition:
    partition, error_code, leader, leader_epoch = given.fixed(_changed)
    isr = given.int32s()
    recovery_state = given.int8() if version >= 1 else 0
    partition_epoch = given.int32()
    given.skip_tags()
    return ChangedPartition(partition, error_code, leader, leader_epoch, isr, recovery_state, partition_epoch)
