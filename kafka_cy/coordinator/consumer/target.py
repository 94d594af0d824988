"""Computes the target assignment of a consumer group: at once if it is small, else in slices between other requests.

Kafka computes each one at once, on the coordinator's thread (TargetAssignmentBuilder).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Generator, Sequence
from functools import partial
from typing import Final

from kafka_cy.base.slices import at_once, in_work
from kafka_cy.coordinator.consumer.context import ConsumerContext
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.member import ConsumerMember, target_record
from kafka_cy.coordinator.consumer.records import TargetMetadata, TargetMetadataKey
from kafka_cy.coordinator.modern.assignment import (
    NO_PARTITIONS,
    STEP_ITEMS,
    GroupSpec,
    MemberSpec,
    Partitions,
    steps_of,
)
from kafka_cy.coordinator.modern.limits import growth_bytes
from kafka_cy.coordinator.modern.names import EitherNames
from kafka_cy.coordinator.records import Record

TopicIds = dict[tuple[tuple[str, ...], str], Collection[uuid.UUID]]  # names and regular expression -> topics
AT_ONCE_MAX: Final = 1000  # members and partitions: more take more than about a millisecond


class TargetAssignment:
    """One computation, for the group as it was when it began, with one member (`updated`) as it will be."""

    def __init__(
        self, context: ConsumerContext, group: ConsumerGroup, epoch: int, assignor: str, updated: ConsumerMember
    ) -> None:
        self.context = context
        self.group = group
        self.epoch = epoch
        self.assignor = context.settings.assignor(assignor)
        self.updated = updated
        self.is_complete = False
        self._counts: dict[uuid.UUID, int] = {}  # of the topics that the members read, once it has begun
        self._size = 0  # all of these partitions
        self._before = dict(group.target)
        self._members: dict[str, MemberSpec] = {}
        self._result: dict[str, Partitions] = {}
        self._records: dict[str, Record] = {}  # of members whose part changes

    def begin(self) -> Generator[object, None, None]:
        """Look at the topics. A task for slices, while operations on the group wait."""
        self._counts, self._size = yield from in_work(self._count)

    def _count(self) -> tuple[dict[uuid.UUID, int], int]:
        subscriptions = self.group.subscriptions
        names = EitherNames(subscriptions.names(), subscriptions.topics_of(self.updated))
        counts = self.context.topics.partition_counts(names)
        return counts, sum(counts.values())

    def is_long(self) -> bool:
        """Whether the computation has to be done in slices."""
        return len(self.group.members) + self._size > AT_ONCE_MAX

    def growth_bytes(self) -> int:
        """How much more the members take with it than with the last one."""
        return growth_bytes(self._size, self._before.values())

    def compute(self) -> list[Record]:
        """Do all at once. Returns the records that store the assignment."""
        at_once(self.steps())
        return [*self._records.values(), self._metadata_record()]

    def partitions_of(self, member_id: str) -> Partitions:
        """The member's part, after the computation."""
        return self._result.get(member_id, NO_PARTITIONS)

    def steps(self) -> Generator[object, None, None]:
        """The computation. Each step takes less than about a millisecond, or runs on another thread."""
        members = self._members
        read = yield from self._specs(members)
        counts = yield from in_work(partial(self._counts_of, read))
        yield from self.assignor.assign(GroupSpec(members, counts), self._result)
        for piece in steps_of(members):
            for member_id in piece:
                part = self._result.setdefault(member_id, NO_PARTITIONS)
                store = partial(self._store, member_id, self._before.get(member_id))
                if len(part) > STEP_ITEMS:
                    yield from in_work(store)
                else:
                    store()
            yield None
        self.is_complete = True

    def _counts_of(self, read: Sequence[Collection[uuid.UUID]]) -> dict[uuid.UUID, int]:
        """The numbers of partitions of the topics that are read."""
        used = set[uuid.UUID]().union(*read)
        return {topic_id: count for topic_id, count in self._counts.items() if topic_id in used}

    def _store(self, member_id: str, before: Partitions | None) -> None:
        if before is None or self._result[member_id] != before:
            self._records[member_id] = target_record(self.group.group_id, member_id, self._result[member_id])

    def _specs(self, members: dict[str, MemberSpec]) -> Generator[object, None, list[Collection[uuid.UUID]]]:
        """Returns what the members read, each once."""
        updated, group = self.updated, self.group
        replaced_id = group.static_members.get(updated.instance_id or "")
        everyone = list(group.members.values())
        if replaced_id != updated.member_id and updated.member_id not in group.members:
            everyone.append(updated)
        topic_ids: TopicIds = {}  # members often read the same topics
        for piece in steps_of(everyone):
            for each in piece:
                member = updated if each.member_id == updated.member_id else each
                if member.member_id == replaced_id != updated.member_id:
                    continue  # the updated member takes its place
                names = member.details.subscribed_topic_names
                ids = topic_ids.get((names, member.regex)) if len(names) <= STEP_ITEMS else None
                if ids is None:
                    ids = yield from in_work(partial(self._topic_ids, member, topic_ids))
                before_id = replaced_id if member is updated and replaced_id is not None else member.member_id
                before = self._before.get(before_id)
                if before is None:  # it came since then: a static one has the part of its last id
                    before = group.target_of(before_id)
                members[member.member_id] = MemberSpec(member.instance_id, ids, before)
            yield None
        return list(topic_ids.values())

    def _topic_ids(self, member: ConsumerMember, known: TopicIds) -> Collection[uuid.UUID]:
        subscription = (member.details.subscribed_topic_names, member.regex)
        ids = known.get(subscription)
        if ids is None:
            ids = self.context.topics.ids(self.group.subscriptions.topics_of(member)) & self._counts.keys()
            known[subscription] = ids
        return ids

    def _metadata_record(self) -> Record:
        value = TargetMetadata(self.epoch, self.context.loop.wall_clock_ms())
        return TargetMetadataKey(self.group.group_id), value

    def late_records(self, group: ConsumerGroup) -> Generator[None, None, list[Record]]:
        """The records that store the assignment some time after it was begun. Each step takes less than about a millisecond.

        Members may have gone since then, or static ones may have come back under another id. Those that came since have a
        newer group epoch, so that another assignment follows.
        """
        records: list[Record] = []
        for piece in steps_of(self._result):
            for member_id in piece:
                record = self._late_record(group, member_id)
                if record is not None:
                    records.append(record)
            yield
        return [*records, self._metadata_record()]

    def _late_record(self, group: ConsumerGroup, member_id: str) -> Record | None:
        now_id = member_id
        if member_id not in group.members:
            now_id = group.static_members.get(self._members[member_id].instance_id or "", "")
        if now_id not in group.members:
            return None
        if now_id == member_id and group.target.get(now_id) is self._before.get(member_id):
            return self._records.get(member_id)
        partitions = self._result[member_id]
        return target_record(group.group_id, now_id, partitions) if group.target.get(now_id) != partitions else None
