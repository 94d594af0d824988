"""Which replicas of a topic have a quota of replication (KIP-73), as the topic's configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

LEADER = "leader.replication.throttled.replicas"
FOLLOWER = "follower.replication.throttled.replicas"


class ThrottledReplicas(NamedTuple):
    """Partitions of which this broker's replica is throttled; None: all."""

    leader: frozenset[int] | None = frozenset()
    follower: frozenset[int] | None = frozenset()

    def of(self, index: int) -> tuple[bool, bool]:
        """Whether this broker's replica of a partition is throttled while it leads, and while it follows."""
        return self.leader is None or index in self.leader, self.follower is None or index in self.follower


NONE = ThrottledReplicas()


def throttled_replicas(config: Mapping[str, Any], broker_id: int) -> ThrottledReplicas:
    """Read a topic's typed configuration."""
    leader, follower = config.get(LEADER), config.get(FOLLOWER)
    if not leader and not follower:
        return NONE
    return ThrottledReplicas(_partitions(leader or (), broker_id), _partitions(follower or (), broker_id))


def _partitions(entries: list[str] | tuple[()], broker_id: int) -> frozenset[int] | None:
    if list(entries) == ["*"]:
        return None
    pairs = [entry.split(":") for entry in entries if entry]
    return frozenset(int(pair[0]) for pair in pairs if int(pair[1]) == broker_id)
