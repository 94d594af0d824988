"""What becomes of partitions in the log directories that the metadata does not know.

They are of a topic that was deleted while its directory was away: LogManager renames their folders (`-stray`), as Kafka
does. Where that cannot be, because the metadata or the directory is new, the start is refused, unless a person has asked
for their adoption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from kafka_cy.cluster.hosting import folders_of
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.metadata_location import unknown_partitions_refused
from kafka_cy.storage.log_dir import NO_TOPIC_ID
from kafka_cy.storage.partition_folders import KnownTopics, PartitionFolder

ADOPT_KEY = "kafkacy.adopt.unknown.partitions"  # for tests, until there is a command

Adopt = Callable[[ClusterMetadata, Sequence[PartitionFolder]], None]


class OpenLogDirs(Protocol):
    """The part of the log manager that is needed here."""

    def unknown(self, known: KnownTopics) -> list[PartitionFolder]:
        """The partitions of topics that are not among these."""

    def was_used(self, path: str) -> bool:
        """Had the log directory a meta.properties?"""


def settle_unknown(cluster: ClusterMetadata, logs: OpenLogDirs, adopt: Adopt | None) -> None:
    """Between LogManager.open() and start(): adopt, or refuse by StoreBroken, or leave it to start() to set them aside.

    `adopt` creates topics in the metadata for the folders that it gets; it is None where nobody asked for it.
    """
    unknown = logs.unknown(folders_of([*cluster.topics.values(), *cluster.deleting]))
    if adopt is not None:
        if unknown:
            adopt(cluster, unknown)
        cluster.end_adoption()
        return
    for log_dir in dict.fromkeys(folder.log_dir for folder in unknown):
        if cluster.adopting or not logs.was_used(log_dir):
            raise unknown_partitions_refused(log_dir, [folder for folder in unknown if folder.log_dir == log_dir])


def adopt_unknown(cluster: ClusterMetadata, unknown: Sequence[PartitionFolder]) -> None:
    """Make topics without settings of them."""
    found: dict[str, dict[int, PartitionFolder]] = {}
    for folder in unknown:
        found.setdefault(folder.topic, {})[folder.partition] = folder
    for name, partitions in sorted(found.items()):
        raw = next((p.topic_id for p in partitions.values() if p.topic_id != NO_TOPIC_ID), None)
        assignment = [[cluster.broker_id]] * (max(partitions) + 1)
        if name not in cluster.topics:
            epochs = [_leader_epoch(partitions[i].path) if i in partitions else 0 for i in range(len(assignment))]
            cluster.create_topic(name, assignment, {}, UUID(bytes=raw) if raw is not None else None, epochs)


def _leader_epoch(folder: str) -> int:
    try:
        with open(f"{folder}/leader-epoch-checkpoint", encoding="utf-8") as file:
            return max((int(line.split(" ")[0]) for line in file.read().split("\n")[2:] if line), default=0)
    except (OSError, ValueError):
        return 0
