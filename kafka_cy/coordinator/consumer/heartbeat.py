"""ConsumerGroupHeartbeat (KIP-848): a member joins, stays, changes its subscription, acknowledges what it gave up, or leaves."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.classic.group import ClassicGroup, GroupState
from kafka_cy.coordinator.consumer.context import REBALANCE, ConsumerContext
from kafka_cy.coordinator.consumer.epochs import check_epoch, check_released, find_member, find_static_member
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.leave import MemberRemoval, left_for_now
from kafka_cy.coordinator.consumer.member import LEAVE_STATIC_EPOCH, ConsumerMember
from kafka_cy.coordinator.consumer.member_change import MemberChange, StartWork
from kafka_cy.coordinator.consumer.records import Member
from kafka_cy.coordinator.consumer.regexes import resolved_for_s, to_resolve
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.consumer.upgrade import Upgrade
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.modern.heartbeat_responses import error_response, member_response
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.protocol.errors import ErrorCode

Result = CoordinatorResult[dict[str, Any]]


class ConsumerGroupHeartbeat:
    """Owner: the coordinator's thread."""

    def __init__(
        self, context: ConsumerContext, removal: MemberRemoval, end_classic: Callable[[ClassicGroup], object],
        start_work: StartWork,
    ) -> None:  # fmt: skip
        """`end_classic` ends the soft state of a classic group that became a consumer group. `start_work` begins what follows
        from a change and takes longer."""
        self.context = context
        self.removal = removal
        self.end_classic = end_classic
        self.start_work = start_work

    def steps(self, groups: Mapping[str, Group], request: HeartbeatRequest) -> Generator[object, None, Result]:
        """The response has the error, if there is one. A task for slices, or for `at_once`."""
        try:
            return (yield from (self._leave if request.member_epoch < 0 else self._heartbeat)(groups, request))
        except GroupError as error:
            return Result(response=error_response(error.code, error.message))

    # -- joining and staying --

    def _heartbeat(self, groups: Mapping[str, Group], request: HeartbeatRequest) -> Generator[object, None, Result]:
        joins = request.member_epoch == 0
        classic = groups.get(request.group_id)
        if isinstance(classic, ConsumerGroup):
            for_s = self._steady_for_s(classic, request)
            if for_s > 0:
                return self._steady(classic, classic.members[request.member_id], for_s)
        records: list[Record] = []
        group, upgrade = yield from self._find_group(classic, request, records)
        self._check_size(group, request.member_id)
        member_id = request.member_id or _new_member_id()
        old = yield from self._find_member(group, request, member_id, records)
        details = yield from in_work(partial(_details, old, request))
        new = old._replace(details=details)
        change = MemberChange(self.context, group, old, new, records)
        change.describes = request.describes
        yield from change.store_member()
        regexes = to_resolve(self.context, group, old, new)
        yield from change.assign()
        moved = yield from change.reconcile(request.owned)
        new = change.new
        tells = joins or request.is_full or old.assigned != new.assigned
        interval_ms = self.context.settings.heartbeat_interval_ms(request.group_id)
        response = yield from in_work(
            partial(member_response, member_id, new.member_epoch, interval_ms, new.assigned if tells else None)
        )
        apply = partial(self._apply, groups, change, joins, moved, regexes, classic, upgrade)
        failed = partial(self._failed, groups, classic) if isinstance(classic, ClassicGroup) else None
        return Result(records, response, apply, failed)

    def _steady_for_s(self, group: ConsumerGroup, request: HeartbeatRequest) -> float:
        """For how long the member, its group and the topics stay as they are, as far as this is known: 0 if they do not.

        These are the heartbeats of quiet times. A static member repeats its instance id, and members may repeat a regular
        expression.
        """
        member = group.members.get(request.member_id)
        if member is None or request.member_epoch != member.member_epoch or not request.member_epoch:
            return 0.0
        details = member.details
        says_nothing = request.says_nothing and (details.client_id, details.client_host) == (
            request.client_id, request.client_host
        )  # fmt: skip
        is_same_instance = request.instance_id is None or group.find_static(request.instance_id) is member
        is_same_regex = request.topic_regex in (None, details.subscribed_topic_regex)
        if not (says_nothing and is_same_instance and is_same_regex) or details.classic_member_metadata:
            return 0.0
        is_settled = group.epoch == group.assignment_epoch and member.is_reconciled_to(group.assignment_epoch)
        if not is_settled or group.topics_version != self.context.topics.version:
            return 0.0
        return resolved_for_s(self.context, group)

    def _steady(self, group: ConsumerGroup, member: ConsumerMember, for_s: float) -> Result:
        interval_ms = self.context.settings.heartbeat_interval_ms(group.group_id)
        response = member_response(member.member_id, member.member_epoch, interval_ms, None)
        return Result(response=response, apply=partial(self.context.stays, group, member, interval_ms, for_s=for_s))

    def _find_group(
        self, group: Group | None, request: HeartbeatRequest, records: list[Record]
    ) -> Generator[object, None, tuple[ConsumerGroup, Upgrade | None]]:
        """The group, one to be made, or one that a classic group becomes. Raises GroupError (GROUP_ID_NOT_FOUND)."""
        group_id, joins = request.group_id, request.member_epoch == 0
        if isinstance(group, ConsumerGroup):
            return group, None
        if group is None and joins:
            return ConsumerGroup(group_id), None
        if group is None:
            raise GroupError(ErrorCode.GROUP_ID_NOT_FOUND, f"Consumer group {group_id} not found.")
        if not joins or not isinstance(group, ClassicGroup):
            raise GroupError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a consumer group.")
        if group.state is GroupState.EMPTY:
            records += group.tombstones()
            return ConsumerGroup(group_id), None
        upgrade = Upgrade(self.context, group)
        yield from upgrade.steps()
        records += upgrade.records
        return upgrade.group, upgrade

    def _check_size(self, group: ConsumerGroup, member_id: str) -> None:
        size_max = self.context.settings.members_max
        if len(group.members) >= size_max and member_id not in group.members:
            raise GroupError(
                ErrorCode.GROUP_MAX_SIZE_REACHED,
                f"The consumer group has reached its maximum capacity of {size_max} members.",
            )

    def _find_member(
        self, group: ConsumerGroup, request: HeartbeatRequest, member_id: str, records: list[Record]
    ) -> Generator[object, None, ConsumerMember]:
        joins, instance_id = request.member_epoch == 0, request.instance_id
        if instance_id is None:
            member = group.members.get(member_id, ConsumerMember(member_id)) if joins else find_member(group, member_id)
            yield from in_work(partial(check_epoch, member, request.member_epoch, request.owned))
            return member
        if not joins:
            member = find_static_member(group, member_id, instance_id)
            yield from in_work(partial(check_epoch, member, request.member_epoch, request.owned))
            return member
        static = group.find_static(instance_id)
        if static is None:
            return group.members.get(member_id, ConsumerMember(member_id))
        if not static.uses_classic_protocol:
            check_released(static, member_id)
        return MemberChange.replacing(group, static, member_id, records)

    def _apply(
        self, groups: Mapping[str, Group], change: MemberChange, joined: bool, moved: bool, regexes: list[str] | None,
        before: Group | None, upgrade: Upgrade | None,
    ) -> None:  # fmt: skip
        """After the records are stored: sessions, deadlines, and work that takes longer."""
        context, new, group_id = self.context, change.new, change.group.group_id
        group = groups[group_id]
        assert isinstance(group, ConsumerGroup)
        if isinstance(before, ClassicGroup):
            self.end_classic(before)
            context.lines.converted(group_id, "consumer")
        if upgrade is not None:
            upgrade.apply(group)
        if joined:
            context.lines.joined(group_id, new)
        context.count(group)
        change.applied(group)
        context.await_heartbeat(group, new)
        if moved:
            context.await_revocation(group, new)
        change.regexes = regexes
        self.start_work(group, change)

    def _failed(self, groups: Mapping[str, Group], classic: ClassicGroup, error: ErrorCode) -> None:
        """The consumer group is not stored, and the classic group stays.

        Or the partition was lost in the middle of the replay: the classic group has left the table, though nobody has ended it.
        """
        if groups.get(classic.group_id) is not classic and classic.state is not GroupState.DEAD:
            self.end_classic(classic)

    # -- leaving --

    def _leave(self, groups: Mapping[str, Group], request: HeartbeatRequest) -> Generator[object, None, Result]:
        group_id = request.group_id
        group = groups.get(group_id)
        if group is None:
            raise GroupError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} not found.")
        if not isinstance(group, ConsumerGroup):
            raise GroupError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a consumer group.")
        if request.instance_id is None:
            member = find_member(group, request.member_id)
        else:
            member = find_static_member(group, request.member_id, request.instance_id)
            if request.member_epoch == LEAVE_STATIC_EPOCH:
                response = member_response(member.member_id, LEAVE_STATIC_EPOCH, 0, None)
                apply = partial(self.context.deadlines(group).cancel, (REBALANCE, member.member_id))  # its session counts now
                return Result([left_for_now(group, member)], response, apply)
        response = member_response(request.member_id, request.member_epoch, 0, None)
        return (yield from self.removal.steps(groups, group, [member], "it left", response))


def _details(old: ConsumerMember, request: HeartbeatRequest) -> Member:
    """What the member says now; the same object if nothing has changed."""
    before = old.details
    names = before.subscribed_topic_names
    if request.topic_names is not None:
        names = tuple(sorted(set(request.topic_names)))
    details = Member(
        before.instance_id if request.instance_id is None else request.instance_id,
        before.rack_id if request.rack_id is None else request.rack_id,
        request.client_id, request.client_host, names,
        before.subscribed_topic_regex if request.topic_regex is None else request.topic_regex,
        before.rebalance_timeout_ms if request.rebalance_timeout_ms == -1 else request.rebalance_timeout_ms,
        before.server_assignor if request.assignor is None else request.assignor,
    )  # fmt: skip
    return before if details == before else details


def _new_member_id() -> str:
    """As Kafka's Uuid.randomUuid()."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
