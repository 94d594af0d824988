"""Metrics of coordinators: groups by kind and state, how long loading takes, and transactions.

Kafka: GroupCoordinatorMetrics, TransactionMarkerChannelManager.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client.core import Metric

from kafka_cy.telemetry.families import family, gauge
from kafka_cy.telemetry.group_numbers import GroupNumbers, ShareNumbers
from kafka_cy.telemetry.transaction_numbers import TransactionNumbers

CLASSIC_STATES: Final = ("Stable", "Empty", "Dead", "PreparingRebalance", "CompletingRebalance")
#: Kind of group -> (KIP, its states).
STATES: Final = {
    "consumer": ("KIP-848", ("Empty", "Assigning", "Reconciling", "Stable", "Dead")),
    "share": ("KIP-932", ("Empty", "Stable", "Dead")),
    "streams": ("KIP-1071", ("Empty", "NotReady", "Assigning", "Reconciling", "Stable", "Dead")),
}


def group_metrics(counts: Mapping[tuple[str, str], int], offsets: int) -> Iterable[Metric]:
    """`counts`: groups by kind and state. `offsets`: how many they have committed."""
    kinds = {name: sum(count for (kind, _), count in counts.items() if kind == name) for name in ("classic", *STATES)}
    prefix = "kafka_coordinator_group_groupmetadatamanager_"
    yield gauge(prefix + "numgroups", "Classic groups of this coordinator", kinds["classic"])
    yield gauge(prefix + "numoffsets", "Offsets that groups committed", offsets)
    for state in CLASSIC_STATES:
        found = counts.get(("classic", state), 0)
        yield gauge(f"{prefix}numgroups{state.lower()}", f"Classic groups in state {state}", found)
    prefix = "kafka_server_group_coordinator_metrics_"
    samples = [({"protocol": kind}, float(count)) for kind, count in kinds.items()]
    yield family("gauge", prefix + "group_count", "Groups of this coordinator by protocol", samples)
    for kind, (kip, states) in STATES.items():
        samples = [({"state": name}, float(counts.get((kind, name), 0))) for name in states]
        title = kind.capitalize()
        yield family("gauge", f"{prefix}{kind}_group_count", f"{title} groups ({kip}) by state", samples)


def group_memory(numbers: GroupNumbers) -> Iterable[Metric]:
    """What the limits of memory are compared with, and what they refused."""
    yield gauge("kafkacy_group_bytes", "Memory of groups, without their members and offsets", numbers.group_bytes)
    yield gauge("kafkacy_committed_offset_bytes", "Memory of committed offsets", numbers.offset_bytes)
    text = "Requests refused because there is no memory for more groups or offsets"
    samples = [({"limit": name}, float(numbers.refused.get(name, 0))) for name in ("groups", "offsets", "pending")]
    yield family("counter", "kafkacy_group_requests_refused", text, samples)


def group_events(groups: GroupNumbers, shares: ShareNumbers) -> Iterable[tuple[str, str, int]]:
    """(name without suffix, what happened, how often since the start)."""
    prefix = "kafka_server_group_coordinator_metrics_"
    yield prefix + "group_completed_rebalance", "Rebalances of classic groups", groups.rebalances.get("classic", 0)
    for kind in STATES:
        text = f"{kind.capitalize()} groups' rebalances (new group epochs)"
        yield f"{prefix}{kind}_group_rebalance", text, groups.rebalances.get(kind, 0)
    yield prefix + "offset_commit", "Committed offsets", groups.commits
    yield prefix + "offset_expiration", "Offsets that expired", groups.expirations
    yield prefix + "offset_deletion", "Offsets that were deleted", groups.deletions
    yield "kafkacy_share_state_write_failed", "Writes of a share partition's state that failed", shares.failed_writes


def coordinator_metrics(load_times_ms: Mapping[str, Sequence[float]], numbers: TransactionNumbers) -> Iterable[Metric]:
    """`load_times_ms`: of the partitions that the coordinator ("group", "transaction", "share") loaded in the last 30 seconds."""
    for name, times in load_times_ms.items():
        prefix = f"kafka_server_{name}_coordinator_metrics_partition_load_time_"
        largest, average = (max(times), sum(times) / len(times)) if times else (0.0, 0.0)
        yield gauge(prefix + "max", "Longest time in ms to load a partition, in the last 30 seconds", largest)
        yield gauge(prefix + "avg", "Mean time in ms to load a partition, in the last 30 seconds", average)
    prefix = "kafka_coordinator_transaction_transactionmarkerchannelmanager_"
    text = "Transactions with markers for partitions that cannot be written now"
    yield gauge(prefix + "unknowndestinationqueuesize", text, numbers.waiting_for_partitions)
    text = "Transactions whose end cannot be stored now"
    yield gauge(prefix + "logappendretryqueuesize", text, numbers.waiting_for_log)
    yield gauge("kafkacy_transactional_ids", "Transactional ids of this coordinator", numbers.transactional_ids)
    text = "For how long the oldest open transaction has been open"
    yield gauge("kafkacy_transaction_oldest_open_seconds", text, numbers.oldest_open_ms / 1000)
    yield family(
        "gauge", "kafkacy_transactions", "Transactions that are open (ongoing) or being ended (prepared)",
        [({"state": "ongoing"}, float(numbers.ongoing)), ({"state": "prepared"}, float(numbers.prepared))],
    )  # fmt: skip
