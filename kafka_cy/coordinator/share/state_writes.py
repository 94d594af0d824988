"""Writes of the states of share partitions: what is stored, who is told, which are stored together, and when."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from kafka_cy.base.slices import Loop, Slices
from kafka_cy.coordinator.share.records import BATCH_BYTES
from kafka_cy.coordinator.share.state_batches import StateBatch
from kafka_cy.coordinator.share.state_machine import SharePartition
from kafka_cy.protocol.errors import ErrorCode

BATCHED_MAX: Final = 100  # writes, and batches of records, that are stored together: they take about a millisecond
STORED_MAX: Final = 50_000  # batches of records that their share partitions have already: they are copied, in half a millisecond
RECORD_BYTES: Final = 100  # more than a record has beside the group id and the batches of records
CHARACTER_BYTES: Final = 4  # of UTF-8, at most

RespondError = Callable[[ErrorCode], object]


class StateWrite(NamedTuple):
    """What the leader of a share partition stores. `start_offset` -1 keeps the one that is stored."""

    partition: SharePartition
    state_epoch: int
    leader_epoch: int
    start_offset: int
    delivery_complete_count: int
    batches: Sequence[StateBatch]

    @property
    def bytes_max(self) -> int:
        """What its record takes at most, if it is an update."""
        return RECORD_BYTES + CHARACTER_BYTES * len(self.partition.group_id) + BATCH_BYTES * len(self.batches)


class Answer:
    """Tells how a write has ended: once, and whoever is told does not hold up the others. Owner: the coordinator's thread."""

    __slots__ = ("_ended", "_on_fault", "_respond")

    def __init__(
        self, respond: RespondError, ended: Callable[[], object], on_fault: Callable[[Exception], object]
    ) -> None:
        """`ended` is called before `respond`."""
        self._respond: RespondError | None = respond
        self._ended = ended
        self._on_fault = on_fault

    def __call__(self, error: ErrorCode) -> None:
        """Only the first one counts. Raises nothing."""
        respond, self._respond = self._respond, None
        if respond is None:
            return
        try:
            self._ended()
            respond(error)
        except Exception as fault:  # noqa: BLE001 the other writes have their answers
            self._on_fault(fault)


Asked = tuple[StateWrite, Answer]


class WriteBatch:
    """Writes that are stored together: share partitions of one partition of the topic, each once, with at most BATCHED_MAX batches
    of records, and not larger than the topic's batches may be."""

    def __init__(self, bytes_max: int) -> None:
        self.asked: list[Asked] = []
        self._partitions: set[SharePartition] = set()
        self._left = BATCHED_MAX
        self._bytes_left = bytes_max - RECORD_BYTES

    def takes(self, request: StateWrite) -> bool:
        """Whether it fits. A second change of a share partition depends on the first one."""
        return (
            request.partition not in self._partitions
            and len(request.batches) < self._left
            and request.bytes_max <= self._bytes_left
        )

    def add(self, request: StateWrite, answer: Answer) -> None:
        """The first one always fits."""
        self.asked.append((request, answer))
        self._partitions.add(request.partition)
        self._left -= len(request.batches) + 1
        self._bytes_left -= request.bytes_max


class WriteQueue:
    """Batches that are stored in slices, in the order of their arrival: one request may change 256 share partitions.

    Owner: the coordinator's thread. Limit: a connection has one request with changes at a time.
    """

    def __init__(
        self, loop: Loop, write: Callable[[list[Asked]], object], on_fault: Callable[[Exception], object]
    ) -> None:
        """`write` stores a batch. It raises nothing."""
        self._write = write
        self._slices = Slices(loop, on_fault)  # of its own: writes wait for no long task
        self._batches: deque[list[Asked]] = deque()
        self._is_writing = False  # the slices hold the batches

    def add(self, batches: Iterable[WriteBatch]) -> None:
        """The first ones are stored at once, unless others wait."""
        self._batches += [each.asked for each in batches]
        if self._batches and not self._is_writing:
            self._is_writing = True
            self._slices.add(self._each(), self._over)

    def put_back(self, asked: list[Asked]) -> None:
        """What is left of the batch that is being stored: it is the next one."""
        if asked:
            self._batches.appendleft(asked)

    def _each(self) -> Iterator[None]:
        while self._batches:
            self._write(self._batches.popleft())
            yield

    def _over(self) -> None:
        self._is_writing = False

    def stop(self) -> None:
        """Respond to all that wait: the loop has ended."""
        self._slices.stop()
        while self._batches:
            for _, answer in self._batches.popleft():
                answer(ErrorCode.NOT_COORDINATOR)
