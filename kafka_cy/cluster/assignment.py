"""Which brokers host the partitions of a new topic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def assign_replicas(broker_ids: Sequence[int], partitions: int, replication_factor: int) -> list[list[int]]:
    """See replicas_in_turn."""
    return list(replicas_in_turn(broker_ids, partitions, replication_factor))


def replicas_in_turn(
    broker_ids: Sequence[int], partitions: int, replication_factor: int, first: int = 0
) -> Iterator[list[int]]:
    """Spread leaders round robin from `first` and shift the followers of each round, so that load spreads evenly.

    The replicas of a partition are made when they are asked for. Raises ValueError, at once, when there are fewer brokers than
    replicas.
    """
    if replication_factor > len(broker_ids):
        raise ValueError(f"replication factor {replication_factor} with {len(broker_ids)} broker(s)")
    return _in_turn(sorted(broker_ids), partitions, replication_factor, first)


def _in_turn(ordered: Sequence[int], partitions: int, replication_factor: int, first: int) -> Iterator[list[int]]:
    count = len(ordered)
    for partition in range(partitions):
        start, shift = first + partition, partition // count
        replicas = [ordered[start % count]]
        for follower in range(replication_factor - 1):
            step = 1 + (shift + follower) % (count - 1)
            replicas.append(ordered[(start + step) % count])
        yield replicas
