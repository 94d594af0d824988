"""The phases of a rebalance of a classic group, and the timers that end them.

Stable or Empty -> `prepare` -> PreparingRebalance (members send JoinGroup) -> `complete_join` -> CompletingRebalance
(members send SyncGroup) -> `assigned` -> Stable; or Empty when nobody is left. Everything here changes soft state and
runs after the append of the operation that asked for it. Only the step to Empty writes a record of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from kafka_cy.coordinator.classic.group import ClassicGroup, GroupState
from kafka_cy.coordinator.classic.group_lines import GroupLines, Info
from kafka_cy.coordinator.classic.member import Member
from kafka_cy.coordinator.classic.responses import (
    join_error,
    join_success,
    respond_join,
    respond_sync,
    sync_error,
    sync_success,
)
from kafka_cy.coordinator.classic.sessions import Sessions
from kafka_cy.coordinator.records import GroupKey, StoredGroup
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.protocol.errors import ErrorCode

LOOK_AGAIN_MIN_MS = 1000  # for members that do not come: clients choose the rebalance timeout, and may choose 0

SETTLED = (GroupState.STABLE, GroupState.COMPLETING_REBALANCE, GroupState.EMPTY)  # no join phase is under way


class Rebalancer:
    """Moves classic groups through their states. Owner: the coordinator's thread."""

    def __init__(
        self, runtime: CoordinatorRuntime[Any], initial_delay_ms: int, members_max: int, info: Info = lambda *_, **__: None
    ) -> None:
        self.runtime = runtime
        self.lines = GroupLines(info)
        self.loop = runtime.loop
        self.sessions = Sessions(runtime, self._sessions_ended)
        self.held = self.sessions.held
        self.initial_delay_ms = initial_delay_ms
        self.members_max = members_max  # of one group

    # -- beginning --

    def prepare_or_complete(self, group: ClassicGroup, reason: str, member: Member | None = None) -> None:
        """A member came or changed: start a rebalance, or end the join phase when it was the last one missing."""
        if group.in_state(*SETTLED):
            self.prepare(group, reason, member)
        else:
            self.maybe_complete_join(group)

    def members_removed(self, group: ClassicGroup, reason: str, member: Member | None = None) -> None:
        """After members left or timed out; `member` is one of them."""
        if group.in_state(GroupState.STABLE, GroupState.COMPLETING_REBALANCE):
            self.prepare(group, reason, member)
        else:
            self.maybe_complete_join(group)

    def prepare(self, group: ClassicGroup, reason: str, member: Member | None = None) -> None:
        """Begin the join phase. The log tells why, and because of which member."""
        self.lines.rebalance(group, reason, member)
        if group.state is GroupState.COMPLETING_REBALANCE:
            self.reset_assignments(group, ErrorCode.REBALANCE_IN_PROGRESS)
        self._cancel(group, "sync_timer")
        initial = group.state is GroupState.EMPTY
        joined = not initial and group.all_joined()
        group.transition(GroupState.PREPARING_REBALANCE, self.loop.wall_clock_ms())
        if initial:
            group.new_member_added = False
            remaining_ms = max(group.rebalance_timeout_ms - self.initial_delay_ms, 0)
            self._schedule_initial(group, self.initial_delay_ms, remaining_ms)
        elif not joined:
            self._start_join_timer(group, group.rebalance_timeout_ms, self.complete_join, group)
        self.sessions.publish_heartbeats(group)
        if joined:
            self.complete_join(group)
        self.sessions.watch(group)

    def _schedule_initial(self, group: ClassicGroup, delay_ms: int, remaining_ms: int) -> None:
        self._start_join_timer(group, delay_ms, self._initial_delay_over, group, delay_ms, remaining_ms)

    def _initial_delay_over(self, group: ClassicGroup, delay_ms: int, remaining_ms: int) -> None:
        """Wait another step while new members arrive, at most as long as the largest rebalance timeout allows."""
        if group.new_member_added and remaining_ms != 0:
            group.new_member_added = False
            self._schedule_initial(group, min(self.initial_delay_ms, remaining_ms), max(remaining_ms - delay_ms, 0))
        else:
            self.complete_join(group)

    # -- end of the join phase --

    def maybe_complete_join(self, group: ClassicGroup) -> None:
        """End the join phase when everybody has joined."""
        initial = group.previous_state is GroupState.EMPTY  # the delay ends it, not the last join
        if group.in_state(GroupState.PREPARING_REBALANCE) and not initial and group.all_joined():
            self.complete_join(group)

    def complete_join(self, group: ClassicGroup) -> None:
        """Remove the members that did not rejoin (static ones stay) and begin the next generation."""
        self._cancel(group, "join_timer")
        if not group.in_state(GroupState.PREPARING_REBALANCE):
            return
        late = [each for each in group.members.values() if each.awaiting_join is None and each.instance_id is None]
        for member in late:
            self.remove_member(group, member.member_id)
        self.lines.lost(group, "no JoinGroup within the rebalance timeout", late)
        if not group.members:
            self._write_empty(group)
        elif not group.elect_joined_leader():
            # Only static members, none of which rejoined: wait until their sessions end or one comes back.
            again_ms = max(group.rebalance_timeout_ms, LOOK_AGAIN_MIN_MS)
            self._start_join_timer(group, again_ms, self.complete_join, group)
        else:
            group.begin_generation(self.loop.wall_clock_ms())
            self._schedule_sync_deadline(group)
            self._respond_joins(group)

    def _write_empty(self, group: ClassicGroup) -> None:
        """The last member has gone. If that cannot be stored, the group is Empty nevertheless."""
        now_ms = self.loop.wall_clock_ms()
        stored = StoredGroup(group.protocol_type, group.next_generation(), None, None, now_ms, ())

        def emptied(error: ErrorCode = ErrorCode.NONE) -> None:
            group.become_empty(stored)
            self.lines.empty(group)
            self.sessions.watch(group)

        records = [(GroupKey(group.group_id), stored)]
        self.runtime.write_own(group.group_id, lambda _: CoordinatorResult(records, apply=emptied, failed=emptied))

    def _respond_joins(self, group: ClassicGroup) -> None:
        now_s = self.loop.now()
        for member in group.members.values():
            member.is_new = False
            member.last_heartbeat_s = now_s
        self.sessions.publish_heartbeats(group)
        for member in list(group.members.values()):
            respond_join(group, member, join_success(group, member, with_members=member.member_id == group.leader))
        self.sessions.watch(group)

    # -- the leader's assignment --

    def _schedule_sync_deadline(self, group: ClassicGroup) -> None:
        self._cancel(group, "sync_timer")
        delay_s = group.rebalance_timeout_ms / 1000
        group.sync_timer = self._call_later(group, delay_s, self._sync_deadline, group, group.generation)

    def _sync_deadline(self, group: ClassicGroup, generation: int) -> None:
        """Remove the members that sent no SyncGroup within the rebalance timeout after the join phase."""
        group.sync_timer = None
        if group.generation != generation or not group.pending_sync:
            return
        if not group.in_state(GroupState.COMPLETING_REBALANCE, GroupState.STABLE):
            return
        late = [group.members[member_id] for member_id in group.pending_sync if member_id in group.members]
        for member_id in list(group.pending_sync):
            self.remove_member(group, member_id)
        self.lines.lost(group, "no SyncGroup within the rebalance timeout", late)
        self.prepare(group, "members sent no SyncGroup")

    def synced(self, group: ClassicGroup, member_id: str) -> None:
        """The member sent its SyncGroup."""
        group.forget_sync(member_id)
        if not group.pending_sync:
            self._cancel(group, "sync_timer")

    def assigned(self, group: ClassicGroup, stored: StoredGroup) -> None:
        """The leader's assignment is appended: the group is Stable, waiting members get their part."""
        self.held.member_bytes += group.become_stable(stored, self.loop.wall_clock_ms())
        self.lines.stable(group)
        self._respond_syncs(group, ErrorCode.NONE)

    def reset_assignments(self, group: ClassicGroup, error: ErrorCode) -> None:
        """Forget the assignment; members that wait for it get the error."""
        self.held.member_bytes += group.assign({})
        self._respond_syncs(group, error)

    def _respond_syncs(self, group: ClassicGroup, error: ErrorCode) -> None:
        now_s = self.loop.now()
        waiting = [member for member in group.members.values() if member.awaiting_sync is not None]
        for member in waiting:
            member.last_heartbeat_s = now_s
        for member in waiting:
            respond_sync(member, sync_success(group, member) if error is ErrorCode.NONE else sync_error(error))
        self.sessions.watch(group)

    # -- members --

    def remove_member(self, group: ClassicGroup, member_id: str) -> None:
        """Forget a member; its requests that still wait get UNKNOWN_MEMBER_ID."""
        self.sessions.drop_pending(group, member_id)
        member = group.remove(member_id)
        self.sessions.forget_heartbeat(group, member_id)
        if member is not None:
            self.held.member_bytes -= member.held_bytes
            respond_join(group, member, join_error(ErrorCode.UNKNOWN_MEMBER_ID))
            respond_sync(member, sync_error(ErrorCode.UNKNOWN_MEMBER_ID))

    def _sessions_ended(self, group: ClassicGroup, expired: list[str]) -> None:
        members = [group.members[member_id] for member_id in expired]
        for member_id in expired:
            self.remove_member(group, member_id)
        self.lines.lost(group, "session expired", members)
        if expired:
            self.members_removed(group, "the session of a member expired", members[0])
        else:
            self.maybe_complete_join(group)

    # -- life of the soft state --

    def begin(self, group: ClassicGroup, proposed: Mapping[str, list[tuple[str, bytes]]] | None = None) -> None:
        """After loading: the sessions of the stored members begin; a group over `group.max.size` rebalances.

        `proposed` has all protocols of members (by id) of which only the chosen one is stored.
        """
        group.restore(self.loop.now())
        for member_id, protocols in (proposed or {}).items():
            group.set_protocols(group.members[member_id], protocols)
        self.held.member_bytes += group.held_bytes()
        if group.members:
            self.sessions.publish_heartbeats(group)
            self.sessions.watch(group)
            if len(group.members) > self.members_max:
                self.prepare(group, "it has more members than group.max.size")

    def end(self, group: ClassicGroup, error: ErrorCode) -> None:
        """The group is gone or begins anew: respond to what waits, stop the timers, forget the heartbeats."""
        self.sessions.stop(group)
        self.sessions.drop_all_pending(group)
        for name in ("join_timer", "sync_timer"):
            self._cancel(group, name)
        group.transition(GroupState.DEAD, self.loop.wall_clock_ms())
        self.held.member_bytes -= group.held_bytes()
        for member in list(group.members.values()):
            self.sessions.forget_heartbeat(group, member.member_id)
            respond_join(group, member, join_error(error, member.member_id))
            respond_sync(member, sync_error(error))

    # -- timers --

    def _call_later(self, group: ClassicGroup, delay_s: float, function: Any, *arguments: Any) -> Any:
        return self.runtime.call_later(group.group_id, delay_s, partial(function, *arguments))

    def _start_join_timer(self, group: ClassicGroup, delay_ms: int, function: Any, *arguments: Any) -> None:
        self._cancel(group, "join_timer")
        group.join_timer = self._call_later(group, delay_ms / 1000, function, *arguments)

    def _cancel(self, group: ClassicGroup, name: str) -> None:
        timer = getattr(group, name)
        if timer is not None:
            timer.cancel()
            setattr(group, name, None)
