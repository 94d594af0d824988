"""Sessions of members of classic groups: heartbeats that reactors may respond to, and deadlines.

Every group has at most one session timer, for the earliest deadline of its members. A group without members has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka_cy.coordinator import heartbeat_table
from kafka_cy.coordinator.classic.group import ClassicGroup, GroupState
from kafka_cy.coordinator.classic.limits import MembersHeld, pending_bytes
from kafka_cy.coordinator.classic.member import Member
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime

NEW_MEMBER_JOIN_TIMEOUT_S = 300.0  # a new member may wait this long for its first rebalance to complete


class Sessions:
    """Owner: the coordinator's thread. Reactors stamp heartbeats in `heartbeat_table`; sessions read the stamps."""

    def __init__(self, runtime: CoordinatorRuntime[Any], on_expired: Callable[[ClassicGroup, list[str]], None]) -> None:
        self.runtime = runtime
        self.loop = runtime.loop
        self.on_expired = on_expired  # (group, members whose sessions ended); also called when only pending ones went
        self.held = MembersHeld()

    # -- ids that were given out --

    def add_pending(self, group: ClassicGroup, member_id: str, session_timeout_ms: int) -> None:
        """Wait for the member's next JoinGroup."""
        deadline_s = self.loop.now() + session_timeout_ms / 1000
        group.pending_members[member_id] = deadline_s
        self.held.pending_members += 1
        self.held.member_bytes += pending_bytes(member_id)
        self.watch_until(group, deadline_s)

    def drop_pending(self, group: ClassicGroup, member_id: str) -> None:
        """The member joined, left, or took too long."""
        if group.pending_members.pop(member_id, None) is not None:
            self.held.pending_members -= 1
            self.held.member_bytes -= pending_bytes(member_id)

    def drop_all_pending(self, group: ClassicGroup) -> None:
        """The group is gone or begins anew."""
        self.held.pending_members -= len(group.pending_members)
        self.held.member_bytes -= sum(map(pending_bytes, group.pending_members))
        group.pending_members.clear()

    # -- heartbeats --

    def publish_heartbeats(self, group: ClassicGroup) -> None:
        """Tell the reactors which heartbeats they may respond to: those in a group that is Stable or completing."""
        accepting = group.in_state(GroupState.STABLE, GroupState.COMPLETING_REBALANCE)
        for member in group.members.values():
            self.publish_heartbeat(group, member, accepting)

    def publish_heartbeat(self, group: ClassicGroup, member: Member, accepting: bool) -> None:
        """The same for one member."""
        member.last_heartbeat_s = self.last_heartbeat_s(group, member)
        instance = None if member.instance_id is None else member.instance_id.encode()
        heartbeat_table.set_member(
            group.group_id.encode(), member.member_id.encode(), instance,
            group.generation, accepting, int(member.last_heartbeat_s * 1e9),
        )  # fmt: skip

    def forget_heartbeat(self, group: ClassicGroup, member_id: str) -> None:
        """Reactors no longer know the member."""
        heartbeat_table.remove_member(group.group_id.encode(), member_id.encode())

    def last_heartbeat_s(self, group: ClassicGroup, member: Member) -> float:
        """When the member was last heard of, by a reactor or here."""
        stamped_ns = heartbeat_table.last_heartbeat_ns(group.group_id.encode(), member.member_id.encode())
        return max(member.last_heartbeat_s, stamped_ns / 1e9)

    # -- deadlines --

    def _deadline_s(self, group: ClassicGroup, member: Member) -> float | None:
        """When the member's session ends; None while a request of it waits here."""
        if member.awaiting_join is not None or member.awaiting_sync is not None:
            return member.last_heartbeat_s + NEW_MEMBER_JOIN_TIMEOUT_S if member.is_new else None
        return self.last_heartbeat_s(group, member) + member.session_timeout_ms / 1000

    def watch(self, group: ClassicGroup) -> None:
        """Restart the timer of the earliest deadline. Looks at all members: once per phase, not per request."""
        deadlines = [self._deadline_s(group, member) for member in group.members.values()]
        known = [deadline for deadline in deadlines if deadline is not None]
        known += group.pending_members.values()
        self.stop(group)
        if known:
            self.watch_until(group, min(known))

    def watch_until(self, group: ClassicGroup, deadline_s: float) -> None:
        """Make sure that the session timer fires at `deadline_s` at the latest; when early, it only looks again."""
        if group.session_timer is not None:
            if group.session_due_s <= deadline_s:
                return
            group.session_timer.cancel()
        group.session_due_s = deadline_s
        delay_s = max(deadline_s - self.loop.now(), 0.0)
        group.session_timer = self.runtime.call_later(group.group_id, delay_s, self._due, group)

    def stop(self, group: ClassicGroup) -> None:
        """Cancel the session timer."""
        if group.session_timer is not None:
            group.session_timer.cancel()
            group.session_timer = None

    def _due(self, group: ClassicGroup) -> None:
        group.session_timer = None
        now_s = self.loop.now() + 1e-6
        for member_id in [each for each, deadline_s in group.pending_members.items() if deadline_s <= now_s]:
            self.drop_pending(group, member_id)
        expired = []
        for member in group.members.values():
            deadline_s = self._deadline_s(group, member)
            if deadline_s is not None and deadline_s <= now_s:
                expired.append(member.member_id)
        self.on_expired(group, expired)
        self.watch(group)
