"""A classic group becomes a consumer group when the first member joins it with the consumer protocol, without a stop.

The classic members stay: they see REBALANCE_IN_PROGRESS, join again, and are members with the classic protocol.
`group.consumer.migration.policy` allows it. Kafka: validateOnlineUpgrade, ConsumerGroup.fromClassicGroup.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator
from functools import partial
from typing import Final

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.member import Member as ClassicGroupMember
from kafka_cy.coordinator.classic.protocols import CONSUMER_PROTOCOL_TYPE, select_protocol
from kafka_cy.coordinator.consumer.context import ConsumerContext
from kafka_cy.coordinator.consumer.embedded_protocol import MalformedProtocol, read_assignment, read_subscription
from kafka_cy.coordinator.consumer.group import FIRST_EPOCH, ConsumerGroup
from kafka_cy.coordinator.consumer.member import (
    STABLE,
    ConsumerMember,
    current_record,
    member_record,
    target_record,
    with_epoch,
)
from kafka_cy.coordinator.consumer.records import (
    ClassicMember,
    ClassicProtocol,
    Group,
    GroupKey,
    Member,
    TargetMetadata,
    TargetMetadataKey,
)
from kafka_cy.coordinator.modern.assignment import Partitions, frozen
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.records import Record
from kafka_cy.protocol.errors import ErrorCode

UPGRADED_AT_ONCE: Final = 4  # members that one step converts
BYTES_AT_ONCE: Final = 20_000  # of the members that it converts


class _CustomAssignor(Exception):
    """An assignment has bytes that only the assignor of the clients understands."""


class Upgrade:
    """`group` is the consumer group that `records` make of the classic group, after `steps`; it is not in any table yet."""

    def __init__(self, context: ConsumerContext, classic: ClassicGroup) -> None:
        """Raises GroupError (GROUP_ID_NOT_FOUND) when the group cannot be converted."""
        self.context = context
        self.classic = classic
        # A group whose first generation has not begun has the generation 0. Epoch 0 would tell a member to join anew.
        self.epoch = max(classic.generation, FIRST_EPOCH)
        self._check()
        self.group = ConsumerGroup(classic.group_id)
        self.records: list[Record] = classic.tombstones()

    def steps(self) -> Generator[object, None, None]:
        """Make the records and the group: a task for slices. Raises GroupError as well."""
        created = yield from self._records()
        for place, (key, value) in enumerate(created):
            if place % UPGRADED_AT_ONCE == 0:
                yield None
            yield from self.group.replay_steps(key, value)
        self.records += created

    def _check(self) -> None:
        if not self.context.settings.allows_upgrade:
            raise self._refused("online upgrade is disabled")
        if self.classic.protocol_type != CONSUMER_PROTOCOL_TYPE:
            raise self._refused("the group does not use the consumer embedded protocol")
        if len(self.classic.members) > self.context.settings.members_max:
            raise self._refused("the group size exceeds the consumer group maximum size")

    def _refused(self, reason: str) -> GroupError:
        self.context.lines.not_converted(self.classic.group_id, reason)
        return GroupError(
            ErrorCode.GROUP_ID_NOT_FOUND,
            f"Cannot upgrade classic group {self.classic.group_id} to consumer group because {reason}.",
        )

    def _records(self) -> Generator[object, None, list[Record]]:
        protocol = self.classic.protocol or select_protocol(self.classic.members.values())
        targets: dict[str, Partitions] = {}
        members: list[ConsumerMember] = []
        names: set[str] = set()
        for place, each in enumerate(self.classic.members.values()):
            if place % UPGRADED_AT_ONCE == 0:
                yield None
            convert = partial(self._converted, each, protocol)
            try:
                member, target = (yield from in_work(convert)) if each.held_bytes > BYTES_AT_ONCE else convert()
            except MalformedProtocol as error:
                raise self._refused("the embedded consumer protocol is malformed") from error
            except _CustomAssignor as error:
                raise self._refused(
                    "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default "
                    "assignor before re-attempting the upgrade"
                ) from error
            members.append(member)
            targets[member.member_id] = target
            names.update(member.details.subscribed_topic_names)
        metadata_hash = yield from self.context.topics.group_hash_steps(names)
        return (yield from in_work(partial(self._encoded, members, targets, metadata_hash)))

    def _encoded(
        self, members: list[ConsumerMember], targets: dict[str, Partitions], metadata_hash: int
    ) -> list[Record]:
        group_id, epoch = self.classic.group_id, self.epoch
        return [
            *(member_record(group_id, each) for each in members),
            (GroupKey(group_id), Group(epoch, metadata_hash)),
            *(target_record(group_id, each.member_id, targets[each.member_id]) for each in members),
            (TargetMetadataKey(group_id), TargetMetadata(epoch)),
            *(current_record(group_id, each) for each in members),
        ]

    def _converted(self, member: ClassicGroupMember, protocol: str | None) -> tuple[ConsumerMember, Partitions]:
        """The member, and what it has. Any thread. Raises MalformedProtocol, _CustomAssignor."""
        target = self._assigned(member)
        return self._member(member, protocol, target), target

    def _assigned(self, member: ClassicGroupMember) -> Partitions:
        assignment = read_assignment(member.assignment)
        if assignment.user_data:
            raise _CustomAssignor
        found: dict[uuid.UUID, set[int]] = {}
        for name, partitions in assignment.partitions.items():
            topic = self.context.topics.find(name)
            if topic is not None:
                found.setdefault(topic.id, set()).update(partitions)
        return frozen(found)

    def _member(self, member: ClassicGroupMember, protocol: str | None, target: Partitions) -> ConsumerMember:
        subscription = read_subscription(member.metadata(protocol))
        proposed = tuple(ClassicProtocol(name, data) for name, data in member.protocols)
        details = Member(
            member.instance_id, subscription.rack_id, member.client_id, member.client_host,
            tuple(sorted(set(subscription.topics))), "", member.rebalance_timeout_ms, None,
            ClassicMember(member.session_timeout_ms, proposed),
        )  # fmt: skip
        return ConsumerMember(
            member.member_id, details, self.epoch, self.epoch, STABLE, with_epoch(target, self.epoch)
        )

    def apply(self, group: ConsumerGroup) -> None:
        """The group is stored: the sessions of the classic members begin anew."""
        for member in group.members.values():
            if member.uses_classic_protocol:
                self.context.await_heartbeat(group, member)
