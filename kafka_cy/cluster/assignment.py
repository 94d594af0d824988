"""Which brokers host the partitions of a new topic."""

from __future__ import annotations

from collections.abc import Sequence


def assign_replicas(
    broker_ids: Sequence[int], partitions: int, replication_factor: int, first: int = 0
) -> list[list[int]]:
    """Spread leaders round robin from `first` and shift the followers of each round, so that load spreads evenly.

    Raises ValueError when there are fewer brokers than replicas.
    """
    count = len(broker_ids)
    if replication_factor > count:
        raise ValueError(f"replication factor {replication_factor} with {count} broker(s)")
    ordered = sorted(broker_ids)
    result = []
    for partition in range(partitions):
        start, shift = first + partition, partition // count
        replicas = [ordered[start % count]]
        for follower in range(replication_factor - 1):
            step = 1 + (shift + follower) % (count - 1)
            replicas.append(ordered[(start + step) % count])
        result.append(replicas)
    return result
