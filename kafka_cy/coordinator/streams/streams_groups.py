"""Streams groups (KIP-1071): wires the operations to the runtime, and owns timers and work that takes longer.

The way of a request: `kafka_cy.api.streams_group_heartbeat_cold` -> `StreamsGroups.heartbeat` ->
`StreamsGroupHeartbeat.heartbeat`, which returns records and a response. Internal topics that are missing are created after the
response, as in Kafka: the next heartbeat finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.rebalance import Rebalancer
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.context import SESSION
from kafka_cy.coordinator.modern.deadlines import Key
from kafka_cy.coordinator.modern.group_lines import ID_CHARS_MAX, Info
from kafka_cy.coordinator.modern.groups import LONG_HEARTBEAT, ModernGroups, Nothing, RemoveSteps
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.streams.context import FIRST_ASSIGNMENT, REBALANCE, StreamsContext
from kafka_cy.coordinator.streams.describe import describe, unknown
from kafka_cy.coordinator.streams.endpoints import rows_size
from kafka_cy.coordinator.streams.group import ASSIGNOR_NAME, StreamsGroup
from kafka_cy.coordinator.streams.heartbeat import StreamsGroupHeartbeat
from kafka_cy.coordinator.streams.internal_topics import CreateTopics
from kafka_cy.coordinator.streams.member import UNREVOKED
from kafka_cy.coordinator.streams.member_change import StreamsMemberChange
from kafka_cy.coordinator.streams.requests import StreamsHeartbeat, checked, error_response
from kafka_cy.coordinator.streams.settings import StreamsSettings
from kafka_cy.coordinator.streams.target import StreamsTarget
from kafka_cy.protocol.errors import ErrorCode


class StreamsGroups(ModernGroups):
    """Owner: the coordinator's thread. Idle cost: one timer for each group with members."""

    KIND = StreamsGroup
    NAME = "streams group"
    REASONS: ClassVar[Mapping[str, str]] = {
        SESSION: "its session expired",
        REBALANCE: "it did not give up tasks within its rebalance timeout",
    }

    def __init__(
        self, runtime: CoordinatorRuntime[Any], config: Mapping[str, Any], topics: Topics, rebalancer: Rebalancer, info: Info,
        create_topics: CreateTopics, *, is_offered: Callable[[], bool], is_full: Callable[[str], bool],
    ) -> None:  # fmt: skip
        """`is_offered`: whether clients may use the protocol. `create_topics` creates internal topics."""
        self.settings = StreamsSettings(config, runtime.cluster)
        self.context = StreamsContext(runtime, self.settings, topics, info, create_topics)
        super().__init__(runtime, self.context, is_offered=is_offered, is_full=is_full)

        def end_classic(group: ClassicGroup) -> None:
            rebalancer.end(group, ErrorCode.REBALANCE_IN_PROGRESS)

        self.heartbeats = StreamsGroupHeartbeat(self.context, end_classic, self._start_work)

    # -- requests --

    def heartbeat(self, request: StreamsHeartbeat, respond: Callable[[dict[str, Any]], object]) -> None:
        """StreamsGroupHeartbeat; `respond` gets the fields of the response."""
        problem = checked(request)
        if problem is None:
            self.checked_heartbeat(request, respond)
        else:
            respond(problem)

    def checked_heartbeat(self, request: StreamsHeartbeat, respond: Callable[[dict[str, Any]], object]) -> None:
        """heartbeat() of a request that was checked: at once if it is little work, else in slices."""
        self._beat(request, self.heartbeats.steps, error_response, respond)

    def _size(self, request: StreamsHeartbeat) -> int:
        """How many names and tasks the heartbeat has to look at; rows of endpoints count as names."""
        size = request.size
        group = self._find(request.group_id)
        if group is None:
            return size
        if group.configured is None or group.topics_version != self.context.topics.version:
            size += group.facts.names_count
        member = group.members.get(request.member_id)
        if member is not None and (not member.is_reconciled_to(group.assignment_epoch) or not request.member_epoch):
            size += 2 * member.assigned.size + member.pending_revocation.size + group.target_of(member.member_id).size
        if size <= LONG_HEARTBEAT and self.heartbeats.may_tell_endpoints(group, request):
            size += rows_size(group, LONG_HEARTBEAT + 1)
        return size

    def unknown(self, group_id: str) -> dict[str, Any]:
        return unknown(group_id)

    def _describe(self, group: StreamsGroup, description: dict[str, Any]) -> Iterator[None]:
        return describe(group, description)

    # -- soft state --

    def begin(self, group: StreamsGroup) -> None:
        """After loading: the sessions of the members begin. The topology is compared with the topics by the next heartbeat."""
        group.assigning, group.configured = False, None
        group.shutdown_member_id = None
        group.endpoint_epoch, group.endpoint_rows = 0, {}
        self.context.count(group)
        for member in group.members.values():
            self.context.await_heartbeat(group, member)
            if member.state == UNREVOKED:
                self.context.deadlines(group).set((REBALANCE, member.member_id), member.details.rebalance_timeout_ms)

    # -- deadlines --

    def _due(self, group_id: str, due: list[Key]) -> None:
        if FIRST_ASSIGNMENT in due:
            self._assign_first(group_id)
        super()._due(group_id, [key for key in due if key != FIRST_ASSIGNMENT])

    def _is_much(self, group_id: str, due: list[Key]) -> bool:
        members = self._due_members(group_id, due)
        size: int = sum(each.assigned.size + each.pending_revocation.size for each in members)
        return size > LONG_HEARTBEAT

    def _remove(
        self, groups: Mapping[str, Group], group: StreamsGroup, members: list[Any], reason: str
    ) -> RemoveSteps:
        yield None
        return self.heartbeats.remove(group, members, reason, None)

    # -- work that takes longer --

    def _start_work(self, group: StreamsGroup, change: StreamsMemberChange) -> None:
        missing = change.configured.missing if change.configured is not None else ()
        if missing and not change.not_created:
            request = change.request
            sender = {
                "group": group.group_id[:ID_CHARS_MAX], "client_id": request.client_id[:ID_CHARS_MAX],
                "client": request.client_host.removeprefix("/"),
            }  # fmt: skip
            ttl_ms = 2 * self.settings.heartbeat_interval_ms(group.group_id)
            self.context.internal_topics.create(missing, sender, ttl_ms)
        if change.target is not None:
            self._assign_later(group, change.target, partial(self._assigned_now, group, change.target))

    def _assigned_now(self, group: StreamsGroup, target: StreamsTarget) -> None:
        self.context.lines.assigned(group, ASSIGNOR_NAME)
        self.context.lines.unplaced(group.group_id, target.unplaced)

    def _assign_first(self, group_id: str) -> None:
        """The time in which more members may join a new group is over."""

        def operation(state: Any) -> CoordinatorResult[None]:
            group = state.groups.get(group_id)
            if not isinstance(group, StreamsGroup) or not group.members or group.configured is None:
                return Nothing()  # the next heartbeat assigns
            if group.epoch <= group.assignment_epoch or group.assigning or not self.context.interval_is_over(group):
                return Nothing()
            now_ms = self.runtime.loop.wall_clock_ms()
            target = StreamsTarget(group, group.epoch, group.configured, group.assignment_configs, now_ms)
            applied = partial(self._assigned_now, group, target)
            if target.is_long():
                return Nothing(apply=partial(self._assign_later, group, target, applied))
            return Nothing(target.compute(), apply=applied)

        self.runtime.write_own(group_id, operation)
