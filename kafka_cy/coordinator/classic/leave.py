"""LeaveGroup of classic groups: members go, and the group rebalances."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from typing import Any, Final

from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.member import Member
from kafka_cy.coordinator.classic.rebalance import Rebalancer
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.protocol.errors import ErrorCode

Result = CoordinatorResult[list[dict[str, Any]]]
LEFT_AT_ONCE: Final = 50  # members that one step looks at, or removes, in less than a millisecond


def leave_group(
    rebalancer: Rebalancer, group: ClassicGroup | None, members: list[tuple[str, str | None]]
) -> Generator[object, None, Result]:
    """Remove (member id, instance id) pairs; the response has an entry for each. A task for slices, or for `at_once`."""
    response: list[dict[str, Any]] = []
    leaving: dict[str, None] = {}
    for place, (named_id, instance_id) in enumerate(members):
        if place and place % LEFT_AT_ONCE == 0:
            yield None
        error, member_id = ErrorCode.UNKNOWN_MEMBER_ID, named_id
        if group is not None:
            error, member_id = _find(group, named_id, instance_id)
        if not error and member_id in leaving:
            error = ErrorCode.UNKNOWN_MEMBER_ID
        if not error:
            leaving[member_id] = None
        response.append({"member_id": named_id, "group_instance_id": instance_id, "error_code": int(error)})
    if group is None or not leaving:
        return Result(response=response)
    return Result(response=response, apply_steps=partial(_remove, rebalancer, group, list(leaving)))


def _find(group: ClassicGroup, member_id: str, instance_id: str | None) -> tuple[ErrorCode, str]:
    if member_id in group.pending_members:
        return ErrorCode.NONE, member_id
    if not member_id:
        if instance_id is None or instance_id not in group.static_members:
            return ErrorCode.UNKNOWN_MEMBER_ID, member_id
        return ErrorCode.NONE, group.static_members[instance_id]
    return group.validate_member(member_id, instance_id), member_id


def _remove(rebalancer: Rebalancer, group: ClassicGroup, member_ids: list[str]) -> Iterator[None]:
    first: Member | None = None
    for place, member_id in enumerate(member_ids):
        if place and place % LEFT_AT_ONCE == 0:
            yield
        first = first or group.members.get(member_id)
        rebalancer.remove_member(group, member_id)
    rebalancer.members_removed(group, "a member left", first)
