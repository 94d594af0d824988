"""What the broker's log says about consumer groups."""

from __future__ import annotations

from typing import Any

from kafka_cy.coordinator.modern.group_lines import ID_CHARS_MAX, Info, ModernGroupLines


class ConsumerGroupLines(ModernGroupLines):
    """Owner: the coordinator's thread."""

    def __init__(self, info: Info) -> None:
        super().__init__(info, "consumer")

    def protocol_of(self, member: Any) -> str:
        return "classic" if member.uses_classic_protocol else "consumer"

    def not_converted(self, group_id: str, reason: str) -> None:
        """A classic group stays one: a member with the consumer protocol was refused."""
        self._info("group cannot be converted", group=group_id[:ID_CHARS_MAX], reason=reason)
