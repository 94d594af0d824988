"""StopReplica: the controller tells a broker to stop replicas, and perhaps to delete them. Versions 0 to 4."""

from __future__ import annotations

import struct
from functools import partial
from typing import NamedTuple

from kafka_cy.protocol.controller_messages.wire import Input, Output
from kafka_cy.protocol.decoder import ELEMENTS_MAX

API_KEY = 5
VERSIONS = range(5)
FLEXIBLE_FROM = 2
OWN_DELETE_FROM = 3  # before, one flag says for all partitions whether they are deleted
NO_EPOCH = -1  # no check of the leader epoch
EPOCH_DURING_DELETE = -2  # of a topic that is deleted: overrides every epoch
_epoch = struct.Struct(">q")
_partition = struct.Struct(">ii?")
_error = struct.Struct(">ih")


class StopReplicaPartition(NamedTuple):
    """One replica; `leader_epoch` is -1 before version 3."""

    partition: int
    leader_epoch: int
    delete_partition: bool


class StopReplicaTopic(NamedTuple):
    """Replicas of one topic."""

    topic: str
    partitions: tuple[StopReplicaPartition, ...]


class StopReplicaRequest(NamedTuple):
    """Before version 3, all partitions must have the same `delete_partition`; `delete_all` says so without any partition."""

    controller_id: int
    controller_epoch: int
    broker_epoch: int
    topics: tuple[StopReplicaTopic, ...]
    is_kraft_controller: bool = False
    delete_all: bool = False

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(version >= FLEXIBLE_FROM)
        out += self.encode_head(version)
        if version < OWN_DELETE_FROM:
            deletes = [partition.delete_partition for topic in self.topics for partition in topic.partitions]
            if len(set(deletes)) > 1:
                raise ValueError(f"version {version} deletes all partitions or none")
            out.append(deletes[0] if deletes else self.delete_all)
        out.topics(self.topics, partial(encode_partition, version=version), with_topics=version > 0)
        out.no_tags()
        return bytes(out)

    def encode_head(self, version: int) -> bytes:
        """The fields before the topics, and before the flag of a version that has one for all."""
        out = bytearray(struct.pack(">i", self.controller_id))
        if version >= 4:
            out.append(self.is_kraft_controller)
        out += struct.pack(">i", self.controller_epoch)
        if version >= 1:
            out += _epoch.pack(self.broker_epoch)
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> StopReplicaRequest:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, version >= FLEXIBLE_FROM, elements_max)
        controller_id = given.int32()
        is_kraft = given.boolean() if version >= 4 else False
        controller_epoch = given.int32()
        broker_epoch = given.fixed(_epoch)[0] if version >= 1 else -1
        delete_all = given.boolean() if version < OWN_DELETE_FROM else False
        if version == 0:
            topics = _read_partitions(given, delete_all)
        else:
            topics = tuple([_read_topic(given, version, delete_all) for _ in range(given.array_length(3))])
        given.skip_tags()
        return cls(controller_id, controller_epoch, broker_epoch, topics, is_kraft, delete_all)


class StoppedPartition(NamedTuple):
    """What became of one replica."""

    topic: str
    partition: int
    error_code: int


class StopReplicaResponse(NamedTuple):
    """With an `error_code`, nothing was done."""

    error_code: int
    partitions: tuple[StoppedPartition, ...] = ()

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(version >= FLEXIBLE_FROM)
        out += struct.pack(">h", self.error_code)
        out.array_length(len(self.partitions))
        for topic, partition, error_code in self.partitions:
            out.string(topic)
            out += _error.pack(partition, error_code)
            out.no_tags()
        out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> StopReplicaResponse:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, version >= FLEXIBLE_FROM, elements_max)
        error_code = given.int16()
        partitions = []
        for _ in range(given.array_length(7)):
            topic = given.string()
            partition, partition_error = given.fixed(_error)
            given.skip_tags()
            partitions.append(StoppedPartition(topic, partition, partition_error))
        given.skip_tags()
        return cls(error_code, tuple(partitions))


def encode_partition(partition: StopReplicaPartition, version: int) -> bytes:
    """One replica."""
    if version < OWN_DELETE_FROM:
        return struct.pack(">i", partition.partition)
    return _partition.pack(*partition) + b"\0"  # without tags


def _read_topic(given: Input, version: int, delete_all: bool) -> StopReplicaTopic:
    topic = given.string()
    partitions: list[StopReplicaPartition] = []
    if version < OWN_DELETE_FROM:
        partitions = [StopReplicaPartition(partition, NO_EPOCH, delete_all) for partition in given.int32s()]
    else:
        for _ in range(given.array_length(10)):
            partition, leader_epoch, delete = given.fixed(_partition)
            partitions.append(StopReplicaPartition(partition, leader_epoch, bool(delete)))
            given.skip_tags()
    given.skip_tags()
    return StopReplicaTopic(topic, tuple(partitions))


def _read_partitions(given: Input, delete_all: bool) -> tuple[StopReplicaTopic, ...]:
    """Version 0 names the topic with each partition: those of one topic that follow each other belong together."""
    topics: list[tuple[str, list[StopReplicaPartition]]] = []
    for _ in range(given.array_length(6)):
        topic = given.string()
        if not topics or topics[-1][0] != topic:
            topics.append((topic, []))
        topics[-1][1].append(StopReplicaPartition(given.int32(), NO_EPOCH, delete_all))
    return tuple([StopReplicaTopic(topic, tuple(partitions)) for topic, partitions in topics])
