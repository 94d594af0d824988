"""Location of the metadata store: `metadata.log.dir`, by default the first of `log.dirs`.

Kafka refuses to start if it finds its metadata log in another directory (KafkaRaftServer.initializeLogDirs). So does
this broker. It also refuses if a directory has been in use but no metadata exists: with a new, empty store,
all topics in it would be unknown. This module only reads.
"""

# This module uses the os functions because pathlib costs start time.
# ruff: noqa: PTH110, PTH116
from __future__ import annotations

import os
from collections.abc import Sequence

from kafka_cy.cluster.embedded_store import CHANGES_SUFFIX, FILE_NAME
from kafka_cy.cluster.store import StoreBroken
from kafka_cy.storage.log_dir import check_not_in_use, read_identity
from kafka_cy.storage.partition_folders import PartitionFolder, scan

HOW_TO_ADOPT = "if another Kafka broker has written it, start once with --adopt to take its topics over"


def metadata_dir(log_dirs: Sequence[str], configured: str | None) -> str:
    """The directory of the store: `configured` (metadata.log.dir) or the first log directory.

    Raises StoreBroken if a store is in another directory of `log_dirs`, or in two.
    """
    home = configured or log_dirs[0]
    holders: dict[tuple[int, int], str] = {}
    for directory in [home, *log_dirs]:
        try:
            status = os.stat(f"{directory}/{FILE_NAME}")
        except OSError:
            continue
        holders.setdefault((status.st_dev, status.st_ino), directory)
    found = list(holders.values())
    if len(found) > 1:
        raise StoreBroken(
            f"there are two metadata stores, {found[0]}/{FILE_NAME} and {found[1]}/{FILE_NAME}: move the one away that "
            "does not belong to this broker's data"
        )
    if found and found[0] != home:
        raise StoreBroken(
            f"the metadata is in {found[0]}, but it is expected in {home}"
            f" ({'metadata.log.dir' if configured else 'the first of log.dirs'}): set metadata.log.dir={found[0]}, or "
            + (_how_to_move(found[0], home) if configured else "put this directory first in log.dirs")
        )
    return home


def _how_to_move(source: str, home: str) -> str:
    from shlex import quote  # kept out of the start path

    return f"move it with: mkdir -p {quote(home)} && mv {quote(source)}/{FILE_NAME}* {quote(home)}/"


def check_unused(home: str, log_dirs: Sequence[str], broker_id: int) -> None:
    """Called if `home` has no metadata or an empty store. Raises StoreBroken if a directory has been used anyway.

    Raises LogDirError if another broker uses or owns one.
    """
    store = f"{home}/{FILE_NAME}"
    for leftover in (f"{store}-wal", f"{store}{CHANGES_SUFFIX}"):
        if os.path.exists(leftover) and not os.path.exists(store):
            raise StoreBroken(f"{leftover} exists, but {store} is missing: restore it")
    for directory in dict.fromkeys([*log_dirs, home]):
        if not os.path.exists(directory):
            continue
        check_not_in_use(directory)
        was_used = read_identity(directory, broker_id, None)
        try:
            partitions = scan(directory).partitions
        except OSError as error:
            raise StoreBroken(
                f"there is no metadata in {home}, and log directory {directory}, which may contain it, cannot be read:"
                f" {error.strerror}"
            ) from error
        if partitions:
            raise StoreBroken(
                f"log directory {directory} contains {_counted(partitions)}, but their metadata, {store}, is missing:"
                f" restore it, or set metadata.log.dir to its directory; {HOW_TO_ADOPT}"
            )
        if was_used:
            raise StoreBroken(
                f"log directory {directory} has been in use (it has a meta.properties), but the metadata, {store}, is"
                f" missing: restore it, or set metadata.log.dir to its directory; {HOW_TO_ADOPT};"
                " if the directory is no longer needed, empty it"
            )


def unknown_partitions_refused(log_dir: str, unknown: Sequence[PartitionFolder]) -> StoreBroken:
    """The error for a log directory with partitions that the metadata does not know."""
    return StoreBroken(
        f"log directory {log_dir} contains {_counted(unknown)} of topics that the metadata does not know: start with --adopt"
        " to take them over, or move them away"
    )


def _counted(partitions: Sequence[PartitionFolder]) -> str:
    first = partitions[0]
    return f"{len(partitions)} partitions (first: {first})" if len(partitions) > 1 else f"the partition {first}"
