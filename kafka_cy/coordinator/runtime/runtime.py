"""What every coordinator needs: loading, writing, replaying, waiting until it is stored, timers, unloading.

A coordinator keeps its state in a topic. Each partition of it that this broker leads is a shard with a state machine.
An operation looks at the state and returns a CoordinatorResult; the runtime appends its records as one batch, replays
them, and sends the response when the high watermark has passed them. Replay is the only way to change replicated
state, so an exception half way changes nothing. If the partition is lost first, the shard is unloaded and the response
is NOT_COORDINATOR. Everything runs on one thread, the one of the loop that is passed in.

Kafka: CoordinatorRuntime, CoordinatorShard, CoordinatorResult.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from kafka_cy.base.slices import at_once
from kafka_cy.coordinator.runtime.key_timer import KeyTimer
from kafka_cy.coordinator.runtime.long_operations import LongOperation, LongOperations
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.shard import AppendFailed, Marker, S, Shard
from kafka_cy.coordinator.runtime.shards import Shards
from kafka_cy.coordinator.runtime.stored_waits import NO_LIMIT, Stored
from kafka_cy.protocol.errors import NONE, ErrorCode

R = TypeVar("R")


class CoordinatorRuntime(Shards[S]):
    """The shards of one coordinator. Owner: the coordinator's thread. An idle shard costs no timer."""

    def __init__(
        self,
        topic: str,
        partition_of: Callable[[str, int], int],  # (key, partition count) -> the key's partition
        cluster: Any,
        loop: Any,
        make_state: Callable[[Any], S],  # of a HostedPartition
        batch_bytes_max: Callable[[], int],
        compression: str,  # of the topic's batches
        log: Callable[..., object],  # (what happened, field=value, ...): writes a warning line
        base_sequence: int = 0,  # of the topic's batches
        stored_timeout_s: float = NO_LIMIT,  # for how long a response waits until what it says is stored
    ) -> None:
        super().__init__(topic, cluster, loop, make_state, log, base_sequence, stored_timeout_s)
        self.partition_of = partition_of
        self.batch_bytes_max = batch_bytes_max
        self.compression = compression
        self._long: LongOperations[S] = LongOperations(self)
        self._lines = self._long.lines
        self._size: tuple[Any, int] = (None, 0)  # id and number of partitions of the topic when it was seen first

    def start(self) -> None:
        """Begin to load every partition that this broker leads."""
        self.load_all(range(self._partitions_count()))

    def stop(self) -> None:
        """Unload everything, now, and drop long requests: the loop has ended."""
        self.unload_now()
        self._long.stop()
        self.slices.stop()

    def partition_index(self, key: str) -> int | None:
        """The partition of the topic that the key belongs to; None while the topic does not exist."""
        count = self._partitions_count()
        return self.partition_of(key, count) if count else None

    def _partitions_count(self) -> int:
        """0 while the topic does not exist.

        As in Kafka, partitions that are added to the topic later count from the next start on: else keys would move away from
        their state, and reactors would go on to change what the coordinator no longer finds.
        """
        topic = self.cluster.topics.get(self.topic)
        if topic is None:
            return 0
        topic_id, count = self._size
        if (topic_id is not topic.id and topic_id != topic.id) or not count:
            topic_id, count = self._size = topic.id, self.cluster.partition_count(self.topic)
        return count

    def shard_of(self, key: str) -> tuple[ErrorCode, Shard[S] | None]:
        """The loaded shard of the key, or NOT_COORDINATOR, or COORDINATOR_LOAD_IN_PROGRESS."""
        index = self.partition_index(key)
        if index is None:
            return ErrorCode.NOT_COORDINATOR, None
        shard = self.shard(index)
        if shard is None:
            return ErrorCode.NOT_COORDINATOR, None
        if shard.is_loading:
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, None
        return NONE, shard

    def replayed_shard(self, key: str) -> Shard[S] | None:
        """The key's shard once its log is replayed, also while it does not let requests in yet."""
        index = self.partition_index(key)
        shard = self.shards.get(index) if index is not None else None
        return shard if shard is not None and shard.is_replayed else None

    # -- operations --

    def write(
        self,
        key: str,
        operation: Callable[[S], CoordinatorResult[R]],
        respond: Callable[[ErrorCode, R | None], object] = lambda error, response: None,
    ) -> None:
        """Run an operation on the state that `key` belongs to. Its records are few.

        `respond` gets (NONE, response) when all that was appended so far is stored, else (error, None); it is not called
        when the operation keeps the request (response None) and succeeds.
        """
        self._lines.run(key, partial(self._write_now, key, operation, respond))

    def _write_now(
        self, key: str, operation: Callable[[S], CoordinatorResult[R]], respond: Callable[[ErrorCode, R | None], object]
    ) -> None:
        error, shard = self.shard_of(key)
        if shard is None:
            respond(error, None)
        else:
            self._write(shard, key, operation, respond)

    def write_long(
        self,
        key: str,
        operation: LongOperation[S, R],
        respond: Callable[[ErrorCode, R | None], object] | None = None,
        prepare: Iterable[object] | None = None,
    ) -> None:
        """write() for an operation that takes long, or has many records: in slices, one such operation after the other.

        Operations on the key that come later wait. Without `respond`, it is work of the coordinator itself, as in write_own().
        `prepare` looks at no state: its steps take turns with all others, and the operation follows, even after a fault in them.
        """
        self._long.add(key, operation, respond, prepare)

    def write_either(
        self,
        key: str,
        operation: LongOperation[S, R],
        respond: Callable[[ErrorCode, R | None], object],
        is_long: Callable[[], bool],
    ) -> None:
        """write() or write_long(): `is_long` is asked when those that came before are done.

        Nobody else changes what it has looked at before a short operation is over.
        """

        def decide() -> None:
            error, shard = self.shard_of(key)
            if shard is None:
                respond(error, None)
                return
            outcome = self._held(shard, key, partial(self._operate_unless_long, shard, key, operation, is_long))
            if outcome is None:
                self._long.insert(key, operation, respond)
            else:
                self.respond(shard, outcome, respond)

        self._lines.run(key, decide)

    @property
    def busy_key(self) -> str | None:
        """The key of the operation of write_long() that is under way."""
        return self._long.busy_key

    def is_busy(self, key: str) -> bool:
        """Whether an operation on the key is under way or waits."""
        return key in self._lines

    def look_in_turn(self, key: str, look: Callable[[], object]) -> None:
        """Call `look` when the operations on the key that came before are done: now, if the key is not busy."""
        self._lines.run(key, look)

    def write_own(self, key: str, operation: Callable[[S], CoordinatorResult[R]]) -> None:
        """write() for work of the coordinator itself (timers), which may begin before requests are let in.

        Nothing happens if the partition is gone: its groups end, or have ended.
        """
        self._lines.run(key, partial(self._write_own, key, operation))

    def _write_own(self, key: str, operation: Callable[[S], CoordinatorResult[R]]) -> None:
        shard = self.replayed_shard(key)
        if shard is not None:
            self._write(shard, key, operation, lambda error, response: None)

    def _write(
        self, shard: Shard[S], key: str, operation: Callable[[S], CoordinatorResult[R]],
        respond: Callable[[ErrorCode, R | None], object],
    ) -> None:  # fmt: skip
        self.respond(shard, self._held(shard, key, partial(self._operate, shard, key, operation)), respond)

    def _held(self, shard: Shard[S], key: str, operate: Callable[[], R]) -> R | tuple[ErrorCode, None]:
        """What `operate` returns, while only this thread changes what belongs to the key; or the outcome of a fault before it."""
        try:
            shard.state.hold(key)
        except Exception as fault:  # noqa: BLE001 nothing is held then
            return self.operation_failed(key, fault)
        try:
            return operate()
        finally:
            self.release(shard, key)

    def respond(
        self, shard: Shard[S], outcome: tuple[ErrorCode, R | None], respond: Callable[[ErrorCode, R | None], object]
    ) -> None:
        """Respond when all that was appended to the shard is stored; at once if there is an error."""
        error, response = outcome
        if error:
            respond(error, None)
        elif response is None:
            return
        elif shard.is_stored():
            respond(NONE, response)
        else:
            self._when_stored(shard, lambda lost: respond(lost, None if lost else response))

    def release(self, shard: Shard[S], key: str) -> None:
        """After a fault the key stays held: only this thread changes it until the next release."""
        try:
            shard.state.release(key)
        except Exception as fault:  # noqa: BLE001 the response of the operation has to leave
            self.on_fault(fault)

    def _operate(
        self, shard: Shard[S], key: str, operation: Callable[[S], CoordinatorResult[R]]
    ) -> tuple[ErrorCode, R | None]:
        """Run the operation, append and replay its records, change the soft state."""
        try:
            result = operation(shard.state)
        except Exception as fault:  # noqa: BLE001 nothing has changed: only this request fails
            return self.operation_failed(key, fault)
        if result.producer is not None and shard.is_busy(result.producer):
            return ErrorCode.CONCURRENT_TRANSACTIONS, None
        if result.records:
            error = self._append(shard, key, result)
            if error:
                if result.failed is not None:
                    self.run_change(key, partial(result.failed, error))
                return error, None
        if result.apply is not None and not self.run_change(key, result.apply):
            return ErrorCode.UNKNOWN_SERVER_ERROR, None
        if result.apply_steps is not None and not self.run_change(key, partial(_do_all, result.apply_steps)):
            return ErrorCode.UNKNOWN_SERVER_ERROR, None
        return NONE, result.response

    def _operate_unless_long(
        self, shard: Shard[S], key: str, operation: LongOperation[S, R], is_long: Callable[[], bool]
    ) -> tuple[ErrorCode, R | None] | None:
        """_operate(); None if the operation takes long."""
        try:
            if is_long():
                return None
        except Exception as fault:  # noqa: BLE001 only this request fails, also one that has waited in its line
            return self.operation_failed(key, fault)
        return self._operate(shard, key, lambda state: at_once(operation(state)))

    def operation_failed(self, key: str, fault: Exception) -> tuple[ErrorCode, None]:
        """Log a fault in an operation. Returns its outcome."""
        self.log("an operation of a coordinator failed", key=key, error=repr(fault))
        return ErrorCode.UNKNOWN_SERVER_ERROR, None

    def _append(self, shard: Shard[S], key: str, result: CoordinatorResult[R]) -> ErrorCode:
        try:
            batch = self._build(shard, result) if result.batch is None else result.batch
            first_offset = self.append(shard, batch, len(result.records))
        except AppendFailed as failure:
            return self.append_failed(key, failure)
        try:
            shard.replay(result.records, first_offset, result.producer)
        except Exception as fault:  # noqa: BLE001 the log is right, the memory may not be: load it again
            self.load_again(shard, fault)
            return ErrorCode.NOT_COORDINATOR
        return NONE

    def batch_maker(self, shard: Shard[S], result: CoordinatorResult[Any]) -> Callable[[], bytes]:
        """Encodes the records, on any thread. Raises AppendFailed."""
        if (made := result.batch) is not None:
            return lambda: made
        return partial(self._build, shard, result, self.loop.wall_clock_ms())

    def _build(self, shard: Shard[S], result: CoordinatorResult[Any], now_ms: int | None = None) -> bytes:
        now_ms = self.loop.wall_clock_ms() if now_ms is None else now_ms
        return shard.build(result.records, now_ms, self.batch_bytes_max(), self.compression, result.producer)

    def append_failed(self, key: str, failure: AppendFailed) -> ErrorCode:
        """Log that records could not be appended. Returns the error of the response."""
        if not isinstance(failure.__cause__, ValueError):  # a client's string too long: no line for each
            self.log("a change of a coordinator could not be stored", key=key, error=str(failure))
        return failure.code

    def load_again(self, shard: Shard[S], fault: Exception) -> None:
        """A fault in a replay."""
        self.log("a coordinator's partition is loaded again after a fault", partition=shard.index, error=repr(fault))
        self.unload(shard.index, reload=True)

    def end_transaction(self, index: int, marker: Marker, respond: Stored) -> None:
        """Append a transaction marker to a partition of the topic, and apply it.

        `respond` gets NONE when it is stored, else an error. Raises StorageFailure: nothing has changed.
        """
        shard = self.shard(index)
        if shard is None:
            respond(ErrorCode.NOT_COORDINATOR)
            return
        if shard.is_loading or marker.producer_id in shard.busy_producers:
            respond(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)  # it is tried again
            return
        is_short = shard.state.ends_at_once(marker.producer_id)
        steps = shard.append_marker(marker)
        self._long.apply(shard, steps, marker.producer_id, partial(self._applied, shard, respond), at_once=is_short)

    def _applied(self, shard: Shard[S], respond: Stored, error: ErrorCode) -> None:
        if error:
            respond(error)
        else:
            self._when_stored(shard, respond, limited=False)  # else the marker would be written again

    def run_change(self, key: str, change: Callable[[], object]) -> bool:
        """Change the soft state. After a fault in it, the key's soft state begins anew. False: there was a fault."""
        try:
            self._lines.within(key, change)
        except Exception as fault:  # noqa: BLE001 a fault costs the key one restart, nobody else anything
            self.log("the state of a group begins anew after a fault", key=key, error=repr(fault))
            shard = self.replayed_shard(key)
            if shard is not None:
                self._lines.within(key, partial(shard.state.restart, key))
            return False
        return True

    def read(
        self, key: str, operation: Callable[[S], R], respond: Callable[[ErrorCode, R | None], object]
    ) -> None:
        """Look at the state that `key` belongs to, and which stays as it is meanwhile.

        `respond` is called when all that it shows is stored.
        """
        self._lines.run(key, partial(self._read, key, operation, respond))

    def _read(
        self, key: str, operation: Callable[[S], R], respond: Callable[[ErrorCode, R | None], object]
    ) -> None:
        error, shard = self.shard_of(key)
        if shard is None:
            respond(error, None)
            return
        try:
            response = self._looked(shard, key, operation)
        except Exception as fault:  # noqa: BLE001 only this request fails, also one that has waited in its line
            respond(*self.operation_failed(key, fault))
            return
        self._when_stored(shard, lambda lost: respond(lost, None if lost else response))

    def _looked(self, shard: Shard[S], key: str, operation: Callable[[S], R]) -> R:
        shard.state.hold(key)
        try:
            response = operation(shard.state)
            shard.include_appended()
            return response
        finally:
            self.release(shard, key)

    # -- what waits for the high watermark --

    def when_stored(self, key: str, send: Stored) -> None:
        """Call `send` when all that was appended to the key's shard so far is stored; mostly at once."""
        index = self.partition_index(key)
        shard = None if index is None else self.shards.get(index)
        if shard is None:
            send(ErrorCode.NONE)
        else:
            self._when_stored(shard, send)

    def _when_stored(self, shard: Shard[S], send: Stored, *, limited: bool = True) -> None:
        is_stored = shard.is_stored()
        if is_stored or self.shards.get(shard.index) is not shard:  # unloaded since, by a fault in a nested operation
            send(ErrorCode.NONE if is_stored else ErrorCode.NOT_COORDINATOR)
            return
        shard.waiting.add(shard.end_offset, send, limited=limited)
        self._waiting[shard.index] = shard
        self._send_stored(shard)

    def look(self) -> None:
        """Send the responses that waited for partitions that have moved; the loop calls it in every round."""
        for shard in list(self._waiting.values()):
            self._send_stored(shard)

    def _send_stored(self, shard: Shard[S]) -> None:
        shard.hosted.watch()
        stored_offset = shard.stored_offset()
        if stored_offset is None:
            self.unload_lost(shard)
            return
        shard.waiting.send_stored(stored_offset)
        if not shard.waiting and self._waiting.get(shard.index) is shard:
            self._waiting.pop(shard.index, None)

    # -- timers --

    def call_later(self, key: str, delay_s: float, function: Callable[..., object], *arguments: Any) -> Any:
        """A timer of the key's soft state; has `cancel()`."""
        timer = KeyTimer(partial(function, *arguments))
        timer.start(self.loop, delay_s, partial(self._lines.run, key, partial(self._due, key, timer)))
        return timer

    def _due(self, key: str, timer: KeyTimer) -> None:
        shard = self.replayed_shard(key)
        if shard is not None:  # else the partition is being unloaded, which ends the key's soft state
            shard.state.hold(key)
            try:
                self.run_change(key, timer.run)
            finally:
                self.release(shard, key)


def _do_all(steps: Callable[[], Iterable[object]]) -> None:
    for _ in steps():
        pass
