"""Heartbeat of a member that no reactor could respond to: it is unknown, late, fenced, or its group rebalances."""

from __future__ import annotations

from kafka_cy.coordinator.classic.group import ClassicGroup, GroupState
from kafka_cy.protocol.errors import ErrorCode


def check_heartbeat(
    group: ClassicGroup | None, member_id: str, instance_id: str | None, generation: int, now_s: float
) -> ErrorCode:
    """The error of the response; prolongs the member's session."""
    if group is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    error = group.validate_member(member_id, instance_id)
    if error:
        return error
    if generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    group.members[member_id].last_heartbeat_s = now_s
    preparing = group.state is GroupState.PREPARING_REBALANCE
    return ErrorCode.REBALANCE_IN_PROGRESS if preparing else ErrorCode.NONE
