"""Share groups (KIP-932): wires the operations to the runtime, and owns timers and work that takes longer.

The way of a request: `kafka_cy.api.share_group_heartbeat_cold` -> `GroupCoordinator.share_heartbeat` ->
`ShareGroupHeartbeat.heartbeat`, which returns records and a response. A share partition is assigned once the share
coordinator has stored its first state: record 15 (initializing), the states, record 15 (initialized), a new group epoch.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import partial
from typing import Any, ClassVar, Final

from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.context import SESSION
from kafka_cy.coordinator.modern.deadlines import Key
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.modern.group_lines import Info
from kafka_cy.coordinator.modern.groups import ModernGroups, Nothing, RemoveSteps
from kafka_cy.coordinator.modern.heartbeat_responses import error_response
from kafka_cy.coordinator.modern.names import PIECE_NAMES, names_count
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.share.assignor import SimpleAssignor
from kafka_cy.coordinator.share.describe import describe, unknown
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.group_context import ShareGroupContext
from kafka_cy.coordinator.share.group_settings import ShareGroupSettings
from kafka_cy.coordinator.share.heartbeat import Follows, ShareGroupHeartbeat
from kafka_cy.coordinator.share.requests import ShareHeartbeat
from kafka_cy.coordinator.share.state_partitions import Topics as StateTopics
from kafka_cy.coordinator.share.state_partitions import TopicStates
from kafka_cy.coordinator.share.state_requests import Errors, StateRequests, StateWork
from kafka_cy.protocol.errors import ErrorCode

NO_START_OFFSET: Final = -1
RETRY_MS: Final = 1000  # after the first failed initialization


class ShareGroups(ModernGroups):
    """Owner: the coordinator's thread. Idle cost: one timer for each group with members."""

    KIND = ShareGroup
    NAME = "share group"
    REASONS: ClassVar[Mapping[str, str]] = {SESSION: "its session expired"}

    def __init__(
        self, runtime: CoordinatorRuntime[Any], config: Mapping[str, Any], topics: Topics, info: Info,
        requests: StateRequests | None, *, is_offered: Callable[[], bool], is_full: Callable[[], bool],
    ) -> None:  # fmt: skip
        """`requests`: None if there is no share coordinator; then no share partition is ever assigned."""
        self.settings = ShareGroupSettings(config, runtime.cluster)
        self.context = ShareGroupContext(runtime, self.settings, topics, info)
        super().__init__(runtime, self.context, is_offered=is_offered, is_full=is_full)
        self.requests = requests
        self.work = StateWork()
        self.heartbeats = ShareGroupHeartbeat(self.context, self.work.is_busy, self._start_work)

    # -- soft state --

    def begin(self, group: ShareGroup) -> None:
        """After loading: the sessions of the members begin, and deletions of states go on."""
        group.assigning = False
        group.settled = None
        group.initialize_failures, group.initialize_not_before_s = 0, 0.0
        self.context.count(group)
        for member in group.members.values():
            self.context.await_heartbeat(group, member)
        if group.states.deleting:
            self.runtime.call_later(group.group_id, 0.0, self._delete_on, group.group_id)
        gone = {each for each in group.states.topic_ids() if self.context.topics.find_id(each) is None}
        if gone:
            self.runtime.call_later(group.group_id, 0.0, self.topics_deleted, group, gone)

    # -- requests --

    def heartbeat(self, request: ShareHeartbeat, respond: Callable[[dict[str, Any]], object]) -> None:
        """ShareGroupHeartbeat; `respond` gets the fields of the response."""
        try:
            request.check()
        except GroupError as error:
            respond(error_response(error.code, error.message))
            return

        self._beat(request.group_id, lambda groups: self.heartbeats.heartbeat(groups, request), error_response, respond)

    def unknown(self, group_id: str) -> dict[str, Any]:
        return unknown(group_id)

    def _describe(self, group: ShareGroup, description: dict[str, Any]) -> Iterator[None]:
        return describe(group, self.context.topics, description)

    def _remove(
        self, groups: Mapping[str, Group], group: ShareGroup, members: list[Any], reason: str
    ) -> RemoveSteps:
        return self.heartbeats.remove(group, members, reason, None)

    def _is_much(self, group_id: str, due: list[Key]) -> bool:
        return names_count(self._due_members(group_id, due)) > PIECE_NAMES

    # -- work that takes longer --

    def _start_work(self, group: ShareGroup, follows: Follows) -> None:
        if follows.target is not None:
            self._assign_later(group, follows.target, partial(self.context.lines.assigned, group, SimpleAssignor.name))
        if follows.to_initialize:
            self._initialize(group.group_id, follows.to_initialize, follows.epoch)

    def count(self, state: Any, group_id: str) -> None:
        """Count the memory that the group takes, if there is one."""
        group = state.groups.get(group_id)
        if isinstance(group, ShareGroup):
            self.context.count(group)

    # -- states of share partitions: initialization --

    def _initialize(self, group_id: str, topics: StateTopics, epoch: int) -> None:
        offsets = {topic_id: dict.fromkeys(sorted(each.partitions), NO_START_OFFSET) for topic_id, each in topics.items()}
        names = {topic_id: states.name for topic_id, states in topics.items()}

        def done(errors: Errors) -> None:
            self.store_initialized(group_id, names, errors, lambda error: self.work.over(group_id))

        self.work.add(group_id, lambda: self.initialize(group_id, epoch, offsets, done))

    def initialize(
        self, group_id: str, epoch: int, offsets: Mapping[uuid.UUID, Mapping[int, int]], done: Callable[[Errors], object]
    ) -> None:
        """StateRequests.initialize, if there is a share coordinator."""
        if self.requests is None:
            done(_unavailable(offsets))
        else:
            self.requests.initialize(group_id, epoch, offsets, done)

    def store_initialized(
        self, group_id: str, names: Mapping[uuid.UUID, str], errors: Errors, respond: Callable[[ErrorCode], object]
    ) -> None:
        """Store that the partitions without an error are initialized; `names` are those of their topics."""
        failed = first_error(errors)
        good = {
            topic_id: frozenset(each if not failed else (partition for partition, error in each.items() if not error))
            for topic_id, each in errors.items()
        }

        def operation(state: Any) -> CoordinatorResult[ErrorCode]:
            group = state.groups.get(group_id)
            if not isinstance(group, ShareGroup):
                return CoordinatorResult(response=ErrorCode.GROUP_ID_NOT_FOUND)
            expected = group.states.initializing  # without topics that were deleted meanwhile
            done = {each: TopicStates(names[each], good[each]) for each in good if good[each] and each in expected}
            apply = partial(self._initialized, group, sum(len(each.partitions) for each in done.values()), failed)
            records = [group.states.initialized_also(done).record(group_id)] if done else []
            return CoordinatorResult(records, ErrorCode.NONE, apply)

        self.runtime.write(group_id, operation, lambda error, response: respond(error if response is None else response))

    def _initialized(self, group: ShareGroup, partitions: int, failed: ErrorCode) -> None:
        group.settled = group.steady = None
        self.context.count(group)
        if partitions:
            self.context.lines.initialized(group.group_id, partitions)
        if not failed:
            group.initialize_failures, group.initialize_not_before_s = 0, 0.0
            return
        delay_ms = min(RETRY_MS << min(group.initialize_failures, 10), self.settings.initialize_retry_interval_ms)
        group.initialize_failures += 1
        group.initialize_not_before_s = self.runtime.loop.now() + delay_ms / 1000
        self.runtime.log(
            "share partitions could not be initialized; a heartbeat after the delay tries again",
            group=group.group_id, error=failed.name, delay_ms=delay_ms,
        )  # fmt: skip

    # -- states of share partitions: deletion --

    def partitions_to_delete(self, group: ShareGroup, topic_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[int]]:
        """The share partitions of these topics that may have a state; of topics that are being deleted all."""
        found: dict[uuid.UUID, list[int]] = {}
        known = group.states.all_topics()
        for topic_id in topic_ids:
            topic = self.context.topics.find_id(topic_id)
            partitions = set(known[topic_id].partitions) if topic_id in known else set()
            if topic_id in group.states.deleting and topic is not None:
                partitions.update(range(len(topic.partitions)))
            if partitions:
                found[topic_id] = sorted(partitions)
        return found

    def delete_states(
        self, group_id: str, partitions: Mapping[uuid.UUID, Iterable[int]], done: Callable[[Errors], object]
    ) -> None:
        """StateRequests.delete, if there is a share coordinator."""
        if self.requests is None:
            done(_unavailable(partitions))
        else:
            self.requests.delete(group_id, partitions, done)

    def store_deleted(
        self, group_id: str, topic_ids: set[uuid.UUID], respond: Callable[[ErrorCode], object]
    ) -> None:
        """Store that the states of these topics are deleted."""

        def operation(state: Any) -> CoordinatorResult[ErrorCode]:
            group = state.groups.get(group_id)
            if not isinstance(group, ShareGroup):
                return CoordinatorResult(response=ErrorCode.GROUP_ID_NOT_FOUND)
            records = [group.states.deleted(topic_ids).record(group_id)] if topic_ids else []
            return CoordinatorResult(records, ErrorCode.NONE)

        self.runtime.write(group_id, operation, lambda error, response: respond(error if response is None else response))

    def _delete_on(self, group_id: str) -> None:
        """Delete the states that were about to be deleted when the broker stopped."""

        def start() -> None:
            shard = self.runtime.replayed_shard(group_id)
            group = shard.state.groups.get(group_id) if shard is not None else None
            if not isinstance(group, ShareGroup) or not group.states.deleting:
                self.work.over(group_id)
                return
            topic_ids = set(group.states.deleting)
            self.delete_states(group_id, self.partitions_to_delete(group, topic_ids), partial(deleted, topic_ids))

        def deleted(topic_ids: set[uuid.UUID], errors: Errors) -> None:
            left = {topic_id for topic_id, each in errors.items() if any(each.values())}
            self.store_deleted(group_id, topic_ids - left, partial(over, left))

        def over(left: set[uuid.UUID], error: ErrorCode) -> None:
            self.work.over(group_id)
            if left or error:
                delay_s = self.settings.initialize_retry_interval_ms / 1000
                self.runtime.call_later(group_id, delay_s, self._delete_on, group_id)

        self.work.add(group_id, start)

    def delete_group(self, group_id: str, respond: Callable[[ErrorCode], object]) -> None:
        """DeleteGroups: the states first, then the group. Once begun, the states are deleted for sure."""

        def finish(error: ErrorCode) -> None:
            self.work.over(group_id)
            respond(error)

        def begin(state: Any) -> CoordinatorResult[Any]:
            group = state.groups.get(group_id)
            error = _not_deletable(group)
            if error:
                return CoordinatorResult(response=(error, {}))
            partitions = self.partitions_to_delete(group, [*group.states.all_topics(), *group.states.deleting])
            states = group.states.deleting_also(group.states.all_topics())
            records = [states.record(group_id)] if group.states_recorded else []
            return CoordinatorResult(records, (ErrorCode.NONE, partitions))

        def begun(error: ErrorCode, response: tuple[ErrorCode, dict[uuid.UUID, list[int]]] | None) -> None:
            error = error if response is None else response[0]
            if error or response is None:
                finish(error)
            else:
                self.delete_states(group_id, response[1], deleted)

        def deleted(errors: Errors) -> None:
            error = first_error(errors)
            if error:
                finish(error)
            else:
                self.runtime.write(group_id, end, lambda error, response: finish(error if response is None else response))

        def end(state: Any) -> CoordinatorResult[ErrorCode]:
            group = state.groups.get(group_id)
            error = _not_deletable(group)  # a member may have joined
            if error:
                return CoordinatorResult(response=error)
            return CoordinatorResult(
                group.tombstones(), ErrorCode.NONE, partial(self.end, group, ErrorCode.UNKNOWN_MEMBER_ID)
            )

        self.work.add(group_id, lambda: self.runtime.write(group_id, begin, begun))

    def topics_deleted(self, group: Any, topic_ids: Set[uuid.UUID]) -> None:
        """The topics do not exist any more; the share coordinator deletes their states itself. Nothing for other groups."""
        if not isinstance(group, ShareGroup) or topic_ids.isdisjoint(group.states.topic_ids()):
            return

        def operation(state: Any) -> CoordinatorResult[None]:
            if state.groups.get(group.group_id) is not group:
                return Nothing()
            return Nothing([group.states.without(topic_ids).record(group.group_id)])

        self.runtime.write_own(group.group_id, operation)


def first_error(errors: Errors) -> ErrorCode:
    """One of the errors, if there is one."""
    return next((error for each in errors.values() for error in each.values() if error), ErrorCode.NONE)


def _unavailable(partitions: Mapping[uuid.UUID, Iterable[int]]) -> Errors:
    return {topic_id: dict.fromkeys(each, ErrorCode.COORDINATOR_NOT_AVAILABLE) for topic_id, each in partitions.items()}


def _not_deletable(group: Any) -> ErrorCode:
    if not isinstance(group, ShareGroup):
        return ErrorCode.GROUP_ID_NOT_FOUND
    return group.validate_delete()
