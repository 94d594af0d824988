"""The state machine of one partition of `__consumer_offsets`: its groups and their offsets (Kafka: GroupCoordinatorShard)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.rebalance import Rebalancer
from kafka_cy.coordinator.records import (
    BadRecord,
    CommittedOffset,
    GroupKey,
    OffsetKey,
    OtherKey,
    Record,
    StoredGroup,
    decode_record,
    encode_record,
)
from kafka_cy.protocol.errors import ErrorCode


class GroupStateMachine:
    """Owner: the coordinator's thread; other threads (metrics, lag, long responses) only call `each_group`.

    Limits: offsets and groups are as many as the log holds; `groups_max` of the coordinator bounds new ones.
    """

    def __init__(self, rebalancer: Rebalancer, members_max: int, counted: Callable[[int], None]) -> None:
        self.rebalancer = rebalancer
        self.members_max = members_max
        self.groups: dict[str, ClassicGroup] = {}
        self._walk: list[ClassicGroup] = []  # the same groups; each one knows its place
        self.pending: dict[int, list[Record]] = {}  # records of open transactions, by producer id
        self.skipped = 0  # records of other kinds of groups, or unreadable ones: they are kept in the log
        self._counted = counted  # told how many groups came (1) or went (-1)

    # -- records --

    encode = staticmethod(encode_record)

    def decode(self, key: bytes, value: bytes | None) -> Record | None:
        try:
            record = decode_record(key, value)
        except BadRecord:
            record = (OtherKey(-1), None)
        if isinstance(record[0], OtherKey):
            self.skipped += 1
            return None
        return record

    def replay(self, record: Record, producer_id: int = -1) -> None:
        """A compacted log may begin with tombstones of what it no longer shows: they change nothing."""
        key, value = record
        if producer_id >= 0:
            self.pending.setdefault(producer_id, []).append(record)
        elif isinstance(key, OffsetKey):
            self._replay_offset(key, value)
        elif isinstance(key, GroupKey):
            self._replay_group(key, value)

    def end_transaction(self, producer_id: int, committed: bool) -> None:
        for record in self.pending.pop(producer_id, []):
            if committed:
                self.replay(record)

    def _replay_offset(self, key: OffsetKey, value: CommittedOffset | None) -> None:
        group = self.groups.get(key.group_id)
        if value is not None:
            if group is None:
                group = self._create(key.group_id)
            partitions = group.offsets.get(key.topic)
            if partitions is None:
                partitions = group.offsets[key.topic] = {}
            partitions[key.partition] = value
        elif group is not None and key.topic in group.offsets:
            partitions = group.offsets[key.topic]
            partitions.pop(key.partition, None)
            if not partitions:
                del group.offsets[key.topic]

    def _replay_group(self, key: GroupKey, value: StoredGroup | None) -> None:
        group = self.groups.get(key.group_id)
        if value is not None:
            (group or self._create(key.group_id)).stored = value
        elif group is not None:
            self._remove(key.group_id)
            if group.offsets:
                self._create(key.group_id).offsets = group.offsets

    def _create(self, group_id: str) -> ClassicGroup:
        group = self.groups[group_id] = ClassicGroup(group_id)
        group.place = len(self._walk)
        self._walk.append(group)
        self._counted(1)
        return group

    def _remove(self, group_id: str) -> None:
        group = self.groups.pop(group_id)
        last = self._walk.pop()
        if last is not group:
            self._walk[group.place] = last
            last.place = group.place
        self._counted(-1)

    def each_group(self) -> Iterator[ClassicGroup]:
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

    # -- soft state --

    def loaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        nothing_left: list[str] = []
        for group in self._walk:  # no group comes or goes before requests are let in
            if group.is_recorded or group.offsets:
                self._guard(on_fault, self.rebalancer.begin, group, self.members_max)
            else:
                nothing_left.append(group.group_id)
            yield
        for group_id in nothing_left:
            self._remove(group_id)
            yield

    def remarks(self) -> list[str]:
        return [f"{self.skipped} records of other kinds of groups were left alone"] if self.skipped else []

    def unloaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        while self._walk:
            group = self._walk[-1]
            self._remove(group.group_id)
            self._guard(on_fault, self.rebalancer.end, group, ErrorCode.NOT_COORDINATOR)
            yield

    def restart(self, key: str) -> None:
        group = self.groups.get(key)
        if group is not None:
            self.rebalancer.end(group, ErrorCode.COORDINATOR_NOT_AVAILABLE)
            self.rebalancer.begin(group, self.members_max)

    def _guard(self, on_fault: Callable[[Exception], object], change: Callable[..., object], *arguments: object) -> None:
        try:
            change(*arguments)
        except Exception as fault:  # noqa: BLE001 a fault of one group costs the others nothing
            on_fault(fault)
