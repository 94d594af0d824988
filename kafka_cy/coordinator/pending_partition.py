"""Which open transactions have an offset for a partition of a group; see offsets.pending."""

from __future__ import annotations


class PendingPartition:
    """The producers with a pending offset for one partition of one group.

    `committed_at` is the offset of the latest record that was committed meanwhile: pending ones from before it do not count,
    because the later record wins, whenever the marker comes.
    """

    __slots__ = ("committed_at", "producers")

    def __init__(self) -> None:
        self.producers: set[int] = set()
        self.committed_at = -1
