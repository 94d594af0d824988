"""The topics of the cluster as groups see them: ids, numbers of partitions, and the hash that tells whether they changed.

Kafka: CoordinatorMetadataImage, Utils.computeTopicHash, Utils.computeGroupHash.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Collection, Generator, Iterable
from typing import Any

from kafka_cy.base.slices import at_once, in_work

HASH_VERSION = b"\x00"
HASHES_MAX = 100_000  # of topics that are remembered; all are forgotten when there are more
HASHED_AT_ONCE = 32


class Topics:
    """Owner: the coordinator's thread. Topics are looked up in the cluster's metadata, hashes are remembered until a change.

    `version` grows with every change of topics, `created` with every change that may have created topics.
    """

    def __init__(self, cluster: Any, rack: str | None) -> None:
        """`rack` is that of this broker, which hosts the replicas with its id."""
        self.cluster = cluster
        self.rack = rack
        self.version = 1
        self.created = 1
        self._hashes: dict[str, int] = {}

    def changed(self, changed: Iterable[Any], removed: Iterable[Any]) -> None:
        """Topics were created or got partitions, or were deleted."""
        for topic in changed:
            self._hashes.pop(topic.name, None)
            self.created += 1
        for topic in removed:
            self._hashes.pop(topic.name, None)
        self.version += 1

    def find(self, name: str) -> Any:
        """The topic of that name, or None."""
        return self.cluster.topics.get(name)

    def find_id(self, topic_id: uuid.UUID) -> Any:
        """The topic with that id, or None."""
        return self.cluster.topic_by_id.get(topic_id)

    def names(self) -> list[str]:
        """The names of all topics, internal ones too; a copy."""
        return list(self.cluster.topics)

    def existing(self, names: Collection[str]) -> list[Any]:
        """Those topics that exist. Cost: linear in the names, or in the topics of the cluster if these are fewer."""
        topics = self.cluster.topics
        if len(names) > len(topics):
            wanted = set(names) if isinstance(names, tuple | list) else names
            return [topic for name, topic in list(topics.items()) if name in wanted]
        return [topic for topic in map(topics.get, names) if topic is not None]

    def partition_counts(self, names: Collection[str]) -> dict[uuid.UUID, int]:
        """Topic id -> number of partitions, of those topics that exist."""
        return {topic.id: len(topic.partitions) for topic in self.existing(names)}

    def ids(self, names: Collection[str]) -> set[uuid.UUID]:
        """The ids of those topics that exist."""
        return {topic.id for topic in self.existing(names)}

    # -- the metadata hash --

    def group_hash(self, names: Collection[str]) -> int:
        """The hash of the topics that exist, signed as it is stored; 0 if none does."""
        return at_once(self.group_hash_steps(names))

    def group_hash_steps(self, names: Collection[str]) -> Generator[object, None, int]:
        """group_hash() as a task for slices."""
        existing = yield from in_work(lambda: sorted({topic.name for topic in self.existing(names)}))
        hashes = []
        for name in existing:
            hashes.append(self._topic_hash(name))
            if len(hashes) % HASHED_AT_ONCE == 0:
                yield None
        return _xxh3(struct.pack(f"<{len(hashes)}q", *hashes)) if hashes else 0

    def _topic_hash(self, name: str) -> int:
        found = self._hashes.get(name)
        if found is None:
            topic = self.find(name)
            found = 0 if topic is None else _xxh3(_hashed(topic, self.cluster.broker_id, self.rack))
            if len(self._hashes) >= HASHES_MAX:
                self._hashes.clear()
            self._hashes[name] = found
        return found


def _hashed(topic: Any, broker_id: int, rack: str | None) -> bytes:
    """What the hash of a topic covers."""
    parts = [HASH_VERSION, topic.id.bytes[7::-1], topic.id.bytes[:7:-1], _text(topic.name)]
    parts.append(struct.pack("<i", len(topic.partitions)))
    if rack is None:
        parts.append(struct.pack(f"<{len(topic.partitions)}i", *range(len(topic.partitions))))
    else:
        text = struct.pack("<i", _length(rack)) + _text(rack)
        for index, partition in enumerate(topic.partitions):
            parts.append(struct.pack("<i", index) + text * list(partition.replicas).count(broker_id))
    return b"".join(parts)


def _length(text: str) -> int:
    """In UTF-16 code units, as Java counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _text(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass") + struct.pack("<i", _length(text))


def _xxh3(data: bytes) -> int:
    """XXH3-64 with seed 0, signed."""
    import xxhash  # with the first group that needs it: it is not in the start path

    value: int = xxhash.xxh3_64_intdigest(data)
    return value - (1 << 64) if value >= 1 << 63 else value
