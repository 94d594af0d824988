"""The broker as telemetry sees it; `kafka_cy.server.metrics_view` implements it. Called on the scraping thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

# KafkaServer BrokerState: Kafka's own numbers.
NOT_RUNNING, STARTING, RECOVERY, RUNNING, SHUTTING_DOWN = 0, 1, 2, 3, 7


class BrokerView(Protocol):
    """Plain reads of the control plane's objects: a snapshot under the GIL that never waits for another thread."""

    @property
    def server(self) -> Any:
        """The network's Server."""

    @property
    def state(self) -> int:
        """One of the broker states above."""

    @property
    def broker_id(self) -> int: ...

    @property
    def version(self) -> str: ...

    @property
    def listeners(self) -> list[str]:
        """Listener names by index."""

    def counted(self) -> tuple[list[Any], list[int]]:
        """(hosted partitions, counters of deleted partitions), see LogManager.counted."""

    def topics(self) -> tuple[int, int, int, int]:
        """(topics, partitions, partitions without a leader, partitions not led by their first replica) of the cluster."""

    def controller_epoch(self) -> int:
        """The epoch of the controller; 0 before the first election."""

    def metadata_changes(self) -> tuple[int, list[float]]:
        """(number of changes of the metadata tree, durations in ms of the latest ones)."""

    def groups(self) -> tuple[Mapping[str, int], int, int]:
        """(groups by state, committed offsets, members) of this coordinator."""

    def fetch_sessions(self) -> Mapping[str, int]:
        """sessions, partitions, evictions, refused, bytes."""

    def client_families(self) -> list[Any]:
        """Metrics that clients pushed (KIP-714), as `exposition.Family` objects."""

    def log_dirs(self) -> tuple[list[str], set[str]]:
        """(all log directories, failed log directories)."""

    def cleaner(self) -> Mapping[str, Any]:
        """The log cleaner's statistics; empty if nothing is compacted."""
