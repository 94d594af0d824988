"""Offsets of open transactions: they are kept apart from the committed ones until the marker of their transaction.

Kafka: OffsetMetadataManager (pendingTransactionalOffsets, OpenTransactions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.pending_partition import PendingPartition
from kafka_cy.coordinator.records import CommittedOffset, OffsetKey

GroupOf = Callable[[str], Group | None]
# More get POLICY_VIOLATION; Kafka has no such limits.
PENDING_OFFSETS_MAX = 1_000_000  # in all open transactions
PENDING_BYTES_MAX = 1 << 30  # of memory; what one request adds may go beyond it
PENDING_OF_TRANSACTION_MAX = 50_000  # in one partition of the topic
PENDING_OFFSET_BYTES = 1000  # of a pending offset besides its metadata: the objects, and places in tables
ENDED_AT_ONCE_MAX = 200  # that the marker of a transaction applies in one step, in less than a millisecond
Commit = Callable[[OffsetKey, CommittedOffset, int], object]  # also gets the offset of the record


class PendingOffsetsHeld:
    """How many pending offsets one coordinator holds, and their memory. Owner: the coordinator's thread."""

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0


class PendingOffset:
    """An offset of an open transaction, and the offset of its record."""

    __slots__ = ("offset", "value")

    def __init__(self, value: CommittedOffset, offset: int) -> None:
        self.value = value
        self.offset = offset

    @property
    def held_bytes(self) -> int:
        """How much of PENDING_BYTES_MAX it takes."""
        metadata = self.value.metadata
        return PENDING_OFFSET_BYTES + len(metadata) * (1 if metadata.isascii() else 4)


class _Transaction:
    """The pending offsets of one producer, by group."""

    __slots__ = ("by_group", "bytes", "count")

    def __init__(self) -> None:
        self.by_group: dict[str, dict[OffsetKey, PendingOffset]] = {}
        self.count = 0
        self.bytes = 0


class PendingOffsets:
    """Replicated state of one partition of `__consumer_offsets`. Owner: the coordinator's thread.

    `Group.pending` has the producers of each partition, for look-ups by group. Limits: as many as the log holds; `has_room`
    bounds new ones.
    """

    def __init__(self, group_of: GroupOf, held: PendingOffsetsHeld) -> None:
        self._group_of = group_of
        self.held = held
        self._by_producer: dict[int, _Transaction] = {}

    def has_room(self, producer_id: int, added: int) -> bool:
        """Whether the producer's transaction may get this many more offsets."""
        transaction = self._by_producer.get(producer_id)
        of_transaction = transaction.count if transaction is not None else 0
        return (
            of_transaction + added <= PENDING_OF_TRANSACTION_MAX
            and self.held.count + added <= PENDING_OFFSETS_MAX
            and self.held.bytes + added * PENDING_OFFSET_BYTES <= PENDING_BYTES_MAX
        )

    def add(self, producer_id: int, group: Group, key: OffsetKey, value: CommittedOffset, offset: int) -> None:
        """An offset that counts from the commit of the producer's transaction on."""
        transaction = self._by_producer.get(producer_id)
        if transaction is None:
            transaction = self._by_producer[producer_id] = _Transaction()
        if key.group_id is not group.group_id:
            key = key._replace(group_id=group.group_id)  # else each request's copy of the id would be kept
        pending = transaction.by_group.setdefault(group.group_id, {})
        before = pending.get(key)
        if before is not None:
            self._count(transaction, before, -1)
        pending[key] = each = PendingOffset(value, offset)
        self._count(transaction, each, 1)
        if group.pending is None:
            group.pending = {}
        partitions = group.pending.setdefault(key.topic, {})
        if key.partition not in partitions:
            partitions[key.partition] = PendingPartition()
        partitions[key.partition].producers.add(producer_id)

    def _count(self, transaction: _Transaction, each: PendingOffset, change: int) -> None:
        """The offset came (1) or went (-1)."""
        size = change * each.held_bytes
        transaction.count += change
        transaction.bytes += size
        self.held.count += change
        self.held.bytes += size

    def overtaken(self, group: Group, key: OffsetKey, offset: int) -> None:
        """The record at `offset` is the committed offset now: pending ones from before it will not count."""
        partition = _partition(group, key)
        if partition is not None:
            partition.committed_at = max(partition.committed_at, offset)

    def delete(self, group: Group, key: OffsetKey) -> None:
        """A tombstone removes the pending offsets of the partition, too: no commit brings them back."""
        partition = _partition(group, key)
        for producer_id in list(partition.producers) if partition is not None else ():
            self._remove(producer_id, key)
            _forget(group, key, producer_id)

    def ends_at_once(self, producer_id: int) -> bool:
        """Whether the end of the producer's transaction is one step."""
        transaction = self._by_producer.get(producer_id)
        return transaction is None or transaction.count <= ENDED_AT_ONCE_MAX

    def end(self, producer_id: int, commit: Commit | None) -> Iterator[str | None]:
        """The producer's transaction is over: forget its offsets; `commit` (None: it was aborted) gets those that count.

        Yields after each step: the group of which only a part is done, or None. Offsets that are not done are still pending:
        commits and tombstones of other groups may come in between.
        """
        transaction = self._by_producer.get(producer_id)
        if transaction is None:
            return
        left = ENDED_AT_ONCE_MAX
        for group_id in list(transaction.by_group):
            is_begun = False
            while pending := transaction.by_group.get(group_id):
                if not left:
                    yield group_id if is_begun else None
                    left = ENDED_AT_ONCE_MAX
                    continue  # it may be gone
                key, each = pending.popitem()
                if not pending:
                    del transaction.by_group[group_id]
                self._count(transaction, each, -1)
                self._end_one(producer_id, key, each, commit)
                is_begun, left = True, left - 1
        self._by_producer.pop(producer_id, None)

    def _end_one(self, producer_id: int, key: OffsetKey, each: PendingOffset, commit: Commit | None) -> None:
        group = self._group_of(key.group_id)
        partition = _partition(group, key) if group is not None else None
        counts = partition is None or partition.committed_at < each.offset
        if group is not None:
            _forget(group, key, producer_id)
        if counts and commit is not None:
            commit(key, each.value, each.offset)

    def release(self) -> None:
        """The partition is unloaded: its offsets no longer count for the limit."""
        for transaction in self._by_producer.values():
            self.held.count -= transaction.count
            self.held.bytes -= transaction.bytes

    def newest_commit_ms(self, group: Group, key: OffsetKey) -> int | None:
        """When the newest pending offset of the partition was sent, in wall-clock ms; None if there is none that counts."""
        partition = _partition(group, key)
        if partition is None:
            return None
        by_groups = (self._by_producer[producer_id].by_group for producer_id in partition.producers)
        pending = (by_group[key.group_id][key] for by_group in by_groups)
        found = (each.value.commit_timestamp_ms for each in pending if each.offset > partition.committed_at)
        return max(found, default=None)

    def _remove(self, producer_id: int, key: OffsetKey) -> None:
        transaction = self._by_producer[producer_id]
        pending = transaction.by_group[key.group_id]
        self._count(transaction, pending.pop(key), -1)
        if not pending:
            del transaction.by_group[key.group_id]
        if not transaction.count:
            del self._by_producer[producer_id]


def _partition(group: Group, key: OffsetKey) -> PendingPartition | None:
    return (group.pending or {}).get(key.topic, {}).get(key.partition)


def _forget(group: Group, key: OffsetKey, producer_id: int) -> None:
    """The producer has no pending offset for the partition any more."""
    topics, partition = group.pending, _partition(group, key)
    if topics is None or partition is None:
        return
    partition.producers.discard(producer_id)
    if partition.producers:
        return
    partitions = topics[key.topic]
    del partitions[key.partition]
    if not partitions:
        del topics[key.topic]
    if not topics:
        group.pending = None
