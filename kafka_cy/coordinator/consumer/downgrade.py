"""A consumer group becomes a classic group again when its last member with the consumer protocol goes, without a stop.

`group.consumer.migration.policy` allows it. Kafka: validateOnlineDowngrade..., ClassicGroup.fromConsumerGroup.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Final

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.member import Member as ClassicGroupMember
from kafka_cy.coordinator.classic.protocols import CONSUMER_PROTOCOL_TYPE, select_protocol
from kafka_cy.coordinator.classic.rebalance import Rebalancer
from kafka_cy.coordinator.consumer.context import ConsumerContext
from kafka_cy.coordinator.consumer.embedded_protocol import MalformedProtocol, read_version, write_assignment
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.member import ConsumerMember
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.assignment import Partitions, count
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.records import GroupKey, Record, StoredGroup, StoredMember
from kafka_cy.protocol.errors import ErrorCode

PIECE_MEMBERS: Final = 20  # that one step converts
PARTITIONS_AT_ONCE: Final = 500  # of a member that is converted in a step with others


class Downgrade:
    """Owner: the coordinator's thread."""

    def __init__(self, context: ConsumerContext, rebalancer: Rebalancer) -> None:
        self.context = context
        self.rebalancer = rebalancer

    def is_due(self, group: ConsumerGroup, leaving: list[ConsumerMember]) -> bool:
        """Whether only classic members are left when these have gone."""
        classic = group.classic_members - sum(member.uses_classic_protocol for member in leaving)
        left = len(group.members) - len(leaving)
        return 0 < left == classic and self._is_allowed(left)

    def is_due_after_replacement(self, group: ConsumerGroup, static: ConsumerMember) -> bool:
        """Whether only classic members are left when a classic one takes the place of this static member."""
        left = len(group.members)
        return not static.uses_classic_protocol and group.classic_members == left - 1 and self._is_allowed(left)

    def _is_allowed(self, members: int) -> bool:
        settings = self.context.settings
        return settings.allows_downgrade and members <= settings.classic_members_max

    def without(
        self, groups: Mapping[str, Group], group: ConsumerGroup, leaving: list[ConsumerMember]
    ) -> Generator[object, None, tuple[list[Record], Callable[[], object]]]:
        """The records that make a classic group of the members that stay, and what to do when they are stored.

        A task for slices.
        """
        gone = {member.member_id for member in leaving}
        staying = [member for member in group.members.values() if member.member_id not in gone]
        targets = {member.member_id: group.target_of(member.member_id) for member in staying}
        yield None
        records = [*group.tombstones(), (yield from self._classic_record(group, group.epoch, staying, targets))]
        reason = "the last member with the consumer protocol has gone"
        return records, partial(self._apply, groups, group, staying, reason)

    def with_replacement(
        self, groups: Mapping[str, Group], group: ConsumerGroup, epoch: int, static: ConsumerMember, new: ConsumerMember,
        reason: str | None,
    ) -> Generator[object, None, tuple[list[Record], Callable[[], object]]]:  # fmt: skip
        """The same when the classic member `new` takes the place of `static`; no rebalance follows without a reason."""
        staying = [new if member.member_id == static.member_id else member for member in group.members.values()]
        targets = {member.member_id: group.target_of(member.member_id) for member in staying}
        targets[new.member_id] = group.target_of(static.member_id)
        yield None
        records = group.tombstones_of([member.member_id for member in staying])
        records.append((yield from self._classic_record(group, epoch, staying, targets)))
        return records, partial(self._apply, groups, group, staying, reason)

    def _classic_record(
        self, group: ConsumerGroup, epoch: int, staying: list[ConsumerMember], targets: Mapping[str, Partitions]
    ) -> Generator[object, None, Record]:
        now_s, now_ms = self.context.loop.now(), self.context.loop.wall_clock_ms()
        members, protocol = yield from in_work(partial(_classic_members, group.group_id, staying, now_s))
        rows = []
        for place, member in enumerate(members):
            if place % PIECE_MEMBERS == 0:
                yield None
            subscription = member.metadata(protocol)
            try:
                version = read_version(subscription)
            except MalformedProtocol as error:
                raise GroupError(
                    ErrorCode.GROUP_ID_NOT_FOUND, f"Cannot downgrade the classic group {group.group_id}: {error}."
                ) from error
            target = targets[member.member_id]
            encode = partial(self._assignment, version, target)
            assignment = (yield from in_work(encode)) if count(target) > PARTITIONS_AT_ONCE else encode()
            rows.append(
                StoredMember(
                    member.member_id, member.instance_id, member.client_id, member.client_host,
                    member.rebalance_timeout_ms, member.session_timeout_ms, subscription, assignment,
                )
            )  # fmt: skip
        leader = members[0].member_id
        return GroupKey(group.group_id), StoredGroup(
            CONSUMER_PROTOCOL_TYPE, epoch, protocol, leader, now_ms, tuple(rows)
        )

    def _assignment(self, version: int, target: Partitions) -> bytes:
        return write_assignment(version, named(self.context.topics, target))

    def is_large(self, group: ConsumerGroup) -> bool:
        """Whether the conversion takes more than about a millisecond."""
        return len(group.members) > PIECE_MEMBERS or sum(map(count, group.target.values())) > PARTITIONS_AT_ONCE

    def failed(self, groups: Mapping[str, Group], group: ConsumerGroup, error: ErrorCode) -> None:
        """It is not stored, and the group stays; or the partition was lost in the middle of the replay, and nobody ends it."""
        if groups.get(group.group_id) is not group:
            self.context.end(group)

    def _apply(
        self, groups: Mapping[str, Group], group: ConsumerGroup, staying: list[ConsumerMember], reason: str | None
    ) -> None:
        self.context.end(group)
        self.context.lines.converted(group.group_id, "classic")
        classic = groups[group.group_id]
        assert isinstance(classic, ClassicGroup)
        self.rebalancer.begin(classic, proposed={member.member_id: _protocols(member) for member in staying})
        if reason is not None:
            self.rebalancer.prepare(classic, reason)


def named(topics: Topics, partitions: Partitions) -> list[tuple[str, list[int]]]:
    """(topic name, partitions), of the topics that exist."""
    found = ((topics.find_id(topic_id), each) for topic_id, each in partitions.items())
    return [(topic.name, sorted(each)) for topic, each in found if topic is not None]


def _protocols(member: ConsumerMember) -> list[tuple[str, bytes]]:
    classic = member.details.classic_member_metadata
    return [(each.name, each.metadata) for each in classic.supported_protocols] if classic is not None else []


def _classic_members(
    group_id: str, staying: list[ConsumerMember], now_s: float
) -> tuple[list[ClassicGroupMember], str | None]:
    """The members and their protocol. Any thread."""
    members = [_classic_member(group_id, member, now_s) for member in staying]
    return members, select_protocol(members)


def _classic_member(group_id: str, member: ConsumerMember, now_s: float) -> ClassicGroupMember:
    details = member.details
    classic = details.classic_member_metadata
    assert classic is not None
    return ClassicGroupMember(
        group_id, member.member_id, details.instance_id, details.client_id, details.client_host, details.rebalance_timeout_ms,
        classic.session_timeout_ms, _protocols(member), now_s,
    )  # fmt: skip
