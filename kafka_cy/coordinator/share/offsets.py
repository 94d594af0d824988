"""Describe, Alter and DeleteShareGroupOffsets (APIs 90 to 92): where a share group begins to read (KIP-932)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from kafka_cy.coordinator.modern.limits import PARTITION_BYTES
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.share.group import FIRST_EPOCH, ShareGroup
from kafka_cy.coordinator.share.share_groups import ShareGroups, first_error
from kafka_cy.coordinator.share.state_machine import ShareState
from kafka_cy.coordinator.share.state_partitions import NO_STATES, TopicStates
from kafka_cy.coordinator.share.state_requests import Errors, Summaries
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


class _Alteration(NamedTuple):
    """What is altered: the response so far, the offsets, and the epoch for their states."""

    found: dict[str, Altered]
    offsets: dict[uuid.UUID, dict[int, int]]
    epoch: int


class _Deletion(NamedTuple):
    """What is deleted: the response so far, the share partitions, and the names of their topics."""

    found: dict[str, DeletedTopic]
    partitions: dict[uuid.UUID, list[int]]
    names: dict[uuid.UUID, str]


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
        found: Described = {}
        wanted: dict[uuid.UUID, Sequence[int]] = {}
        names: dict[uuid.UUID, str] = {}
        if asked is None:
            error, shard = self.runtime.shard_of(group_id)
            if shard is None:
                respond(error, {})
                return
            group = shard.state.groups.get(group_id)
            for topic_id, each in group.states.initialized.items() if isinstance(group, ShareGroup) else ():
                if self.topics.find_id(topic_id) is not None:
                    wanted[topic_id], names[topic_id] = sorted(each.partitions), each.name
        else:
            for name, partitions in asked.items():
                topic = self.topics.find(name)
                if topic is None:
                    found[name] = (None, {each: DescribedOffset() for each in partitions})
                else:
                    wanted[topic.id], names[topic.id] = partitions, name
        if self.groups.requests is None:
            respond(ErrorCode.COORDINATOR_NOT_AVAILABLE, {})
        else:
            self.groups.requests.summaries(group_id, wanted, partial(self._described, found, names, respond))

    def _described(
        self, found: Described, names: Mapping[uuid.UUID, str], respond: Callable[[ErrorCode, Described], object],
        summaries: Summaries,
    ) -> None:  # fmt: skip
        described: Described = {}
        for topic_id, states in summaries.items():
            name = names[topic_id]
            offsets = {each: self._offset(name, each, state) for each, state in states.items()}
            described[name] = (topic_id, offsets)
        respond(ErrorCode.NONE, described | found)

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

        def begin(state: Any) -> CoordinatorResult[Any]:
            group = state.groups.get(group_id)
            failure = self._unalterable(group_id, group)
            if failure is not None:
                return CoordinatorResult(response=failure)
            alteration = self._alteration(asked, FIRST_EPOCH if group is None else group.epoch)
            topics: dict[uuid.UUID, TopicStates] = {}
            for name, each in alteration.found.items():
                good = frozenset(partition for partition, error in each.errors.items() if not error)
                if each.topic_id is not None and good:
                    topics[each.topic_id] = TopicStates(name, good)
            added = PARTITION_BYTES * sum(len(each.partitions) for each in topics.values())
            if not self.groups.context.has_room(group or ShareGroup(group_id), added):
                return CoordinatorResult(response=GroupFailure(ErrorCode.POLICY_VIOLATION))
            states = NO_STATES if group is None else group.states
            records = [states.initializing_also(topics).record(group_id)] if topics else []
            return CoordinatorResult(records, alteration, partial(self.groups.count, state, group_id))

        def begun(error: ErrorCode, response: GroupFailure | _Alteration | None) -> None:
            if isinstance(response, _Alteration):
                done = partial(self._initialized, group_id, response.found, finish)
                self.groups.initialize(group_id, response.epoch, response.offsets, done)
            else:
                finish(GroupFailure(error) if response is None else response)

        self.groups.work.add(group_id, lambda: self.runtime.write(group_id, begin, begun))

    def _unalterable(self, group_id: str, group: Any) -> GroupFailure | None:
        if group is None:
            return GroupFailure(ErrorCode.POLICY_VIOLATION) if self.groups.is_full() else None
        if not isinstance(group, ShareGroup):
            return GroupFailure(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a share group.")
        return GroupFailure(ErrorCode.NON_EMPTY_GROUP, NOT_EMPTY) if group.members else None

    def _alteration(self, asked: Mapping[str, Mapping[int, int]], epoch: int) -> _Alteration:
        alteration = _Alteration({}, {}, epoch)
        for name, starts in asked.items():
            topic = self.topics.find(name)
            count = 0 if topic is None else len(topic.partitions)
            errors: dict[int, ErrorCode] = {}
            alteration.found[name] = Altered(None if topic is None else topic.id, errors)
            for partition, start_offset in starts.items():
                if not 0 <= partition < count:
                    errors[partition] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                elif start_offset < NOWHERE:
                    errors[partition] = ErrorCode.INVALID_REQUEST
                else:
                    errors[partition] = ErrorCode.NONE
                    alteration.offsets.setdefault(topic.id, {})[partition] = start_offset
        return alteration

    def _initialized(
        self, group_id: str, found: dict[str, Altered], finish: Callable[[GroupFailure | dict[str, Altered]], object],
        errors: Errors,
    ) -> None:  # fmt: skip
        names: dict[uuid.UUID, str] = {}
        for name, topic in found.items():
            if topic.topic_id is not None:
                names[topic.topic_id] = name
                topic.errors.update(errors.get(topic.topic_id, {}))

        def stored(error: ErrorCode) -> None:
            finish(GroupFailure(error) if error else found)

        if errors:
            self.groups.store_initialized(group_id, names, errors, stored)
        else:
            finish(found)

    # -- delete --

    def delete(
        self, group_id: str, asked: Sequence[str], respond: Callable[[GroupFailure | dict[str, DeletedTopic]], object]
    ) -> None:
        """Delete the states of topics. NON_EMPTY_GROUP while the group has members, GROUP_ID_NOT_FOUND."""

        def finish(response: GroupFailure | dict[str, DeletedTopic]) -> None:
            self.groups.work.over(group_id)
            respond(response)

        def begin(state: Any) -> CoordinatorResult[Any]:
            group = state.groups.get(group_id)
            if not isinstance(group, ShareGroup):
                what = "not found" if group is None else "is not a share group"
                return CoordinatorResult(response=GroupFailure(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} {what}."))
            if group.members:
                return CoordinatorResult(response=GroupFailure(ErrorCode.NON_EMPTY_GROUP, NOT_EMPTY))
            deletion = self._deletion(group, asked if group.states_recorded else ())
            initialized = [each for each in deletion.names if each in group.states.initialized]
            records = [group.states.deleting_also(initialized).record(group_id)] if group.states_recorded else []
            return CoordinatorResult(records, deletion)

        def begun(error: ErrorCode, response: GroupFailure | _Deletion | None) -> None:
            if isinstance(response, _Deletion) and response.partitions:
                self.groups.delete_states(group_id, response.partitions, partial(self._deleted, group_id, response, finish))
            elif isinstance(response, _Deletion):
                finish(response.found)
            else:
                finish(GroupFailure(error) if response is None else response)

        self.groups.work.add(group_id, lambda: self.runtime.write(group_id, begin, begun))

    def _deletion(self, group: ShareGroup, asked: Sequence[str]) -> _Deletion:
        deletion = _Deletion({}, {}, {})
        for name in dict.fromkeys(asked):
            topic = self.topics.find(name)
            if topic is None:
                deletion.found[name] = DeletedTopic(None, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            elif topic.id in group.states.initialized or topic.id in group.states.deleting:
                deletion.partitions.update(self.groups.partitions_to_delete(group, [topic.id]))
                deletion.names[topic.id] = name
            else:
                deletion.found[name] = DeletedTopic(None, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, NO_OFFSETS)
        return deletion

    def _deleted(
        self, group_id: str, deletion: _Deletion, finish: Callable[[GroupFailure | dict[str, DeletedTopic]], object],
        errors: Errors,
    ) -> None:  # fmt: skip
        failed = {topic_id: first_error({topic_id: each}) for topic_id, each in errors.items() if any(each.values())}
        for topic_id, name in deletion.names.items():
            deletion.found[name] = DeletedTopic(topic_id, failed.get(topic_id, ErrorCode.NONE))

        def stored(error: ErrorCode) -> None:
            finish(GroupFailure(error) if error else deletion.found)

        good = deletion.names.keys() - failed.keys()
        if good:
            self.groups.store_deleted(group_id, set(good), stored)
        else:
            finish(deletion.found)
