"""Requests of members of consumer groups, and their records as comparable values."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from kafka_cy.coordinator.consumer import records as stored
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.group_kinds import decode_any

from .fakes import Harness

CT = uuid.UUID("5ff385f2-f266-4436-b86b-5355b85e7acd")
CT2 = uuid.UUID("129cb1a2-1c89-4c18-b81f-b521618acdcd")
Owned = Mapping[uuid.UUID, Sequence[int]]


class ConsumerHarness(Harness):
    """Topics ct (4 partitions) and ct2 (3), and shortcuts for heartbeats of consumer groups."""

    def __init__(self, *arguments: Any, **config: Any) -> None:
        super().__init__(*arguments, **config)
        if "ct" not in self.cluster.topics:
            self.topic("ct", CT, 4)
            self.topic("ct2", CT2, 3)

    def topic(self, name: str, topic_id: uuid.UUID, partitions: int) -> None:
        """Create the topic, or add partitions."""
        topic = self.cluster.put_topic(name, topic_id, partitions)
        self.coordinator.topics.changed([topic], [])

    def delete_topic(self, name: str) -> None:
        topic = self.cluster.topics.pop(name)
        del self.cluster.topic_by_id[topic.id]
        self.coordinator.topics.changed([], [topic])

    def send(self, request: HeartbeatRequest) -> dict[str, Any]:
        responses: list[dict[str, Any]] = []
        self.coordinator.consumer.heartbeat(request, responses.append)
        (response,) = responses
        return response

    def beat(self, group: str, member: str, epoch: int, **fields: Any) -> dict[str, Any]:
        """A heartbeat; fields that are not given are as before."""
        return self.send(
            HeartbeatRequest(group, member, epoch, client_id="k848", client_host="/127.0.0.1", **fields)
        )

    def join_consumer(
        self, group: str, member: str, topics: Sequence[str] | None = ("ct",), *, timeout_ms: int = 5000, **fields: Any
    ) -> dict[str, Any]:
        names = None if topics is None else tuple(topics)
        return self.beat(
            group, member, 0, topic_names=names, rebalance_timeout_ms=timeout_ms, owned={}, **fields
        )

    def consumer_group(self, name: str) -> ConsumerGroup:
        group = self.group(name)
        assert isinstance(group, ConsumerGroup)
        return group


def assigned(response: Mapping[str, Any]) -> dict[uuid.UUID, list[int]] | None:
    """The partitions of a response; None if it has none."""
    if response["assignment"] is None:
        return None
    return {row["topic_id"]: row["partitions"] for row in response["assignment"]["topic_partitions"]}


def normal(key: bytes, value: bytes | None) -> Any:
    """A record without times, and with sets instead of Java's order."""
    record = decode_any(key, value)
    assert record is not None
    decoded_key, decoded = record
    if isinstance(decoded, stored.TargetMember):
        decoded = {row.topic_id: row.partitions for row in decoded.topic_partitions}
    elif isinstance(decoded, stored.CurrentMember):
        decoded = decoded._replace(
            assigned_partitions=epochs(decoded.assigned_partitions),
            partitions_pending_revocation=epochs(decoded.partitions_pending_revocation),
        )
    elif isinstance(decoded, stored.TargetMetadata):
        decoded = decoded._replace(assignment_timestamp_ms=decoded.assignment_timestamp_ms and 1)
    elif isinstance(decoded, stored.Regex):
        decoded = decoded.topics
    elif hasattr(decoded, "commit_timestamp_ms"):
        decoded = decoded._replace(commit_timestamp_ms=0)
    elif hasattr(decoded, "state_timestamp_ms"):
        decoded = decoded._replace(state_timestamp_ms=0)
    return decoded_key, decoded


def epochs(rows: Any) -> Any:
    return {row.topic_id: dict(zip(row.partitions, row.assignment_epochs, strict=True)) for row in rows}
