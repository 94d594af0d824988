"""The phases of a rebalance of a classic group: prepare, join phase, completing, and the timers that end them.

Every group has at most three timers: of its sessions (the earliest deadline of its members), of the join phase, and of
the SyncGroup requests that are still missing. An idle group without members has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.coordinator import heartbeat_table
from kafka_cy.coordinator.group import Group, GroupState, Member
from kafka_cy.coordinator.records import group_key, group_value
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.coordinator.group_coordinator import GroupCoordinator

NEW_MEMBER_JOIN_TIMEOUT_S = 300.0  # a new member may wait this long for its first rebalance to complete
REBALANCING = (GroupState.STABLE, GroupState.COMPLETING_REBALANCE, GroupState.EMPTY)


def join_error(error: ErrorCode, member_id: str = "") -> dict[str, Any]:
    return {
        "error_code": int(error), "generation_id": -1, "protocol_type": None, "protocol_name": None, "leader": "",
        "skip_assignment": False, "member_id": member_id, "members": [],
    }  # fmt: skip


def join_success(group: Group, member: Member, with_members: bool, leader: str | None = None) -> dict[str, Any]:
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
    return {"error_code": int(error), "protocol_type": None, "protocol_name": None, "assignment": b""}


def sync_success(group: Group, member: Member) -> dict[str, Any]:
    return {
        "error_code": 0,
        "protocol_type": group.protocol_type,
        "protocol_name": group.protocol,
        "assignment": member.assignment,
    }


def answer_join(member: Member, answer: dict[str, Any]) -> None:
    waiting, member.join_answer = member.join_answer, None
    if waiting is not None:
        waiting(answer)


def answer_sync(member: Member, answer: dict[str, Any]) -> None:
    waiting, member.sync_answer = member.sync_answer, None
    if waiting is not None:
        waiting(answer)


class Rebalancer:
    """Moves groups through their states. Owner: the control thread, as everything of the coordinator."""

    def __init__(self, coordinator: GroupCoordinator) -> None:
        self.coordinator = coordinator
        self.loop = coordinator.loop
        self.initial_delay_ms: int = coordinator.config["group.initial.rebalance.delay.ms"]

    # -- phases --

    def prepare_or_complete(self, group: Group) -> None:
        """A member came or changed: start a rebalance, or end the join phase when it was the last one missing."""
        if group.in_state(*REBALANCING):
            self.prepare(group)
        else:
            self.maybe_complete_join(group)

    def prepare(self, group: Group) -> None:
        if group.state is GroupState.COMPLETING_REBALANCE:
            self.reset_assignments(group, ErrorCode.REBALANCE_IN_PROGRESS)
        self._cancel(group, "sync_timer")
        initial = group.state is GroupState.EMPTY
        group.transition(GroupState.PREPARING_REBALANCE, self.loop.wall_clock_ms())
        self.publish_heartbeats(group)
        if initial:
            group.new_member_added = False
            remaining_ms = max(group.rebalance_timeout_ms - self.initial_delay_ms, 0)
            self._schedule_initial(group, self.initial_delay_ms, remaining_ms)
        elif group.all_joined():
            self.complete_join(group)
        else:
            self._start_join_timer(group, group.rebalance_timeout_ms, self.complete_join, group)
        self.watch_sessions(group)

    def _schedule_initial(self, group: Group, delay_ms: int, remaining_ms: int) -> None:
        self._start_join_timer(group, delay_ms, self._initial_delay_over, group, delay_ms, remaining_ms)

    def _initial_delay_over(self, group: Group, delay_ms: int, remaining_ms: int) -> None:
        """Wait another step while new members arrive, at most as long as the largest rebalance timeout allows."""
        if group.new_member_added and remaining_ms != 0:
            group.new_member_added = False
            self._schedule_initial(group, min(self.initial_delay_ms, remaining_ms), max(remaining_ms - delay_ms, 0))
        else:
            self.complete_join(group)

    def maybe_complete_join(self, group: Group) -> None:
        initial = group.previous_state is GroupState.EMPTY  # ends by its delay, not by the last join
        if group.in_state(GroupState.PREPARING_REBALANCE) and not initial and group.all_joined():
            self.complete_join(group)

    def complete_join(self, group: Group) -> None:
        """End of the join phase: laggards go (static members stay), the next generation begins."""
        self._cancel(group, "join_timer")
        if not group.in_state(GroupState.PREPARING_REBALANCE):
            return
        for member in list(group.members.values()):
            if member.join_answer is None and member.instance_id is None:
                self.forget_member(group, member.member_id)
        if group.members and not group.elect_joined_leader():
            # Only static members, none of which rejoined: wait on until their sessions end or one comes back.
            self._start_join_timer(group, group.rebalance_timeout_ms, self.complete_join, group)
            return
        group.next_generation(self.loop.wall_clock_ms())
        if group.in_state(GroupState.EMPTY):
            self.coordinator.append(group.group_id, [(group_key(group.group_id), group_value(group.stored()))])
            self.watch_sessions(group)
            return
        self._answer_joins(group)
        self._schedule_sync_deadline(group)

    def _answer_joins(self, group: Group) -> None:
        now_s = self.loop.now()
        group.pending_sync = set(group.members)
        for member in group.members.values():
            member.is_new = False
            member.last_heartbeat_s = now_s
        self.publish_heartbeats(group)
        for member in list(group.members.values()):
            answer_join(member, join_success(group, member, with_members=member.member_id == group.leader))
        self.watch_sessions(group)

    def _schedule_sync_deadline(self, group: Group) -> None:
        self._cancel(group, "sync_timer")
        delay_s = group.rebalance_timeout_ms / 1000
        group.sync_timer = self.loop.call_later(delay_s, self._sync_deadline, group, group.generation)

    def _sync_deadline(self, group: Group, generation: int) -> None:
        """Members that sent no SyncGroup within the rebalance timeout after the join phase are removed."""
        group.sync_timer = None
        if group.generation != generation or not group.pending_sync:
            return
        if not group.in_state(GroupState.COMPLETING_REBALANCE, GroupState.STABLE):
            return
        for member_id in list(group.pending_sync):
            self.forget_member(group, member_id)
        self.prepare(group)

    def synced(self, group: Group, member_id: str) -> None:
        group.pending_sync.discard(member_id)
        if not group.pending_sync:
            self._cancel(group, "sync_timer")

    # -- assignments --

    def set_assignments(self, group: Group, assignments: dict[str, bytes]) -> None:
        """The leader's assignment is stored: the group is Stable, waiting followers get their part."""
        group.transition(GroupState.STABLE, self.loop.wall_clock_ms())
        for member in group.members.values():
            member.assignment = assignments.get(member.member_id, b"")
        self._answer_syncs(group, ErrorCode.NONE)

    def reset_assignments(self, group: Group, error: ErrorCode) -> None:
        for member in group.members.values():
            member.assignment = b""
        self._answer_syncs(group, error)

    def _answer_syncs(self, group: Group, error: ErrorCode) -> None:
        now_s = self.loop.now()
        waiting = [member for member in group.members.values() if member.sync_answer is not None]
        for member in waiting:
            member.last_heartbeat_s = now_s
        for member in waiting:
            answer_sync(member, sync_success(group, member) if error is ErrorCode.NONE else sync_error(error))
        self.watch_sessions(group)

    # -- members --

    def forget_member(self, group: Group, member_id: str) -> None:
        """Remove a member; requests of it that still wait are told that it is unknown."""
        member = group.remove(member_id)
        self.coordinator.forget_heartbeat(group.group_id, member_id)
        if member is not None:
            answer_join(member, join_error(ErrorCode.UNKNOWN_MEMBER_ID))
            answer_sync(member, sync_error(ErrorCode.UNKNOWN_MEMBER_ID))

    def members_removed(self, group: Group) -> None:
        """After members left or timed out."""
        if group.in_state(GroupState.STABLE, GroupState.COMPLETING_REBALANCE):
            self.prepare(group)
        else:
            self.maybe_complete_join(group)

    def publish_heartbeats(self, group: Group) -> None:
        """Tell the data plane which members it may stamp: those of a group that is Stable or completing."""
        accepting = group.in_state(GroupState.STABLE, GroupState.COMPLETING_REBALANCE)
        for member in group.members.values():
            self.publish_heartbeat(group, member, accepting)

    def publish_heartbeat(self, group: Group, member: Member, accepting: bool) -> None:
        member.last_heartbeat_s = self.last_heartbeat_s(group, member)
        instance = None if member.instance_id is None else member.instance_id.encode()
        heartbeat_table.set_member(
            group.group_id.encode(), member.member_id.encode(), instance,
            group.generation, accepting, int(member.last_heartbeat_s * 1e9),
        )  # fmt: skip

    def last_heartbeat_s(self, group: Group, member: Member) -> float:
        stamped_ns = heartbeat_table.last_heartbeat_ns(group.group_id.encode(), member.member_id.encode())
        return max(member.last_heartbeat_s, stamped_ns / 1e9)

    # -- sessions --

    def _deadline_s(self, group: Group, member: Member) -> float | None:
        """When the member's session ends; None while a request of it waits here."""
        if member.join_answer is not None or member.sync_answer is not None:
            return member.last_heartbeat_s + NEW_MEMBER_JOIN_TIMEOUT_S if member.is_new else None
        return self.last_heartbeat_s(group, member) + member.session_timeout_ms / 1000

    def watch_sessions(self, group: Group) -> None:
        """Restart the timer of the earliest session end; looks at all members, so once per phase, not per request."""
        deadlines = [self._deadline_s(group, member) for member in group.members.values()]
        known = [deadline for deadline in deadlines if deadline is not None]
        known += group.pending_members.values()
        self._cancel(group, "session_timer")
        if known:
            self.watch_until(group, min(known))

    def watch_until(self, group: Group, deadline_s: float) -> None:
        """Make sure that the session timer fires at `deadline_s` at the latest; when early it only looks again."""
        if group.session_timer is not None:
            if group.session_due_s <= deadline_s:
                return
            group.session_timer.cancel()
        group.session_due_s = deadline_s
        delay_s = max(deadline_s - self.loop.now(), 0.0)
        group.session_timer = self.loop.call_later(delay_s, self._sessions_due, group)

    def _sessions_due(self, group: Group) -> None:
        group.session_timer = None
        now_s = self.loop.now() + 1e-6
        for member_id in [each for each, deadline_s in group.pending_members.items() if deadline_s <= now_s]:
            del group.pending_members[member_id]
        expired = []
        for member in group.members.values():
            deadline_s = self._deadline_s(group, member)
            if deadline_s is not None and deadline_s <= now_s:
                expired.append(member.member_id)
        for member_id in expired:
            self.forget_member(group, member_id)
        if expired:
            self.members_removed(group)
        else:
            self.maybe_complete_join(group)
        self.watch_sessions(group)

    # -- timers --

    def _start_join_timer(self, group: Group, delay_ms: int, function: Any, *arguments: Any) -> None:
        self._cancel(group, "join_timer")
        group.join_timer = self.loop.call_later(delay_ms / 1000, function, *arguments)

    def _cancel(self, group: Group, name: str) -> None:
        timer = getattr(group, name)
        if timer is not None:
            timer.cancel()
            setattr(group, name, None)

    def unload(self, group: Group, error: ErrorCode) -> None:
        """The coordinator moved or stops: answer what waits, stop the timers, forget the heartbeats."""
        for name in ("session_timer", "join_timer", "sync_timer"):
            self._cancel(group, name)
        group.transition(GroupState.DEAD, self.loop.wall_clock_ms())
        for member in list(group.members.values()):
            self.coordinator.forget_heartbeat(group.group_id, member.member_id)
            answer_join(member, join_error(error, member.member_id))
            answer_sync(member, sync_error(error))
