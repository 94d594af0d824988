"""What the operations on consumer groups share."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.group_lines import ConsumerGroupLines
from kafka_cy.coordinator.consumer.limits import MEMBER_BYTES_MAX
from kafka_cy.coordinator.consumer.member import UNREVOKED, ConsumerMember
from kafka_cy.coordinator.consumer.settings import ConsumerSettings
from kafka_cy.coordinator.modern.context import SESSION, ModernContext
from kafka_cy.coordinator.modern.group_lines import Info
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime

# What is awaited of a member besides heartbeats.
REBALANCE: Final = "rebalance"  # that it gives up partitions
JOIN: Final = "join"  # JoinGroup of a classic member
SYNC: Final = "sync"  # SyncGroup of a classic member


class ConsumerContext(ModernContext):
    """Owner: the coordinator's thread."""

    AWAITED: ClassVar[tuple[str, ...]] = (SESSION, REBALANCE, JOIN, SYNC)

    def __init__(
        self, runtime: CoordinatorRuntime[Any], settings: ConsumerSettings, topics: Topics, info: Info
    ) -> None:
        super().__init__(runtime, settings, topics, MEMBER_BYTES_MAX)
        self.settings = settings
        self.lines = ConsumerGroupLines(info)

    def await_heartbeat(self, group: ConsumerGroup, member: ConsumerMember) -> None:
        """The member's session begins, or goes on. A classic member has its own session timeout."""
        classic = member.details.classic_member_metadata
        if classic is None:
            super().await_heartbeat(group, member)
        else:
            self.deadlines(group).set((SESSION, member.member_id), classic.session_timeout_ms)

    def await_revocation(self, group: ConsumerGroup, member: ConsumerMember) -> None:
        """After a step of the member's reconciliation. Classic members have deadlines for JoinGroup and SyncGroup instead."""
        key = (REBALANCE, member.member_id)
        if member.state == UNREVOKED and not member.uses_classic_protocol:
            self.deadlines(group).set(key, member.details.rebalance_timeout_ms)
        elif group.deadlines is not None:
            group.deadlines.cancel(key)

    def count(self, group: ConsumerGroup) -> None:
        """Count the memory that the group's members take now, with what expressions match that are being resolved."""
        size = group.held_bytes + group.resolving_bytes
        self.held.member_bytes += size - group.counted_bytes
        group.counted_bytes = size

    def end_resolution(self, group: ConsumerGroup) -> None:
        """The regular expressions of the group are resolved, or will not be."""
        group.resolving = False
        if group.resolving_bytes:
            group.resolving_bytes = 0
            self.count(group)

    def end(self, group: ConsumerGroup) -> None:
        """The group is gone, or its soft state begins anew: a resolution gives up."""
        self.end_resolution(group)
        super().end(group)
