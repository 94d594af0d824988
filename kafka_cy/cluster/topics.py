"""Topics and partitions as the cluster's metadata knows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from kafka_cy.cluster.topic_names import INTERNAL_TOPICS


@dataclass(slots=True)
class PartitionMetadata:
    """One partition: `partition_epoch` is the version of its state node."""

    index: int
    leader: int
    leader_epoch: int
    replicas: list[int]
    isr: list[int]
    partition_epoch: int = 0


@dataclass(slots=True)
class Topic:
    """One topic; `partitions` is dense, by index; `config` holds the overrides as text."""

    name: str
    id: UUID
    partitions: list[PartitionMetadata]
    config: dict[str, str] = field(default_factory=dict)

    @property
    def internal(self) -> bool:
        """Whether it is one of the broker's own topics."""
        return self.name in INTERNAL_TOPICS
