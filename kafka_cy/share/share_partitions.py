"""The share partitions that this broker leads, by group, and the fetches that wait for them (Kafka: SharePartitionManager)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Protocol

from kafka_cy.coordinator.runtime.limit_line import LimitLine
from kafka_cy.coordinator.share.state_coordinator import ShareCoordinator
from kafka_cy.coordinator.share.state_machine import SharePartition as PartitionKey
from kafka_cy.coordinator.share.state_writes import StateWrite
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.beginnings import Beginnings
from kafka_cy.share.group_series import GroupSeries
from kafka_cy.share.in_flight import Change, take_noticed
from kafka_cy.share.sessions import TopicPartition
from kafka_cy.share.share_partition import GroupSettings, SharePartition
from kafka_cy.share.share_totals import ShareCounts
from kafka_cy.storage.hosted_partition import STATE_ONLINE
from kafka_cy.storage.partition import control_wakes

PARTITIONS_MAX = 100_000  # share partitions in memory
RANGES_MAX = 1_000_000  # of records in flight, of all share partitions together; about 200 bytes each
LOOKS_AT_ONCE = 256  # share partitions whose logs are looked at in one step
LOCKS_AT_ONCE = 100  # share partitions whose locks are looked at in one step
Ends = tuple[int, int]  # high watermark and last stable offset


class Waiter(Protocol):
    """A fetch that waits for records."""

    def wake(self, partition: SharePartition) -> bool:
        """The partition may have records: try it. Returns False if it has none for any fetch. Call it on the loop's thread."""


class SharePartitions:
    """Owner: the loop's thread. Limits: PARTITIONS_MAX, RANGES_MAX."""

    def __init__(
        self, cluster: Any, coordinator: ShareCoordinator, loop: Any, settings_of: Callable[[str], GroupSettings],
        log: Callable[..., object] = lambda *_, **__: None,
    ) -> None:  # fmt: skip
        self.cluster = cluster
        self.coordinator = coordinator
        self.loop = loop
        self.settings_of = settings_of
        self.counts = ShareCounts()
        self.series = GroupSeries()
        self._beginnings = Beginnings(loop, log)
        self._partitions: dict[PartitionKey, SharePartition] = {}
        self._to_write: list[tuple[StateWrite, Callable[[ErrorCode], object]]] = []
        self._by_number: dict[int, SharePartition] = {}  # those whose state is read, by InFlight.number
        self._waiting: dict[PartitionKey, dict[Waiter, None]] = {}
        self._end_offsets: dict[PartitionKey, Ends] = {}  # of those that are waited for
        self._looking: Iterator[None] | None = None
        self._looks_as_of = 0  # control_wakes() when it began to look
        self._look_again = False  # a fetch has begun to wait since
        self._more_locks = False  # a timer looks at the rest
        self._full_line = LimitLine(log, loop.now)

    def on_fault(self, fault: Exception) -> None:
        """Tell the operator of a fault that ends a part of a request."""
        self.coordinator.runtime.on_fault(fault)

    def find(self, group_id: str, partition: TopicPartition) -> tuple[ErrorCode, SharePartition | None]:
        """The share partition, which may not be ready yet.

        UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER, POLICY_VIOLATION when there are too many.
        """
        topic_id, index = partition
        topic = self.cluster.topic_by_id.get(topic_id)
        if topic is None:
            return ErrorCode.UNKNOWN_TOPIC_ID, None
        if not 0 <= index < len(topic.partitions):
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None
        hosted = self.cluster.partition(topic.name, index)
        if hosted is None or hosted.state != STATE_ONLINE:
            return ErrorCode.NOT_LEADER_OR_FOLLOWER, None
        key = PartitionKey(group_id, topic.id, index)
        known = self._partitions.get(key)
        if known is not None and not known.error and known.hosted is hosted and known.leader_epoch == hosted.leader_epoch:
            return ErrorCode.NONE, known
        if known is not None:
            self._drop(key, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        if len(self._partitions) >= PARTITIONS_MAX:
            self._forget_idle()
        if len(self._partitions) >= PARTITIONS_MAX:
            self._tell_full()
            return ErrorCode.POLICY_VIOLATION, None
        new = SharePartition(
            key, hosted, self.coordinator, self.loop, lambda: self.settings_of(group_id), self._changed, self.counts, self.closed,
            self.series, self._beginnings,
        )  # fmt: skip
        self._partitions[key] = new
        new.when_ready(partial(self._began, new))
        return ErrorCode.NONE, new

    def _began(self, partition: SharePartition, error: ErrorCode) -> None:
        """One that cannot be used takes no place of PARTITIONS_MAX: anyone can name groups that do not exist."""
        if partition.in_flight is not None:
            self._by_number[partition.in_flight.number] = partition
        elif error and self._partitions.get(partition.key) is partition:
            del self._partitions[partition.key]

    def _drop(self, key: PartitionKey, error: ErrorCode) -> None:
        partition = self._partitions.pop(key)
        partition.close(error)
        self._wake(partition)

    def closed(self, number: int) -> None:
        """The share partition with that InFlight.number was closed."""
        self._by_number.pop(number, None)

    def store(self, number: int, change: Change, respond: Callable[[ErrorCode], object]) -> None:
        """Store what a reactor has begun to change in a share partition."""
        partition = self._by_number.get(number)
        if partition is None:
            change.undo()
            respond(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        else:
            partition.store(change, respond, self.write_later)

    def write_later(self, request: StateWrite, respond: Callable[[ErrorCode], object]) -> None:
        """Store it with others, at the next `write_collected`."""
        self._to_write.append((request, respond))

    def write_collected(self) -> None:
        """Store what requests have changed, those of one partition of the state topic as one batch. Raises nothing: whoever calls
        it has other partitions to go on with. After a fault, all of these get UNKNOWN_SERVER_ERROR."""
        if not self._to_write:
            return
        requests, self._to_write = self._to_write, []
        try:
            self.coordinator.write_all(requests)
        except Exception as fault:  # noqa: BLE001 see above
            self.on_fault(fault)
            for _, respond in requests:
                self._respond_fault(respond)

    def _respond_fault(self, respond: Callable[[ErrorCode], object]) -> None:
        try:
            respond(ErrorCode.UNKNOWN_SERVER_ERROR)
        except Exception as fault:  # noqa: BLE001 the others get their answers
            self.on_fault(fault)

    def look_at_locks(self) -> None:
        """Reactors have locked records: look when the first lock expires. What is left is looked at in later rounds of the loop."""
        noticed, more = take_noticed(LOCKS_AT_ONCE)
        for number, due_s in noticed:
            partition = self._by_number.get(number)
            if partition is not None:
                partition.locked(due_s)
        if more and not self._more_locks:
            self._more_locks = True
            self.loop.call_later(0, self._look_at_more_locks)

    def _look_at_more_locks(self) -> None:
        self._more_locks = False
        self.look_at_locks()

    def forget(self, key: PartitionKey, error: ErrorCode) -> None:
        """The share partition's state was deleted, or set anew: whoever reads it begins anew."""
        if key in self._partitions:
            self._drop(key, error)

    def topics_deleted(self, topic_ids: set[Any]) -> None:
        """Forget the share partitions of deleted topics."""
        for key in [key for key in self._partitions if key.topic_id in topic_ids]:
            self._drop(key, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    def is_full(self) -> bool:
        """Whether no more records can be locked before some are finished; such an answer is counted."""
        if self.counts.ranges < RANGES_MAX:
            return False
        self._forget_idle()
        if self.counts.ranges < RANGES_MAX:
            return False
        self.counts.refuse()
        self._tell_full()
        return True

    def _forget_idle(self) -> None:
        """Make room: share partitions that nobody uses now are read from their stored state when they are used again.

        A few are looked at; the next time others.
        """
        for key in list(islice(self._partitions, LOOKS_AT_ONCE)):
            partition = self._partitions.pop(key)
            if key in self._waiting or not partition.close_if_idle():
                self._partitions[key] = partition

    def _tell_full(self) -> None:
        self._full_line.write(
            "a limit of share partitions is reached; share fetches get POLICY_VIOLATION or no records",
            share_partitions=len(self._partitions), ranges_of_records=self.counts.ranges,
        )  # fmt: skip

    # -- waiting --

    def wait(self, waiter: Waiter, partition: SharePartition, end: Ends) -> None:
        """Wake the fetch when the partition may have records for it. `end`: end_offsets before it looked at it, in the same step
        of the loop. `look` finds what was appended since."""
        self._waiting.setdefault(partition.key, {})[waiter] = None
        self._end_offsets.setdefault(partition.key, end)
        partition.hosted.watch()
        self._look_again = True

    def end_wait(self, waiter: Waiter, partition: SharePartition) -> None:
        """The fetch does not wait for it any more."""
        waiters = self._waiting.get(partition.key)
        if waiters is not None:
            waiters.pop(waiter, None)
            if not waiters:
                del self._waiting[partition.key]
                self._end_offsets.pop(partition.key, None)

    def _changed(self, partition: SharePartition) -> None:
        """Records became available."""
        self._wake(partition)
        partition.hosted.wake()  # fetches that wait on reactors

    def _wake(self, partition: SharePartition) -> None:
        """In the order in which they came, until nothing is left."""
        for waiter in list(self._waiting.get(partition.key, ())):
            if not waiter.wake(partition):
                return

    def look(self) -> None:
        """Wake the fetches whose partitions have new records; the loop calls it in every round."""
        if self._waiting and self._looking is None:
            self._look_again = False
            self._looks_as_of = control_wakes()
            self._looking = self._look_at_each()
            self._go_on_looking()

    def _go_on_looking(self) -> None:
        """Look at a few. It begins anew if a partition that it had looked at may have woken the loop since."""
        for _ in range(LOOKS_AT_ONCE):
            if self._looking is None or next(self._looking, self) is self:
                self._looking = None
                if self._look_again or control_wakes() != self._looks_as_of:
                    self.loop.call_later(0, self.look)
                return
        self.loop.call_later(0, self._go_on_looking)

    def _look_at_each(self) -> Iterator[None]:
        for key in list(self._end_offsets):
            partition = self._partitions.get(key)
            if partition is not None and key in self._end_offsets:
                try:
                    self._look_at(partition)
                except Exception as fault:  # noqa: BLE001 the other partitions are looked at
                    self.on_fault(fault)
            yield

    def _look_at(self, partition: SharePartition) -> None:
        """Wake the fetches that wait for the partition, if it has new records."""
        partition.hosted.watch()
        ends = end_offsets(partition)
        if ends != self._end_offsets[partition.key] or partition.hosted.state != STATE_ONLINE:
            self._end_offsets[partition.key] = ends
            self._wake(partition)


def end_offsets(partition: SharePartition) -> Ends:
    """High watermark and last stable offset now."""
    return partition.hosted.high_watermark, partition.hosted.last_stable_offset
