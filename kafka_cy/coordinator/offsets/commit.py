"""OffsetCommit and TxnOffsetCommit: a group stores how far it has read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from kafka_cy.base.slices import Work
from kafka_cy.coordinator import committed_offsets
from kafka_cy.coordinator.commit_batch import CommitBatch
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.group_limits import GroupLimits
from kafka_cy.coordinator.offsets.pending import PendingOffsetsHeld
from kafka_cy.coordinator.offsets.prepared import PreparedCommit
from kafka_cy.coordinator.records import CommittedOffset, OffsetKey, Record, encode_record
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.shard import COMPRESSED_TIMES_MAX
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import TRANSACTIONAL, build_batch

PartitionErrors = dict[tuple[str, int], ErrorCode]
Response = tuple[ErrorCode, PartitionErrors]  # the error of the whole request, or NONE and that of each partition
Result = CoordinatorResult[Response]
Refused = Collection[tuple[str, int]]  # partitions whose offsets have no room
NONE_REFUSED: Refused = ()
RECORD_BYTES_MIN = 40  # of a committed offset in a batch without compression
PIECE_OFFSETS = 250  # of a long commit that one step prepares, or compares with what is stored, in less than a millisecond


class OffsetCommit:
    """Owner: the coordinator's thread."""

    def __init__(
        self, loop: Any, limits: GroupLimits, metadata_chars_max: int, batch_bytes_max: Callable[[], int]
    ) -> None:
        """`batch_bytes_max`: the largest batch that can be stored."""
        self.loop = loop
        self.limits = limits
        self.metadata_chars_max = metadata_chars_max
        self.batch_bytes_max = batch_bytes_max
        self.pending_held = PendingOffsetsHeld()

    def offsets_max(self) -> int:
        """How many offsets one commit may have; above it, UNKNOWN_SERVER_ERROR.

        Without compression, the append would fail with this error, after seconds of work on the loop. With compression, the
        batch might fit, and Kafka would store it. The limit is the same, because the work is the same.
        """
        return self.batch_bytes_max() // RECORD_BYTES_MIN

    def prepare(
        self, request: CommitRequest, producer: tuple[int, int] | None, prepared: PreparedCommit, compression: str,
        refused: Refused = NONE_REFUSED,
    ) -> Iterator[object]:  # fmt: skip
        """Make the records and the batch of a long commit: a task for Slices. It looks at no group.

        The batch has to be there before the group and the transaction are looked at: nothing may come between that and the append.
        """
        now_ms = self.loop.wall_clock_ms()
        batch = CommitBatch(now_ms)
        for start in range(0, len(request.partitions), PIECE_OFFSETS):
            piece = request.partitions[start : start + PIECE_OFFSETS]
            records = self._records(request, piece, now_ms, prepared.errors, refused)
            if compression == "none":
                batch.add(records)
            if batch.size > self.batch_bytes_max():
                return
            prepared.records += records
            yield None
        if prepared.records and compression == "none":
            prepared.batch = batch.finish(producer)
        elif prepared.records:
            size_max = COMPRESSED_TIMES_MAX * self.batch_bytes_max()
            building = Work(partial(_compressed, prepared.records, now_ms, compression, producer, size_max))
            yield building
            prepared.batch = building.result()
            if prepared.batch is None:
                return
        prepared.is_complete = prepared.batch is None or len(prepared.batch) <= self.batch_bytes_max()

    def without_room(self, request: CommitRequest, group: Group | None) -> Generator[object, None, Refused]:
        """The partitions whose offsets may not be stored: beyond the limit, all that take more memory. A task for slices.

        One request may go beyond it.
        """
        if not committed_offsets.are_full():
            return NONE_REFUSED
        refused = set[tuple[str, int]]()
        for number, each in enumerate(request.partitions, 1):
            has_room = group is not None and group.offsets.has_room(each.topic, each.partition, each.metadata)
            if not has_room and not self._is_too_large(each):  # that error comes first
                refused.add((each.topic, each.partition))
            if number % PIECE_OFFSETS == 0:
                yield None
        return refused

    def commit(
        self, groups: Mapping[str, Group], request: CommitRequest, prepared: PreparedCommit | None = None,
        refused: Refused = NONE_REFUSED,
    ) -> Result:  # fmt: skip
        """The group does not have to exist: one that only stores offsets begins with its first commit.

        `prepared`: what `prepare` has made of a long commit, without those that are `refused`.
        """
        group = groups.get(request.group_id)
        if group is None and request.generation >= 0:
            unknown = ErrorCode.GROUP_ID_NOT_FOUND if request.knows_unknown_groups else ErrorCode.ILLEGAL_GENERATION
            return Result(response=(unknown, {}))
        if group is not None:
            error = group.validate_offset_commit(request)
            if error is ErrorCode.STALE_MEMBER_EPOCH and request.is_transactional:
                error = ErrorCode.ILLEGAL_GENERATION
            if error:
                return Result(response=(error, {}))
        if len(request.partitions) > self.offsets_max():
            return Result(response=(ErrorCode.UNKNOWN_SERVER_ERROR, {}))
        if group is None and self.limits.is_full(request.group_id):
            return Result(response=(ErrorCode.POLICY_VIOLATION, {}))
        if refused:
            self.limits.refuse_offsets(request.group_id)
        apply = None
        if group is not None and request.member_id and not request.is_transactional:
            apply = partial(group.committed, request.member_id, self.loop.now())
        if prepared is None:
            errors: PartitionErrors = {}
            records = self._records(request, request.partitions, self.loop.wall_clock_ms(), errors, refused)
            return Result(records, (ErrorCode.NONE, errors), apply)
        if not prepared.is_complete:  # too large, or after a fault
            return Result(response=(ErrorCode.UNKNOWN_SERVER_ERROR, {}))
        return Result(prepared.records, (ErrorCode.NONE, prepared.errors), apply, batch=prepared.batch)

    def _is_too_large(self, each: CommitPartition) -> bool:
        return utf16_length(each.metadata or "") > self.metadata_chars_max

    def _records(
        self, request: CommitRequest, partitions: Sequence[CommitPartition], now_ms: int, errors: PartitionErrors,
        refused: Refused,
    ) -> list[Record]:  # fmt: skip
        own_retention = request.retention_ms >= 0
        expire_ms = now_ms + request.retention_ms if own_retention else -1
        records: list[Record] = []
        for each in partitions:
            if self._is_too_large(each):
                errors[each.topic, each.partition] = ErrorCode.OFFSET_METADATA_TOO_LARGE
                continue
            if (each.topic, each.partition) in refused:
                errors[each.topic, each.partition] = ErrorCode.POLICY_VIOLATION
                continue
            errors[each.topic, each.partition] = ErrorCode.NONE
            # A record with an expiry of its own has the old version, which knows neither epoch nor topic id.
            epoch, topic_id = (-1, None) if own_retention else (each.leader_epoch, each.topic_id)
            committed = CommittedOffset(each.offset, epoch, each.metadata or "", now_ms, expire_ms, topic_id)
            records.append((OffsetKey(request.group_id, each.topic, each.partition), committed))
        return records


def _compressed(
    records: Sequence[Record], now_ms: int, compression: str, producer: tuple[int, int] | None, size_max: int
) -> bytes | None:
    """The batch of the records; None if they are larger than `size_max` before compression. Any thread. Raises BadRecord."""
    rows, size = [], 0
    for record in records:
        key, value = encode_record(record)
        rows.append((key, value, now_ms, (), -1))
        size += len(key) + len(value or b"")
        if size > size_max:
            return None
    producer_id, epoch = producer or (-1, -1)
    return build_batch(
        rows, base_sequence=0, compression=compression, producer_id=producer_id, producer_epoch=epoch,
        attributes=TRANSACTIONAL if producer else 0,
    )  # fmt: skip


def utf16_length(text: str) -> int:
    """The length as Java counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
