"""The end of a log as after kill -9."""

from __future__ import annotations

import contextlib

from kafka_cy.storage.log import PartitionLog, StorageFailure


def abandon(log: PartitionLog) -> None:
    """Nothing is written from now on: a flush on another thread, after a roll, does not go on in the folder."""
    log.abandon()
    with contextlib.suppress(StorageFailure):
        log.flush()  # waits for it
