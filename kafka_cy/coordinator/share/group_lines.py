"""What the broker's log says about share groups."""

from __future__ import annotations

from kafka_cy.coordinator.modern.group_lines import ID_CHARS_MAX, Info, ModernGroupLines


class ShareGroupLines(ModernGroupLines):
    """Owner: the coordinator's thread."""

    def __init__(self, info: Info) -> None:
        super().__init__(info, "share")

    def initialized(self, group_id: str, partitions: int) -> None:
        """The states of share partitions were stored."""
        self._info("share partitions were initialized", group=group_id[:ID_CHARS_MAX], partitions=partitions)
