"""Describe, Alter and DeleteShareGroupOffsets (APIs 90 to 92): where a share group begins to read (KIP-932)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from kafka_cy.base.slices import AT_ONCE_MAX, at_once, in_work
from kafka_cy.coordinator.modern.limits import PARTITION_BYTES
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.share.group import FIRST_EPOCH, ShareGroup
from kafka_cy.coordinator.share.share_groups import Failed, ShareGroups, StateSteps
from kafka_cy.coordinator.share.state_machine import ShareState
from kafka_cy.coordinator.share.state_partitions import NO_STATES, ShareStates, TopicStates
from kafka_cy.coordinator.share.state_partitions import Topics as StateTopics
from kafka_cy.coordinator.share.state_requests import Errors, Summaries, has_many
from kafka_cy.protocol.errors import ErrorCode

NOWHERE = -1  # the start offset of a share partition without one, and the lag that follows
NO_OFFSETS = "There is no offset information to delete."
NOT_EMPTY = "The group is not empty."


class GroupFailure(NamedTuple):
    """Why nothing was done."""

    error: ErrorCode
    message: str | None = None


class DescribedOffset(NamedTuple):
    start_offset: int = NOWHERE
    leader_epoch: int = 0
    lag: int = NOWHERE


class Altered(NamedTuple):
    """A topic of a request: its id (None if there is no such topic), and partition -> error."""

    topic_id: uuid.UUID | None
    errors: dict[int, ErrorCode]


class DeletedTopic(NamedTuple):
    topic_id: uuid.UUID | None
    error: ErrorCode = ErrorCode.NONE
    message: str | None = None


Described = dict[str, tuple[uuid.UUID | None, dict[int, DescribedOffset]]]  # topic -> id, partition -> offset


class _Asking(NamedTuple):
    """What the share coordinator is asked: the response so far, the share partitions, and the names of their topics."""

    found: Described
    wanted: dict[uuid.UUID, Sequence[int]]
    names: dict[uuid.UUID, str]


class _Alteration(NamedTuple):
    """What is altered: the response so far, the offsets, the names of their topics, the epoch for their states, the records, and
    the number of partitions."""

    found: dict[str, Altered]
    offsets: dict[uuid.UUID, dict[int, int]]
    names: dict[uuid.UUID, str]
    epoch: int
    records: list[Record]
    partitions: int


class _Deletion(NamedTuple):
    """What is deleted: the response if all goes well, the share partitions, the names of their topics, and the record."""

    found: dict[str, DeletedTopic]
    partitions: dict[uuid.UUID, list[int]]
    names: dict[uuid.UUID, str]
    record: Record


class ShareOffsets:
    """Owner: the coordinator's thread."""

    def __init__(self, groups: ShareGroups) -> None:
        self.groups = groups
        self.runtime = groups.runtime
        self.topics = groups.context.topics

    # -- describe --

    def describe(
        self, group_id: str, asked: Mapping[str, Sequence[int]] | None, respond: Callable[[ErrorCode, Described], object]
    ) -> None:
        """`asked`: topic -> partitions; None: all that the group has. What does not exist has the offset -1, without an error."""
        error, states = self._states(group_id) if asked is None else (ErrorCode.NONE, {})
        requests = self.groups.requests
        if error or requests is None:
            respond(error or ErrorCode.COORDINATOR_NOT_AVAILABLE, {})
            return
        is_long = has_many(asked or {}, AT_ONCE_MAX) or _has_many_states(states)
        asking: list[_Asking] = []

        def look() -> Generator[object, None, None]:
            asking.append((yield from in_work(partial(self._asking, asked, states))))

        def ask() -> None:
            if asking:
                requests.summaries(group_id, asking[0].wanted, partial(self._described, asking[0], respond))
            else:
                respond(ErrorCode.UNKNOWN_SERVER_ERROR, {})  # a fault, which was logged

        if is_long:
            self.runtime.slices.add(look(), ask)
        else:
            at_once(look())
            ask()

    def _states(self, group_id: str) -> tuple[ErrorCode, StateTopics]:
        """The initialized share partitions of the group."""
        error, shard = self.runtime.shard_of(group_id)
        group = shard.state.groups.get(group_id) if shard is not None else None
        return error, group.states.initialized if isinstance(group, ShareGroup) else {}

    def _asking(self, asked: Mapping[str, Sequence[int]] | None, states: StateTopics) -> _Asking:
        """What the share coordinator is asked. Any thread."""
        asking = _Asking({}, {}, {})
        for topic_id, each in states.items():
            if self.topics.find_id(topic_id) is not None:
                asking.wanted[topic_id], asking.names[topic_id] = sorted(each.partitions), each.name
        for name, partitions in (asked or {}).items():
            topic = self.topics.find(name)
            if topic is None:
                asking.found[name] = (None, {each: DescribedOffset() for each in partitions})
            else:
                asking.wanted[topic.id], asking.names[topic.id] = partitions, name
        return asking

    def _described(self, asking: _Asking, respond: Callable[[ErrorCode, Described], object], summaries: Summaries) -> None:
        described: Described = {}

        def steps() -> Iterator[None]:
            for topic_id, states in summaries.items():
                name = asking.names[topic_id]
                offsets: dict[int, DescribedOffset] = {}
                described[name] = (topic_id, offsets)
                for partition, state in states.items():
                    offsets[partition] = self._offset(name, partition, state)
                    yield
                yield

        def done() -> None:
            described.update(asking.found)
            respond(ErrorCode.NONE, described)

        if has_many(summaries, AT_ONCE_MAX):
            self.runtime.slices.add(steps(), done)
        else:
            for _ in steps():
                pass
            done()

    def _offset(self, name: str, partition: int, state: ShareState | None) -> DescribedOffset:
        if state is None:
            return DescribedOffset()
        hosted = self.topics.cluster.partition(name, partition)
        lag = NOWHERE
        if hosted is not None and state.start_offset != NOWHERE and state.delivery_complete_count != NOWHERE:
            lag = int(hosted.high_watermark) - state.start_offset - state.delivery_complete_count
        return DescribedOffset(state.start_offset, state.leader_epoch, lag)

    # -- alter --

    def alter(
        self, group_id: str, asked: Mapping[str, Mapping[int, int]],
        respond: Callable[[GroupFailure | dict[str, Altered]], object],
    ) -> None:  # fmt: skip
        """`asked`: topic -> partition -> start offset. A group that does not exist begins with that.

        NON_EMPTY_GROUP while the group has members, GROUP_ID_NOT_FOUND when it is of another kind.
        """

        def finish(response: GroupFailure | dict[str, Altered]) -> None:
            self.groups.work.over(group_id)
            respond(response)

        def begin(state: Any) -> StateSteps[Any]:
            group = state.groups.get(group_id)
            failure = self._unalterable(group_id, group)
            if failure is not None:
                return CoordinatorResult(response=failure)
            states, epoch = (NO_STATES, FIRST_EPOCH) if group is None else (group.states, group.epoch)
            version = self.topics.version
            alteration = yield from in_work(partial(self._alteration, group_id, asked, states, epoch))
            if not self.groups.context.has_room(group or ShareGroup(group_id), PARTITION_BYTES * alteration.partitions):
                return CoordinatorResult(response=GroupFailure(ErrorCode.POLICY_VIOLATION))
            return CoordinatorResult(alteration.records, alteration, partial(self.groups.states_begin, state, group_id, version))

        def begun(error: ErrorCode, response: GroupFailure | _Alteration | None) -> None:
            if isinstance(response, _Alteration):
                done = partial(self._initialized, group_id, response, finish)
                self.groups.initialize(group_id, response.epoch, response.offsets, done)
            else:
                finish(GroupFailure(error) if response is None else response)

        self.groups.work.add(group_id, lambda: self.groups.change_states(group_id, begin, begun, asked))

    def _unalterable(self, group_id: str, group: Any) -> GroupFailure | None:
        if group is None:
            return GroupFailure(ErrorCode.POLICY_VIOLATION) if self.groups.is_full(group_id) else None
        if not isinstance(group, ShareGroup):
            return GroupFailure(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a share group.")
        return GroupFailure(ErrorCode.NON_EMPTY_GROUP, NOT_EMPTY) if group.members else None

    def _alteration(
        self, group_id: str, asked: Mapping[str, Mapping[int, int]], states: ShareStates, epoch: int
    ) -> _Alteration:
        """Any thread: operations on the group wait meanwhile."""
        found: dict[str, Altered] = {}
        offsets: dict[uuid.UUID, dict[int, int]] = {}
        names: dict[uuid.UUID, str] = {}
        for name, starts in asked.items():
            topic = self.topics.find(name)
            count = 0 if topic is None else len(topic.partitions)
            errors: dict[int, ErrorCode] = {}
            found[name] = Altered(None if topic is None else topic.id, errors)
            for partition, start_offset in starts.items():
                if not 0 <= partition < count:
                    errors[partition] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                elif start_offset < NOWHERE:
                    errors[partition] = ErrorCode.INVALID_REQUEST
                else:
                    errors[partition] = ErrorCode.NONE
                    offsets.setdefault(topic.id, {})[partition] = start_offset
                    names[topic.id] = name
        topics = {topic_id: TopicStates(names[topic_id], frozenset(each)) for topic_id, each in offsets.items()}
        records = [states.initializing_also(topics).record(group_id)] if topics else []
        return _Alteration(found, offsets, names, epoch, records, sum(map(len, offsets.values())))

    def _initialized(
        self, group_id: str, alteration: _Alteration, finish: Callable[[GroupFailure | dict[str, Altered]], object],
        errors: Errors,
    ) -> None:  # fmt: skip
        def tell() -> None:
            for topic_id, each in errors.items():
                alteration.found[alteration.names[topic_id]].errors.update(each)

        def operation(state: Any) -> StateSteps[ErrorCode]:
            yield from in_work(tell)
            return (yield from self.groups.initialized_steps(group_id, alteration.names, errors, state))

        def stored(error: ErrorCode, response: ErrorCode | None) -> None:
            error = error if response is None else response
            finish(GroupFailure(error) if error else alteration.found)

        if errors:
            self.groups.change_states(group_id, operation, stored, errors)
        else:
            finish(alteration.found)

    # -- delete --

    def delete(
        self, group_id: str, asked: Sequence[str], respond: Callable[[GroupFailure | dict[str, DeletedTopic]], object]
    ) -> None:
        """Delete the states of topics. NON_EMPTY_GROUP while the group has members, GROUP_ID_NOT_FOUND."""

        def finish(response: GroupFailure | dict[str, DeletedTopic]) -> None:
            self.groups.work.over(group_id)
            respond(response)

        def begin(state: Any) -> StateSteps[Any]:
            group = state.groups.get(group_id)
            if not isinstance(group, ShareGroup):
                what = "not found" if group is None else "is not a share group"
                return CoordinatorResult(response=GroupFailure(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} {what}."))
            if group.members:
                return CoordinatorResult(response=GroupFailure(ErrorCode.NON_EMPTY_GROUP, NOT_EMPTY))
            names = asked if group.states_recorded else ()
            deletion = yield from in_work(partial(self._deletion, group_id, group.states, names))
            records = [deletion.record] if group.states_recorded else []
            return CoordinatorResult(records, deletion, partial(self.groups.context.count, group))

        def begun(error: ErrorCode, response: GroupFailure | _Deletion | None) -> None:
            if isinstance(response, _Deletion) and response.partitions:
                self.groups.delete_states(group_id, response.partitions, partial(self._deleted, group_id, response, finish))
            elif isinstance(response, _Deletion):
                finish(response.found)
            else:
                finish(GroupFailure(error) if response is None else response)

        self.groups.work.add(group_id, lambda: self.groups.change_states(group_id, begin, begun, {None: asked}))

    def _deletion(self, group_id: str, states: ShareStates, asked: Sequence[str]) -> _Deletion:
        """Any thread: operations on the group wait meanwhile."""
        found: dict[str, DeletedTopic] = {}
        names: dict[uuid.UUID, str] = {}
        for name in dict.fromkeys(asked):
            topic = self.topics.find(name)
            if topic is None:
                found[name] = DeletedTopic(None, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            elif topic.id in states.initialized or topic.id in states.deleting:
                names[topic.id] = name
            else:
                found[name] = DeletedTopic(None, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, NO_OFFSETS)
        found.update((name, DeletedTopic(topic_id)) for topic_id, name in names.items())
        record = states.deleting_also([each for each in names if each in states.initialized]).record(group_id)
        return _Deletion(found, self.groups.partitions_to_delete(states, names), names, record)

    def _deleted(
        self, group_id: str, deletion: _Deletion, finish: Callable[[GroupFailure | dict[str, DeletedTopic]], object],
        errors: Errors,
    ) -> None:  # fmt: skip
        def stored(error: ErrorCode, failed: Failed) -> None:
            for topic_id, why in failed.items():
                deletion.found[deletion.names[topic_id]] = DeletedTopic(topic_id, why)
            finish(GroupFailure(error) if error else deletion.found)

        self.groups.store_deleted(group_id, deletion.names.keys(), errors, stored)


def _has_many_states(states: StateTopics) -> bool:
    """Whether they have more than AT_ONCE_MAX partitions."""
    return len(states) > AT_ONCE_MAX or sum(len(each.partitions) for each in states.values()) > AT_ONCE_MAX
