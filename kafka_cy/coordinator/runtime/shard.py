"""One partition of a coordinator's topic: its state, what is appended to it, and the responses that wait for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from kafka_cy.coordinator.runtime.loader import PartitionLoader
from kafka_cy.coordinator.runtime.result import Record, StateMachine
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import build_batch
from kafka_cy.storage.log import StorageFailure

S = TypeVar("S", bound=StateMachine)
LOADED = object()
Stored = Callable[[ErrorCode], object]  # called once: NONE, or NOT_COORDINATOR when the partition was lost


class AppendFailed(Exception):
    """The records of an operation were not appended; nothing has changed."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Shard(Generic[S]):
    """A partition: its log is replayed, then the soft state begins, then requests are let in. Owner: the coordinator's thread.

    Loading and unloading are iterators whose steps take less than about a millisecond each.
    """

    __slots__ = ("end_offset", "hosted", "index", "is_replayed", "loader", "state", "waiting")

    def __init__(self, index: int, hosted: Any, state: S) -> None:
        self.index = index
        self.hosted = hosted  # storage's HostedPartition
        self.state = state
        self.loader: PartitionLoader | None = PartitionLoader(hosted, state)  # None once requests are let in
        self.is_replayed = False  # the shard's own work (timers) may append from here on
        self.end_offset = 0  # behind the last record that was loaded or appended
        self.waiting: deque[tuple[int, Stored]] = deque()  # by the end offset that has to be stored

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

    def append(self, records: Sequence[Record], now_ms: int, batch_bytes_max: int, compression: str) -> None:
        """Append the records as one batch. Raises AppendFailed."""
        encode = self.state.encode
        rows = []
        size = 0
        try:
            for record in records:
                key, value = encode(record)
                rows.append((key, value, now_ms, (), -1))
                size += len(key) + len(value or b"")
                if size > batch_bytes_max and compression == "none":
                    raise AppendFailed(ErrorCode.UNKNOWN_SERVER_ERROR, f"the batch has more than {size} bytes")
        except ValueError as error:
            raise AppendFailed(ErrorCode.UNKNOWN_SERVER_ERROR, str(error)) from error
        batch = build_batch(rows, base_sequence=0, compression=compression)
        if len(batch) > batch_bytes_max:
            raise AppendFailed(ErrorCode.UNKNOWN_SERVER_ERROR, f"the batch has {len(batch)} bytes")
        try:
            base_offset = self.hosted.append(batch, origin="coordinator")
        except StorageFailure as error:  # the log directory went offline, or another broker leads the partition
            raise AppendFailed(ErrorCode.NOT_COORDINATOR, str(error)) from error
        self.end_offset = base_offset + len(rows)

    def replay(self, records: Sequence[Record]) -> None:
        """Apply what was appended."""
        replay = self.state.replay
        for record in records:
            replay(record)

    def is_stored(self) -> bool:
        """Whether the high watermark has passed everything that was appended, and nobody waits."""
        return not self.waiting and self.hosted.high_watermark >= self.end_offset

    def send_stored(self) -> None:
        """Call those that wait for what the high watermark has passed."""
        stored = self.hosted.high_watermark
        while self.waiting and self.waiting[0][0] <= stored:
            self.waiting.popleft()[1](ErrorCode.NONE)

    def cancel(self) -> None:
        """End the loading; `unload` follows."""
        if self.loader is not None:
            self.loader.cancelled = True

    def unload(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        """The partition is gone: fail what waits, end the soft state. A fault in one response does not stop the rest."""
        while self.waiting:
            try:
                self.waiting.popleft()[1](ErrorCode.NOT_COORDINATOR)
            except Exception as fault:  # noqa: BLE001 the other responses have to leave
                on_fault(fault)
            yield
        yield from self.state.unloaded(on_fault)
