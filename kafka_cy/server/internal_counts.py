"""How many partitions the coordinators' topics have, as ZooKeeper says: keys are mapped to partitions with that.

What the controller tells may lack partitions without a leader, and with a wrong count groups are looked for in the wrong partition.
Kafka reads the counts when it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kafka_cy.cluster.store import Get
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.znode_formats import TopicAssignment
from kafka_cy.cluster.znodes import topic_path

if TYPE_CHECKING:
    from kafka_cy.cluster.member_cache import MemberCache

RETRY_MS = 500.0


class InternalCounts:
    """Owner: the controller's thread. It reads a topic once, when the controller tells of it first."""

    def __init__(
        self,
        cache: MemberCache,
        calls: Callable[[], StoreCalls],
        call_later: Callable[[float, Callable[[], object]], Any],
        log: Any,
    ) -> None:
        self._cache, self._calls, self._call_later, self._log = cache, calls, call_later, log
        self._reading: set[str] = set()

    def start(self) -> None:
        """Read counts from now on."""
        self._cache.add_listener(self._changed)

    def _changed(self, change: Any) -> None:
        for topic in getattr(change, "changed", ()):
            if topic.internal and self._cache.stored_counts.get(topic.name, (None, 0))[0] != topic.id:
                self._read(topic.name, topic.id)

    def _read(self, name: str, topic_id: UUID) -> None:
        if name not in self._reading:
            self._reading.add(name)
            run(self._count(self._calls(), name), partial(self._ended, name, topic_id))

    async def _count(self, calls: StoreCalls, name: str) -> int:
        (node,) = await calls.read(Get(topic_path(name)))
        return 1 + max(TopicAssignment.decode(node.data).partitions) if node is not None else 0

    def _ended(self, name: str, topic_id: UUID, count: int | None, fault: Exception | None) -> None:
        self._reading.discard(name)
        topic = self._cache.topics.get(name)
        if topic is None:
            return
        if topic.id == topic_id and fault is None and count:
            self._cache.stored_counts[name] = (topic_id, count)
            return
        if fault is not None:
            self._log.repeated("warning", "the partitions of a coordinators' topic cannot be read; this is tried again",
                               {"topic": name, "reason": repr(fault)})  # fmt: skip
        self._call_later(RETRY_MS, partial(self._again, name))

    def _again(self, name: str) -> None:
        topic = self._cache.topics.get(name)
        if topic is not None:
            self._read(name, topic.id)
