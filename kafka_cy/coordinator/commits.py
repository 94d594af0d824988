"""Commits of offsets as operations on their group; those of many offsets are prepared and replayed in slices. Also OffsetDelete."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial

from kafka_cy.base.slices import at_once
from kafka_cy.coordinator.commit_request import CommitRequest
from kafka_cy.coordinator.group_counts import GroupCounts
from kafka_cy.coordinator.group_limits import GroupLimits
from kafka_cy.coordinator.offsets.commit import OffsetCommit, Refused, Response
from kafka_cy.coordinator.offsets.delete import DELETED_AT_ONCE, delete_offsets
from kafka_cy.coordinator.offsets.pieces import tombstones_max
from kafka_cy.coordinator.offsets.prepared import PreparedCommit
from kafka_cy.coordinator.responders import RespondCommit, respond_offsets
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.state_machine import GroupStateMachine
from kafka_cy.protocol.errors import ErrorCode

Producer = tuple[int, int]  # producer id and epoch
Operation = Callable[[PreparedCommit | None, GroupStateMachine, Refused], CoordinatorResult[Response]]
Steps = Generator[object, None, CoordinatorResult[Response]]
LONG_OFFSETS = 1000  # a commit with more of them is prepared and replayed in slices; it keeps its place in its group's line


class Commits:
    """Owner: the coordinator's thread."""

    def __init__(
        self,
        runtime: CoordinatorRuntime[GroupStateMachine],
        offset_commit: OffsetCommit,
        counts: GroupCounts,
        limits: GroupLimits,
        topics_deleted: Callable[[Mapping[str, uuid.UUID | None]], object],
    ) -> None:
        """`topics_deleted` removes the offsets of topics."""
        self._runtime = runtime
        self._offset_commit = offset_commit
        self._counts = counts
        self._limits = limits
        self._topics_deleted = topics_deleted

    def commit(self, request: CommitRequest, respond: RespondCommit) -> None:
        """OffsetCommit; `respond` gets an error, or NONE and the error of each partition."""
        self._write(request, None, partial(self._commit, request), respond)

    def commit_long(
        self, group_id: str, look: Iterable[object], request_of: Callable[[], CommitRequest | None], respond: RespondCommit
    ) -> None:
        """commit() of a request that is looked at in slices before: `request_of` gives it when `look` is done.

        It has its place in the group's line from now on. Without a request, the answer is UNKNOWN_SERVER_ERROR.
        """
        prepared, found = PreparedCommit(), list[CommitRequest]()

        def prepare() -> Iterator[object]:
            yield from look
            request = request_of()
            if request is not None:
                found.append(request)
                yield from self._offset_commit.prepare(request, None, prepared, self._runtime.compression)

        def operation(state: GroupStateMachine) -> Steps:
            if not found:
                return CoordinatorResult(response=(ErrorCode.UNKNOWN_SERVER_ERROR, {}))
            return (yield from self._checked(found[0], None, partial(self._commit, found[0]), prepared, state))

        self._runtime.write_long(group_id, operation, partial(respond_offsets, respond), prepare())

    def _commit(
        self, request: CommitRequest, prepared: PreparedCommit | None, state: GroupStateMachine, refused: Refused
    ) -> CoordinatorResult[Response]:
        result = self._counts.committed(self._offset_commit.commit(state.groups, request, prepared, refused))
        if result.records:
            result.apply = partial(state.commits_from_now_on, request.group_id, result.apply)
        return result

    def commit_in_transaction(
        self, request: CommitRequest, producer: Producer, check: Callable[[], ErrorCode], respond: RespondCommit
    ) -> None:
        """TxnOffsetCommit of a producer (id, epoch). `check` tells why its transaction does not take the offsets, or NONE."""

        def operation(
            prepared: PreparedCommit | None, state: GroupStateMachine, refused: Refused
        ) -> CoordinatorResult[Response]:
            error = check()
            if error:
                return CoordinatorResult(response=(error, {}))
            result = self._offset_commit.commit(state.groups, request, prepared, refused)
            if result.records and not state.pending.has_room(producer[0], len(result.records)):
                held = state.pending.held
                self._limits.refuse_pending(request.group_id, offsets=held.count, held_bytes=held.bytes)
                return CoordinatorResult(response=(ErrorCode.POLICY_VIOLATION, {}))
            result = self._counts.committed(result)
            result.producer = producer
            return result

        self._write(request, producer, operation, respond)

    def delete(
        self, group_id: str, partitions: Sequence[tuple[str, int]], respond: RespondCommit, look: Iterable[object] | None
    ) -> None:
        """OffsetDelete; `respond` as for commit. In slices, if there are many partitions, or if the members read much.

        `look`: the steps of a long request, which find the partitions before.
        """
        if not group_id:
            return respond(ErrorCode.INVALID_GROUP_ID, {})
        size = tombstones_max(group_id, self._runtime.batch_bytes_max())

        def operation(state: GroupStateMachine) -> Steps:
            return self._counts.deleted_in_steps(delete_offsets(state.groups.get(group_id), partitions, size))

        if look is not None:
            self._runtime.write_long(group_id, operation, partial(respond_offsets, respond), look)
            return

        def is_long() -> bool:
            if len(partitions) > min(DELETED_AT_ONCE, size):
                return True
            _, shard = self._runtime.shard_of(group_id)
            group = shard.state.groups.get(group_id) if shard is not None else None
            return group is not None and group.reads_long

        self._runtime.write_either(group_id, operation, partial(respond_offsets, respond), is_long)

    def _write(self, request: CommitRequest, producer: Producer | None, operation: Operation, respond: RespondCommit) -> None:
        """Run the operation of a commit; one of many offsets is prepared and replayed in slices."""
        checked = partial(self._checked, request, producer, operation)
        done = partial(respond_offsets, respond)
        if not LONG_OFFSETS < len(request.partitions) <= self._offset_commit.offsets_max():
            self._runtime.write(request.group_id, lambda state: at_once(checked(None, state)), done)
            return
        prepared = PreparedCommit()
        steps = self._offset_commit.prepare(request, producer, prepared, self._runtime.compression)
        self._runtime.write_long(request.group_id, partial(checked, prepared), done, steps)

    def _checked(
        self, request: CommitRequest, producer: Producer | None, operation: Operation, prepared: PreparedCommit | None,
        state: GroupStateMachine,
    ) -> Steps:  # fmt: skip
        """`operation`, which stores no offset without room, and after which no offset of a deleted topic is left."""
        refused = yield from self._offset_commit.without_room(request, state.groups.get(request.group_id))
        if refused and prepared is not None:
            prepared = PreparedCommit()  # once more, without them
            yield from self._offset_commit.prepare(request, producer, prepared, self._runtime.compression, refused)
        result = operation(prepared, state, refused)
        if result.records and request.topic_ids:
            result.apply = partial(self._committed, request.topic_ids, result.apply)
        return result

    def _committed(self, topic_ids: Mapping[str, uuid.UUID], apply: Callable[[], object] | None) -> None:
        """Offsets of topics that were deleted since the request was looked at go now: their removal may not have found them."""
        if apply is not None:
            apply()
        steps = self._remove_deleted(topic_ids)
        if len(topic_ids) > LONG_OFFSETS:
            self._runtime.slices.add(steps)
            return
        for _ in steps:
            pass

    def _remove_deleted(self, topic_ids: Mapping[str, uuid.UUID]) -> Iterator[None]:
        topics, deleted = self._runtime.cluster.topics, dict[str, uuid.UUID | None]()
        for name, known in topic_ids.items():
            if name not in topics or topics[name].id != known:
                deleted[name] = known
            yield
        if deleted:
            self._topics_deleted(deleted)
