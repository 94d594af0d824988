"""The state machine of one partition of `__consumer_offsets`: its groups and their offsets (Kafka: GroupCoordinatorShard)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.doors import Doors
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.group_kinds import GROUP_OF, decode_any, encode_any
from kafka_cy.coordinator.offsets.pending import PendingOffsets, PendingOffsetsHeld
from kafka_cy.coordinator.records import CommittedOffset, OffsetKey, Record
from kafka_cy.coordinator.runtime.record_reader import BadRecord
from kafka_cy.protocol.errors import ErrorCode


class SoftState(Protocol):
    """Begins and ends the soft state (timers, waiting requests) of the groups of one kind."""

    def begin(self, group: Any) -> object:
        """The group was loaded, or begins anew after a fault."""

    def end(self, group: Any, error: ErrorCode) -> object:
        """The group is gone or begins anew: respond to what waits, stop the timers."""


class GroupStateMachine:
    """Owner: the coordinator's thread; other threads (metrics, lag, long responses) only call `each_group`. Reactors store the
    commits of groups whose door is open.

    Limits: offsets and groups are as many as the log holds; `group_limits` bounds new ones.
    """

    def __init__(
        self,
        soft_states: Mapping[type[Group], SoftState],
        counted: Callable[[str, int], None],
        pending_held: PendingOffsetsHeld | None = None,
        doors: Doors | None = None,
    ) -> None:
        """`doors`: None if no reactor commits."""
        self.doors = doors
        self.soft_states = soft_states  # of each kind of group
        self.groups: dict[str, Group] = {}
        self._walk: list[Group] = []  # the same groups; each one knows its place
        self.pending = PendingOffsets(self.groups.get, pending_held or PendingOffsetsHeld())
        self.skipped = 0  # records of other kinds of groups, or unreadable ones: they are kept in the log
        self._counted = counted  # told which group came (1) or went (-1)

    # -- records --

    encode = staticmethod(encode_any)

    def decode(self, key: bytes, value: bytes | None) -> Record | None:
        try:
            record = decode_any(key, value)
        except BadRecord:
            record = None
        if record is None:
            self.skipped += 1
        return record

    def replay(self, record: Record, offset: int, producer_id: int = -1) -> None:
        """A compacted log may begin with tombstones of what it no longer shows: they change nothing."""
        key, value = record
        if not isinstance(key, OffsetKey):
            self._replay_group(key, value)
        elif value is None:
            self._delete_offset(key)
        elif producer_id >= 0:
            self.pending.add(producer_id, self._group_for_offsets(key), key, value, offset)
        else:
            self._commit_offset(key, value, offset)

    def replay_steps(self, record: Record, offset: int, producer_id: int = -1) -> Iterator[object]:
        key, value = record
        if isinstance(key, OffsetKey):
            self.replay(record, offset, producer_id)
            return
        group = self._group_to_change(key, value)
        if group is not None:
            yield from group.replay_steps(key, value)
            self._group_changed(group, value)

    def ends_at_once(self, producer_id: int) -> bool:
        return self.pending.ends_at_once(producer_id)

    def end_transaction(self, producer_id: int, committed: bool) -> Iterator[str | None]:
        return self.pending.end(producer_id, self._commit_offset if committed else None)

    def _group_for_offsets(self, key: OffsetKey) -> Group:
        """The group, which begins with its first offset."""
        return self.groups.get(key.group_id) or self._create(key.group_id, ClassicGroup)

    def _commit_offset(self, key: OffsetKey, value: CommittedOffset, offset: int) -> None:
        group = self._group_for_offsets(key)
        group.offsets.put(key.topic, key.partition, value)
        if group.pending is not None:
            self.pending.overtaken(group, key, offset)

    def _delete_offset(self, key: OffsetKey) -> None:
        group = self.groups.get(key.group_id)
        if group is None:
            return
        group.offsets.remove(key.topic, key.partition)
        if group.pending is not None:
            self.pending.delete(group, key)

    def _replay_group(self, key: Any, value: Any) -> None:
        group = self._group_to_change(key, value)
        if group is not None:
            group.replay(key, value)
            self._group_changed(group, value)

    def _group_to_change(self, key: Any, value: Any) -> Group | None:
        """The group of a record, which may begin with it. None: the record changes nothing."""
        kind = GROUP_OF[type(key)]
        group = self.groups.get(key.group_id)
        if group is None or type(group) is not kind:
            if value is None:
                return None
            # Kafka's log ends a group of one kind before another kind begins. Only a group that has nothing but offsets is
            # replaced without a tombstone. A log that contradicts that is taken at its last word.
            group = self._replace(key.group_id, kind)
        return group

    def _group_changed(self, group: Group, value: Any) -> None:
        """The group ends with the last of its tombstones, except for its offsets."""
        if value is None and not group.is_recorded:
            if group.offsets or group.pending is not None:
                self._replace(group.group_id, ClassicGroup)
            else:
                self._remove(group.group_id)

    def _replace(self, group_id: str, kind: type[Group]) -> Group:
        """A group of that kind takes over the id, and the offsets of the group that had it, also those in open transactions."""
        group = self.groups.get(group_id)
        if group is not None:
            self._remove(group_id)
        replacement = self._create(group_id, kind)
        if group is not None:
            replacement.offsets, replacement.pending = group.offsets, group.pending
        return replacement

    def _create(self, group_id: str, kind: type[Group]) -> Group:
        group = self.groups[group_id] = kind(group_id)
        group.place = len(self._walk)
        self._walk.append(group)
        self._counted(group_id, 1)
        return group

    def _remove(self, group_id: str) -> None:
        group = self.groups.pop(group_id)
        group.closed()
        last = self._walk.pop()
        if last is not group:
            self._walk[group.place] = last
            last.place = group.place
        self._counted(group_id, -1)

    def each_group(self) -> Iterator[Group]:
        """Every group that stays while this goes on, for work in slices: nothing is copied. Any thread.

        From the end to the start: the group that takes the place of a removed one was visited before. It may be visited again.
        """
        place = len(self._walk)
        while place > 0:
            place = min(place, len(self._walk)) - 1
            try:
                yield self._walk[place]
            except IndexError:  # another thread removed groups just now
                continue

    # -- reactors --

    def hold(self, key: str) -> None:
        """Shut the group's door: reactors forward its commits."""
        group = self.groups.get(key)
        if group is not None:
            if group.door is not None:
                group.door.shut()
            group.holds += 1  # last: after an exception nothing is held

    def release(self, key: str) -> None:
        """Open the group's door if its commits or heartbeats need no decision now, and if it has any."""
        group = self.groups.get(key)
        if group is None:
            return
        group.holds = max(group.holds - 1, 0)  # another group of that name may have been held
        if group.uses_door and not group.holds and self.doors is not None:
            self.doors.open(group)

    def commits_from_now_on(self, group_id: str, apply: Callable[[], object] | None) -> None:
        """The group has committed: its door will be opened. `apply` comes first."""
        if apply is not None:
            apply()
        group = self.groups.get(group_id)
        if group is not None:
            group.uses_door = True

    def lose(self) -> None:
        if self.doors is not None:
            self.doors.lose()

    # -- soft state --

    def loaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        nothing_left: list[str] = []
        for group in self._walk:  # no group comes or goes before requests are let in
            if group.is_recorded or group.offsets or group.pending is not None:
                self._guard(on_fault, self.soft_states[type(group)].begin, group)
            else:
                nothing_left.append(group.group_id)
            yield
        for group_id in nothing_left:
            self._remove(group_id)
            yield

    def remarks(self) -> list[str]:
        return [f"{self.skipped} records of other kinds of groups were left alone"] if self.skipped else []

    def unloaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        self.pending.release()
        while self._walk:
            group = self._walk[-1]
            self._remove(group.group_id)
            self._guard(on_fault, self.soft_states[type(group)].end, group, ErrorCode.NOT_COORDINATOR)
            yield

    def restart(self, key: str) -> None:
        group = self.groups.get(key)
        if group is not None:
            soft_state = self.soft_states[type(group)]
            soft_state.end(group, ErrorCode.COORDINATOR_NOT_AVAILABLE)
            soft_state.begin(group)

    def _guard(self, on_fault: Callable[[Exception], object], change: Callable[..., object], *arguments: object) -> None:
        try:
            change(*arguments)
        except Exception as fault:  # noqa: BLE001 a fault of one group costs the others nothing
            on_fault(fault)
