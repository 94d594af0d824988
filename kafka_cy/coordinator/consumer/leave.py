"""Members leave a consumer group, or are removed. The last one with the consumer protocol may make it a classic group again."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from functools import partial
from typing import TypeVar

from kafka_cy.coordinator.classic.leave import LEFT_AT_ONCE
from kafka_cy.coordinator.consumer.context import ConsumerContext
from kafka_cy.coordinator.consumer.downgrade import Downgrade
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.member import (
    LEAVE_STATIC_EPOCH,
    NOTHING,
    ConsumerMember,
    current_record,
    removal_records,
)
from kafka_cy.coordinator.consumer.records import Group as StoredGroup
from kafka_cy.coordinator.consumer.records import GroupKey, Regex, RegexKey
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.runtime.result import CoordinatorResult

R = TypeVar("R")


class MemberRemoval:
    """Owner: the coordinator's thread."""

    def __init__(self, context: ConsumerContext, downgrade: Downgrade) -> None:
        self.context = context
        self.downgrade = downgrade

    def steps(
        self, groups: Mapping[str, Group], group: ConsumerGroup, members: list[ConsumerMember], reason: str, response: R
    ) -> Generator[object, None, CoordinatorResult[R]]:
        """Remove the members; the others get their partitions with the next group epoch. A task for slices."""
        if not members:
            return CoordinatorResult(response=response)
        if self.downgrade.is_due(group, members):
            try:
                converted, apply = yield from self.downgrade.without(groups, group, members)
                return CoordinatorResult(converted, response, apply, partial(self.downgrade.failed, groups, group))
            except GroupError as error:  # a classic member's bytes are malformed: the group stays as it is
                self.context.lines.not_converted(group.group_id, error.message)
        records: list[Record] = []
        for place, member in enumerate(members):
            if place and place % LEFT_AT_ONCE == 0:
                yield None
            records += removal_records(group.group_id, member.member_id)
        unused: dict[str, Regex | None] = dict.fromkeys(group.subscriptions.unused_regexes(members))
        records += [(RegexKey(group.group_id, regex), None) for regex in unused]
        gone = {member.member_id: (member, None) for member in members}
        names = yield from group.subscriptions.names_after_steps(gone, unused)
        value = StoredGroup(group.epoch + 1, (yield from self.context.topics.group_hash_steps(names)))
        records.append((GroupKey(group.group_id), value))
        return CoordinatorResult(records, response, apply_steps=partial(self._removed, group, members, reason))

    def is_long(self, group: ConsumerGroup | None, members: list[ConsumerMember]) -> bool:
        """Whether it takes long though these members are few: the others become members of a classic group."""
        return group is not None and self.downgrade.is_due(group, members) and self.downgrade.is_large(group)

    def is_long_replacement(self, group: ConsumerGroup, static: ConsumerMember | None) -> bool:
        """The same when a classic member takes the place of this static one."""
        if static is None or not self.downgrade.is_due_after_replacement(group, static):
            return False
        return self.downgrade.is_large(group)

    def _removed(self, group: ConsumerGroup, members: list[ConsumerMember], reason: str) -> Iterator[None]:
        for place, member in enumerate(members):
            if place and place % LEFT_AT_ONCE == 0:
                yield
            self.context.forget_member(group, member.member_id)
            self.context.lines.left(group.group_id, member, reason)
        self.context.count(group)
        self.context.lines.rebalances(group.group_id, group.epoch)


def left_for_now(group: ConsumerGroup, member: ConsumerMember) -> Record:
    """A static member leaves and will come back: its partitions stay with it until its session ends."""
    assigned = {topic_id: dict.fromkeys(epochs, 0) for topic_id, epochs in member.assigned.items()}
    left = member._replace(member_epoch=LEAVE_STATIC_EPOCH, assigned=assigned, pending_revocation=NOTHING)
    return current_record(group.group_id, left)
