"""The fields of JoinGroup and SyncGroup responses, and how they reach the requests that wait."""

from __future__ import annotations

from typing import Any

from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.member import Member
from kafka_cy.protocol.errors import ErrorCode


def join_error(error: ErrorCode, member_id: str = "") -> dict[str, Any]:
    """A JoinGroup response without a generation."""
    return {
        "error_code": int(error), "generation_id": -1, "protocol_type": None, "protocol_name": None, "leader": "",
        "skip_assignment": False, "member_id": member_id, "members": [],
    }  # fmt: skip


def join_success(
    group: ClassicGroup, member: Member, with_members: bool, leader: str | None = None
) -> dict[str, Any]:
    """A JoinGroup response of the current generation; the leader gets the members with their subscriptions."""
    members = [
        {
            "member_id": each.member_id,
            "group_instance_id": each.instance_id,
            "metadata": each.metadata(group.protocol),
        }
        for each in (group.members.values() if with_members else ())
    ]
    return {
        "error_code": 0, "generation_id": group.generation, "protocol_type": group.protocol_type,
        "protocol_name": group.protocol, "leader": group.leader or "" if leader is None else leader,
        "skip_assignment": False, "member_id": member.member_id, "members": members,
    }  # fmt: skip


def sync_error(error: ErrorCode) -> dict[str, Any]:
    """A SyncGroup response without an assignment."""
    return {"error_code": int(error), "protocol_type": None, "protocol_name": None, "assignment": b""}


def sync_success(group: ClassicGroup, member: Member) -> dict[str, Any]:
    """A SyncGroup response with the member's assignment."""
    return {
        "error_code": 0,
        "protocol_type": group.protocol_type,
        "protocol_name": group.protocol,
        "assignment": member.assignment,
    }


def respond_join(group: ClassicGroup, member: Member, response: dict[str, Any]) -> None:
    """Respond to the member's JoinGroup, if one waits."""
    respond = group.take_join(member)
    if respond is not None:
        respond(response)


def respond_sync(member: Member, response: dict[str, Any]) -> None:
    """Respond to the member's SyncGroup, if one waits."""
    respond, member.awaiting_sync = member.awaiting_sync, None
    if respond is not None:
        respond(response)
