"""Handles partitions in the log directories that the metadata does not know.

They belong to a topic that was deleted while its directory was missing: LogManager renames their folders (`-stray`), as
Kafka does. If that is impossible because the metadata or the directory is new, the start is refused:
`kafka-cy server --adopt` takes them over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
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

    def stored_directory_ids(self) -> dict[str, str | None]:
        """What stored_directory_id() returns for each directory that works."""


def finish_adoption(metadata: ClusterMetadata, logs: OpenLogDirs, home: str) -> str | None:
    """After refuse_unknown: end an adoption that was interrupted and has nothing left to take over. Raises StoreError.

    Returns a line for the broker's log; None if no adoption was interrupted. `home`: the directory of the metadata store,
    which may also have Kafka's own metadata log.
    """
    controller = metadata.controller
    if not controller.adopting:
        return None
    begun, present = controller.adopted_directories(), logs.stored_directory_ids()
    # Settings that are not stored yet, of users or brokers, are in Kafka's own metadata log.
    others = [each for each in {home: None, **present, **begun} if os.path.exists(f"{each}/{KRAFT_FOLDER}")]  # noqa: PTH110 (start time)
    if others:
        return (
            f"a start with --adopt was interrupted before the settings in {others[0]}/{KRAFT_FOLDER} were stored:"
            " start with --adopt again to take them over"
        )
    if not begun:
        return "a start with --adopt was interrupted: start with --adopt again to complete it"
    missing = [path for path, stored_id in begun.items() if not _is_present(path, stored_id, present)]
    if missing:
        return (
            f"a start with --adopt was interrupted; not known to be available since then: {', '.join(missing)}:"
            " start with --adopt again when all log directories are available"
        )
    controller.finish_adoption()
    return "a start with --adopt was interrupted; there is nothing left to take over, so the adoption is complete now"


def _is_present(path: str, stored_id: str | None, present: Mapping[str, str | None]) -> bool:
    """Whether a log directory is the one that an adoption began with. It may have moved if it has an id.

    Without an id, the mount point of a missing disk could pass for the directory. But a start adds an id to a meta.properties
    that has none, and creates the file where it is missing. A directory that had a file without an id is therefore accepted
    by the first start only. One that had no file is accepted, too: if its disk comes back, it has never been used by us, and
    the start is refused.
    """
    if stored_id:
        return stored_id in present.values()
    return path in present and (stored_id is None or present[path] == stored_id)


def refuse_unknown(metadata: ClusterMetadata, logs: OpenLogDirs) -> None:
    """Called between LogManager.open() and start(). Raises StoreBroken, or lets start() set the partitions aside."""
    unknown = logs.unknown(folders_of([*metadata.cache.all_topics(), *metadata.topic_changes.deleting]))
    for log_dir in dict.fromkeys(folder.log_dir for folder in unknown):
        if metadata.controller.adopting or not logs.was_used(log_dir):
            raise unknown_partitions_refused(log_dir, [folder for folder in unknown if folder.log_dir == log_dir])
