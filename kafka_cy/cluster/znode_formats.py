"""What Kafka stores in its nodes, as values: the JSON of brokers, topics, partition states and requests of operators.

`encode()` writes what Kafka 3.9 writes, or what the given older version wrote; `decode()` reads every version that Kafka reads.
Raises ValueError, KeyError or TypeError if the data is not of that form (`MALFORMED`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kafka_cy.cluster import znodes

MALFORMED = (ValueError, KeyError, TypeError, AttributeError)
NO_LEADER = -1
RECOVERED, RECOVERING = 0, 1  # leader recovery states


class Endpoint(NamedTuple):
    """One listener of a broker."""

    listener: str
    security_protocol: str
    host: str
    port: int


class BrokerInfo(NamedTuple):
    """/brokers/ids/<id>."""

    endpoints: tuple[Endpoint, ...]
    rack: str | None = None
    features: Mapping[str, Mapping[str, int]] = {}
    timestamp_ms: int = 0

    def encode(self, version: int = 5) -> bytes:
        """`version`: 5, or 4 if inter.broker.protocol.version is below 2.7."""
        return znodes.broker_data(self.endpoints, self.rack, self.timestamp_ms, version)

    @classmethod
    def decode(cls, data: bytes | None) -> BrokerInfo:
        """Read versions 1 to 5."""
        value = znodes.from_json(data)
        if value["version"] < 2:
            endpoints = [Endpoint("PLAINTEXT", "PLAINTEXT", value["host"], int(value["port"]))]
        else:
            protocols = value.get("listener_security_protocol_map") or {}
            endpoints = [_endpoint(text, protocols) for text in value["endpoints"]]
        timestamp_ms = int(value.get("timestamp") or 0)
        return cls(tuple(endpoints), value.get("rack"), value.get("features") or {}, timestamp_ms)


def _endpoint(text: str, protocols: Mapping[str, str]) -> Endpoint:
    listener, separator, address = text.partition("://")
    host, _, port = address.rpartition(":")
    if not separator:
        raise ValueError(f"not an endpoint: {text}")
    return Endpoint(listener, protocols.get(listener, listener), host.strip("[]"), int(port))


class TopicAssignment(NamedTuple):
    """/brokers/topics/<topic>. `topic_id` None: written by inter.broker.protocol.version below 2.8; to be kept as it is."""

    topic_id: uuid.UUID | None
    partitions: Mapping[int, Sequence[int]]  # partition -> replicas; while reassigned: the new ones and the old ones
    adding: Mapping[int, Sequence[int]] = {}
    removing: Mapping[int, Sequence[int]] = {}

    def encode(self) -> bytes:
        """Write version 3."""
        value: dict[str, Any] = {"version": 3, "partitions": _by_text(self.partitions)}
        if self.topic_id is not None:
            value["topic_id"] = znodes.id_to_text(self.topic_id)
        return znodes.to_json(
            {**value, "adding_replicas": _by_text(self.adding), "removing_replicas": _by_text(self.removing)}
        )

    @classmethod
    def decode(cls, data: bytes | None) -> TopicAssignment:
        """Read versions 1 to 3."""
        value = znodes.from_json(data)
        text = value.get("topic_id")
        return cls(
            znodes.id_from_text(text) if text else None,
            _by_number(value["partitions"]),
            _by_number(value.get("adding_replicas") or {}),
            _by_number(value.get("removing_replicas") or {}),
        )


def _by_text(replicas: Mapping[int, Sequence[int]]) -> dict[str, list[int]]:
    return {str(partition): list(each) for partition, each in replicas.items()}


def _by_number(replicas: Mapping[str, Sequence[int]]) -> dict[int, tuple[int, ...]]:
    return {int(partition): tuple(int(each) for each in brokers) for partition, brokers in replicas.items()}


class PartitionState(NamedTuple):
    """/brokers/topics/<topic>/partitions/<partition>/state. The node's version is the partition epoch."""

    leader: int
    leader_epoch: int
    isr: tuple[int, ...]
    controller_epoch: int
    recovery_state: int = RECOVERED

    def encode(self) -> bytes:
        """Write version 1; the recovery state is written only while it is RECOVERING."""
        value = znodes.from_json(znodes.state_data(self.leader, self.leader_epoch, self.controller_epoch, self.isr))
        if self.recovery_state != RECOVERED:
            value["leader_recovery_state"] = self.recovery_state
        return znodes.to_json(value)

    @classmethod
    def decode(cls, data: bytes | None) -> PartitionState:
        """Read version 1."""
        value = znodes.from_json(data)
        return cls(
            int(value["leader"]),
            int(value["leader_epoch"]),
            tuple(int(each) for each in value["isr"]),
            int(value["controller_epoch"]),
            int(value.get("leader_recovery_state", RECOVERED)),
        )


class ProducerIdBlock(NamedTuple):
    """/latest_producer_id_block: the block that was given out last."""

    broker: int
    first: int
    last: int

    def encode(self) -> bytes:
        """Write version 1."""
        return znodes.to_json(
            {"version": 1, "broker": self.broker, "block_start": str(self.first), "block_end": str(self.last)}
        )

    @classmethod
    def decode(cls, data: bytes | None) -> ProducerIdBlock | None:
        """Read version 1; None if no block was given out."""
        value = znodes.from_json(data)
        return cls(int(value["broker"]), int(value["block_start"]), int(value["block_end"])) if value else None


def decode_controller_id(data: bytes | None) -> int:
    """The broker in /controller."""
    return int(znodes.from_json(data)["brokerid"])


def cluster_id_data(cluster_id: str) -> bytes:
    """Content of /cluster/id."""
    return znodes.to_json({"version": "1", "id": cluster_id})


def decode_cluster_id(data: bytes | None) -> str:
    """The id in /cluster/id."""
    return str(znodes.from_json(data)["id"])


def decode_config(data: bytes | None) -> dict[str, str]:
    """The settings in a node below /config; empty for a node without data."""
    return dict(znodes.from_json(data).get("config") or {})


def reassignment_data(moves: Mapping[tuple[str, int], Sequence[int]]) -> bytes:
    """Content of /admin/reassign_partitions."""
    partitions = [
        {"topic": topic, "partition": partition, "replicas": list(replicas)}
        for (topic, partition), replicas in moves.items()
    ]
    return znodes.to_json({"version": 1, "partitions": partitions})


def decode_reassignment(data: bytes | None) -> dict[tuple[str, int], tuple[int, ...]]:
    """The wanted replicas in /admin/reassign_partitions."""
    return {
        (str(each["topic"]), int(each["partition"])): tuple(int(replica) for replica in each["replicas"])
        for each in znodes.from_json(data)["partitions"]
    }


def partitions_data(partitions: Sequence[tuple[str, int]]) -> bytes:
    """Content of /admin/preferred_replica_election and of an ISR change notification."""
    return znodes.to_json(
        {"version": 1, "partitions": [{"topic": topic, "partition": partition} for topic, partition in partitions]}
    )


def decode_partitions(data: bytes | None) -> list[tuple[str, int]]:
    """The inverse of partitions_data."""
    return [(str(each["topic"]), int(each["partition"])) for each in znodes.from_json(data)["partitions"]]
