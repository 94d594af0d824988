"""Share groups (KIP-932): wires the operations to the runtime, and owns timers and work that takes longer.

The way of a request: `kafka_cy.api.share_group_heartbeat_cold` -> `GroupCoordinator.share_heartbeat` ->
`ShareGroupHeartbeat.steps`, which returns records and a response. A share partition is assigned once the share
coordinator has stored its first state: record 15 (initializing), the states, record 15 (initialized), a new group epoch.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Set, Sized
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

from kafka_cy.base.slices import at_once, in_work
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.context import SESSION
from kafka_cy.coordinator.modern.deadlines import Key
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.modern.group_lines import Info
from kafka_cy.coordinator.modern.groups import LONG_HEARTBEAT, ModernGroups, Nothing, RemoveSteps
from kafka_cy.coordinator.modern.heartbeat_responses import error_response
from kafka_cy.coordinator.modern.names import PIECE_NAMES, names_count
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.runtime.long_operations import LongOperation
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.share.assignor import SimpleAssignor
from kafka_cy.coordinator.share.describe import describe, unknown
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.group_context import ShareGroupContext
from kafka_cy.coordinator.share.group_settings import ShareGroupSettings
from kafka_cy.coordinator.share.heartbeat import Follows, Initialization, ShareGroupHeartbeat
from kafka_cy.coordinator.share.requests import ShareHeartbeat
from kafka_cy.coordinator.share.state_partitions import ShareStates, TopicStates
from kafka_cy.coordinator.share.state_requests import Errors, Partitions, StateRequests, StateWork, has_many
from kafka_cy.protocol.errors import ErrorCode

MANY_STATES: Final = 500  # share partitions: it takes about a millisecond to store which of them have state
RETRY_MS: Final = 1000  # after the first failed initialization
R = TypeVar("R")
StateSteps = Generator[object, None, CoordinatorResult[R]]
Failed = Mapping[uuid.UUID, ErrorCode]  # topics whose states could not be deleted


class ShareGroups(ModernGroups):
    """Owner: the coordinator's thread. Idle cost: one timer for each group with members."""

    KIND = ShareGroup
    NAME = "share group"
    REASONS: ClassVar[Mapping[str, str]] = {SESSION: "its session expired"}

    def __init__(
        self, runtime: CoordinatorRuntime[Any], config: Mapping[str, Any], topics: Topics, info: Info,
        requests: StateRequests | None, *, is_offered: Callable[[], bool], is_full: Callable[[str], bool],
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
        self._forget_deleted(group)

    def _forget_deleted(self, group: ShareGroup) -> None:
        """Topics were deleted before the group knew them, or while the broker was down."""
        states, topics = group.states, self.context.topics

        def steps() -> Generator[object, None, None]:
            gone = yield from in_work(lambda: {each for each in states.topic_ids() if topics.find_id(each) is None})
            if gone:
                self.runtime.call_later(group.group_id, 0.0, self.topics_deleted, group, gone)

        if len(states.initializing) + len(states.initialized) + len(states.deleting) > LONG_HEARTBEAT:
            self.runtime.slices.add(steps())
        else:
            at_once(steps())

    # -- requests --

    def heartbeat(self, request: ShareHeartbeat, respond: Callable[[dict[str, Any]], object]) -> None:
        """ShareGroupHeartbeat; `respond` gets the fields of the response."""
        try:
            request.check()
        except GroupError as error:
            respond(error_response(error.code, error.message))
            return
        self._beat(request, self.heartbeats.steps, error_response, respond)

    def _size(self, request: ShareHeartbeat) -> int:
        """How many names and partitions the heartbeat has to look at; it counts no further than LONG_HEARTBEAT names."""
        names = request.topic_names or ()
        group, topics = self._find(request.group_id), self.context.topics
        known: Collection[str] = ()
        size = len(names)
        if group is not None:
            member = group.members.get(request.member_id)
            if member is not None and self.heartbeats.changes_nothing(group, member, request):
                return 0
            known = group.by_name
            size += len(known) + len(group.members) + group.size
        if size <= LONG_HEARTBEAT:
            size += sum(len(topic.partitions) for each in (names, known) for topic in topics.existing(each))
        return int(size)

    def unknown(self, group_id: str) -> dict[str, Any]:
        return unknown(group_id)

    def _describe(self, group: ShareGroup, description: dict[str, Any]) -> Iterator[None]:
        return describe(group, self.context.topics, description)

    def _remove(
        self, groups: Mapping[str, Group], group: ShareGroup, members: list[Any], reason: str
    ) -> RemoveSteps:
        return self.heartbeats.remove(group, members, reason, None)

    def _is_much(self, group_id: str, due: list[Key]) -> bool:
        """The names of the others are compared with the topics, too."""
        group, members = self._find(group_id), self._due_members(group_id, due)
        if group is None or not members:
            return False
        topics = len(group.by_name) + sum(len(each.assigned) for each in members)
        return topics > LONG_HEARTBEAT or names_count(members) > PIECE_NAMES

    # -- work that takes longer --

    def _start_work(self, group: ShareGroup, follows: Follows) -> None:
        if follows.target is not None:
            self._assign_later(group, follows.target, partial(self.context.lines.assigned, group, SimpleAssignor.name))
        if follows.missing.to_initialize is not None:
            self._initialize(group.group_id, follows.missing.to_initialize, follows.epoch)
            if follows.topics_version != self.context.topics.version:
                self._forget_deleted(group)

    def states_begin(self, state: Any, group_id: str, topics_version: int) -> None:
        """States are to be initialized: count the memory that the group takes, if there is one. `topics_version`: of the topics
        that were looked at."""
        group = state.groups.get(group_id)
        if isinstance(group, ShareGroup):
            self.context.count(group)
            if topics_version != self.context.topics.version:
                self._forget_deleted(group)

    # -- states of share partitions: initialization --

    def _initialize(self, group_id: str, states: Initialization, epoch: int) -> None:
        def done(errors: Errors) -> None:
            self.store_initialized(group_id, states.names, errors, lambda error: self.work.over(group_id))

        self.work.add(group_id, lambda: self.initialize(group_id, epoch, states.offsets, done))

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

        def stored(error: ErrorCode, response: ErrorCode | None) -> None:
            respond(error if response is None else response)

        self.change_states(group_id, partial(self.initialized_steps, group_id, names, errors), stored, errors)

    def change_states(
        self, group_id: str, operation: LongOperation[Any, R], respond: Callable[[ErrorCode, R | None], object],
        looks_at: Mapping[Any, Sized],
    ) -> None:  # fmt: skip
        """Change which share partitions have state: in slices if they, or those that the operation looks at, are many."""

        def is_long() -> bool:
            group = self._find(group_id)
            return has_many(looks_at, MANY_STATES) or (group is not None and has_many_states(group))

        self.runtime.write_either(group_id, operation, respond, is_long)

    def initialized_steps(
        self, group_id: str, names: Mapping[uuid.UUID, str], errors: Errors, state: Any
    ) -> StateSteps[ErrorCode]:
        """The operation of store_initialized()."""
        group = state.groups.get(group_id)
        if not isinstance(group, ShareGroup):
            return CoordinatorResult(response=ErrorCode.GROUP_ID_NOT_FOUND)
        found = yield from in_work(partial(_initialized, group_id, group.states, names, errors))
        apply = partial(self._initialized, group, found.partitions, found.failed)
        return CoordinatorResult(found.records, ErrorCode.NONE, apply)

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

    def partitions_to_delete(self, states: ShareStates, topic_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[int]]:
        """The share partitions of these topics that may have a state; of topics that are being deleted all. Any thread."""
        found: dict[uuid.UUID, list[int]] = {}
        known = states.all_topics()
        for topic_id in topic_ids:
            topic = self.context.topics.find_id(topic_id)
            partitions = set(known[topic_id].partitions) if topic_id in known else set()
            if topic_id in states.deleting and topic is not None:
                partitions.update(range(len(topic.partitions)))
            if partitions:
                found[topic_id] = sorted(partitions)
        return found

    def delete_states(self, group_id: str, partitions: Partitions, done: Callable[[Errors], object]) -> None:
        """StateRequests.delete, if there is a share coordinator."""
        if self.requests is None:
            done(_unavailable(partitions))
        else:
            self.requests.delete(group_id, partitions, done)

    def store_deleted(
        self, group_id: str, topic_ids: Set[uuid.UUID], errors: Errors, respond: Callable[[ErrorCode, Failed], object]
    ) -> None:
        """Store that the states of these topics are deleted, but for those with an error, which `respond` gets."""

        def operation(state: Any) -> StateSteps[tuple[ErrorCode, Failed]]:
            group = state.groups.get(group_id)
            if not isinstance(group, ShareGroup):
                return CoordinatorResult(response=(ErrorCode.GROUP_ID_NOT_FOUND, {}))
            failed, records = yield from in_work(partial(_deleted, group_id, group.states, topic_ids, errors))
            return CoordinatorResult(records, (ErrorCode.NONE, failed))

        def stored(error: ErrorCode, response: tuple[ErrorCode, Failed] | None) -> None:
            respond(*(response or (error, {})))

        self.change_states(group_id, operation, stored, errors)

    def _delete_on(self, group_id: str) -> None:
        """Delete the states that were about to be deleted when the broker stopped."""
        partitions: list[dict[uuid.UUID, list[int]]] = []

        def start() -> None:
            group = self._find(group_id)
            if group is None or not group.states.deleting:
                self.work.over(group_id)
                return
            states = group.states

            def steps() -> Generator[object, None, None]:
                partitions.append((yield from in_work(partial(self.partitions_to_delete, states, states.deleting))))

            self.runtime.slices.add(steps(), partial(found, states.deleting.keys()))

        def found(topic_ids: Set[uuid.UUID]) -> None:
            if partitions:
                self.delete_states(group_id, partitions[0], partial(deleted, topic_ids))
            else:
                over(ErrorCode.UNKNOWN_SERVER_ERROR, {})  # a fault, which was logged

        def deleted(topic_ids: Set[uuid.UUID], errors: Errors) -> None:
            self.store_deleted(group_id, topic_ids, errors, over)

        def over(error: ErrorCode, failed: Failed) -> None:
            self.work.over(group_id)
            if failed or error:
                delay_s = self.settings.initialize_retry_interval_ms / 1000
                self.runtime.call_later(group_id, delay_s, self._delete_on, group_id)

        self.work.add(group_id, start)

    def delete_group(self, group_id: str, respond: Callable[[ErrorCode], object]) -> None:
        """DeleteGroups: the states first, then the group. Once begun, the states are deleted for sure."""

        def finish(error: ErrorCode) -> None:
            self.work.over(group_id)
            respond(error)

        def look(states: ShareStates) -> tuple[dict[uuid.UUID, list[int]], Record]:
            topics = states.all_topics()
            partitions = self.partitions_to_delete(states, [*topics, *states.deleting])
            return partitions, states.deleting_also(topics).record(group_id)

        def begin(state: Any) -> StateSteps[Any]:
            group = state.groups.get(group_id)
            error = _not_deletable(group)
            if error:
                return CoordinatorResult(response=(error, {}))
            partitions, record = yield from in_work(partial(look, group.states))
            records = [record] if group.states_recorded else []
            return CoordinatorResult(records, (ErrorCode.NONE, partitions), partial(self.context.count, group))

        def begun(error: ErrorCode, response: tuple[ErrorCode, dict[uuid.UUID, list[int]]] | None) -> None:
            error = error if response is None else response[0]
            if error or response is None:
                finish(error)
            else:
                self.delete_states(group_id, response[1], deleted)

        def deleted(errors: Errors) -> None:
            self.change_states(
                group_id, partial(end, errors), lambda error, response: finish(error if response is None else response), errors
            )

        def end(errors: Errors, state: Any) -> StateSteps[ErrorCode]:
            group = state.groups.get(group_id)
            error = (yield from in_work(partial(first_error, errors))) or _not_deletable(group)  # a member may have joined
            if error:
                return CoordinatorResult(response=error)
            return CoordinatorResult(
                group.tombstones(), ErrorCode.NONE, partial(self.end, group, ErrorCode.UNKNOWN_MEMBER_ID)
            )

        self.work.add(group_id, lambda: self.change_states(group_id, begin, begun, {}))

    def topics_deleted(self, group: Any, topic_ids: Set[uuid.UUID]) -> None:
        """The topics do not exist any more; the share coordinator deletes their states itself. Nothing for other groups."""
        if not isinstance(group, ShareGroup) or not group.states.mentions(topic_ids):
            return

        def operation(state: Any) -> StateSteps[None]:
            if state.groups.get(group.group_id) is not group:
                return Nothing()
            states = group.states
            record = yield from in_work(lambda: states.without(topic_ids).record(group.group_id))
            return Nothing([record], apply=partial(self.context.count, group))

        if has_many_states(group):
            self.runtime.write_long(group.group_id, operation)
        else:
            self.runtime.write_own(group.group_id, lambda state: at_once(operation(state)))


class _Initialized(NamedTuple):
    """What became of an initialization: the records, how many partitions they are about, and one of the errors, if there is one."""

    records: list[Record]
    partitions: int
    failed: ErrorCode


def _initialized(group_id: str, states: ShareStates, names: Mapping[uuid.UUID, str], errors: Errors) -> _Initialized:
    failed = first_error(errors)
    good = {
        topic_id: frozenset(each if not failed else (partition for partition, error in each.items() if not error))
        for topic_id, each in errors.items()
    }
    expected = states.initializing  # without topics that were deleted meanwhile
    done = {each: TopicStates(names[each], good[each]) for each in good if good[each] and each in expected}
    records = [states.initialized_also(done).record(group_id)] if done else []
    return _Initialized(records, sum(len(each.partitions) for each in done.values()), failed)


def _deleted(
    group_id: str, states: ShareStates, topic_ids: Set[uuid.UUID], errors: Errors
) -> tuple[Failed, list[Record]]:
    failed = {topic_id: first_error({topic_id: each}) for topic_id, each in errors.items() if any(each.values())}
    good = topic_ids - failed.keys()
    return failed, [states.deleted(good).record(group_id)] if good else []


def has_many_states(group: ShareGroup) -> bool:
    """Whether it takes long to change which share partitions have state."""
    return group.states_count + len(group.states.deleting) > MANY_STATES


def first_error(errors: Errors) -> ErrorCode:
    """One of the errors, if there is one."""
    return next((error for each in errors.values() for error in each.values() if error), ErrorCode.NONE)


def _unavailable(partitions: Mapping[uuid.UUID, Iterable[int]]) -> Errors:
    return {topic_id: dict.fromkeys(each, ErrorCode.COORDINATOR_NOT_AVAILABLE) for topic_id, each in partitions.items()}


def _not_deletable(group: Any) -> ErrorCode:
    if not isinstance(group, ShareGroup):
        return ErrorCode.GROUP_ID_NOT_FOUND
    return group.validate_delete()
