"""Requests that wait until the metadata of this broker show what the controller did (Kafka: DelayedCreatePartitions and others)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.cluster.metadata_cache import TopicsChanged

if TYPE_CHECKING:
    from kafka_cy.cluster.metadata_cache import Change, MetadataCache
    from kafka_cy.cluster.topics import Topic
    from kafka_cy.server.control_loop import ControlLoop

WAITS_MAX = 500
WAITING_TOPICS_MAX = 50_000  # of all waits together
IsThere = Callable[["Topic | None"], bool]


class _Wait:
    def __init__(self, waits: Mapping[str, IsThere], done: Callable[[Sequence[str]], object]) -> None:
        self.left = dict(waits)
        self.done = done
        self.timer: Any = None


class TopicWaits:
    """Owner: the controller's thread. Limits: WAITS_MAX and WAITING_TOPICS_MAX. A wait outlives its connection."""

    def __init__(self, cache: MetadataCache, loop: ControlLoop, timeout_max_ms: float) -> None:
        """`timeout_max_ms`: no wait is longer, whatever the client asks for."""
        self._cache, self._loop, self._timeout_max_ms = cache, loop, timeout_max_ms
        self._waits = self._waiting_topics = 0
        self._by_topic: dict[str, list[_Wait]] = {}
        cache.add_listener(self._changed)

    def wait(
        self, waits: Mapping[str, IsThere], timeout_ms: float, done: Callable[[Sequence[str]], object]
    ) -> None:
        """Call `done` when every topic is as it shall be, or, after the time-out or beyond the limits, with those that are not."""
        waiting = _Wait(waits, done)
        for name in list(waiting.left):
            self._look(name, waiting)
        count = len(waiting.left)
        is_full = self._waits >= WAITS_MAX or self._waiting_topics + count > WAITING_TOPICS_MAX
        if not count or timeout_ms <= 0 or is_full:
            done(list(waiting.left))
            return
        self._waits += 1
        self._waiting_topics += count
        for name in waiting.left:
            self._by_topic.setdefault(name, []).append(waiting)
        waiting.timer = self._loop.call_later(min(timeout_ms, self._timeout_max_ms) / 1000, self._over, waiting)

    def stop(self) -> None:
        """The loop has ended: let go of the requests that wait."""
        self._by_topic.clear()

    def _look(self, name: str, waiting: _Wait) -> None:
        if waiting.left[name](self._cache.topics.get(name)):
            del waiting.left[name]

    def _changed(self, change: Change) -> None:
        if not isinstance(change, TopicsChanged) or not self._by_topic:
            return
        for topic in (*change.changed, *change.removed):
            for waiting in self._by_topic.pop(topic.name, ()):
                self._look(topic.name, waiting)
                if topic.name in waiting.left:
                    self._by_topic.setdefault(topic.name, []).append(waiting)
                    continue
                self._waiting_topics -= 1
                if not waiting.left:
                    self._waits -= 1
                    waiting.timer.cancel()
                    waiting.done([])

    def _over(self, waiting: _Wait) -> None:
        self._waits -= 1
        self._waiting_topics -= len(waiting.left)
        for name in waiting.left:
            others = [each for each in self._by_topic.pop(name, ()) if each is not waiting]
            if others:
                self._by_topic[name] = others
        waiting.done(list(waiting.left))
