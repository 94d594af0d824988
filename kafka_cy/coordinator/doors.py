"""Opens the doors of the groups of one shard, behind which reactors commit offsets and respond to heartbeats."""

from __future__ import annotations

from collections.abc import Callable

from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.open_groups import OPEN_FOR_HEARTBEATS, OPEN_FOR_NOBODY, OpenGroup, OpenLog


class Doors:
    """Owner: the coordinator's thread. Limit: one door for each group that has committed or has a steady member."""

    def __init__(self, log: OpenLog, batch_bytes_max: Callable[[], int], metadata_bytes_max: int) -> None:
        """`batch_bytes_max`: the largest batch that can be stored; `metadata_bytes_max` of one offset."""
        self._log = log
        self._batch_bytes_max = batch_bytes_max
        self._metadata_bytes_max = metadata_bytes_max

    def open(self, group: Group) -> None:
        """Open the group's door, as far as its commits and heartbeats need no decision. Commits beside a transaction do."""
        open_for = group.open_for if group.pending is None else OPEN_FOR_NOBODY
        if open_for == OPEN_FOR_NOBODY and group.steady is not None:
            open_for = OPEN_FOR_HEARTBEATS
        if open_for == OPEN_FOR_NOBODY:
            return
        if group.door is None:
            group.door = OpenGroup(group.group_id.encode(), group.offsets, self._log)
        group.door.open(open_for, self._batch_bytes_max(), self._metadata_bytes_max, group.steady)

    def lose(self) -> None:
        """The log is lost: no reactor appends to it any more."""
        self._log.lose()
