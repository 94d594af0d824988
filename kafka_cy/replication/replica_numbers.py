"""What telemetry shows of replication (telemetry/replication_numbers has the same fields)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kafka_cy.replication.fetchers import Fetchers
from kafka_cy.replication.isr_changes import IsrChanges
from kafka_cy.replication.replica_states import Key, ReplicaStates
from kafka_cy.replication.waiting_roles import WaitingRoles


class ReplicaNumbers(NamedTuple):
    """Counts since the start, and sizes now."""

    isr_shrinks: int
    isr_expands: int
    failed_isr_updates: int
    reassigning: int
    max_lag: int
    failed_partitions: int
    fetches: dict[int, int]
    waiting_roles: int


def replica_numbers(
    isr: IsrChanges, fetchers: Fetchers, states: ReplicaStates, waiting: WaitingRoles, partitions: Mapping[Key, Any]
) -> ReplicaNumbers:
    """Any thread: tables are copied in one step before they are iterated."""
    led = [state for state in states.by_key.copy().values() if state.leader == states.broker_id]
    followed = [partitions.get(key) for key in fetchers.following.copy()]
    lags = [partition.follower_lag for partition in followed if partition is not None]
    running = list(fetchers.running.copy().values())
    return ReplicaNumbers(
        isr.shrinks, isr.expands, isr.failed,
        sum(bool(state.adding_replicas or state.removing_replicas) for state in led),
        max([0, *lags]),
        len(fetchers.failed),
        {each.number: each.fetcher.counts()[1] for each in running},
        len(waiting),
    )  # fmt: skip


def fetched_partitions(fetchers: Fetchers) -> list[tuple[bytes, list[Any]]]:
    """By Kafka's names of fetchers, the partitions that each of them follows and that have not failed. Any thread."""
    failed = fetchers.failed
    return [
        (
            f"ReplicaFetcherThread-{fetcher_id}-{leader}".encode(),
            [partition for key, partition in running.partitions.copy().items() if key not in failed],
        )
        for (leader, fetcher_id, _), running in fetchers.running.copy().items()
    ]
