"""Handles partitions in the log directories that the metadata does not know.

They belong to a topic that was deleted while its directory was missing: LogManager renames their folders (`-stray`), as
Kafka does. If that is impossible because the metadata or the directory is new, the start is refused:
`kafka-cy server --adopt` takes them over.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from kafka_cy.cluster.hosting import folders_of
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.metadata_location import unknown_partitions_refused
from kafka_cy.storage.partition_folders import KnownTopics, PartitionFolder

KRAFT_FOLDER = "__cluster_metadata-0"


class OpenLogDirs(Protocol):
    """The part of the log manager that this module needs."""

    def unknown(self, known: KnownTopics) -> list[PartitionFolder]:
        """The partitions of topics that are not in `known`."""

    def was_used(self, path: str) -> bool:
        """Whether the log directory had a meta.properties."""


def finish_adoption(metadata: ClusterMetadata, *, complete: bool, log_dirs: Sequence[str]) -> str | None:
    """After refuse_unknown: end an adoption that was cut off and has nothing left to take over. Raises StoreError.

    Returns a line for the broker's log; None if no adoption was cut off. `complete`: all log directories are available.
    """
    if not metadata.controller.adopting:
        return None
    # Settings that are not stored yet, of users or brokers, are in Kafka's own metadata log.
    others = [each for each in log_dirs if os.path.exists(f"{each}/{KRAFT_FOLDER}")]  # noqa: PTH110 (start time)
    if others:
        return (
            f"a start with --adopt was cut off before the settings in {others[0]}/{KRAFT_FOLDER} were stored: start with --adopt"
            " again to take them over"
        )
    if not complete:
        return "a start with --adopt was cut off, and log directories are missing: start with --adopt when they are available"
    metadata.controller.finish_adoption()
    return "a start with --adopt was cut off; there is nothing left to take over, so the adoption is complete now"


def refuse_unknown(metadata: ClusterMetadata, logs: OpenLogDirs) -> None:
    """Called between LogManager.open() and start(). Raises StoreBroken, or lets start() set the partitions aside."""
    unknown = logs.unknown(folders_of([*metadata.cache.all_topics(), *metadata.topic_changes.deleting]))
    for log_dir in dict.fromkeys(folder.log_dir for folder in unknown):
        if metadata.controller.adopting or not logs.was_used(log_dir):
            raise unknown_partitions_refused(log_dir, [folder for folder in unknown if folder.log_dir == log_dir])
