"""StreamsGroupHeartbeat (KIP-1071): a member joins, stays, acknowledges what it gave up, or leaves.

Everything here looks at the group and collects records; nothing changes before they are stored. Kafka:
GroupMetadataManager.streamsGroupHeartbeat.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any, TypeVar

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.classic.group import ClassicGroup, GroupState
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.streams.context import REBALANCE, StreamsContext
from kafka_cy.coordinator.streams.group import StreamsGroup
from kafka_cy.coordinator.streams.member import LEAVE_EPOCH, UNREVOKED, StreamsMember, removal_records
from kafka_cy.coordinator.streams.member_change import StreamsMemberChange
from kafka_cy.coordinator.streams.records import Group as StoredGroup
from kafka_cy.coordinator.streams.records import GroupKey
from kafka_cy.coordinator.streams.requests import (
    Endpoints,
    StreamsHeartbeat,
    error_response,
    leave_response,
    member_response,
)
from kafka_cy.protocol.errors import ErrorCode

Result = CoordinatorResult[dict[str, Any]]
R = TypeVar("R")
Steps = Generator[object, None, R]
#: Begins what follows from a change and takes longer: the group, and the change that was stored.
StartWork = Callable[[StreamsGroup, StreamsMemberChange], object]


class StreamsGroupHeartbeat:
    """Owner: the coordinator's thread."""

    def __init__(
        self, context: StreamsContext, end_classic: Callable[[ClassicGroup], object], start_work: StartWork
    ) -> None:
        """`end_classic` ends the soft state of an empty classic group whose id a streams group takes. `start_work` begins what
        follows from a change and takes longer."""
        self.context = context
        self.end_classic = end_classic
        self.start_work = start_work

    def steps(self, groups: Mapping[str, Group], request: StreamsHeartbeat) -> Steps[Result]:
        """The response has the error, if there is one. A task for slices, or for `at_once`."""
        try:
            if request.member_epoch == LEAVE_EPOCH:
                return self._leave(groups.get(request.group_id), request)
            return (yield from self._heartbeat(groups, request))
        except GroupError as error:
            return Result(response=error_response(error.code, error.message))

    # -- joining and staying --

    def _heartbeat(self, groups: Mapping[str, Group], request: StreamsHeartbeat) -> Steps[Result]:
        before, joins = groups.get(request.group_id), request.member_epoch == 0
        if isinstance(before, StreamsGroup) and self._changes_nothing(before, request):
            return self._steady(before, before.members[request.member_id])
        records: list[Record] = []
        group = self._find_group(before, request, records)
        if joins:
            self._check_size(group)
            member = group.members.get(request.member_id, StreamsMember(request.member_id))
        else:
            member = find_member(group, request.member_id)
            yield from in_work(partial(check_epoch, member, request))
        change = StreamsMemberChange(self.context, group, member, request, records)
        yield from change.store_member()
        yield from change.configure()
        change.bump()
        change.assign()
        yield from change.reconcile()
        response = yield from change.response()
        return Result(records, response, partial(self._apply, groups, change, before))

    def _changes_nothing(self, group: StreamsGroup, request: StreamsHeartbeat) -> bool:
        """Whether the member, its group and the topics are as they were, and there is nothing to tell: the heartbeat of quiet
        times, in short."""
        member, topology, configured = group.members.get(request.member_id), group.topology, group.configured
        if member is None or request.member_epoch != member.member_epoch or not request.member_epoch:
            return False
        if topology is None or configured is None or not configured.is_ready or group.shutdown_member_id is not None:
            return False
        context, details = self.context, member.details
        is_settled = group.epoch == group.assignment_epoch and member.is_reconciled_to(group.assignment_epoch)
        return (
            is_settled and request.says_nothing and request.endpoint_epoch == group.endpoint_epoch
            and (details.client_id, details.client_host) == (request.client_id, request.client_host)
            and group.topics_version == context.topics.version and group.validated_epoch == topology.epoch
            and details.topology_epoch >= topology.epoch and not context.is_delayed(group)
            and context.settings.assignment_configs(group.group_id) == group.assignment_configs
        )  # fmt: skip

    def may_tell_endpoints(self, group: StreamsGroup, request: StreamsHeartbeat) -> bool:
        """Whether the response may have a row for each member with an endpoint."""
        if request.member_epoch == LEAVE_EPOCH or self._changes_nothing(group, request):
            return False
        member = group.members.get(request.member_id)
        known = member.details.user_endpoint if member is not None else None
        return request.endpoint_epoch != group.endpoint_epoch or (request.endpoint or known) is not None

    def _steady(self, group: StreamsGroup, member: StreamsMember) -> Result:
        interval_ms, endpoint_epoch = self.context.settings.heartbeat_interval_ms(group.group_id), group.endpoint_epoch
        response = member_response(member, interval_ms, [], Endpoints(endpoint_epoch, None), tells_tasks=False)
        apply = partial(self.context.stays, group, member, interval_ms, endpoint_epoch=endpoint_epoch)
        return Result(response=response, apply=apply)

    def _find_group(self, group: Group | None, request: StreamsHeartbeat, records: list[Record]) -> StreamsGroup:
        """The group, or one to be made, also in place of an empty classic group. Raises GroupError (GROUP_ID_NOT_FOUND)."""
        group_id, joins = request.group_id, request.member_epoch == 0
        if isinstance(group, StreamsGroup):
            return group
        if group is None and not joins:
            raise GroupError(ErrorCode.GROUP_ID_NOT_FOUND, f"Streams group {group_id} not found.")
        if group is not None and not (joins and isinstance(group, ClassicGroup) and group.state is GroupState.EMPTY):
            raise GroupError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a streams group.")
        if group is not None:
            records += group.tombstones()
        return StreamsGroup(group_id)

    def _check_size(self, group: StreamsGroup) -> None:
        size_max = self.context.settings.members_max
        if len(group.members) >= size_max:
            raise GroupError(
                ErrorCode.GROUP_MAX_SIZE_REACHED,
                f"The streams group has reached its maximum capacity of {size_max} members.",
            )

    def _apply(self, groups: Mapping[str, Group], change: StreamsMemberChange, before: Group | None) -> None:
        """After the records are stored: sessions, deadlines, and work that takes longer."""
        context, new, request = self.context, change.new, change.request
        group = groups[request.group_id]
        assert isinstance(group, StreamsGroup)
        if isinstance(before, ClassicGroup):
            self.end_classic(before)
            context.lines.converted(group.group_id, "streams")
        if request.member_epoch == 0:
            context.lines.joined(group.group_id, new)
        context.count(group)
        change.applied(group, is_new=group is not before)
        context.await_heartbeat(group, new)
        if change.moved and new.state == UNREVOKED:
            context.deadlines(group).set((REBALANCE, new.member_id), new.details.rebalance_timeout_ms)
        elif change.moved:
            context.deadlines(group).cancel((REBALANCE, new.member_id))
        self.start_work(group, change)

    # -- leaving --

    def _leave(self, group: Group | None, request: StreamsHeartbeat) -> Result:
        if group is None:
            raise GroupError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {request.group_id} not found.")
        if not isinstance(group, StreamsGroup):
            raise GroupError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {request.group_id} is not a streams group.")
        member = find_member(group, request.member_id)
        if request.shutdown_application:
            self.context.request_shutdown(group, member.member_id)
        return self.remove(group, [member], "it left", leave_response(request.member_id))

    def remove(
        self, group: StreamsGroup, members: list[StreamsMember], reason: str, response: R
    ) -> CoordinatorResult[R]:
        """Remove the members; the others get their tasks with the next group epoch."""
        if not members:
            return CoordinatorResult(response=response)
        records: list[Record] = []
        for member in members:
            records += removal_records(group.group_id, member.member_id)
        value = StoredGroup(group.epoch + 1, group.metadata_hash, group.validated_epoch, group.assignment_configs)
        records.append((GroupKey(group.group_id), value))
        return CoordinatorResult(records, response, partial(self._removed, group, members, reason))

    def _removed(self, group: StreamsGroup, members: list[StreamsMember], reason: str) -> None:
        for member in members:
            self.context.forget_member(group, member.member_id)
            self.context.lines.left(group.group_id, member, reason)
        if not group.members:
            group.shutdown_member_id = None
        self.context.count(group)
        self.context.lines.rebalances(group.group_id, group.epoch)


def find_member(group: StreamsGroup, member_id: str) -> StreamsMember:
    """Raises GroupError (UNKNOWN_MEMBER_ID)."""
    member = group.members.get(member_id)
    if member is None:
        raise GroupError(ErrorCode.UNKNOWN_MEMBER_ID, f"Member {member_id} is not a member of group {group.group_id}.")
    return member


def check_epoch(member: StreamsMember, request: StreamsHeartbeat) -> None:
    """The previous epoch may come because the last response was lost; then the member must not have tasks that it lost since.

    Raises GroupError (FENCED_MEMBER_EPOCH).
    """
    received, owned = request.member_epoch, request.owned
    if received == member.member_epoch:
        return
    if received < member.member_epoch:
        lost_response = received == member.previous_member_epoch and owned is not None
        if lost_response and owned is not None and member.assigned.contains_all(owned):
            return
    how = "greater" if received > member.member_epoch else "smaller"
    raise GroupError(
        ErrorCode.FENCED_MEMBER_EPOCH,
        f"The streams group member has a {how} member epoch ({received}) than the one known by the group coordinator "
        f"({member.member_epoch}). The member must abandon all its partitions and rejoin.",
    )
