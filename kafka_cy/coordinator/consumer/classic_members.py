"""Members of a consumer group that use the classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

Each is a member as the others are: its generation is its member epoch, JoinGroup reports what it owns and takes it a step
further, SyncGroup tells what it has. There is no leader, and nobody waits for others. Kafka: classicGroup...ToConsumerGroup.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Generator, Mapping
from functools import partial
from typing import Any, Final

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.classic.leave import LEFT_AT_ONCE
from kafka_cy.coordinator.classic.protocols import CONSUMER_PROTOCOL_TYPE
from kafka_cy.coordinator.classic.requests import JoinRequest, SyncRequest
from kafka_cy.coordinator.classic.responses import join_error, sync_error
from kafka_cy.coordinator.consumer.context import JOIN, SYNC, ConsumerContext
from kafka_cy.coordinator.consumer.downgrade import named
from kafka_cy.coordinator.consumer.embedded_protocol import (
    MalformedProtocol,
    Subscription,
    read_subscription,
    read_version,
    write_assignment,
)
from kafka_cy.coordinator.consumer.epochs import find_member, find_static_member
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.leave import MemberRemoval
from kafka_cy.coordinator.consumer.member import UNRELEASED, UNREVOKED, ConsumerMember
from kafka_cy.coordinator.consumer.member_change import MemberChange, StartWork
from kafka_cy.coordinator.consumer.reconciliation import Owned
from kafka_cy.coordinator.consumer.records import ClassicMember, ClassicProtocol, Member
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.protocol.errors import ErrorCode

Result = CoordinatorResult[dict[str, Any]]
Steps = Generator[object, None, Result]
Named = list[tuple[str, str | None]]  # (member id, instance id) of LeaveGroup
NAME_BYTES: Final = 10  # of a short name in a subscription


class ClassicMembers:
    """Owner: the coordinator's thread."""

    def __init__(self, context: ConsumerContext, removal: MemberRemoval, start_work: StartWork) -> None:
        self.context = context
        self.removal = removal
        self.start_work = start_work

    # -- JoinGroup --

    def join(self, groups: Mapping[str, Group], group: ConsumerGroup, request: JoinRequest) -> Steps:
        """The response has the error, if there is one. It does not wait for other members. A task for slices, or `at_once`."""
        try:
            return (yield from self._join(groups, group, request))
        except GroupError as error:
            return Result(response=join_error(error.code))  # without the member id, as Kafka

    def _join(self, groups: Mapping[str, Group], group: ConsumerGroup, request: JoinRequest) -> Steps:
        self._check_join(group, request)
        is_new = not request.member_id
        member_id = request.member_id or base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if is_new and request.require_known_member_id and request.instance_id is None:
            return Result(response=join_error(ErrorCode.MEMBER_ID_REQUIRED, member_id))
        subscription = yield from in_work(partial(_subscription, request))
        records: list[Record] = []
        static = group.find_static(request.instance_id)
        old = self._find_member(group, request, member_id, is_new, records)
        details = yield from in_work(partial(_details, old, request, subscription))
        change = MemberChange(self.context, group, old, old._replace(details=details), records)
        yield from change.store_member()
        owned = yield from in_work(partial(self._owned, subscription))
        if static is not None and self.removal.downgrade.is_due_after_replacement(group, static):
            return (yield from self._downgrade(groups, change, static, owned))
        yield from change.assign()
        yield from change.reconcile(owned)
        response = _joined(change.new)
        return Result(records, response, partial(self._applied, groups, change, request, is_new))

    def _check_join(self, group: ConsumerGroup, request: JoinRequest) -> None:
        settings = self.context.settings
        names = {name for name, _ in request.protocols}
        is_known = not group.classic_members or any(
            group.classic_protocols[name] == group.classic_members for name in names
        )
        is_consumer = request.protocol_type == CONSUMER_PROTOCOL_TYPE and bool(names) and is_known
        if len(group.members) >= settings.members_max and request.member_id not in group.members:
            raise GroupError(ErrorCode.GROUP_MAX_SIZE_REACHED, "The group is full.")
        if not settings.allows_classic_members or not is_consumer:
            raise GroupError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, "The member's protocols are not supported.")

    def _find_member(
        self, group: ConsumerGroup, request: JoinRequest, member_id: str, is_new: bool, records: list[Record]
    ) -> ConsumerMember:
        if request.instance_id is None:
            return group.members.get(member_id, ConsumerMember(member_id))
        if not is_new:
            return find_static_member(group, member_id, request.instance_id)
        static = group.find_static(request.instance_id)
        if static is None:
            return ConsumerMember(member_id)
        return MemberChange.replacing(group, static, member_id, records)

    def _downgrade(
        self, groups: Mapping[str, Group], change: MemberChange, static: ConsumerMember, owned: Owned
    ) -> Steps:
        """The last member with the consumer protocol is replaced: the group is classic again, Stable if nothing changed."""
        reason = "a classic member has replaced the last one with the consumer protocol"
        rebalances = change.group.assignment_epoch < change.epoch
        if not rebalances:
            yield from change.assign()
            yield from change.reconcile(owned)
        downgrade = self.removal.downgrade
        records, apply = yield from downgrade.with_replacement(
            groups, change.group, change.group.epoch, static, change.new, reason if rebalances else None
        )
        failed = partial(downgrade.failed, groups, change.group)
        return Result([*change.records, *records], _joined(change.new), apply, failed)

    def _owned(self, subscription: Subscription) -> Owned:
        owned: dict[uuid.UUID, list[int]] = {}
        for name, partitions in subscription.owned:
            topic = self.context.topics.find(name)
            if topic is not None:
                owned.setdefault(topic.id, []).extend(partitions)
        return owned

    def _applied(self, groups: Mapping[str, Group], change: MemberChange, request: JoinRequest, is_new: bool) -> None:
        context, new = self.context, change.new
        group = groups[request.group_id]
        assert isinstance(group, ConsumerGroup)
        if is_new:
            context.lines.joined(group.group_id, new)
        context.count(group)
        change.applied(group)
        deadlines = context.deadlines(group)
        deadlines.cancel((JOIN, new.member_id))
        context.await_heartbeat(group, new)
        deadlines.set((SYNC, new.member_id), request.rebalance_timeout_ms)
        self.start_work(group, change)

    # -- SyncGroup and Heartbeat --

    def sync(self, group: ConsumerGroup, request: SyncRequest) -> Steps:
        """The response has the error, if there is one. A task for slices, or `at_once`."""
        try:
            member = self._find_classic(group, request.member_id, request.instance_id, request.generation)
            classic = member.details.classic_member_metadata
            assert classic is not None
            protocol, subscription = classic.supported_protocols[0]
            kind_is_wrong = request.protocol_type not in (None, CONSUMER_PROTOCOL_TYPE)
            if kind_is_wrong or request.protocol not in (None, protocol):
                raise GroupError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, "The protocol is not that of the join response.")
        except GroupError as error:
            return Result(response=sync_error(error.code))
        if group.assignment_epoch > member.member_epoch and member.state != UNREVOKED:
            return Result(
                response=sync_error(ErrorCode.REBALANCE_IN_PROGRESS), apply=partial(self._await_join, group, member)
            )
        assignment = yield from in_work(partial(self._assignment, member, read_version(subscription)))
        response = {
            "error_code": 0, "protocol_type": request.protocol_type, "protocol_name": request.protocol,
            "assignment": assignment,
        }  # fmt: skip
        return Result(response=response, apply=partial(self._synced, group, member))

    def _assignment(self, member: ConsumerMember, version: int) -> bytes:
        partitions = {topic_id: frozenset(each) for topic_id, each in member.assigned.items()}
        return write_assignment(version, named(self.context.topics, partitions))

    def _synced(self, group: ConsumerGroup, member: ConsumerMember) -> None:
        self.context.deadlines(group).cancel((SYNC, member.member_id))
        self.context.await_heartbeat(group, member)

    def _await_join(self, group: ConsumerGroup, member: ConsumerMember) -> None:
        """The member has to join again within its rebalance timeout."""
        deadlines, key = self.context.deadlines(group), (JOIN, member.member_id)
        if not deadlines.is_set(key):
            deadlines.set(key, member.details.rebalance_timeout_ms)

    def heartbeat(self, group: ConsumerGroup, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        """REBALANCE_IN_PROGRESS makes the member join again: it has to give up partitions, or can get some."""
        try:
            member = self._find_classic(group, member_id, instance_id, generation)
        except GroupError as error:
            return error.code
        self.context.await_heartbeat(group, member)
        is_late = member.member_epoch < group.assignment_epoch or member.state == UNREVOKED
        if is_late or (member.state == UNRELEASED and not group.waits_for_others(member)):
            self._await_join(group, member)
            return ErrorCode.REBALANCE_IN_PROGRESS
        return ErrorCode.NONE

    def _find_classic(
        self, group: ConsumerGroup, member_id: str, instance_id: str | None, generation: int
    ) -> ConsumerMember:
        if instance_id is None:
            member = find_member(group, member_id)
        else:
            member = find_static_member(group, member_id, instance_id)
        if not member.uses_classic_protocol:
            raise GroupError(ErrorCode.UNKNOWN_MEMBER_ID, f"Member {member_id} does not use the classic protocol.")
        if generation != member.member_epoch:
            raise GroupError(ErrorCode.ILLEGAL_GENERATION, "The generation is not the member epoch.")
        return member

    # -- LeaveGroup --

    def leave(
        self, groups: Mapping[str, Group], group: ConsumerGroup, named_members: Named
    ) -> Generator[object, None, CoordinatorResult[list[dict[str, Any]]]]:
        """Remove (member id, instance id) pairs, whatever their protocol; the response has an entry for each.

        A task for slices, or for `at_once`.
        """
        leaving, response = yield from self.leaving(group, named_members)
        return (yield from self.removal.steps(groups, group, leaving, "it left with LeaveGroup", response))

    def leaving(
        self, group: ConsumerGroup, named_members: Named
    ) -> Generator[object, None, tuple[list[ConsumerMember], list[dict[str, Any]]]]:
        """The members that these pairs name, and the entries of the response. A task for slices, or for `at_once`."""
        response: list[dict[str, Any]] = []
        leaving: dict[str, ConsumerMember] = {}
        for place, (member_id, instance_id) in enumerate(named_members):
            if place and place % LEFT_AT_ONCE == 0:
                yield None
            code = ErrorCode.NONE
            try:
                if instance_id is None:
                    member = find_member(group, member_id)
                else:
                    static = group.find_static(instance_id)
                    known_id = static.member_id if static is not None and not member_id else member_id
                    member = find_static_member(group, known_id, instance_id)
                leaving[member.member_id] = member
            except GroupError as error:
                code = error.code
            response.append({"member_id": member_id, "group_instance_id": instance_id, "error_code": int(code)})
        return list(leaving.values()), response


def names_at_most(request: JoinRequest) -> int:
    """Roughly how many names of topics the subscription of a JoinGroup has room for."""
    return len(request.protocols[0][1]) // NAME_BYTES if request.protocols else 0


def _subscription(request: JoinRequest) -> Subscription:
    """All protocols of a member have the same subscription."""
    try:
        return read_subscription(request.protocols[0][1])
    except MalformedProtocol as error:
        raise GroupError(ErrorCode.UNKNOWN_SERVER_ERROR, f"Malformed embedded consumer protocol: {error}.") from error


def _details(old: ConsumerMember, request: JoinRequest, subscription: Subscription) -> Member:
    before = old.details
    classic = ClassicMember(
        request.session_timeout_ms, tuple(ClassicProtocol(name, data) for name, data in request.protocols)
    )
    return Member(
        request.instance_id or before.instance_id, subscription.rack_id or before.rack_id, request.client_id,
        request.client_host, tuple(sorted(set(subscription.topics))), "", request.rebalance_timeout_ms,
        before.server_assignor, classic,
    )  # fmt: skip


def _joined(member: ConsumerMember) -> dict[str, Any]:
    classic = member.details.classic_member_metadata
    assert classic is not None
    return {
        "error_code": 0, "generation_id": member.member_epoch, "protocol_type": CONSUMER_PROTOCOL_TYPE,
        "protocol_name": classic.supported_protocols[0].name, "leader": "", "skip_assignment": False,
        "member_id": member.member_id, "members": [],
    }  # fmt: skip
