"""JoinGroup, SyncGroup, Heartbeat and LeaveGroup of classic groups: who is a member, and what each request is told."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kafka_cy.coordinator.group import Answer, Group, GroupState, Member
from kafka_cy.coordinator.rebalance import (
    NEW_MEMBER_JOIN_TIMEOUT_S,
    REBALANCING,
    Rebalancer,
    answer_join,
    answer_sync,
    join_error,
    join_success,
    sync_error,
    sync_success,
)
from kafka_cy.coordinator.records import fits, group_key, group_value
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.coordinator.group_coordinator import GroupCoordinator

NO_UUID = str(uuid.UUID(int=0))


@dataclass(slots=True, frozen=True)
class JoinRequest:
    group_id: str
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: list[tuple[str, bytes]]
    require_known_member_id: bool  # JoinGroup v4 on
    supports_skipping_assignment: bool  # JoinGroup v9 on


@dataclass(slots=True, frozen=True)
class SyncRequest:
    group_id: str
    generation: int
    member_id: str
    instance_id: str | None
    protocol_type: str | None
    protocol: str | None
    assignments: dict[str, bytes]


def can_be_stored(request: JoinRequest) -> bool:
    """Whether every string of the request, and the member id made of it, fits into a group record and a response."""
    if request.member_id:
        made = request.member_id
    else:
        made = (request.client_id if request.instance_id is None else request.instance_id) + "-" + NO_UUID
    strings = (request.group_id, made, request.instance_id or "", request.client_id, request.protocol_type)
    return all(map(fits, strings)) and all(fits(name) for name, _ in request.protocols)


class Membership:
    """Owner: the control thread."""

    def __init__(self, coordinator: GroupCoordinator) -> None:
        self.coordinator = coordinator
        self.rebalancer: Rebalancer = coordinator.rebalancer
        self.loop = coordinator.loop
        self.members_max: int = coordinator.config["group.max.size"]

    # -- JoinGroup --

    def join(self, groups: dict[str, Group], request: JoinRequest, answer: Answer) -> None:
        group = groups.get(request.group_id)
        if group is None:
            if request.member_id:
                return answer(join_error(ErrorCode.UNKNOWN_MEMBER_ID, request.member_id))
            group = Group(request.group_id, state_timestamp_ms=self.loop.wall_clock_ms())
            error = self.coordinator.append(group.group_id, [(group_key(group.group_id), group_value(group.stored()))])
            if error:
                return answer(join_error(error))
            groups[request.group_id] = group
        if not self._has_room(group, request.member_id):
            if request.member_id:
                self.rebalancer.forget_member(group, request.member_id)
            return answer(join_error(ErrorCode.GROUP_MAX_SIZE_REACHED))
        if group.state is GroupState.DEAD:
            return answer(join_error(ErrorCode.COORDINATOR_NOT_AVAILABLE, request.member_id))
        if not group.supports(request.protocol_type, (name for name, _ in request.protocols)):
            return answer(join_error(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, request.member_id))
        if request.member_id:
            self._join_known(group, request, answer)
        else:
            self._join_new(group, request, answer)

    def _has_room(self, group: Group, member_id: str) -> bool:
        if group.in_state(GroupState.EMPTY, GroupState.DEAD):
            return True
        member = group.members.get(member_id)
        if group.state is GroupState.PREPARING_REBALANCE:
            if member is not None and member.join_answer is not None:
                return True
            return sum(each.join_answer is not None for each in group.members.values()) < self.members_max
        return member is not None or len(group.members) < self.members_max

    def _join_new(self, group: Group, request: JoinRequest, answer: Answer) -> None:
        member_id = group.new_member_id(request.client_id, request.instance_id)
        if request.instance_id is not None:
            if request.instance_id in group.static_members:
                return self._join_replacing(group, request, member_id, answer)
        elif request.require_known_member_id:
            deadline_s = self.loop.now() + request.session_timeout_ms / 1000
            group.pending_members[member_id] = deadline_s
            self.rebalancer.watch_until(group, deadline_s)
            return answer(join_error(ErrorCode.MEMBER_ID_REQUIRED, member_id))
        self._add(group, request, member_id, answer)

    def _join_known(self, group: Group, request: JoinRequest, answer: Answer) -> None:
        if request.member_id in group.pending_members and request.instance_id is None:
            return self._add(group, request, request.member_id, answer)
        error = group.validate_member(request.member_id, request.instance_id)
        if error:
            return answer(join_error(error, request.member_id))
        member = group.members[request.member_id]
        unchanged = member.protocols == request.protocols
        leads = group.leader == member.member_id
        if group.state is GroupState.COMPLETING_REBALANCE and unchanged:
            return answer(join_success(group, member, with_members=leads))
        if group.state is GroupState.STABLE and unchanged and not leads:
            return answer(join_success(group, member, with_members=False))
        self._update(member, request, answer)
        self.rebalancer.prepare_or_complete(group)

    def _add(self, group: Group, request: JoinRequest, member_id: str, answer: Answer) -> None:
        member = Member(
            member_id, request.instance_id, request.client_id, request.client_host,
            request.rebalance_timeout_ms, request.session_timeout_ms, request.protocols,
            is_new=True, last_heartbeat_s=self.loop.now(), join_answer=answer,
        )  # fmt: skip
        if group.state is GroupState.PREPARING_REBALANCE and group.previous_state is GroupState.EMPTY:
            group.new_member_added = True
        group.add(member, request.protocol_type)
        self.rebalancer.watch_until(group, member.last_heartbeat_s + NEW_MEMBER_JOIN_TIMEOUT_S)
        self.rebalancer.prepare_or_complete(group)

    def _update(self, member: Member, request: JoinRequest, answer: Answer) -> None:
        answer_join(
            member, join_error(ErrorCode.REBALANCE_IN_PROGRESS, member.member_id)
        )  # an abandoned earlier request
        member.protocols = request.protocols
        member.rebalance_timeout_ms, member.session_timeout_ms = (
            request.rebalance_timeout_ms,
            request.session_timeout_ms,
        )
        member.last_heartbeat_s = self.loop.now()
        member.join_answer = answer

    def _join_replacing(self, group: Group, request: JoinRequest, member_id: str, answer: Answer) -> None:
        """A static member came back under a new id: the old id is fenced, in Stable nobody else notices."""
        assert request.instance_id is not None
        old_leader, old_member_id = group.leader, group.static_members[request.instance_id]
        member = group.members[old_member_id]
        answer_join(member, join_error(ErrorCode.FENCED_INSTANCE_ID, old_member_id))
        answer_sync(member, sync_error(ErrorCode.FENCED_INSTANCE_ID))
        self.coordinator.forget_heartbeat(group.group_id, old_member_id)
        group.replace_static(request.instance_id, member_id)
        old = (member.protocols, member.rebalance_timeout_ms, member.session_timeout_ms)
        self._update(member, request, answer)
        self.rebalancer.publish_heartbeat(group, member, group.in_state(*REBALANCING))
        if group.state is not GroupState.STABLE or group.select_protocol() != group.protocol:
            return self.rebalancer.prepare_or_complete(group)
        error = self.coordinator.append(group.group_id, [(group_key(group.group_id), group_value(group.stored()))])
        if error:
            member.protocols, member.rebalance_timeout_ms, member.session_timeout_ms = old
            group.replace_static(request.instance_id, old_member_id)
            self.coordinator.forget_heartbeat(group.group_id, member_id)
            self.rebalancer.publish_heartbeat(group, member, accepting=True)
            return answer_join(member, join_error(ErrorCode.UNKNOWN_MEMBER_ID))
        self.rebalancer.watch_sessions(group)
        if request.supports_skipping_assignment:
            leads = group.leader == member_id
            answer_join(member, join_success(group, member, with_members=leads) | {"skip_assignment": leads})
        else:
            answer_join(member, join_success(group, member, with_members=False, leader=old_leader))

    # -- SyncGroup --

    def sync(self, group: Group | None, request: SyncRequest, answer: Answer) -> None:
        error = ErrorCode.UNKNOWN_MEMBER_ID if group is None else self._check_sync(group, request)
        if error or group is None:
            return answer(sync_error(error))
        member = group.members[request.member_id]
        member.last_heartbeat_s = self.loop.now()
        self.rebalancer.synced(group, request.member_id)
        if group.state is GroupState.STABLE:
            return answer(sync_success(group, member))
        answer_sync(member, sync_error(ErrorCode.REBALANCE_IN_PROGRESS))  # an abandoned earlier request
        member.sync_answer = answer
        if group.leader == request.member_id:
            self._leader_synced(group, request)

    def _check_sync(self, group: Group, request: SyncRequest) -> ErrorCode:
        if group.state is GroupState.DEAD:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        error = group.validate_member(request.member_id, request.instance_id)
        if error:
            return error
        if request.generation != group.generation:
            return ErrorCode.ILLEGAL_GENERATION
        if request.protocol_type not in (None, group.protocol_type) or request.protocol not in (None, group.protocol):
            return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        if group.state is GroupState.PREPARING_REBALANCE:
            return ErrorCode.REBALANCE_IN_PROGRESS
        return ErrorCode.NONE if group.state is not GroupState.EMPTY else ErrorCode.UNKNOWN_MEMBER_ID

    def _leader_synced(self, group: Group, request: SyncRequest) -> None:
        stored = group_value(group.stored(request.assignments))
        error = self.coordinator.append(group.group_id, [(group_key(group.group_id), stored)])
        if error:
            self.rebalancer.reset_assignments(group, error)
            self.rebalancer.prepare_or_complete(group)
        else:
            self.rebalancer.set_assignments(group, request.assignments)

    # -- Heartbeat --

    def heartbeat(self, group: Group | None, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        if group is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        if group.state is GroupState.DEAD:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        error = group.validate_member(member_id, instance_id)
        if error:
            return error
        if generation != group.generation:
            return ErrorCode.ILLEGAL_GENERATION
        group.members[member_id].last_heartbeat_s = self.loop.now()
        preparing = group.state is GroupState.PREPARING_REBALANCE
        return ErrorCode.REBALANCE_IN_PROGRESS if preparing else ErrorCode.NONE

    # -- LeaveGroup --

    def leave(self, group: Group | None, members: list[tuple[str, str | None]]) -> list[dict[str, Any]]:
        """Remove (member id, instance id) pairs; one answer each."""
        answers, removed = [], False
        for member_id, instance_id in members:
            error = ErrorCode.UNKNOWN_MEMBER_ID if group is None else self._leave_one(group, member_id, instance_id)
            removed |= not error
            answers.append({"member_id": member_id, "group_instance_id": instance_id, "error_code": int(error)})
        if removed and group is not None:
            self.rebalancer.members_removed(group)
        return answers

    def _leave_one(self, group: Group, member_id: str, instance_id: str | None) -> ErrorCode:
        if not member_id:
            if instance_id is None or instance_id not in group.static_members:
                return ErrorCode.UNKNOWN_MEMBER_ID
            member_id = group.static_members[instance_id]
        elif member_id not in group.pending_members:
            error = group.validate_member(member_id, instance_id)
            if error:
                return error
        self.rebalancer.forget_member(group, member_id)
        return ErrorCode.NONE
