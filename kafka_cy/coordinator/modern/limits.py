"""What clients can make the coordinator keep for members of one kind of group, in all groups together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

#: Of a partition in a target assignment, or that a member has, or whose share state is known: numbers, and places in tables.
PARTITION_BYTES: Final = 100


#: A target assignment of so many partitions is always allowed: others that take all the room do not stop small groups.
PARTITIONS_FEW: Final = 32


def partition_bytes(*assignments: Mapping[Any, Any]) -> int:
    """How much the partitions take (topic -> partitions)."""
    return PARTITION_BYTES * sum(len(partitions) for assignment in assignments for partitions in assignment.values())


def growth_bytes(partitions: int, targets: Iterable[Mapping[Any, Any]]) -> int:
    """How much a new target assignment of so many partitions takes in addition to the last one: as a target, and with the members.

    0 if it is small.
    """
    return 0 if partitions <= PARTITIONS_FEW else 2 * (PARTITION_BYTES * partitions - partition_bytes(*targets))


class MembersHeld:
    """The amount that a limit is compared with. Owner: the coordinator's thread."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.member_bytes = 0

    def has_room(self, added_bytes: int) -> bool:
        """Whether a member may take so much more."""
        return added_bytes <= 0 or self.member_bytes + added_bytes <= self.bytes_max
