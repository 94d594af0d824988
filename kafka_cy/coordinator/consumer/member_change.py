"""What follows from a new or changed member: a new group epoch, a new target assignment, the member's next step.

The same steps serve ConsumerGroupHeartbeat and JoinGroup of a classic member. Everything here looks at the group and
collects records; nothing changes before they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.consumer.context import ConsumerContext
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.limits import member_bytes
from kafka_cy.coordinator.consumer.member import (
    NO_DETAILS,
    ConsumerMember,
    current_record,
    member_record,
    removal_records,
    target_record,
)
from kafka_cy.coordinator.consumer.reconciliation import Owned, Reconciliation
from kafka_cy.coordinator.consumer.records import Group, GroupKey, PartitionMetadataKey, Regex, RegexKey
from kafka_cy.coordinator.consumer.regexes import check_regex
from kafka_cy.coordinator.consumer.target import TargetAssignment
from kafka_cy.coordinator.modern.assignment import NO_PARTITIONS, Partitions
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.records import Record
from kafka_cy.protocol.errors import ErrorCode


class MemberChange:
    """`old` is the member before, under its new id if it replaces a static member; `new` is what it says now."""

    def __init__(
        self, context: ConsumerContext, group: ConsumerGroup, old: ConsumerMember, new: ConsumerMember,
        records: list[Record],
    ) -> None:  # fmt: skip
        self.context = context
        self.group = group
        self.old = old
        self.new = new
        self.records = records
        self.epoch = group.epoch
        self.bumped = False
        self.target_epoch = group.assignment_epoch
        self.member_target: Partitions = NO_PARTITIONS
        self.target: TargetAssignment | None = None  # to be computed later, in slices
        self.regexes: list[str] | None = None  # to be resolved later, in slices
        self.describes: Callable[[str], bool] | None = None  # whether the sender may describe a topic; None: it may
        self.subscription_changed = False
        replaced_id = group.static_members.get(new.instance_id or "")
        self._replaced_id = replaced_id if replaced_id != new.member_id else None
        self._topics_version = 0  # with which the metadata hash was compared
        self._regexes: dict[str, Regex | None] = {}  # that nobody uses any more

    @staticmethod
    def replacing(
        group: ConsumerGroup, static: ConsumerMember, member_id: str, records: list[Record]
    ) -> ConsumerMember:
        """A static member comes back under another id: it takes over what the old id had. Returns it as it was."""
        old = static._replace(member_id=member_id, member_epoch=0, previous_member_epoch=0)
        group_id = group.group_id
        records += removal_records(group_id, static.member_id)
        records.append(member_record(group_id, old))
        records.append(target_record(group_id, member_id, group.target_of(static.member_id)))
        records.append(current_record(group_id, old))
        return old

    def store_member(self) -> Generator[object, None, None]:
        """Store what the member says, and bump the group epoch if it reads other topics, or the topics have changed.

        A task for slices, as `assign` and `reconcile`. Raises GroupError: INVALID_REGULAR_EXPRESSION, GROUP_MAX_SIZE_REACHED.
        """
        yield from self._check_room()
        details, before = self.new.details, self.old.details
        if details != before:
            self.records.append(member_record(self.group.group_id, self.new))
        names_changed = details.subscribed_topic_names != before.subscribed_topic_names
        regex_changed, is_resolved = self._regex_changed()
        self.subscription_changed = names_changed or regex_changed
        bump = names_changed or is_resolved
        if bump or self.group.topics_version != self.context.topics.version:
            yield from self._compare_topics(bump)

    def _check_room(self) -> Generator[object, None, None]:
        old, new = self.old, self.new
        if new.details is old.details:
            return
        before, group_id = 0, self.group.group_id
        if old.details is not NO_DETAILS:
            before = yield from in_work(partial(member_bytes, group_id, old.member_id, old.details))
        now = yield from in_work(partial(member_bytes, group_id, new.member_id, new.details))
        if not self.context.has_room(self.group, now - before):
            raise GroupError(ErrorCode.GROUP_MAX_SIZE_REACHED, "The members of all consumer groups take too much memory.")

    def _regex_changed(self) -> tuple[bool, bool]:
        """(whether the regular expression is another one, whether its topics are known)."""
        before, now, subscriptions = self.old.regex, self.new.regex, self.group.subscriptions
        if (self.old.details.subscribed_topic_regex or "") == now:
            return False, False
        if before and subscriptions.regexes[before] == 1:
            self.records.append((RegexKey(self.group.group_id, before), None))
            self._regexes[before] = None
        if not now:
            return True, bool(before)
        if not subscriptions.regexes[now]:
            check_regex(now)
        return True, subscriptions.regexes[now] > 0 and now in subscriptions.resolved

    def _compare_topics(self, bump: bool) -> Generator[object, None, None]:
        self._topics_version = self.context.topics.version  # before: a change meanwhile has the topics compared again
        members = {self.new.member_id: (self.old, self.new)}
        names = yield from self.group.subscriptions.names_after_steps(members, self._regexes)
        metadata_hash = yield from self.context.topics.group_hash_steps(names)
        if bump or metadata_hash != self.group.metadata_hash:
            self.epoch += 1
            self.bumped = True
            self.records.append((GroupKey(self.group.group_id), Group(self.epoch, metadata_hash)))
        if self.group.has_partition_metadata:
            self.records.append((PartitionMetadataKey(self.group.group_id), None))

    def applied(self, group: ConsumerGroup) -> None:
        """The records are stored. `group` is another object than before if they left nothing of it for a moment."""
        if group is not self.group:
            self.context.end(self.group)
        if self._replaced_id is not None:
            self.context.forget_member(group, self._replaced_id)
        if self._topics_version:
            group.topics_version = self._topics_version
        if self.bumped:
            self.context.lines.rebalances(group.group_id, group.epoch)

    # -- the target assignment --

    def assign(self) -> Generator[object, None, None]:
        """Compute the target assignment when the group epoch is newer; a large one is computed later (`target`)."""
        group, context = self.group, self.context
        self.member_target = self._last_target()
        if group.assignment_epoch >= self.epoch or group.assigning or not context.interval_is_over(group):
            return
        assignor = group.preferred_assignor(self.old, self.new, context.settings.default_assignor)
        target = TargetAssignment(context, group, self.epoch, assignor, self.new)
        yield from target.begin()
        growth_bytes = yield from in_work(target.growth_bytes)
        if not context.has_room(group, growth_bytes):
            return  # a later heartbeat tries again
        if target.is_long():
            self.target = target
            return
        self.records += yield from in_work(target.compute)
        self.target_epoch = self.epoch
        self.member_target = target.partitions_of(self.new.member_id)

    def _last_target(self) -> Partitions:
        member_id: str | None = self.new.member_id
        if self.new.instance_id is not None:
            member_id = self.group.static_members.get(self.new.instance_id)
        return self.group.target_of(member_id or "")

    # -- the member's next step --

    def reconcile(self, owned: Owned | None) -> Generator[object, None, bool]:
        """Take the member a step nearer to its target, if there is one to take. Returns whether it changed."""
        if not self.subscription_changed and self.new.is_reconciled_to(self.target_epoch):
            return False
        member, record = yield from in_work(partial(self._step, owned))
        self.new = member
        if record is not None:
            self.records.append(record)
        return record is not None

    def _step(self, owned: Owned | None) -> tuple[ConsumerMember, Record | None]:
        """The member after the step, and the record if it changes. Any thread: operations on the group wait meanwhile."""
        group = self.group
        topic_ids = self.context.topics.ids(group.subscriptions.topics_of(self.new))
        step = Reconciliation(
            self.target_epoch, self.member_target, topic_ids, group.owners, owned, self.subscription_changed
        ).step(self.new)
        return step, current_record(group.group_id, step) if step != self.new else None


#: Begins what follows from a change and takes longer: the group, and the change that was stored.
StartWork = Callable[[ConsumerGroup, MemberChange], object]
