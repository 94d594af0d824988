"""Computes the target assignment of a share group: at once if it is small, else in slices between other requests.

Only partitions whose state is initialized are assigned. Kafka: TargetAssignmentBuilder.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Sequence
from functools import partial
from typing import Final

from kafka_cy.base.slices import at_once, in_work
from kafka_cy.coordinator.modern.assignment import NO_PARTITIONS, STEP_ITEMS, Partitions, count, steps_of
from kafka_cy.coordinator.modern.limits import growth_bytes
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.share.assignor import ShareMemberSpec, SimpleAssignor
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.member import ShareMember, target_record
from kafka_cy.coordinator.share.records import TargetMetadata, TargetMetadataKey

AT_ONCE_MAX: Final = 500  # members and partitions: more take more than about a millisecond


class ShareTarget:
    """One computation, for the group as it was when it began, with one member (`updated`) as it will be.

    It may be made on any thread, while operations on the group wait. It keeps a copy of what it looks at.
    """

    def __init__(self, topics: Topics, group: ShareGroup, epoch: int, updated: ShareMember, now_ms: int) -> None:
        self.topics = topics
        self.group = group
        self.epoch = epoch
        self.now_ms = now_ms
        self.is_complete = False
        self._members = {**group.members, updated.member_id: updated}
        self._before = dict(group.target)
        self._partitions = self._assignable()
        self._count = count(self._partitions)
        self._result: dict[str, Partitions] = {}
        self._records: dict[str, Record] = {}  # of members whose part changes

    def _assignable(self) -> Partitions:
        found: dict[uuid.UUID, frozenset[int]] = {}
        for topic_id, each in self.group.states.initialized.items():
            topic = self.topics.find_id(topic_id)
            if topic is not None:
                found[topic_id] = each.partitions
        return found

    def is_long(self) -> bool:
        """Whether the computation has to be done in slices."""
        return len(self._members) + self._count > AT_ONCE_MAX

    def growth_bytes(self) -> int:
        """How much more the members take with it than with the last one."""
        return growth_bytes(max(self._count, len(self._members)), self._before.values())

    def compute(self) -> list[Record]:
        """Do all at once. Returns the records that store the assignment."""
        at_once(self.steps())
        return [*self._records.values(), self._metadata_record()]

    def partitions_of(self, member_id: str) -> Partitions:
        """The member's part, after the computation."""
        return self._result.get(member_id, NO_PARTITIONS)

    def steps(self) -> Generator[object, None, None]:
        """The computation. Each step takes less than about a millisecond, or runs on another thread."""
        members: dict[str, ShareMemberSpec] = {}
        topic_ids: dict[Sequence[str], frozenset[uuid.UUID]] = {}  # members often read the same topics
        for member_id, member in self._members.items():
            names = member.details.subscribed_topic_names
            read = partial(self._ids_of, names, topic_ids)
            ids = (yield from in_work(read)) if len(names) > STEP_ITEMS else read()
            members[member_id] = ShareMemberSpec(ids, self._before.get(member_id, NO_PARTITIONS))
            yield None
        yield from SimpleAssignor().assign(members, self._partitions, self._result)
        for member_id in members:
            store = partial(self._store, member_id)
            if count(self._result[member_id]) > STEP_ITEMS:
                yield from in_work(store)
            else:
                store()
            yield None
        self.is_complete = True

    def _ids_of(self, names: Sequence[str], known: dict[Sequence[str], frozenset[uuid.UUID]]) -> frozenset[uuid.UUID]:
        ids = known.get(names)
        if ids is None:
            ids = known[names] = frozenset(self.topics.ids(names))
        return ids

    def _store(self, member_id: str) -> None:
        before = self._before.get(member_id)
        if before is None or self._result[member_id] != before:
            self._records[member_id] = target_record(self.group.group_id, member_id, self._result[member_id])

    def _metadata_record(self) -> Record:
        return TargetMetadataKey(self.group.group_id), TargetMetadata(self.epoch, self.now_ms)

    def late_records(self, group: ShareGroup) -> Generator[None, None, list[Record]]:
        """The records that store the assignment some time after it was begun, for the members that are still there.

        Each step takes less than about a millisecond.
        """
        records: list[Record] = []
        for piece in steps_of(self._records):
            records += [self._records[member_id] for member_id in piece if member_id in group.members]
            yield None
        return [*records, self._metadata_record()]
