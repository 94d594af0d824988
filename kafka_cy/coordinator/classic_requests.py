"""The requests of the classic protocol, whatever kind of group they name: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

The operations on classic groups are in `classic`. Members of a consumer group may use the protocol, too: those operations are in
`consumer.classic_members`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any, TypeVar

from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.heartbeat import check_heartbeat
from kafka_cy.coordinator.classic.join import JoinGroup
from kafka_cy.coordinator.classic.leave import leave_group
from kafka_cy.coordinator.classic.member import Respond
from kafka_cy.coordinator.classic.rebalance import Rebalancer
from kafka_cy.coordinator.classic.requests import JoinRequest, SyncRequest
from kafka_cy.coordinator.classic.responses import join_error, sync_error
from kafka_cy.coordinator.classic.sync import SyncGroup
from kafka_cy.coordinator.consumer.consumer_groups import ConsumerGroups
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.group_kinds import of_kind
from kafka_cy.coordinator.group_limits import GroupLimits
from kafka_cy.coordinator.records import GroupKey, StoredGroup
from kafka_cy.coordinator.responders import once, or_else
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.state_machine import GroupStateMachine, SoftState
from kafka_cy.protocol.errors import ErrorCode

R = TypeVar("R")


class ClassicRequests:
    """Owner: the coordinator's thread."""

    def __init__(
        self, runtime: CoordinatorRuntime[GroupStateMachine], config: Mapping[str, Any], limits: GroupLimits,
        rebalancer: Rebalancer, consumer: ConsumerGroups, soft_states: Mapping[type[Group], SoftState],
    ) -> None:  # fmt: skip
        self.runtime = runtime
        self.config = config
        self.loop = runtime.loop
        self.limits = limits
        self.rebalancer = rebalancer
        self.consumer = consumer
        self.soft_states = soft_states
        self.join_group = JoinGroup(rebalancer, rebalancer.members_max)
        self.sync_group = SyncGroup(rebalancer)

    def _write(
        self, group_id: str, operation: Callable[[Group | None], CoordinatorResult[R]],
        respond: Callable[[ErrorCode, R | None], object],
    ) -> None:  # fmt: skip
        self.runtime.write(group_id, lambda state: operation(state.groups.get(group_id)), respond)

    def join(self, request: JoinRequest, respond: Respond) -> None:
        """JoinGroup; `respond` is called once, possibly much later."""
        error = self._check_join(request)
        if error:
            return respond(join_error(error, "" if error is ErrorCode.UNKNOWN_SERVER_ERROR else request.member_id))
        group_id, respond = request.group_id, once(respond)
        lost = join_error(ErrorCode.NOT_COORDINATOR, request.member_id)
        later = self._when_stored(group_id, respond, lost)

        def operation(state: GroupStateMachine) -> Generator[object, None, CoordinatorResult[dict[str, Any]]]:
            group = state.groups.get(group_id)
            classic = of_kind(group, ClassicGroup)
            if classic is not None:
                return (yield from self.join_group.join(classic, request, later))
            consumer = of_kind(group, ConsumerGroup)
            if consumer is not None and consumer.members:
                return (yield from self.consumer.classic_members.join(state.groups, consumer, request))
            if group is not None and (not group.is_empty or isinstance(group, ShareGroup)):
                return CoordinatorResult(response=join_error(ErrorCode.INCONSISTENT_GROUP_PROTOCOL))
            if request.member_id:
                return CoordinatorResult(response=join_error(ErrorCode.UNKNOWN_MEMBER_ID, request.member_id))
            if group is None and self.limits.is_full(group_id):
                return CoordinatorResult(response=join_error(ErrorCode.POLICY_VIOLATION))
            return self._create(state, group_id, write)

        def done(error: ErrorCode, response: dict[str, Any] | None) -> None:
            respond(join_error(error, request.member_id) if response is None else response)

        write = partial(self.runtime.write_either, group_id, operation, done, partial(self._joins_long, request))
        write()

    def _joins_long(self, request: JoinRequest) -> bool:
        group = self._find(request.group_id)
        if isinstance(group, ClassicGroup):
            return self.join_group.is_long(group, request)
        return self.consumer.joins_long(request)

    def _find(self, group_id: str) -> Group | None:
        _, shard = self.runtime.shard_of(group_id)
        return shard.state.groups.get(group_id) if shard is not None else None

    def _check_join(self, request: JoinRequest) -> ErrorCode:
        low, high = self.config["group.min.session.timeout.ms"], self.config["group.max.session.timeout.ms"]
        if not request.group_id:
            return ErrorCode.INVALID_GROUP_ID
        if not low <= request.session_timeout_ms <= high:
            return ErrorCode.INVALID_SESSION_TIMEOUT
        # Kafka fails here too, when it serializes the response or the record.
        return ErrorCode.NONE if request.can_be_stored() else ErrorCode.UNKNOWN_SERVER_ERROR

    def _create(
        self, state: GroupStateMachine, group_id: str, then: Callable[[], object]
    ) -> CoordinatorResult[dict[str, Any]]:
        """As Kafka, the first JoinGroup stores an empty group, whatever its own outcome. It takes the place of an empty group
        of another kind."""
        empty = StoredGroup("", 0, None, None, self.loop.wall_clock_ms(), ())
        before = state.groups.get(group_id)

        def created() -> None:
            if before is not None:
                self.soft_states[type(before)].end(before, ErrorCode.UNKNOWN_MEMBER_ID)
            self.soft_states[ClassicGroup].begin(state.groups[group_id])
            then()

        tombstones = before.tombstones() if before is not None else []
        return CoordinatorResult([*tombstones, (GroupKey(group_id), empty)], apply=created)

    def sync(self, request: SyncRequest, respond: Respond) -> None:
        """SyncGroup; responds when the leader's assignment is stored."""
        group_id = request.group_id
        if not group_id:
            return respond(sync_error(ErrorCode.INVALID_GROUP_ID))
        respond = once(respond)
        later = self._when_stored(group_id, respond, sync_error(ErrorCode.NOT_COORDINATOR))

        def done(error: ErrorCode, response: dict[str, Any] | None) -> None:
            if error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                error = ErrorCode.REBALANCE_IN_PROGRESS  # the assignment is lost: join again
            respond(sync_error(error) if response is None else response)

        def operation(state: GroupStateMachine) -> Generator[object, None, CoordinatorResult[dict[str, Any]]]:
            group = state.groups.get(group_id)
            consumer = of_kind(group, ConsumerGroup)
            if consumer is not None:
                return (yield from self.consumer.classic_members.sync(consumer, request))
            return (yield from self.sync_group.sync(of_kind(group, ClassicGroup), request, later))

        self.runtime.write_either(group_id, operation, done, partial(self._syncs_long, request))

    def _syncs_long(self, request: SyncRequest) -> bool:
        group = self._find(request.group_id)
        if isinstance(group, ClassicGroup):
            return self.sync_group.is_long(group, request)
        return self.consumer.syncs_long(request)

    def heartbeat(
        self, group_id: str, member_id: str, instance_id: str | None, generation: int, respond: Callable[[ErrorCode], object]
    ) -> None:
        """Heartbeat of a member that no reactor could respond to. It waits for conversions: meanwhile members are missing."""
        if not group_id:
            respond(ErrorCode.INVALID_GROUP_ID)
            return

        def operation(group: Group | None) -> CoordinatorResult[ErrorCode]:
            consumer = of_kind(group, ConsumerGroup)
            if consumer is not None:
                error = self.consumer.classic_members.heartbeat(consumer, member_id, instance_id, generation)
            else:
                classic = of_kind(group, ClassicGroup)
                error = check_heartbeat(classic, member_id, instance_id, generation, self.loop.now())
            return CoordinatorResult(response=error)

        def done(error: ErrorCode, response: ErrorCode | None) -> None:
            is_loading = error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS  # sessions begin when loading ends
            respond(ErrorCode.NONE if is_loading else error if response is None else response)

        self._write(group_id, operation, done)

    def leave(
        self,
        group_id: str,
        members: list[tuple[str, str | None]],
        respond: Callable[[ErrorCode, list[dict[str, Any]]], None],
    ) -> None:
        """LeaveGroup of (member id, instance id) pairs; `respond` gets an error, or an entry for each pair."""
        if not group_id:
            return respond(ErrorCode.INVALID_GROUP_ID, [])

        def operation(state: GroupStateMachine) -> Generator[object, None, CoordinatorResult[list[dict[str, Any]]]]:
            group = state.groups.get(group_id)
            consumer = of_kind(group, ConsumerGroup)
            if consumer is not None:
                return (yield from self.consumer.classic_members.leave(state.groups, consumer, members))
            return (yield from leave_group(self.rebalancer, of_kind(group, ClassicGroup), members))

        is_long = partial(self.consumer.leaves_long, group_id, members)
        self.runtime.write_either(group_id, operation, partial(or_else, respond, []), is_long)

    def _when_stored(self, group_id: str, respond: Respond, lost: dict[str, Any]) -> Respond:
        """`respond` for a request that is kept: held back until what it follows from is stored, or is lost."""
        return lambda response: self.runtime.when_stored(group_id, lambda error: respond(lost if error else response))
