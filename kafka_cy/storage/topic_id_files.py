"""partition.metadata of partitions whose topics get ids while they are used."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from kafka_cy.storage.log_dir import ensure_topic_id
from kafka_cy.storage.log_loader import in_threads

SYNC_THREADS = 8  # the file system writes its journal once for all that wait


def prepare_topic_ids(ids: Sequence[tuple[str, bytes]]) -> None:
    """Write the ids of these folders, several at a time; any thread.

    One that fails is left to LogManager.assign_topic_id, which writes what is missing and tells of it. If the broker ends before
    that, its next start takes the id, which is the topic's.
    """
    in_threads(_write, list(ids), SYNC_THREADS)


def _write(job: tuple[str, bytes]) -> None:
    with contextlib.suppress(OSError):
        ensure_topic_id(*job)
