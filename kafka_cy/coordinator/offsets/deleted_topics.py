"""Collects deleted topics whose committed offsets have to be removed, so that only one walk over all groups runs at a time."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

from kafka_cy.coordinator.offsets.delete import DeletedTopic

Walk = Callable[[Mapping[str, DeletedTopic], Callable[[], object]], object]


class DeletedTopics:
    """Topics that are deleted during a walk wait for the next walk, which handles all of them together.

    Owner: the coordinator's thread. Limit: one entry for each name of a topic that was deleted since the walk began.
    """

    def __init__(self, walk: Walk) -> None:
        """`walk(topics, done)` removes the topics' offsets from all groups and calls `done` at the end, even after a fault."""
        self._walk = walk
        self._waiting: dict[str, DeletedTopic] = {}
        self._walking = False

    def add(self, topics: Mapping[str, uuid.UUID | None], now_ms: int) -> None:
        """These topics (name -> id, None if it is not known) have been deleted; remove their offsets."""
        for name, topic_id in topics.items():
            before = self._waiting.get(name)
            deleted = DeletedTopic(None if topic_id is None else frozenset((topic_id,)), now_ms)
            self._waiting[name] = deleted if before is None else before.merged(deleted)
        if not self._walking:
            self._next()

    def _next(self) -> None:
        topics, self._waiting = self._waiting, {}
        self._walking = bool(topics)
        if topics:
            try:
                self._walk(topics, self._next)
            except Exception:
                self._walking = False
                raise
