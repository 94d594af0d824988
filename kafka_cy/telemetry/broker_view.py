"""The broker as telemetry sees it; `kafka_cy.server.metrics_view` implements it. Called on the scraping thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from kafka_cy.telemetry.controller_counts import ControllerCounts
from kafka_cy.telemetry.group_numbers import GroupNumbers, ShareNumbers
from kafka_cy.telemetry.quota_numbers import QuotaNumbers
from kafka_cy.telemetry.replication_numbers import ReplicationNumbers
from kafka_cy.telemetry.runtime_numbers import EventNumbers, RuntimeNumbers
from kafka_cy.telemetry.transaction_numbers import TransactionNumbers

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

    @property
    def cluster_id(self) -> str | None:
        """None before the metadata is loaded."""

    def addresses(self) -> list[tuple[str, str]]:
        """(listener name, advertised `host:port`) of each listener."""

    def lag_address(self) -> tuple[str, int] | None:
        """Host and port of the page with consumer lag; None without it."""

    def counted(self) -> tuple[list[Any], list[int]]:
        """(hosted partitions, counters of deleted partitions), see LogManager.counted."""

    def topics(self) -> tuple[int, int, int, int]:
        """(topics, partitions, partitions without a leader, partitions not led by their first replica) of the cluster."""

    def controller_epoch(self) -> int:
        """The epoch of the controller; 0 before the first election."""

    def controller_counts(self) -> ControllerCounts:
        """What this broker does as the controller."""

    def metadata_changes(self) -> tuple[int, list[float]]:
        """(number of changes of the metadata tree, durations in ms of the latest ones); in ZooKeeper: of all requests."""

    def session_state(self) -> str | None:
        """Of the session in ZooKeeper, as Kafka names it (CONNECTED); None: the metadata is the broker's own."""

    def session_events(self) -> Mapping[str, int]:
        """How often the session's state changed, by the names of ZooKeeper's metrics (expires); empty before the start."""

    def controller_events(self) -> tuple[int, list[float], list[float]]:
        """(number of events of the controller's loop, ms that the latest ones waited, ms that they took)."""

    def groups(self) -> tuple[Mapping[tuple[str, str], int], int, int]:
        """(groups by kind and state, committed offsets, members) of this coordinator."""

    def coordinator_events(self) -> EventNumbers:
        """Of the thread that all coordinators share."""

    def runtimes(self) -> Mapping[str, RuntimeNumbers]:
        """By coordinator ("group", "share")."""

    def load_times_ms(self) -> Mapping[str, Sequence[float]]:
        """How long it took to load the partitions of the last 30 seconds, by coordinator ("group", "transaction", "share")."""

    def transactions(self) -> TransactionNumbers:
        """Of the transaction coordinator."""

    def replication(self) -> ReplicationNumbers:
        """Of the replica manager."""

    def fetched(self) -> list[tuple[bytes, list[Any]]]:
        """The fetchers by name, each with the hosted partitions that it follows."""

    def late_transaction_ms(self) -> int:
        """How long the open transaction of a partition may write nothing; then it is late."""

    def fetch_sessions(self) -> Mapping[str, int]:
        """sessions, partitions, evictions, refused, bytes."""

    def standing_fetches(self) -> Mapping[str, int]:
        """built, taken, refused, bytes."""

    def authorization(self) -> Mapping[str, int] | None:
        """denied: requests; dropped: lines that the audit log did not get; acls. None: there is no authorizer."""

    def waiting_deletions(self) -> int:
        """DeleteRecords requests that wait for followers."""

    def share_sessions(self) -> tuple[int, int]:
        """(share sessions, share partitions in all of them)."""

    def group_numbers(self) -> GroupNumbers:
        """What happened to groups and their offsets."""

    def share_numbers(self) -> ShareNumbers:
        """What happened to records of share groups."""

    def quotas(self) -> QuotaNumbers:
        """Of client quotas."""

    def client_families(self) -> list[Any]:
        """Metrics that clients pushed (KIP-714), as `exposition.Family` objects."""

    def log_dirs(self) -> tuple[list[str], set[str]]:
        """(all log directories, failed log directories)."""

    def cordoned_dirs(self) -> frozenset[str]:
        """Log directories that get no new partitions (KIP-1066)."""

    def cleaner(self) -> Mapping[str, Any]:
        """The log cleaner's statistics; empty if nothing is compacted."""
