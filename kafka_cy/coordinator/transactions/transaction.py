"""A transactional id: what is stored of it, and what the coordinator remembers besides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kafka_cy.coordinator.transactions.records import StoredTransaction, TopicPartitions
from kafka_cy.coordinator.transactions.states import ONGOING, PREPARED

NO_EPOCH = -1
EPOCH_MAX = (1 << 15) - 1
Partition = tuple[str, int]  # topic name and index


class Transaction:
    """Owner: the coordinator's thread. `stored` is replicated state: only the state machine's `replay` sets it.

    The previous epoch and whether markers are being written are soft state: they are lost when another coordinator loads the
    log. (Kafka does not store the previous epoch either: a retry of InitProducerId over a restart is fenced.)
    """

    __slots__ = (
        "held_bytes",
        "last_epoch",
        "markers_under_way",
        "name_chars",
        "partition_count",
        "partitions",
        "places",
        "stored",
        "transactional_id",
    )

    def __init__(self, transactional_id: str, stored: StoredTransaction) -> None:
        self.transactional_id = transactional_id
        self.last_epoch = NO_EPOCH  # the epoch before the current one, for the same producer
        self.markers_under_way = False
        self.held_bytes = 0  # how much of the coordinator's limit the state machine has counted for it
        self.stored = stored
        self._take_all(stored.partitions or ())

    def set_stored(self, stored: StoredTransaction) -> None:
        """For `replay`. With thousands of topics, the cost is that of those that differ (and of a look at the others)."""
        before, after = self.stored.partitions or (), stored.partitions or ()
        self.stored = stored
        if after is before:
            return
        if not after:
            self._take_all(after)
            return
        changed = [place for place, (old, new) in enumerate(zip(before, after, strict=False)) if old is not new]
        if len(after) < len(before) or any(before[place].topic != after[place].topic for place in changed):
            self._take_all(after)
            return
        for place in (*changed, *range(len(before), len(after))):
            self._take(place, after[place])

    def _take_all(self, topics: Iterable[TopicPartitions]) -> None:
        self.partitions: dict[str, frozenset[int]] = {}
        self.places: dict[str, int] = {}  # of the topics in `stored.partitions`
        self.partition_count = 0
        self.name_chars = 0  # of the topics
        for place, each in enumerate(topics):
            self._take(place, each)

    def _take(self, place: int, topic: TopicPartitions) -> None:
        name = topic.topic
        before = self.partitions.get(name)
        after = self.partitions[name] = frozenset(topic.partitions)
        self.partition_count += len(after) - len(before or ())
        if before is None:
            self.places[name] = place
            self.name_chars += len(name)

    def with_partitions(self, added: Iterable[Partition]) -> tuple[TopicPartitions, ...]:
        """The topics after partitions were added that are not part of the transaction yet."""
        topics = list(self.stored.partitions or ())
        by_topic: dict[str, dict[int, None]] = {}
        for topic, partition in added:
            by_topic.setdefault(topic, {})[partition] = None
        for topic, partitions in by_topic.items():
            place = self.places.get(topic)
            if place is None:
                topics.append(TopicPartitions(topic, tuple(partitions)))
            else:
                topics[place] = TopicPartitions(topic, (*topics[place].partitions, *partitions))
        return tuple(topics)

    @property
    def is_ongoing(self) -> bool:
        """Whether the transaction is open."""
        return self.stored.state == ONGOING

    @property
    def is_prepared(self) -> bool:
        """Whether the outcome is decided, and the markers are not all written."""
        return self.stored.state in PREPARED

    @property
    def is_epoch_exhausted(self) -> bool:
        """The last epoch of a producer id is never given out: the coordinator must be able to fence its owner."""
        return self.stored.producer_epoch >= EPOCH_MAX - 1

    def holds(self, topic: str, partition: int) -> bool:
        """Whether the partition is part of the transaction."""
        return partition in self.partitions.get(topic, ())

    def all_partitions(self) -> list[Partition]:
        """The partitions in the order in which they were added."""
        return [(each.topic, partition) for each in self.stored.partitions or () for partition in each.partitions]

    def missing(self, partitions: Iterable[Partition]) -> dict[Partition, None]:
        """Those of the partitions that are not part of the transaction yet, each once, in their order."""
        held = self.partitions
        return dict.fromkeys([each for each in partitions if each[1] not in held.get(each[0], ())])


def named(transaction: Transaction) -> dict[str, Any]:
    """Which transaction it is, for a line of the log."""
    stored = transaction.stored
    return {
        "transactional_id": transaction.transactional_id[:200],
        "producer_id": stored.producer_id,
        "epoch": stored.producer_epoch,
    }
