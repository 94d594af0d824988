"""The quorum of the metadata as clients see it (DescribeQuorum): one voter, this broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from kafka_cy.cluster.znodes import id_from_text

if TYPE_CHECKING:
    from kafka_cy.cluster.metadata import ClusterMetadata
    from kafka_cy.storage.log_manager import LogManager


class Quorum(NamedTuple):
    """`end_offset`: the number of changes of the metadata. `directory_id`: of the log directory that has it."""

    leader_epoch: int
    end_offset: int
    directory_id: UUID


def describe_quorum(metadata: ClusterMetadata, logs: LogManager, metadata_dir: str) -> Quorum:
    """The quorum now. Call it on the controller's thread."""
    found = [text for text, path in logs.directory_ids().items() if path == metadata_dir]
    directory_id = id_from_text(found[0]) if found else UUID(int=0)
    return Quorum(metadata.controller.epoch, metadata.store.changes, directory_id)
