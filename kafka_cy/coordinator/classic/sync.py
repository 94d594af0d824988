"""SyncGroup of classic groups: the leader brings the assignment, the other members wait for their part."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.classic.group import ClassicGroup, GroupState
from kafka_cy.coordinator.classic.member import Respond
from kafka_cy.coordinator.classic.rebalance import Rebalancer
from kafka_cy.coordinator.classic.requests import SyncRequest
from kafka_cy.coordinator.classic.responses import respond_sync, sync_error, sync_success
from kafka_cy.coordinator.records import GroupKey, StoredGroup
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.protocol.errors import ErrorCode

Result = CoordinatorResult[dict[str, Any]]


class SyncGroup:
    """Owner: the coordinator's thread."""

    def __init__(self, rebalancer: Rebalancer) -> None:
        self.rebalancer = rebalancer
        self.loop = rebalancer.loop

    def is_long(self, group: ClassicGroup, request: SyncRequest) -> bool:
        """Whether the assignment of a large group is to be stored."""
        leads = group.leader == request.member_id and group.state is GroupState.COMPLETING_REBALANCE
        return leads and group.is_large()

    def sync(self, group: ClassicGroup | None, request: SyncRequest, respond: Respond) -> Generator[object, None, Result]:
        """`respond` is kept until the leader's assignment is there, unless the result has a response already.

        A task for slices, or `at_once`.
        """
        error = ErrorCode.UNKNOWN_MEMBER_ID if group is None else self._check(group, request)
        if error or group is None:
            return Result(response=sync_error(error))
        member = group.members[request.member_id]
        if group.state is GroupState.STABLE:
            return Result(response=sync_success(group, member), apply=partial(self._synced, group, request))
        if group.leader != request.member_id:
            return Result(apply=partial(self._wait, group, request, respond))
        stored = yield from in_work(partial(group.to_stored, request.assignments))
        return Result(
            [(GroupKey(group.group_id), stored)],
            apply=partial(self._assigned, group, request, stored, respond),
            failed=partial(self._not_stored, group, request),
        )

    def _check(self, group: ClassicGroup, request: SyncRequest) -> ErrorCode:
        error = group.validate_member(request.member_id, request.instance_id)
        if error:
            return error
        if request.generation != group.generation:
            return ErrorCode.ILLEGAL_GENERATION
        if request.protocol_type not in (None, group.protocol_type) or request.protocol not in (None, group.protocol):
            return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        if group.state is GroupState.PREPARING_REBALANCE:
            return ErrorCode.REBALANCE_IN_PROGRESS
        return ErrorCode.NONE if group.state is not GroupState.EMPTY else ErrorCode.UNKNOWN_MEMBER_ID

    def _synced(self, group: ClassicGroup, request: SyncRequest) -> None:
        group.members[request.member_id].last_heartbeat_s = self.loop.now()
        self.rebalancer.synced(group, request.member_id)

    def _wait(self, group: ClassicGroup, request: SyncRequest, respond: Respond) -> None:
        self._synced(group, request)
        member = group.members[request.member_id]
        respond_sync(member, sync_error(ErrorCode.REBALANCE_IN_PROGRESS))  # an earlier request that was abandoned
        member.awaiting_sync = respond

    def _assigned(self, group: ClassicGroup, request: SyncRequest, stored: StoredGroup, respond: Respond) -> None:
        self._wait(group, request, respond)
        self.rebalancer.assigned(group, stored)

    def _not_stored(self, group: ClassicGroup, request: SyncRequest, error: ErrorCode) -> None:
        """The members that wait get the error and join again; the runtime responds to the leader."""
        if group.state is GroupState.DEAD:
            return  # the partition was lost meanwhile
        self._synced(group, request)
        self.rebalancer.reset_assignments(group, error)
        self.rebalancer.prepare_or_complete(group, "the assignment could not be stored")
