"""Which share groups have metrics of their own."""

from __future__ import annotations

from kafka_cy.share.group_totals import GroupCounts

GROUP_ID_CHARS_MAX = 1024  # a group with a longer id has none: it is a label of each sample
SERIES_MAX = 100  # groups: clients choose how many there are, and each has 24 samples


class GroupSeries:
    """The groups with share partitions on this broker, up to SERIES_MAX of them: those that came first.

    Owner: the coordinator's thread, except that any thread may call `shown`. A group has counts from its first share partition
    until its last one is closed.
    """

    def __init__(self, most: int = SERIES_MAX) -> None:
        self._most = most
        self._groups: dict[str, tuple[GroupCounts, int]] = {}  # with the number of open share partitions that use them

    def opened(self, group_id: str) -> GroupCounts | None:
        """One more share partition of the group is used. None: it is not counted for its group, and is not to be closed here."""
        counts, open_count = self._groups.get(group_id, (None, 0))
        if counts is None:
            if len(self._groups) >= self._most or len(group_id) > GROUP_ID_CHARS_MAX:
                return None
            counts = GroupCounts()
        self._groups[group_id] = counts, open_count + 1
        return counts

    def closed(self, group_id: str) -> None:
        """A share partition for which `opened` returned counts is not used any more."""
        counts, open_count = self._groups[group_id]
        if open_count > 1:
            self._groups[group_id] = counts, open_count - 1
        else:
            del self._groups[group_id]

    def shown(self) -> dict[str, GroupCounts]:
        """The counts by group; a copy. Any thread."""
        return {group_id: counts for group_id, (counts, _) in self._groups.copy().items()}
