"""Records the log directories of this broker, so that partitions of a missing directory are not mistaken for new ones.

Each directory has an id (directory.id in its meta.properties, as in Kafka), and the metadata keeps the ids of all of them.
While one is missing, a partition without a folder may be in it. The partition is then offline instead of created empty.
"""

from __future__ import annotations

from collections.abc import Mapping

from kafka_cy.cluster import znodes
from kafka_cy.cluster.controller import Controller
from kafka_cy.cluster.store import Create, Operation, Set

LOG_DIRECTORIES = "/kafkacy_log_directories"  # ours: {"version": 1, "directories": {id: path}}


def recorded_directories(controller: Controller) -> dict[str, str]:
    """Paths by id of all directories that may hold partitions."""
    node = controller.store.find(LOG_DIRECTORIES)
    return dict(znodes.from_json(node.data).get("directories", {})) if node is not None else {}


def missing_directories(controller: Controller, present: Mapping[str, str]) -> dict[str, str]:
    """Paths by id of recorded directories that are not in `present` (paths by id)."""
    return {each: path for each, path in recorded_directories(controller).items() if each not in present}


def record_directories(controller: Controller, directories: Mapping[str, str]) -> None:
    """Record exactly these directories. Raises StoreError."""
    if recorded_directories(controller) == directories:
        return
    data = znodes.to_json({"version": 1, "directories": dict(directories)})
    is_new = controller.store.find(LOG_DIRECTORIES) is None
    operation: Operation = Create(LOG_DIRECTORIES, data) if is_new else Set(LOG_DIRECTORIES, data)
    controller.store.multi([controller.fence(), operation])
