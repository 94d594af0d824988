"""Topics that were deleted while this broker was not a member of the cluster: its session in ZooKeeper had ended.

A controller tells the brokers that live when it begins a deletion, and the others never: what it tells a broker that registers
again leaves out what is not there any more. Apache Kafka's brokers then tell clients of such a topic until their restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.cluster.store import Children, Exists, Get
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.znode_formats import decode_cluster_id
from kafka_cy.cluster.znodes import CLUSTER_ID, DELETE_TOPICS, TOPICS, topic_path

if TYPE_CHECKING:
    from kafka_cy.cluster.member_cache import MemberCache
    from kafka_cy.cluster.topics import Topic

AGAIN_MS = 10_000.0  # a deletion had begun before, and nobody tells of its end; or ZooKeeper could not be asked
AT_ONCE = 1_000
REMOVED_AT_ONCE = 100


class MissedDeletions:
    """Owner: the controller's thread. `remove`: MetadataUpdates.remove."""

    def __init__(
        self,
        cache: MemberCache,
        calls: Callable[[], StoreCalls],
        call_later: Callable[[float, Callable[[], object]], Any],
        remove: Callable[[Sequence[Topic]], bool],
        log: Any,
    ) -> None:
        self._cache, self._calls, self._call_later, self._remove, self._log = cache, calls, call_later, remove, log
        self._running = False
        self._wanted = False

    def look(self) -> None:
        """This broker has registered again."""
        self._wanted = True
        if not self._running and self._cache.topics:  # there are none at its first registration
            self._begin()

    def _begin(self) -> None:
        self._running, self._wanted = True, False
        run(self._missed(self._calls()), self._ended)

    def _ended(self, found: tuple[list[Topic], bool] | None, fault: Exception | None) -> None:
        if fault is not None:
            self._log.repeated(
                "warning", "topics that were deleted meanwhile cannot be looked for; this is tried again", {"reason": repr(fault)}
            )
        missed, is_going_on = found or ([], True)
        self._take_away(missed, is_going_on)

    def _take_away(self, missed: list[Topic], is_going_on: bool) -> None:
        if missed and not self._remove(missed[:REMOVED_AT_ONCE]):
            missed, is_going_on = [], True
        if len(missed) > REMOVED_AT_ONCE:
            self._call_later(0, partial(self._take_away, missed[REMOVED_AT_ONCE:], is_going_on))
        elif is_going_on or self._wanted:
            self._call_later(0 if self._wanted else AGAIN_MS, self._begin)
        else:
            self._running = False

    async def _missed(self, calls: StoreCalls) -> tuple[list[Topic], bool]:
        """What is known here and not stored, and whether deletions of what is known here have begun and not ended."""
        await calls.catch_up()
        # In this order: a deletion that begins later is told of, because this broker has registered before.
        cluster_id, deletions, names = await calls.read(Get(CLUSTER_ID), Children(DELETE_TOPICS), Children(TOPICS))
        if cluster_id is None or names is None or decode_cluster_id(cluster_id.data) != self._cache.cluster_id:
            return [], False  # another tree says nothing of these topics
        stored: set[str] = set()
        for some in _some(names):
            stored.update(some)
            await calls.sleep(0)
        candidates: list[Topic] = []
        for some in _some(list(self._cache.topics)):
            candidates += [topic for topic in map(self._cache.topics.get, some) if topic is not None and topic.name not in stored]
            await calls.sleep(0)
        missed: list[Topic] = []
        if candidates:  # one that was told of a moment ago may be younger than what the server that is asked has applied
            await calls.catch_up()
        for topics in _some([each for each in candidates if not self._is_hosted(each)]):
            # It was known before this is read. So it was stored before, if it is not stored now it was deleted.
            nodes = await calls.read(*[Exists(topic_path(each.name)) for each in topics])
            missed += [each for each, node in zip(topics, nodes, strict=True) if node is None]
        return missed, any(name in self._cache.topics for name in deletions or ())

    def _is_hosted(self, topic: Topic) -> bool:
        """Then no deletion has ended without this broker. (Somebody has removed nodes; logs without a topic are kept, too.)"""
        hosted = self._cache.logs.partitions if self._cache.logs is not None else {}
        return any((topic.name, each.index) in hosted for each in topic.partitions)


def _some(things: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(things), AT_ONCE):
        yield things[first : first + AT_ONCE]
