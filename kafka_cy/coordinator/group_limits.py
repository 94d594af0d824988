"""What clients can make the group coordinator hold: groups, and the offsets that they commit.

Kafka has no such limits. What would go beyond one gets POLICY_VIOLATION; groups and offsets that exist go on, and what the log
holds is always loaded. Members of groups have limits of their own (classic.limits, consumer.limits, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from kafka_cy.coordinator import committed_offsets
from kafka_cy.coordinator.runtime.limit_line import LimitLine

GROUPS_MAX = 1_000_000
GROUP_OBJECT_BYTES: Final = 1000  # of a group besides its id: the objects, the door, and places in tables


def group_bytes(group_id: str) -> int:
    """How much of `kafkacy.groups.max.bytes` a group takes: the objects, its id, and the copies of the id for reactors."""
    return GROUP_OBJECT_BYTES + 3 * len(group_id) * (1 if group_id.isascii() else 4)


class GroupLimits:
    """Owner: the coordinator's thread; any thread may read. The amounts are of all loaded partitions."""

    def __init__(
        self, config: Mapping[str, Any], log: Callable[..., object], now_s: Callable[[], float]
    ) -> None:
        """`log` writes a warning line."""
        self.groups = 0
        self.bytes = 0
        self.refused = {"groups": 0, "offsets": 0, "pending": 0}  # requests, by what was full
        self._bytes_max = int(config["kafkacy.groups.max.bytes"])
        self._offset_bytes_max = int(config["kafkacy.committed.offsets.max.bytes"])
        committed_offsets.set_bytes_max(self._offset_bytes_max)
        self._groups_line = LimitLine(log, now_s)
        self._offsets_line = LimitLine(log, now_s)
        self._pending_line = LimitLine(log, now_s)

    def changed(self, group_id: str, change: int) -> None:
        """The group came (1) or went (-1)."""
        self.groups += change
        self.bytes += change * group_bytes(group_id)

    def is_full(self, group_id: str) -> bool:
        """Whether a request is refused because there is no room for the group, which does not exist yet."""
        if self.groups < GROUPS_MAX and self.bytes + group_bytes(group_id) <= self._bytes_max:
            return False
        self.refused["groups"] += 1
        self._groups_line.write(
            "there are too many groups, or their ids take too much memory: requests for new ones get POLICY_VIOLATION",
            group=group_id[:200], groups=self.groups, bytes=self.bytes, bytes_max=self._bytes_max,
        )  # fmt: skip
        return True

    def refuse_offsets(self, group_id: str) -> None:
        """A commit of the group is refused, or a part of it, because there is no room for its offsets."""
        self.refused["offsets"] += 1
        self._offsets_line.write(
            "committed offsets take too much memory: commits that need more get POLICY_VIOLATION",
            group=group_id[:200], bytes=committed_offsets.held_bytes(), bytes_max=self._offset_bytes_max,
        )  # fmt: skip

    def refuse_pending(self, group_id: str, *, offsets: int, held_bytes: int) -> None:
        """A commit in a transaction is refused because of the limits of `offsets.pending`."""
        self.refused["pending"] += 1
        self._pending_line.write(
            "open transactions have too many offsets, or one of them has: commits in them get POLICY_VIOLATION",
            group=group_id[:200], offsets=offsets, bytes=held_bytes,
        )  # fmt: skip
