"""JoinGroup of classic groups: who may become or stay a member, and what each request gets."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.classic.group import ClassicGroup, GroupState
from kafka_cy.coordinator.classic.limits import PENDING_MEMBERS_MAX
from kafka_cy.coordinator.classic.member import Member, Respond
from kafka_cy.coordinator.classic.protocols import select_protocol
from kafka_cy.coordinator.classic.rebalance import SETTLED, Rebalancer
from kafka_cy.coordinator.classic.requests import JoinRequest
from kafka_cy.coordinator.classic.responses import join_error, join_success, respond_join, respond_sync, sync_error
from kafka_cy.coordinator.classic.sessions import NEW_MEMBER_JOIN_TIMEOUT_S
from kafka_cy.coordinator.records import GroupKey, StoredGroup
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.protocol.errors import ErrorCode

REASON_CHARS_MAX = 255  # of a client, as in Kafka's own clients
Result = CoordinatorResult[dict[str, Any]]
Steps = Generator[object, None, Result]


class JoinGroup:
    """Owner: the coordinator's thread."""

    def __init__(self, rebalancer: Rebalancer, members_max: int) -> None:
        self.rebalancer = rebalancer
        self.sessions = rebalancer.sessions
        self.held = rebalancer.held
        self.loop = rebalancer.loop
        self.members_max = members_max

    def is_long(self, group: ClassicGroup, request: JoinRequest) -> bool:
        """Whether a static member comes back to a large group, which is stored with its new id."""
        returns = not request.member_id and request.instance_id in group.static_members
        return returns and group.state is GroupState.STABLE and group.is_large()

    def join(self, group: ClassicGroup, request: JoinRequest, respond: Respond) -> Steps:
        """`respond` is kept until the join phase ends, unless the result has a response already.

        A task for slices, or `at_once`.
        """
        if not self._has_room(group, request.member_id):
            removed = partial(self.rebalancer.remove_member, group, request.member_id) if request.member_id else None
            return Result(response=join_error(ErrorCode.GROUP_MAX_SIZE_REACHED), apply=removed)
        if not group.supports(request.protocol_type, (name for name, _ in request.protocols)):
            return Result(response=join_error(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, request.member_id))
        known = group.members.get(request.member_id or group.static_members.get(request.instance_id or "", ""))
        before = (known.assignment, known.held_bytes) if known is not None else (b"", 0)
        if not self.held.has_room(request, *before):
            return Result(response=join_error(ErrorCode.GROUP_MAX_SIZE_REACHED, request.member_id))
        if request.member_id:
            return self._join_known(group, request, respond)
        return (yield from self._join_new(group, request, respond))

    def _has_room(self, group: ClassicGroup, member_id: str) -> bool:
        if group.state is GroupState.EMPTY:
            return True
        member = group.members.get(member_id)
        if group.state is GroupState.PREPARING_REBALANCE:
            if member is not None and member.awaiting_join is not None:
                return True
            return group.awaiting_joins < self.members_max
        return member is not None or len(group.members) < self.members_max

    # -- without a member id --

    def _join_new(self, group: ClassicGroup, request: JoinRequest, respond: Respond) -> Steps:
        member_id = group.new_member_id(request.client_id, request.instance_id)
        if request.instance_id is not None:
            if request.instance_id in group.static_members:
                return (yield from self._replace_static(group, request, member_id, respond))
        elif request.require_known_member_id:
            if self.held.pending_members >= PENDING_MEMBERS_MAX:
                return Result(response=join_error(ErrorCode.GROUP_MAX_SIZE_REACHED))
            pending = partial(self.sessions.add_pending, group, member_id, request.session_timeout_ms)
            return Result(response=join_error(ErrorCode.MEMBER_ID_REQUIRED, member_id), apply=pending)
        return Result(apply=partial(self._add, group, request, member_id, respond))

    def _add(self, group: ClassicGroup, request: JoinRequest, member_id: str, respond: Respond) -> None:
        member = Member(
            group.group_id, member_id, request.instance_id, request.client_id, request.client_host,
            request.rebalance_timeout_ms, request.session_timeout_ms, request.protocols, self.loop.now(),
        )  # fmt: skip
        member.is_new = True
        if group.state is GroupState.PREPARING_REBALANCE and group.previous_state is GroupState.EMPTY:
            group.new_member_added = True
        self.sessions.drop_pending(group, member_id)
        group.add(member, request.protocol_type)
        group.await_join(member, respond)
        self.held.member_bytes += member.held_bytes
        self.sessions.watch_until(group, member.last_heartbeat_s + NEW_MEMBER_JOIN_TIMEOUT_S)
        self.rebalancer.prepare_or_complete(group, _reason("a member joined", request), member)

    # -- with a member id --

    def _join_known(self, group: ClassicGroup, request: JoinRequest, respond: Respond) -> Result:
        if request.member_id in group.pending_members and request.instance_id is None:
            return Result(apply=partial(self._add, group, request, request.member_id, respond))
        error = group.validate_member(request.member_id, request.instance_id)
        if error:
            return Result(response=join_error(error, request.member_id))
        member = group.members[request.member_id]
        unchanged = member.protocols == request.protocols
        leads = group.leader == member.member_id
        if group.state is GroupState.COMPLETING_REBALANCE and unchanged:
            return Result(response=join_success(group, member, with_members=leads))
        if group.state is GroupState.STABLE and unchanged and not leads:
            return Result(response=join_success(group, member, with_members=False))
        return Result(apply=partial(self._rejoin, group, member, request, respond))

    def _rejoin(self, group: ClassicGroup, member: Member, request: JoinRequest, respond: Respond) -> None:
        # An earlier request that the client abandoned.
        respond_join(group, member, join_error(ErrorCode.REBALANCE_IN_PROGRESS, member.member_id))
        before = member.held_bytes
        group.set_protocols(member, request.protocols)
        self.held.member_bytes += member.held_bytes - before
        member.rebalance_timeout_ms = request.rebalance_timeout_ms
        member.session_timeout_ms = request.session_timeout_ms
        member.last_heartbeat_s = self.loop.now()
        group.await_join(member, respond)
        self.rebalancer.prepare_or_complete(group, _reason("a member joined again", request), member)

    # -- static members --

    def _replace_static(self, group: ClassicGroup, request: JoinRequest, member_id: str, respond: Respond) -> Steps:
        """A static member came back: it gets a new id and the old one is fenced. In Stable nobody else notices."""
        assert request.instance_id is not None
        old = group.members[group.static_members[request.instance_id]]
        new = Member(
            group.group_id, member_id, request.instance_id, old.client_id, old.client_host, request.rebalance_timeout_ms,
            request.session_timeout_ms, request.protocols, self.loop.now(), old.assignment,
        )  # fmt: skip
        new.is_new = old.is_new
        stored = (yield from in_work(partial(_stored, group, old, new))) if group.state is GroupState.STABLE else None
        if stored is None:
            return Result(apply=partial(self._replace_and_rebalance, group, old, new, respond))
        old_leader = group.leader or ""
        return Result(
            [(GroupKey(group.group_id), stored)],
            apply=partial(self._replace_in_stable, group, old, new, request, old_leader, respond),
        )

    def _replace(self, group: ClassicGroup, old: Member, new: Member) -> None:
        respond_join(group, old, join_error(ErrorCode.FENCED_INSTANCE_ID, old.member_id))
        respond_sync(old, sync_error(ErrorCode.FENCED_INSTANCE_ID))
        self.sessions.forget_heartbeat(group, old.member_id)
        group.replace_static(old, new)
        self.held.member_bytes += new.held_bytes - old.held_bytes
        self.sessions.publish_heartbeat(group, new, group.in_state(*SETTLED))

    def _replace_and_rebalance(self, group: ClassicGroup, old: Member, new: Member, respond: Respond) -> None:
        self._replace(group, old, new)
        group.await_join(new, respond)
        self.rebalancer.prepare_or_complete(group, "a static member came back", new)

    def _replace_in_stable(
        self, group: ClassicGroup, old: Member, new: Member, request: JoinRequest, old_leader: str, respond: Respond
    ) -> None:
        self._replace(group, old, new)
        self.sessions.watch_until(group, new.last_heartbeat_s + new.session_timeout_ms / 1000)
        if request.supports_skipping_assignment:
            leads = group.leader == new.member_id
            respond(join_success(group, new, with_members=leads) | {"skip_assignment": leads})
        else:
            respond(join_success(group, new, with_members=False, leader=old_leader))


def _stored(group: ClassicGroup, old: Member, new: Member) -> StoredGroup | None:
    """The group with the new member in place of the old one; None if it has to choose another protocol then. Any thread."""
    members = [each for each in group.members.values() if each is not old] + [new]
    if select_protocol(members) != group.protocol:
        return None
    return group.to_stored(members=members, leader=new.member_id if group.leader == old.member_id else None)


def _reason(what: str, request: JoinRequest) -> str:
    """With the reason that the client gives (KIP-800)."""
    return f"{what}: {request.reason[:REASON_CHARS_MAX]}" if request.reason else what
