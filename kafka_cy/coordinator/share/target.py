"""Computes the target assignment of a share group: at once if it is small, else in slices between other requests.

Only partitions whose state is initialized are assigned. Kafka: TargetAssignmentBuilder.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator
from typing import Final

from kafka_cy.coordinator.modern.assignment import NO_PARTITIONS, Partitions, count, steps_of
from kafka_cy.coordinator.modern.limits import growth_bytes
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.share.assignor import ShareMemberSpec, SimpleAssignor
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.member import ShareMember, target_record
from kafka_cy.coordinator.share.records import TargetMetadata, TargetMetadataKey

AT_ONCE_MAX: Final = 500  # members and partitions: more take more than about a millisecond


class ShareTarget:
    """One computation, for the group as it was when it began, with one member (`updated`) as it will be."""

    def __init__(self, topics: Topics, group: ShareGroup, epoch: int, updated: ShareMember, now_ms: int) -> None:
        self.topics = topics
        self.group = group
        self.epoch = epoch
        self.now_ms = now_ms
        self.is_complete = False
        self._members = {**group.members, updated.member_id: updated}
        self._before = dict(group.target)
        self._partitions = self._assignable()
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
        return len(self._members) + count(self._partitions) > AT_ONCE_MAX

    def growth_bytes(self) -> int:
        """How much more the members take with it than with the last one."""
        return growth_bytes(max(count(self._partitions), len(self._members)), self._before.values())

    def compute(self) -> list[Record]:
        """Do all at once. Returns the records that store the assignment."""
        for _ in self.steps():
            pass
        return [*self._records.values(), self._metadata_record()]

    def partitions_of(self, member_id: str) -> Partitions:
        """The member's part, after the computation."""
        return self._result.get(member_id, NO_PARTITIONS)

    def steps(self) -> Iterator[None]:
        """The computation. Each step takes less than about a millisecond."""
        members: dict[str, ShareMemberSpec] = {}
        topic_ids: dict[tuple[str, ...], frozenset[uuid.UUID]] = {}  # members often read the same topics
        for member_id, member in self._members.items():
            names = member.details.subscribed_topic_names
            ids = topic_ids.get(names)
            if ids is None:
                ids = topic_ids[names] = frozenset(self.topics.ids(names))
            members[member_id] = ShareMemberSpec(ids, self._before.get(member_id, NO_PARTITIONS))
            yield
        yield from SimpleAssignor().assign(members, self._partitions, self._result)
        for member_id in members:
            before = self._before.get(member_id)
            if before is None or self._result[member_id] != before:
                self._records[member_id] = target_record(self.group.group_id, member_id, self._result[member_id])
            yield
        self.is_complete = True

    def _metadata_record(self) -> Record:
        return TargetMetadataKey(self.group.group_id), TargetMetadata(self.epoch, self.now_ms)

    def late_records(self, group: ShareGroup) -> Generator[None, None, list[Record]]:
        """The records that store the assignment some time after it was begun, for the members that are still there.

        Each step takes less than about a millisecond.
        """
        records: list[Record] = []
        for piece in steps_of(self._records):
            records += [self._records[member_id] for member_id in piece if member_id in group.members]
            yield
        return [*records, self._metadata_record()]
