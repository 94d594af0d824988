"""Handles partitions in the log directories that the metadata does not know.

They belong to a topic that was deleted while its directory was missing: LogManager renames their folders (`-stray`), as
Kafka does. If that is impossible because the metadata or the directory is new, the start is refused:
`kafka-cy server --adopt` takes them over.
"""

from __future__ import annotations

from typing import Protocol

from kafka_cy.cluster.hosting import folders_of
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.metadata_location import unknown_partitions_refused
from kafka_cy.storage.partition_folders import KnownTopics, PartitionFolder


class OpenLogDirs(Protocol):
    """The part of the log manager that this module needs."""

    def unknown(self, known: KnownTopics) -> list[PartitionFolder]:
        """The partitions of topics that are not in `known`."""

    def was_used(self, path: str) -> bool:
        """Whether the log directory had a meta.properties."""


def refuse_unknown(metadata: ClusterMetadata, logs: OpenLogDirs) -> None:
    """Called between LogManager.open() and start(). Raises StoreBroken, or lets start() set the partitions aside."""
    unknown = logs.unknown(folders_of([*metadata.cache.all_topics(), *metadata.topic_changes.deleting]))
    for log_dir in dict.fromkeys(folder.log_dir for folder in unknown):
        if metadata.controller.adopting or not logs.was_used(log_dir):
            raise unknown_partitions_refused(log_dir, [folder for folder in unknown if folder.log_dir == log_dir])
