"""The share coordinator: what the share-state APIs (83 to 87) ask for, on partitions of `__share_group_state` (KIP-932).

The group coordinator initializes and deletes the state of share partitions, the leader of a partition reads and writes it.
An operation is about one share partition; the callers split requests. Kafka: ShareCoordinatorService, ShareCoordinatorShard.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from kafka_cy.base.slices import Work
from kafka_cy.coordinator.records import partition_of
from kafka_cy.coordinator.runtime.limit_line import LimitLine
from kafka_cy.coordinator.runtime.recent_times import RecentTimes
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.runtime.shard import Shard
from kafka_cy.coordinator.share.records import Snapshot, SnapshotKey, Update, UpdateKey
from kafka_cy.coordinator.share.state_batches import combine, merge
from kafka_cy.coordinator.share.state_machine import SharePartition, ShareState, ShareStateMachine
from kafka_cy.coordinator.share.state_writes import (
    STORED_MAX,
    Answer,
    Asked,
    RespondError,
    StateWrite,
    WriteBatch,
    WriteQueue,
)
from kafka_cy.protocol.errors import ErrorCode

STATE_TOPIC = "__share_group_state"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")  # of share.coordinator.state.topic.compression.codec
PARTITIONS_MAX = 1_000_000  # share partitions with state; more are refused with POLICY_VIOLATION (Kafka has no limit)
BATCHES_MAX = 20_000  # of a share partition, more than its records in flight; more get POLICY_VIOLATION (Kafka has no limit)
ALL_BATCHES_MAX = 1_000_000  # of all share partitions, 24 bytes each; then only what has BATCHES_FEW, or shrinks, is stored
BATCHES_FEW = 2
LEADER_EPOCH_FIRST = 0
NO_START_OFFSET = -1
LOOK_ONLY = -1  # leader epoch of a read that does not come from the partition's leader

RespondState = Callable[[ErrorCode, ShareState | None], object]


class ShareCoordinator:
    """Owner: the coordinator's thread. Idle cost: two timers, of which each looks at every state at its interval."""

    def __init__(
        self, config: Mapping[str, Any], cluster: Any, loop: Any, log: Callable[..., object] = lambda *_, **__: None
    ) -> None:
        self.config = config
        self.cluster = cluster
        self.loop = loop
        self.log = log
        self.runtime: CoordinatorRuntime[ShareStateMachine] = CoordinatorRuntime(
            STATE_TOPIC, partition_of, cluster, loop, lambda hosted: ShareStateMachine(), lambda: int(config["message.max.bytes"]),
            CODECS[int(config["share.coordinator.state.topic.compression.codec"])], log,
        )  # fmt: skip
        self._updates_max = int(config["share.coordinator.snapshot.update.records.per.snapshot"])
        self._full_line = LimitLine(log, loop.now)
        self._timers: list[Any] = []
        self._queue = WriteQueue(loop, partial(self._guard, self._write_batch), self.runtime.on_fault)
        self.write_times = RecentTimes()  # until they are stored, or refused
        self.write_count = 0  # WriteShareGroupState since the start; for metrics, any thread reads it

    # -- life --

    def start(self) -> None:
        """Begin to load every hosted partition."""
        self.runtime.start()
        for key, work in (
            ("share.coordinator.cold.partition.snapshot.interval.ms", self._snapshot_cold),
            ("share.coordinator.state.topic.prune.interval.ms", self._trim),
        ):
            self._timers.append(self.loop.repeat(int(self.config[key]) / 1000, work))

    def stop(self) -> None:
        """Respond to what waits and stop all timers."""
        for timer in self._timers:
            timer.cancel()
        self._queue.stop()
        self.runtime.stop()

    def look(self) -> None:
        """Send the responses whose records have been stored; called in every round of the loop."""
        self.runtime.look()

    def topics_deleted(self, topics: Mapping[str, uuid.UUID]) -> None:
        """Delete the states of deleted topics (name -> id); a deleted state topic takes all states along."""
        if STATE_TOPIC in topics:
            self.runtime.unload_all()
        topic_ids = set(topics.values())

        def delete(partition: SharePartition) -> None:
            if partition.topic_id in topic_ids:
                self.delete(partition, lambda error: None)

        self.runtime.in_slices(self._each_partition(), delete)

    def _each_partition(self) -> Iterator[SharePartition]:
        """The share partitions with state; those of one shard are copied at a time."""
        for shard in self.runtime.loaded_shards():
            yield from list(shard.state.states)

    def is_coordinator_of(self, key: str) -> bool:
        """Whether this broker leads the partition that the share partition's state belongs to."""
        index = self.runtime.partition_index(key)
        return index is not None and self.runtime.shard(index) is not None

    # -- operations --

    def _write(
        self,
        partition: SharePartition,
        operation: Callable[[ShareState | None], CoordinatorResult[Any]],
        respond: Callable[[ErrorCode, Any], object],
    ) -> None:
        self.runtime.write(partition.key, lambda machine: operation(machine.states.get(partition)), respond)

    def exists(self, partition: SharePartition) -> bool:
        """Whether there is such a topic with such a partition."""
        topic = self.cluster.topic_by_id.get(partition.topic_id)
        return topic is not None and partition.partition < len(topic.partitions)

    def initialize(self, partition: SharePartition, state_epoch: int, start_offset: int, respond: RespondError) -> None:
        """InitializeShareGroupState: store a state without batches; one that exists begins anew.

        FENCED_STATE_EPOCH when the stored epoch is higher, INVALID_REQUEST, UNKNOWN_TOPIC_OR_PARTITION.
        """

        def operation(machine: ShareStateMachine) -> CoordinatorResult[ErrorCode]:
            state = machine.states.get(partition)
            if partition.partition < 0:
                return CoordinatorResult(response=ErrorCode.INVALID_REQUEST)
            if state is not None and state_epoch < state.state_epoch:
                return CoordinatorResult(response=ErrorCode.FENCED_STATE_EPOCH)
            if not self.exists(partition):
                return CoordinatorResult(response=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            if state is None and self._count() >= PARTITIONS_MAX:
                return CoordinatorResult(response=self._refused(partition))
            now_ms = self.loop.wall_clock_ms()
            snapshot = Snapshot(
                0 if state is None else state.snapshot_epoch + 1, state_epoch, LEADER_EPOCH_FIRST, start_offset,
                now_ms, now_ms, (), NO_START_OFFSET if start_offset == NO_START_OFFSET else 0,
            )  # fmt: skip
            return CoordinatorResult([(SnapshotKey(*partition), snapshot)], ErrorCode.NONE)

        self.runtime.write(partition.key, operation, partial(_respond_error, respond))

    def _count(self) -> int:
        return sum(len(shard.state.states) for shard in self.runtime.loaded_shards())

    def _batch_count(self) -> int:
        return sum(shard.state.batch_count for shard in self.runtime.loaded_shards())

    def _refused(self, partition: SharePartition) -> ErrorCode:
        self._full_line.write(
            "a limit of the share coordinator is reached; requests get POLICY_VIOLATION",
            group=partition.group_id[:200], share_partitions=self._count(), batches=self._batch_count(),
        )  # fmt: skip
        return ErrorCode.POLICY_VIOLATION

    def read(self, partition: SharePartition, leader_epoch: int, respond: RespondState) -> None:
        """ReadShareGroupState by the partition's leader, whose epoch is stored; with LOOK_ONLY nothing is.

        INVALID_REQUEST when the state was never initialized, FENCED_LEADER_EPOCH, UNKNOWN_TOPIC_OR_PARTITION.
        """

        def operation(state: ShareState | None) -> CoordinatorResult[Any]:
            error = self._read_error(partition, state, leader_epoch)
            if error or state is None:
                return CoordinatorResult(response=(error, None))
            if leader_epoch in (LOOK_ONLY, state.leader_epoch):
                return CoordinatorResult(response=(ErrorCode.NONE, state))
            update = Update(state.snapshot_epoch, leader_epoch, state.start_offset, (), state.delivery_complete_count)
            read = state._replace(leader_epoch=leader_epoch)
            return CoordinatorResult([(UpdateKey(*partition), update)], (ErrorCode.NONE, read))

        self._write(partition, operation, partial(_respond_state, respond))

    def _read_error(self, partition: SharePartition, state: ShareState | None, leader_epoch: int) -> ErrorCode:
        if partition.partition < 0:
            return ErrorCode.INVALID_REQUEST
        if state is None:
            return ErrorCode.INVALID_REQUEST
        if leader_epoch != LOOK_ONLY and leader_epoch < state.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        return ErrorCode.NONE if self.exists(partition) else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

    def write(self, request: StateWrite, respond: RespondError) -> None:
        """WriteShareGroupState: store what changed, as an update or, after many of them, as a snapshot. Raises nothing.

        INVALID_REQUEST when the state was never initialized, FENCED_STATE_EPOCH, FENCED_LEADER_EPOCH,
        UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_SERVER_ERROR after a fault.
        """
        self._guard(self._write_alone, [(request, self._answer(respond, self.loop.now()))])

    def write_all(self, requests: Iterable[tuple[StateWrite, RespondError]]) -> None:
        """write() for many share partitions, in slices: those of one partition of the topic become one batch, as far as it stays
        small. The writes of one share partition are stored in their order. If it raises, nothing is stored."""
        batches: list[WriteBatch] = []
        open_batches: dict[int | None, WriteBatch] = {}  # partition of the topic -> its last batch
        bytes_max, now_s = int(self.config["message.max.bytes"]), self.loop.now()
        for request, respond in requests:
            index = self.runtime.partition_index(request.partition.key)
            batch = open_batches.get(index)
            if batch is None or not batch.takes(request):
                batch = open_batches[index] = WriteBatch(bytes_max)
                batches.append(batch)
            batch.add(request, self._answer(respond, now_s))
        self._queue.add(batches)

    def _answer(self, respond: RespondError, begun_s: float) -> Answer:
        return Answer(respond, partial(self._written, begun_s), self.runtime.on_fault)

    def _written(self, begun_s: float) -> None:
        now_s = self.loop.now()
        self.write_times.add(now_s, now_s - begun_s)

    def _guard(self, write: Callable[[list[Asked]], object], asked: list[Asked]) -> None:
        """After a fault, those that have no answer yet get UNKNOWN_SERVER_ERROR. The others that wait have their turn."""
        try:
            write(asked)
        except Exception as fault:  # noqa: BLE001 see above
            self.runtime.on_fault(fault)
            for _, answer in asked:
                answer(ErrorCode.UNKNOWN_SERVER_ERROR)

    def _write_batch(self, asked: list[Asked]) -> None:
        """Share partitions of one partition of the topic, each once: as many as take about a millisecond, the others later.

        A snapshot may be as large as a batch: it goes alone.
        """
        _, shard = self.runtime.shard_of(asked[0][0].partition.key)
        states = shard.state.states if shard is not None else {}
        count = stored = 0
        for request, _ in asked:
            state = states.get(request.partition)
            if state is not None and self._is_snapshot_due(state):
                break
            stored += len(state.batches) if state is not None else 0
            if count and stored > STORED_MAX:
                break
            count += 1
        count = max(count, 1)
        self._queue.put_back(asked[count:])
        self._guard(self._write_together, asked[:count])

    def _write_alone(self, asked: list[Asked]) -> None:
        (request, answer), *_ = asked

        def operation(state: ShareState | None) -> CoordinatorResult[ErrorCode]:
            error = self._write_error(request, state, self._batch_count())
            if error or state is None:
                return CoordinatorResult(response=error)
            return CoordinatorResult([self._change(request, state)], ErrorCode.NONE, partial(self._count_writes, 1))

        self._write(request.partition, operation, partial(_respond_error, answer))

    def _write_together(self, asked: list[Asked]) -> None:
        """As one batch. One that cannot be built is halved, so that only the writes fail that cannot be stored."""
        if len(asked) == 1:
            self._write_alone(asked)
            return
        failed: list[ErrorCode] = []

        def operation(machine: ShareStateMachine) -> CoordinatorResult[list[ErrorCode]]:
            errors, records, stored = [], [], self._batch_count()
            for request, _ in asked:
                error, record = self._guarded_change(request, machine.states.get(request.partition), stored)
                errors.append(error)
                records += record
            return CoordinatorResult(records, errors, partial(self._count_writes, len(records)), failed.append)

        def respond(error: ErrorCode, errors: list[ErrorCode] | None) -> None:
            if failed == [ErrorCode.UNKNOWN_SERVER_ERROR]:  # and nothing was appended
                half = len(asked) // 2
                self._guard(self._write_together, asked[:half])
                self._guard(self._write_together, asked[half:])
                return
            for (_, answer), own in zip(asked, errors or [error] * len(asked), strict=True):
                answer(own)

        self.runtime.write(asked[0][0].partition.key, operation, respond)

    def _guarded_change(
        self, request: StateWrite, state: ShareState | None, stored: int
    ) -> tuple[ErrorCode, list[Any]]:
        """The error and the record of a write. A fault in one does not stop the others."""
        try:
            error = self._write_error(request, state, stored)
            return error, [] if error or state is None else [self._change(request, state)]
        except Exception as fault:  # noqa: BLE001 see above
            self.runtime.on_fault(fault)
            return ErrorCode.UNKNOWN_SERVER_ERROR, []

    def _count_writes(self, count: int) -> None:
        self.write_count += count

    def _write_error(self, request: StateWrite, state: ShareState | None, stored: int) -> ErrorCode:
        """`stored`: batches of all share partitions."""
        if request.partition.partition < 0 or state is None:
            return ErrorCode.INVALID_REQUEST
        if request.leader_epoch < state.leader_epoch:
            return ErrorCode.FENCED_LEADER_EPOCH
        if request.state_epoch < state.state_epoch:
            return ErrorCode.FENCED_STATE_EPOCH
        if not self.exists(request.partition):
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return self._refused(request.partition) if self._is_too_much(request, state, stored) else ErrorCode.NONE

    def _is_too_much(self, request: StateWrite, state: ShareState, stored: int) -> bool:
        """Whether the limits of batches forbid the write. What shrinks is always stored."""
        before, added = len(state.batches), len(request.batches)
        is_full = stored + added > ALL_BATCHES_MAX
        if added > BATCHES_MAX:
            return True
        if before + added <= (BATCHES_FEW if is_full else BATCHES_MAX):
            return False
        after = len(merge(state.batches, request.batches, _start_offset(request, state)))
        return after > max(before, BATCHES_FEW if is_full else BATCHES_MAX)

    def _is_snapshot_due(self, state: ShareState) -> bool:
        return state.updates >= self._updates_max

    def _change(self, request: StateWrite, state: ShareState) -> Any:
        start_offset = _start_offset(request, state)
        count = request.delivery_complete_count
        if not self._is_snapshot_due(state):
            update = Update(
                state.snapshot_epoch, state.leader_epoch, start_offset, combine((), request.batches, start_offset), count
            )
            return UpdateKey(*request.partition), update
        now_ms = self.loop.wall_clock_ms()
        snapshot = state.next_snapshot()._replace(
            start_offset=start_offset,
            create_timestamp_ms=now_ms,
            write_timestamp_ms=now_ms,
            state_batches=merge(state.batches, request.batches, start_offset),
            delivery_complete_count=count,
        )
        return SnapshotKey(*request.partition), snapshot

    def delete(self, partition: SharePartition, respond: RespondError) -> None:
        """DeleteShareGroupState; also of a state that does not exist. INVALID_REQUEST for a negative partition."""

        def operation(state: ShareState | None) -> CoordinatorResult[ErrorCode]:
            if partition.partition < 0:
                return CoordinatorResult(response=ErrorCode.INVALID_REQUEST)
            records = [] if state is None else [(SnapshotKey(*partition), None)]
            return CoordinatorResult(records, ErrorCode.NONE)

        self._write(partition, operation, partial(_respond_error, respond))

    def summary(self, partition: SharePartition, respond: RespondState) -> None:
        """ReadShareGroupStateSummary; (NONE, None) when there is no state. INVALID_REQUEST for a negative partition."""

        def look(machine: ShareStateMachine) -> tuple[ErrorCode, ShareState | None]:
            if partition.partition < 0:
                return ErrorCode.INVALID_REQUEST, None
            return ErrorCode.NONE, machine.states.get(partition)

        self.runtime.read(partition.key, look, partial(_respond_state, respond))

    # -- upkeep --

    def _snapshot_cold(self) -> None:
        """Write the states anew that have had no snapshot for the interval, so that what lies before can be deleted."""
        interval_ms = int(self.config["share.coordinator.cold.partition.snapshot.interval.ms"])
        before_ms = self.loop.wall_clock_ms() - interval_ms

        def snapshot(partition: SharePartition) -> None:
            def operation(machine: ShareStateMachine) -> CoordinatorResult[None]:
                state = machine.states.get(partition)
                if state is None or state.write_timestamp_ms > before_ms:
                    return CoordinatorResult()
                if partition.topic_id not in self.cluster.topic_by_id:  # deleted while this broker was down
                    return CoordinatorResult([(SnapshotKey(*partition), None)])
                now_ms = self.loop.wall_clock_ms()
                return CoordinatorResult([(SnapshotKey(*partition), state.next_snapshot()._replace(write_timestamp_ms=now_ms))])

            self.runtime.write_own(partition.key, operation)

        self.runtime.in_slices(self._each_partition(), snapshot)

    def _trim(self) -> None:
        """Delete the records before the oldest snapshot that is still needed (Kafka: the prune job)."""

        def steps() -> Iterator[object]:
            for shard in self.runtime.loaded_shards():
                offset = shard.state.first_needed_offset()
                if offset is not None and offset > shard.hosted.log_start_offset:
                    yield from self._delete_records(shard, offset)
                yield None

        self.runtime.slices.add(steps())

    def _delete_records(self, shard: Shard[ShareStateMachine], offset: int) -> Iterator[object]:
        """Not above the high watermark: what is not stored everywhere may still be lost together with its successor."""
        work = Work(partial(_delete_below, shard.hosted, min(offset, shard.hosted.high_watermark)))
        yield work
        try:
            work.result()
        except Exception as error:  # noqa: BLE001 the next round tries again
            self.log("old share state could not be deleted", topic=STATE_TOPIC, partition=shard.index, error=repr(error))


def _start_offset(request: StateWrite, state: ShareState) -> int:
    return state.start_offset if request.start_offset == NO_START_OFFSET else request.start_offset


def _delete_below(hosted: Any, offset: int) -> None:
    """Flush first. Else a power cut could lose the snapshot at `offset`, and what lies before it would be gone already."""
    hosted.log.flush()
    hosted.delete_records(offset)


def _respond_error(respond: RespondError, error: ErrorCode, response: ErrorCode | None) -> None:
    respond(error if response is None else response)


def _respond_state(
    respond: RespondState, error: ErrorCode, response: tuple[ErrorCode, ShareState | None] | None
) -> None:
    respond(*(response or (error, None)))
