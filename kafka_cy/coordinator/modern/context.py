"""What the operations on groups of one kind share: KIP-848, KIP-932, KIP-1071."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from kafka_cy.coordinator import open_groups
from kafka_cy.coordinator.modern.deadlines import Deadlines, Key
from kafka_cy.coordinator.modern.limits import MembersHeld
from kafka_cy.coordinator.modern.settings import OwnSettings
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.open_groups import Steady
from kafka_cy.coordinator.runtime.limit_line import LimitLine
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime

SESSION: Final = "session"  # a heartbeat is awaited
STEADY_FOR_S: Final = 60.0  # then one heartbeat of a steady group is looked at again


class ModernContext:
    """Owner: the coordinator's thread. A group has the soft fields `deadlines` and `counted_bytes`."""

    AWAITED: ClassVar[tuple[str, ...]] = (SESSION,)  # what may be awaited of a member

    def __init__(
        self, runtime: CoordinatorRuntime[Any], settings: OwnSettings, topics: Topics, member_bytes_max: int
    ) -> None:
        """`member_bytes_max`: of the members of all groups of this kind together."""
        self.runtime = runtime
        self.loop = runtime.loop
        self.topics = topics
        self.held = MembersHeld(member_bytes_max)
        self.on_due: Callable[[str, list[Key]], object] = lambda group_id, due: None
        self._settings = settings
        self._full_line = LimitLine(runtime.log, runtime.loop.now)

    def deadlines(self, group: Any) -> Deadlines:
        """The deadlines of the group's members."""
        if group.deadlines is None:
            group_id = group.group_id
            group.deadlines = Deadlines(
                self.runtime, group_id, lambda due: self.on_due(group_id, due), lambda key: self.session_due_s(group, key)
            )
        found: Deadlines = group.deadlines
        return found

    def count(self, group: Any) -> None:
        """Count the memory that the group's members take now."""
        self.held.member_bytes += group.held_bytes - group.counted_bytes
        group.counted_bytes = group.held_bytes

    def has_room(self, group: Any, added_bytes: int) -> bool:
        """Whether the group's members may take so much more."""
        if self.held.has_room(added_bytes):
            return True
        self._full_line.write(
            "members of groups take too much memory: new ones are refused, and groups get no more partitions or topics",
            kind=group.kind, group=group.group_id[:200], bytes=self.held.member_bytes, bytes_max=self.held.bytes_max,
        )  # fmt: skip
        return False

    def await_heartbeat(self, group: Any, member: Any) -> None:
        """The member's session begins, or goes on."""
        self.deadlines(group).set((SESSION, member.member_id), self._settings.session_timeout_ms(group.group_id))

    def stays(self, group: Any, member: Any, interval_ms: int, *, for_s: float = STEADY_FOR_S, endpoint_epoch: int = 0) -> None:
        """A heartbeat changed nothing in a group where nothing is left to do: the member's session goes on, and reactors may
        respond to the next ones as long as nothing changes, and `for_s` at most."""
        self.await_heartbeat(group, member)
        until_s = self.loop.now() + min(for_s, STEADY_FOR_S)
        version = open_groups.version()
        group.stays(member, Steady(group.HEARTBEAT_KEY, member.member_epoch, interval_ms, version, until_s, endpoint_epoch))

    def session_due_s(self, group: Any, key: Key) -> float:
        """When the member's session ends (monotonic) after the last heartbeat that a reactor responded to; 0: none did."""
        heard_of_s = group.published.heard_of_s(key[1]) if key[0] == SESSION else 0.0
        return heard_of_s + self._settings.session_timeout_ms(group.group_id) / 1000 if heard_of_s else 0.0

    def forget_member(self, group: Any, member_id: str) -> None:
        """Nothing is awaited of the member."""
        if group.deadlines is not None:
            for what in self.AWAITED:
                group.deadlines.cancel((what, member_id))

    def interval_is_over(self, group: Any) -> bool:
        """Whether the time between two assignments has passed (KIP-1263). A time in the future is one of another clock."""
        interval_ms = self._settings.assignment_interval_ms(group.group_id)
        computed_ms: int = group.assignment_timestamp_ms
        if not computed_ms or not interval_ms:
            return True
        return not computed_ms <= self.loop.wall_clock_ms() < computed_ms + interval_ms

    def end(self, group: Any) -> None:
        """The group is gone, or its soft state begins anew."""
        if group.deadlines is not None:
            group.deadlines.stop()
        self.held.member_bytes -= group.counted_bytes
        group.counted_bytes = 0
