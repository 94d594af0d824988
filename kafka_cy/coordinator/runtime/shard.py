"""One partition of a coordinator's topic: its state, what is appended to it, and the responses that wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from kafka_cy.coordinator.runtime.loader import PartitionLoader
from kafka_cy.coordinator.runtime.result import Record, StateMachine
from kafka_cy.coordinator.runtime.stored_waits import StoredWaits
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import TRANSACTIONAL, build_batch
from kafka_cy.storage.hosted_partition import STATE_ONLINE
from kafka_cy.storage.log import StorageFailure

S = TypeVar("S", bound=StateMachine)
NO_PRODUCER = (-1, -1)
LOADED = object()
REPLAYED_AT_ONCE = 32  # records of an operation that takes long
COMPRESSED_TIMES_MAX = 4  # records may be larger than the largest batch by this factor before they are compressed (on the loop)
APPEND_ERRORS = {  # what an error of an append means for a client; any other one is NOT_COORDINATOR
    ErrorCode.NOT_ENOUGH_REPLICAS: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.RECORD_LIST_TOO_LARGE: ErrorCode.UNKNOWN_SERVER_ERROR,
    ErrorCode.INVALID_PRODUCER_EPOCH: ErrorCode.INVALID_PRODUCER_EPOCH,
    ErrorCode.INVALID_TXN_STATE: ErrorCode.INVALID_TXN_STATE,
}


class Marker(NamedTuple):
    """The outcome of a producer's transaction, as it is written to each of the transaction's partitions.

    `transaction_version` 2: `epoch` is the epoch of the data plus one (KIP-890).
    """

    producer_id: int
    epoch: int
    coordinator_epoch: int
    committed: bool
    transaction_version: int


class AppendFailed(Exception):
    """The records of an operation were not appended; nothing has changed."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Shard(Generic[S]):
    """A partition: its log is replayed, then the soft state begins, then requests are let in. Owner: the coordinator's thread.

    Loading and unloading are iterators whose steps take less than about a millisecond each.
    """

    __slots__ = (
        "base_sequence", "busy_producers", "coordinator_epoch", "end_offset", "hosted", "index", "is_replayed", "loader", "state",
        "waiting",
    )  # fmt: skip

    def __init__(
        self, index: int, hosted: Any, state: S, waiting: StoredWaits, coordinator_epoch: int, base_sequence: int = 0
    ) -> None:
        self.index = index
        self.hosted = hosted  # storage's HostedPartition
        # The leader epoch with which this broker's leadership began. It may stay leader in later epochs, without a load.
        self.coordinator_epoch = coordinator_epoch
        self.state = state
        self.base_sequence = base_sequence  # of the batches: Kafka's coordinators differ in it
        self.loader: PartitionLoader | None = PartitionLoader(hosted, state)  # None once requests are let in
        self.is_replayed = False  # the shard's own work (timers) may append from here on
        self.end_offset = 0  # behind the last record that was loaded or appended
        self.waiting = waiting
        self.busy_producers: set[int] = set()  # those of whose transactions a part is being applied in slices

    @property
    def is_led(self) -> bool:
        """Whether this broker has led the partition ever since the shard was made. Else what it holds may not be in the log."""
        hosted = self.hosted
        return bool(hosted.state == STATE_ONLINE and hosted.leader_since_epoch == self.coordinator_epoch)

    @property
    def is_loading(self) -> bool:
        """Whether requests are not let in yet."""
        return self.loader is not None

    def load(self, on_fault: Callable[[Exception], object]) -> Iterator[object]:
        """Load the partition: a task for Slices. Ends early when it is cancelled. Raises what the log or the replay raises."""
        loader = self.loader
        assert loader is not None
        steps = self._load(loader, on_fault)
        while not loader.cancelled:
            step = next(steps, LOADED)
            if step is LOADED:
                self.loader = None
                return
            yield step

    def _load(self, loader: PartitionLoader, on_fault: Callable[[Exception], object]) -> Iterator[object]:
        yield from loader.steps()
        self.end_offset = loader.offset  # responses wait until what was loaded is stored
        self.is_replayed = True
        yield from self.state.loaded(on_fault)

    def build(
        self,
        records: Sequence[Record],
        now_ms: int,
        batch_bytes_max: int,
        compression: str,
        producer: tuple[int, int] | None = None,
    ) -> bytes:
        """The records as one batch, which is transactional if there is a producer. Any thread. Raises AppendFailed."""
        size_max = batch_bytes_max if compression == "none" else COMPRESSED_TIMES_MAX * batch_bytes_max
        encode = self.state.encode
        rows = []
        size = 0
        try:
            for record in records:
                key, value = encode(record)
                rows.append((key, value, now_ms, (), -1))
                size += len(key) + len(value or b"")
                if size > size_max:
                    raise AppendFailed(ErrorCode.UNKNOWN_SERVER_ERROR, f"the batch has more than {size} bytes")
            producer_id, epoch = producer or NO_PRODUCER
            batch = build_batch(
                rows, base_sequence=self.base_sequence, compression=compression, producer_id=producer_id, producer_epoch=epoch,
                attributes=TRANSACTIONAL if producer else 0,
            )  # fmt: skip
        except AppendFailed:
            raise
        except Exception as error:
            raise AppendFailed(ErrorCode.UNKNOWN_SERVER_ERROR, str(error) or repr(error)) from error
        if len(batch) > batch_bytes_max:
            raise AppendFailed(ErrorCode.UNKNOWN_SERVER_ERROR, f"the batch has {len(batch)} bytes")
        return batch

    def append(self, batch: bytes, count: int) -> int:
        """Append a batch of so many records. Returns the offset of the first one. Raises AppendFailed."""
        try:
            base_offset: int = self.hosted.append(batch, origin="coordinator", leader_since=self.coordinator_epoch)
        except StorageFailure as error:  # the log directory went offline, or another broker leads the partition
            code = ErrorCode(error.kafka_error_code)
            raise AppendFailed(APPEND_ERRORS.get(code, ErrorCode.NOT_COORDINATOR), str(error)) from error
        self.end_offset = base_offset + count
        return base_offset

    def replay(self, records: Iterable[Record], first_offset: int, producer: tuple[int, int] | None = None) -> None:
        """Apply records that were appended, the first of them at `first_offset`."""
        replay = self.state.replay
        producer_id, _ = producer or NO_PRODUCER
        for offset, record in enumerate(records, first_offset):
            replay(record, offset, producer_id)

    def replay_steps(
        self, records: Iterable[Record], first_offset: int, producer: tuple[int, int] | None = None
    ) -> Iterator[object]:
        """replay() as a task for slices."""
        producer_id, _ = producer or NO_PRODUCER
        for place, record in enumerate(records):
            if place and place % REPLAYED_AT_ONCE == 0:
                yield None
            yield from self.state.replay_steps(record, first_offset + place, producer_id)

    def append_marker(self, marker: Marker) -> Iterator[str | None]:
        """Append a transaction marker; returns the steps that apply it. Raises StorageFailure: nothing has changed."""
        self.end_offset = 1 + self.hosted.append_marker(
            marker.producer_id, marker.epoch, marker.coordinator_epoch, marker.committed, marker.transaction_version,
            leader_since=self.coordinator_epoch,
        )  # fmt: skip
        return self.state.end_transaction(marker.producer_id, marker.committed)

    def is_busy(self, producer: tuple[int, int] | None) -> bool:
        """Whether the producer can add nothing to its transaction now, because a part of it is being applied."""
        return producer is not None and producer[0] in self.busy_producers

    def include_appended(self) -> None:
        """Responses from now on wait for all that was appended so far, by whoever it was."""
        self.end_offset = max(self.end_offset, self.hosted.log_end_offset)

    def stored_offset(self) -> int | None:
        """The high watermark; None if the leadership is over. First the high watermark: that of a follower says nothing here."""
        high_watermark: int = self.hosted.high_watermark
        return high_watermark if self.is_led else None

    def is_stored(self) -> bool:
        """Whether the high watermark has passed everything that was appended, and nobody waits."""
        return not self.waiting and bool(self.hosted.high_watermark >= self.end_offset) and self.is_led

    def cancel(self) -> None:
        """End the loading; `unload` follows."""
        if self.loader is not None:
            self.loader.cancelled = True

    def unload(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        """The partition is gone: fail what waits, end the soft state. A fault in one response does not stop the rest."""
        yield from self.waiting.fail_each(ErrorCode.NOT_COORDINATOR, on_fault)
        yield from self.state.unloaded(on_fault)
