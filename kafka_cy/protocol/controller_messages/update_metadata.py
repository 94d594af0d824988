"""UpdateMetadata: the controller tells a broker about the cluster's partitions and brokers. Versions 0 to 8."""

from __future__ import annotations

import struct
from functools import partial
from typing import NamedTuple
from uuid import UUID

from kafka_cy.protocol.controller_messages.wire import Input, Output
from kafka_cy.protocol.decoder import ELEMENTS_MAX, MalformedRequest

API_KEY = 6
VERSIONS = range(9)
FLEXIBLE_FROM = 6
_TOPICS_FROM = 5  # before, each partition names its topic
TOPIC_IDS_FROM = 7
_TYPE_TAG = 0
LEADER_NONE = -1
LEADER_DURING_DELETE = -2  # of a partition whose topic is deleted
SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")  # by their number
_epoch = struct.Struct(">q")
_partition = struct.Struct(">iiii")


class UpdateMetadataPartition(NamedTuple):
    """The state of one partition. `zk_version` is the partition epoch. `offline_replicas`: version 4 and later."""

    partition: int
    controller_epoch: int
    leader: int
    leader_epoch: int
    isr: tuple[int, ...]
    zk_version: int
    replicas: tuple[int, ...]
    offline_replicas: tuple[int, ...] = ()


class UpdateMetadataTopic(NamedTuple):
    """Partitions of one topic; the id is None before version 7."""

    topic: str
    topic_id: UUID | None
    partitions: tuple[UpdateMetadataPartition, ...]


class UpdateMetadataEndpoint(NamedTuple):
    """An endpoint. The listener has the name of its security protocol (a number, see SECURITY_PROTOCOLS) before version 3."""

    port: int
    host: str
    listener: str
    security_protocol: int


class UpdateMetadataBroker(NamedTuple):
    """A live broker. Before version 1 it has one PLAINTEXT endpoint, before version 2 no rack."""

    broker_id: int
    endpoints: tuple[UpdateMetadataEndpoint, ...]
    rack: str | None = None


class UpdateMetadataRequest(NamedTuple):
    """`live_brokers` are all live brokers; `topics` only what changed. `type`: 0 from a ZooKeeper controller."""

    controller_id: int
    controller_epoch: int
    broker_epoch: int
    topics: tuple[UpdateMetadataTopic, ...]
    live_brokers: tuple[UpdateMetadataBroker, ...]
    is_kraft_controller: bool = False
    type: int = 0

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(version >= FLEXIBLE_FROM)
        encode = partial(encode_state, version=version)
        out.topics(self.topics, encode, with_topics=version >= _TOPICS_FROM, with_ids=version >= TOPIC_IDS_FROM)
        return self.encode_head(version) + out + self.encode_end(version)

    def encode_head(self, version: int) -> bytes:
        """The fields before the topics: the only ones that differ between the requests of one change."""
        out = bytearray(struct.pack(">i", self.controller_id))
        if version >= 8:
            out.append(self.is_kraft_controller)
        out += struct.pack(">i", self.controller_epoch)
        if version >= 5:
            out += _epoch.pack(self.broker_epoch)
        return bytes(out)

    def encode_end(self, version: int) -> bytes:
        """The fields after the topics."""
        out = Output(version >= FLEXIBLE_FROM)
        out.array_length(len(self.live_brokers))
        for broker in self.live_brokers:
            _write_broker(out, broker, version)
        if version >= 8 and self.type != 0:
            out.tags([(_TYPE_TAG, struct.pack(">b", self.type))])
        else:
            out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> UpdateMetadataRequest:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, version >= FLEXIBLE_FROM, elements_max)
        controller_id = given.int32()
        is_kraft = given.boolean() if version >= 8 else False
        controller_epoch = given.int32()
        broker_epoch = given.fixed(_epoch)[0] if version >= 5 else -1
        if version < _TOPICS_FROM:
            topics = _read_partitions(given, version)
        else:
            topics = tuple([_read_topic(given, version) for _ in range(given.array_length(3))])
        brokers = tuple([_read_broker(given, version) for _ in range(given.array_length(6))])
        type_ = 0
        if given.flexible:
            tagged = given.tags().get(_TYPE_TAG)
            if tagged is not None and version >= 8:
                if len(tagged) != 1:
                    raise MalformedRequest(f"type of {len(tagged)} bytes")
                type_ = tagged[0] - 256 if tagged[0] > 127 else tagged[0]
        return cls(controller_id, controller_epoch, broker_epoch, topics, brokers, is_kraft, type_)


class UpdateMetadataResponse(NamedTuple):
    """Only an error code."""

    error_code: int

    def encode(self, version: int) -> bytes:
        """The body in this version."""
        out = Output(version >= FLEXIBLE_FROM)
        out += struct.pack(">h", self.error_code)
        out.no_tags()
        return bytes(out)

    @classmethod
    def decode(cls, version: int, data: bytes, elements_max: int = ELEMENTS_MAX) -> UpdateMetadataResponse:
        """Read a body. Raises MalformedRequest."""
        given = Input(data, version >= FLEXIBLE_FROM, elements_max)
        response = cls(given.int16())
        given.skip_tags()
        return response


def encode_state(state: UpdateMetadataPartition, version: int) -> bytes:
    """One partition."""
    out = Output(version >= FLEXIBLE_FROM)
    _write_state(out, state, version)
    return bytes(out)


def _write_state(out: Output, state: UpdateMetadataPartition, version: int) -> None:
    out += _partition.pack(state.partition, state.controller_epoch, state.leader, state.leader_epoch)
    out.int32s(state.isr)
    out += struct.pack(">i", state.zk_version)
    out.int32s(state.replicas)
    if version >= 4:
        out.int32s(state.offline_replicas)
    out.no_tags()


def _write_broker(out: Output, broker: UpdateMetadataBroker, version: int) -> None:
    out += struct.pack(">i", broker.broker_id)
    if version == 0:
        plaintext = next((each for each in broker.endpoints if each.security_protocol == 0), None)
        out.string(plaintext.host if plaintext is not None else "")
        out += struct.pack(">i", plaintext.port if plaintext is not None else -1)
    else:
        out.array_length(len(broker.endpoints))
        for port, host, listener, security_protocol in broker.endpoints:
            out += struct.pack(">i", port)
            out.string(host)
            if version >= 3:
                out.string(listener)
            out += struct.pack(">h", security_protocol)
            out.no_tags()
    if version >= 2:
        out.string(broker.rack)
    out.no_tags()


def _read_state(given: Input, version: int) -> UpdateMetadataPartition:
    partition, controller_epoch, leader, leader_epoch = given.fixed(_partition)
    isr = given.int32s()
    zk_version = given.int32()
    replicas = given.int32s()
    offline = given.int32s() if version >= 4 else ()
    given.skip_tags()
    return UpdateMetadataPartition(
        partition, controller_epoch, leader, leader_epoch, isr, zk_version, replicas, offline
    )


def _read_topic(given: Input, version: int) -> UpdateMetadataTopic:
    topic = given.string()
    topic_id = given.topic_id() if version >= 7 else None
    states = tuple([_read_state(given, version) for _ in range(given.array_length(22))])
    given.skip_tags()
    return UpdateMetadataTopic(topic, topic_id, states)


def _read_partitions(given: Input, version: int) -> tuple[UpdateMetadataTopic, ...]:
    """Partitions of a version that names the topic in each: those of one topic that follow each other belong together."""
    topics: list[tuple[str, list[UpdateMetadataPartition]]] = []
    for _ in range(given.array_length(30)):
        topic = given.string()
        if not topics or topics[-1][0] != topic:
            topics.append((topic, []))
        topics[-1][1].append(_read_state(given, version))
    return tuple([UpdateMetadataTopic(topic, None, tuple(states)) for topic, states in topics])


def _read_broker(given: Input, version: int) -> UpdateMetadataBroker:
    broker_id = given.int32()
    endpoints: list[UpdateMetadataEndpoint] = []
    if version == 0:
        host, port = given.string(), given.int32()
        endpoints.append(UpdateMetadataEndpoint(port, host, SECURITY_PROTOCOLS[0], 0))
    else:
        for _ in range(given.array_length(7)):
            port, host = given.int32(), given.string()
            listener = given.string() if version >= 3 else None
            security_protocol = given.int16()
            if not 0 <= security_protocol < len(SECURITY_PROTOCOLS):
                raise MalformedRequest(f"security protocol {security_protocol}")
            name = SECURITY_PROTOCOLS[security_protocol] if listener is None else listener
            endpoints.append(UpdateMetadataEndpoint(port, host, name, security_protocol))
            given.skip_tags()
    rack = given.nullable_string() if version >= 2 else None
    given.skip_tags()
    return UpdateMetadataBroker(broker_id, tuple(endpoints), rack)
