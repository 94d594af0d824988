"""Consumer groups (KIP-848): wires the operations to the runtime, and owns timers and work that takes longer.

The way of a request: `kafka_cy.api.consumer_group_heartbeat` -> `ConsumerGroups.heartbeat` ->
`ConsumerGroupHeartbeat.heartbeat`, which returns records and a response. A large target assignment and regular expressions
are worked on in slices afterwards; what they find is stored by a write of the coordinator's own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

from kafka_cy.base.slices import at_once
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.leave import LEFT_AT_ONCE
from kafka_cy.coordinator.classic.rebalance import Rebalancer
from kafka_cy.coordinator.classic.requests import JoinRequest, SyncRequest
from kafka_cy.coordinator.consumer.classic_members import ClassicMembers, Named, names_at_most
from kafka_cy.coordinator.consumer.context import JOIN, REBALANCE, SYNC, ConsumerContext
from kafka_cy.coordinator.consumer.describe import describe, unknown
from kafka_cy.coordinator.consumer.downgrade import Downgrade
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.heartbeat import ConsumerGroupHeartbeat
from kafka_cy.coordinator.consumer.leave import MemberRemoval
from kafka_cy.coordinator.consumer.member import UNREVOKED
from kafka_cy.coordinator.consumer.member_change import MemberChange
from kafka_cy.coordinator.consumer.regexes import RegexResolution
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.consumer.settings import ConsumerSettings
from kafka_cy.coordinator.consumer.upgrade import BYTES_AT_ONCE, UPGRADED_AT_ONCE
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.context import SESSION
from kafka_cy.coordinator.modern.deadlines import Key
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.modern.group_lines import Info
from kafka_cy.coordinator.modern.groups import LONG_HEARTBEAT, ModernGroups, Nothing, RemoveSteps
from kafka_cy.coordinator.modern.heartbeat_responses import error_response
from kafka_cy.coordinator.modern.names import PIECE_NAMES, names_count
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.protocol.errors import ErrorCode


class ConsumerGroups(ModernGroups):
    """Owner: the coordinator's thread. Idle cost: one timer for each group with members."""

    KIND = ConsumerGroup
    NAME = "consumer group"
    REASONS: ClassVar[Mapping[str, str]] = {
        SESSION: "its session expired",
        REBALANCE: "it did not give up partitions within its rebalance timeout",
        JOIN: "no JoinGroup within its rebalance timeout",
        SYNC: "no SyncGroup within its rebalance timeout",
    }

    def __init__(
        self, runtime: CoordinatorRuntime[Any], config: Mapping[str, Any], topics: Topics, rebalancer: Rebalancer, info: Info,
        *, is_offered: Callable[[], bool], is_full: Callable[[str], bool],
    ) -> None:  # fmt: skip
        """`is_offered`: whether clients may use the protocol. `is_full`: whether the group may not be created."""
        self.settings = ConsumerSettings(config, runtime.cluster)
        self.context = ConsumerContext(runtime, self.settings, topics, info)
        super().__init__(runtime, self.context, is_offered=is_offered, is_full=is_full)
        self.removal = MemberRemoval(self.context, Downgrade(self.context, rebalancer))
        self.classic_members = ClassicMembers(self.context, self.removal, self._start_work)

        def end_classic(group: ClassicGroup) -> None:
            rebalancer.end(group, ErrorCode.REBALANCE_IN_PROGRESS)

        self.heartbeats = ConsumerGroupHeartbeat(self.context, self.removal, end_classic, self._start_work)

    # -- requests --

    def heartbeat(self, request: HeartbeatRequest, respond: Callable[[dict[str, Any]], object]) -> None:
        """ConsumerGroupHeartbeat; `respond` gets the fields of the response."""
        if not self.is_offered():
            respond(error_response(ErrorCode.UNSUPPORTED_VERSION))
            return
        try:
            request.check(list(self.settings.assignors))
        except GroupError as error:
            respond(error_response(error.code, error.message))
            return
        self._beat(request, self.heartbeats.steps, error_response, respond)

    def _is_long(self, request: Any) -> bool:
        """Also if the member says that it has many partitions, or if it makes a consumer group of a classic one with more than a
        few members, or topics."""
        if super()._is_long(request):
            return True
        return self._converts_many(request.group_id) if request.member_epoch == 0 else request.owns_many

    def _converts_many(self, group_id: str) -> bool:
        _, shard = self.runtime.shard_of(group_id)
        group = shard.state.groups.get(group_id) if shard is not None else None
        if not isinstance(group, ClassicGroup):
            return False
        return len(group.members) > UPGRADED_AT_ONCE or group.held_bytes() > BYTES_AT_ONCE

    def joins_long(self, request: JoinRequest) -> bool:
        """Whether JoinGroup takes long, if it is for a consumer group. It may make a classic group of one with many members."""
        group = self._find(request.group_id)
        if group is None:
            return False
        static = group.find_static(request.instance_id)
        replaced = static if not request.member_id else None
        member = replaced or group.members.get(request.member_id)
        size = names_at_most(request) + len(group.subscriptions.names())
        if member is not None:
            size += len(group.target_of(member.member_id)) + len(member.assigned)
        return size > LONG_HEARTBEAT or self.removal.is_long_replacement(group, static)

    def syncs_long(self, request: SyncRequest) -> bool:
        """Whether the response to SyncGroup has many topics or partitions, if it is of a member of a consumer group."""
        group = self._find(request.group_id)
        member = group.members.get(request.member_id) if group is not None else None
        return member is not None and sum(map(len, member.assigned.values())) + len(member.assigned) > LONG_HEARTBEAT

    def leaves_long(self, group_id: str, members: Named) -> bool:
        """Whether LeaveGroup takes long, whatever the kind of the group."""
        group = self._find(group_id)
        if group is None or len(members) > LEFT_AT_ONCE:
            return len(members) > LEFT_AT_ONCE
        leaving, _ = at_once(self.classic_members.leaving(group, members))
        return self._is_much(group_id, [(SESSION, each.member_id) for each in leaving])

    def _size(self, request: HeartbeatRequest) -> int:
        """How many names and topics the heartbeat has to look at."""
        size = len(request.topic_names or ()) + len(request.owned or ())
        group = self._find(request.group_id)
        if group is None:
            return size
        member = group.members.get(request.member_id)
        compares = group.topics_version != self.context.topics.version or not request.says_nothing
        moves = member is None or request.member_epoch == 0 or not member.is_reconciled_to(group.assignment_epoch)
        if moves or compares or group.epoch > group.assignment_epoch:
            size += len(group.subscriptions.names())
        if moves or request.is_full:
            size += len(group.target_of(request.member_id))
        if member is not None and size:
            size += len(member.assigned)
        return size

    def unknown(self, group_id: str) -> dict[str, Any]:
        return unknown(group_id)

    def _describe(self, group: ConsumerGroup, description: dict[str, Any]) -> Iterator[None]:
        return describe(group, self.context.topics, self.settings.default_assignor, description)

    # -- soft state --

    def begin(self, group: ConsumerGroup) -> None:
        """After loading: the sessions of the members begin."""
        group.resolving = group.assigning = False
        self.context.count(group)
        for member in group.members.values():
            self.context.await_heartbeat(group, member)
            if member.state == UNREVOKED:
                self.context.await_revocation(group, member)

    def _remove(
        self, groups: Mapping[str, Group], group: ConsumerGroup, members: list[Any], reason: str
    ) -> RemoveSteps:
        return self.removal.steps(groups, group, members, reason, None)

    def _is_much(self, group_id: str, due: list[Key]) -> bool:
        """What the others read is compared with the topics, too."""
        group, members = self._find(group_id), self._due_members(group_id, due)
        if group is None or not members:
            return False
        topics = len(group.subscriptions.names()) + sum(len(each.assigned) + len(each.pending_revocation) for each in members)
        return topics > LONG_HEARTBEAT or names_count(members) > PIECE_NAMES or self.removal.is_long(group, members)

    # -- work that takes longer --

    def _start_work(self, group: ConsumerGroup, change: MemberChange) -> None:
        target = change.target
        if target is not None:
            self._assign_later(group, target, partial(self.context.lines.assigned, group, target.assignor.name))
        if change.regexes is not None and not group.resolving:
            resolution = RegexResolution(self.context, group, change.regexes, change.describes)
            group.resolving = True
            self.runtime.slices.add(resolution.steps(), partial(self._resolved, group, resolution))

    def _resolved(self, group: ConsumerGroup, resolution: RegexResolution) -> None:
        if not resolution.is_complete:
            self.context.end_resolution(group)
            return

        def operation(state: Any) -> Generator[object, None, CoordinatorResult[None]]:
            self.context.end_resolution(group)  # heartbeats wait until it is stored
            yield None
            if state.groups.get(group.group_id) is not group:
                return Nothing()
            epoch = group.epoch  # now: heartbeats may have changed it while the expressions were resolved
            records = yield from resolution.records()
            return Nothing(records, apply=partial(applied, epoch))

        def applied(before: int) -> None:
            self.context.count(group)
            group.regex_topics_version = resolution.topics_version
            if group.epoch > before:
                self.context.lines.rebalances(group.group_id, group.epoch)

        self.runtime.write_long(group.group_id, operation)
