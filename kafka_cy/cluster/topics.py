"""Topics and partitions of the cluster's metadata. Plain classes, because dataclasses would cost start time."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from kafka_cy.cluster.topic_names import INTERNAL_TOPICS


class PartitionMetadata:
    """One partition: `partition_epoch` is the version of its state node.

    In a cluster, a partition of which the controller has not told (it never had a leader) has no replicas. `offline`: those of its
    replicas that the controller says are not available.
    """

    __slots__ = ("index", "isr", "leader", "leader_epoch", "offline", "partition_epoch", "replicas")

    def __init__(
        self,
        index: int,
        leader: int,
        leader_epoch: int,
        replicas: list[int],
        isr: list[int],
        partition_epoch: int = 0,
        offline: Sequence[int] = (),
    ) -> None:
        self.index = index
        self.leader = leader
        self.leader_epoch = leader_epoch
        self.replicas = replicas
        self.isr = isr
        self.partition_epoch = partition_epoch
        self.offline = offline


class Topic:
    """One topic; `partitions` is dense, by index; `config` holds the overrides as text."""

    __slots__ = ("config", "id", "internal", "name", "partitions")

    def __init__(
        self, name: str, topic_id: UUID, partitions: list[PartitionMetadata], config: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.id = topic_id
        self.partitions = partitions
        self.config = config if config is not None else {}
        self.internal = name in INTERNAL_TOPICS  # one of the broker's own topics
