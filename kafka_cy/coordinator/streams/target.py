"""Computes the target assignment of a streams group: at once if it is small, else in slices between other requests.

Kafka computes each one at once, on the coordinator's thread (streams.TargetAssignmentBuilder).
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Final

from kafka_cy.base.slices import at_once, in_work
from kafka_cy.coordinator.modern.assignment import steps_of
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.streams.assignor import StickyTaskAssignor, StreamsMemberSpec, SubtopologySpec
from kafka_cy.coordinator.streams.configured import ConfiguredTopology
from kafka_cy.coordinator.streams.group import StreamsGroup
from kafka_cy.coordinator.streams.member import StreamsMember, target_record
from kafka_cy.coordinator.streams.records import KeyValue, TargetMetadata, TargetMetadataKey
from kafka_cy.coordinator.streams.settings import standby_replicas
from kafka_cy.coordinator.streams.tasks import NO_TASKS, Tasks

AT_ONCE_MAX: Final = 300  # members, tasks and copies: more take more than about a millisecond


class StreamsTarget:
    """One computation, for the group as it was when it began, with one member (`updated`) as it will be.

    While the group is not ready, nobody has a task.
    """

    def __init__(
        self, group: StreamsGroup, epoch: int, configured: ConfiguredTopology, configs: tuple[KeyValue, ...], now_ms: int,
        updated: StreamsMember | None = None,
    ) -> None:  # fmt: skip
        self.epoch = epoch
        self.is_complete = False
        self.unplaced = 0  # standby tasks for which there are too few processes
        self._group_id = group.group_id
        self._now_ms = now_ms
        self._members = dict(group.members)
        if updated is not None:
            self._members[updated.member_id] = updated
        self._before = dict(group.target)
        self._standby_replicas = standby_replicas(configs)
        found = configured.subtopologies if configured.is_ready and configured.subtopologies is not None else {}
        self._subtopologies = found
        self._result: dict[str, Tasks] = {}
        self._records: dict[str, Record] = {}  # of members whose part changes

    def is_long(self) -> bool:
        """Whether the computation has to be done in slices."""
        if len(self._members) + len(self._subtopologies) > AT_ONCE_MAX:
            return True  # each subtopology has a task
        tasks = sum(
            each.tasks_count * (1 + self._standby_replicas * each.is_stateful) for each in self._subtopologies.values()
        )
        return len(self._members) + tasks > AT_ONCE_MAX

    def compute(self) -> list[Record]:
        """Do all at once. Returns the records that store the assignment."""
        at_once(self.steps())
        return [*self._records.values(), self._metadata_record()]

    def tasks_of(self, member_id: str) -> Tasks:
        """The member's part, after the computation."""
        return self._result.get(member_id, NO_TASKS)

    def steps(self) -> Generator[object, None, None]:
        """The computation. Each step takes less than about a millisecond."""
        members: dict[str, StreamsMemberSpec] = {}
        for piece in steps_of(self._members.values()):
            for each in piece:
                members[each.member_id] = StreamsMemberSpec(each.process_id, self._before.get(each.member_id, NO_TASKS))
            yield None
        subtopologies: dict[str, SubtopologySpec] = {}
        for piece in steps_of(self._subtopologies.items()):
            for name, found in piece:
                subtopologies[name] = SubtopologySpec(found.tasks_count, found.is_stateful)
            yield None
        assignor = StickyTaskAssignor(members, subtopologies, self._standby_replicas)
        yield from assignor.steps()
        self.unplaced = assignor.unplaced
        yield from in_work(partial(self._compare, assignor))
        self.is_complete = True

    def _compare(self, assignor: StickyTaskAssignor) -> None:
        """Make the records of members whose part changes."""
        for member_id in sorted(self._members):
            tasks = self._result[member_id] = assignor.tasks_of(member_id)
            if self._before.get(member_id) != tasks:
                self._records[member_id] = target_record(self._group_id, member_id, tasks)

    def _metadata_record(self) -> Record:
        return TargetMetadataKey(self._group_id), TargetMetadata(self.epoch, self._now_ms)

    def late_records(self, group: StreamsGroup) -> Generator[None, None, list[Record]]:
        """The records that store the assignment some time after it was begun, for the members that are still there.

        Each step takes less than about a millisecond.
        """
        records: list[Record] = []
        for piece in steps_of(self._records):
            records += [self._records[member_id] for member_id in piece if member_id in group.members]
            yield
        return [*records, self._metadata_record()]
