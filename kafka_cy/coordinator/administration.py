"""Looking at groups and deleting them: DescribeGroups, ListGroups, DeleteGroups."""

from __future__ import annotations

from typing import Any

from kafka_cy.coordinator.group import Group, GroupState
from kafka_cy.coordinator.group_coordinator import GroupCoordinator
from kafka_cy.protocol.errors import ErrorCode

CLASSIC = "classic"


def describe_group(coordinator: GroupCoordinator, group_id: str, unknown_is_error: bool) -> dict[str, Any]:
    """One entry of DescribeGroups; an unknown group is "Dead", from version 6 on (KIP-1043) also an error."""
    error, groups = coordinator.groups_of(group_id)
    if error:
        return _described(group_id, error, None)
    group = groups.get(group_id)
    if group is not None:
        return _described(group_id, ErrorCode.NONE, group)
    answer = _described(group_id, ErrorCode.NONE, None) | {"group_state": GroupState.DEAD.value}
    if unknown_is_error:
        answer["error_code"] = int(ErrorCode.GROUP_ID_NOT_FOUND)
        answer["error_message"] = f"Group {group_id} not found."
    return answer


def _described(group_id: str, error: ErrorCode, group: Group | None) -> dict[str, Any]:
    stable = group is not None and group.state is GroupState.STABLE
    members = [
        {
            "member_id": member.member_id,
            "group_instance_id": member.instance_id,
            "client_id": member.client_id,
            "client_host": member.client_host,
            "member_metadata": member.metadata(group.protocol) if stable else b"",
            "member_assignment": member.assignment,  # of the last generation, while the next forms
        }
        for member in (group.members.values() if group is not None else ())
        if group is not None
    ]
    return {
        "error_code": int(error),
        "error_message": None,
        "group_id": group_id,
        "group_state": group.state.value if group is not None else "",
        "protocol_type": group.protocol_type if group is not None else "",
        "protocol_data": (group.protocol or "") if group is not None and stable else "",
        "members": members,
        "authorized_operations": -(1 << 31),
    }


def list_groups(
    coordinator: GroupCoordinator, states: list[str], types: list[str]
) -> tuple[ErrorCode, list[dict[str, Any]]]:
    """Groups of all loaded partitions; empty filters let everything through; filters ignore case."""
    wanted_states = {state.lower() for state in states}
    wanted_types = {kind.lower() for kind in types}
    error = ErrorCode.NONE
    listed: list[dict[str, Any]] = []
    for shard in coordinator.shards.values():
        if shard.loader is not None:
            error = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            continue
        if wanted_types and CLASSIC not in wanted_types:
            continue
        for group in shard.groups.values():
            if not wanted_states or group.state.value.lower() in wanted_states:
                listed.append(
                    {
                        "group_id": group.group_id,
                        "protocol_type": group.protocol_type,
                        "group_state": group.state.value,
                        "group_type": CLASSIC,
                    }
                )
    return error, listed


def delete_group(coordinator: GroupCoordinator, group_id: str) -> ErrorCode:
    """Delete an Empty group with its offsets."""
    error, groups = coordinator.groups_of(group_id)
    if error:
        return error
    group = groups.get(group_id)
    if group is None or group.state is GroupState.DEAD:
        return ErrorCode.GROUP_ID_NOT_FOUND
    if group.state is not GroupState.EMPTY:
        return ErrorCode.NON_EMPTY_GROUP
    error = coordinator.offsets.remove_all(group)
    if not error:
        coordinator.rebalancer.unload(group, ErrorCode.UNKNOWN_MEMBER_ID)
        del groups[group_id]
    return error
