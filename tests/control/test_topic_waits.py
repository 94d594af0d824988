"""Requests that wait for the metadata of a member: not longer, and not more of them, than the limits say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from kafka_cy.cluster.metadata_cache import MetadataCache, TopicsChanged
from kafka_cy.cluster.topics import Topic
from kafka_cy.server import topic_waits
from kafka_cy.server.topic_waits import TopicWaits

DAYS_24_MS = float(2**31 - 1)


class Waits:
    """Waits of topics that shall be there."""

    def __init__(self) -> None:
        self.cache = MetadataCache(1)
        self.timers: list[tuple[float, Callable[[], object]]] = []
        self.answers: dict[int, Sequence[str]] = {}
        self.waits = TopicWaits(self.cache, self, 30_000)  # type: ignore[arg-type]
        self._count = 0

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: Any) -> Any:
        self.timers.append((delay_s, lambda: function(*arguments)))
        return SimpleNamespace(cancel=lambda: None)

    def wait(self, *names: str) -> int:
        number = self._count
        self._count += 1
        wanted: Mapping[str, Any] = dict.fromkeys(names, lambda topic: topic is not None)
        self.waits.wait(wanted, DAYS_24_MS, lambda late: self.answers.setdefault(number, late))
        return number

    def show(self, name: str) -> None:
        topic = Topic(name, UUID(int=1), [], {})
        self.cache.put_topic(topic)
        self.cache.announce(TopicsChanged((topic,), ()))


def test_a_wait_ends_with_the_time_out_of_requests() -> None:
    waits = Waits()
    number = waits.wait("t")
    ((delay_s, over),) = waits.timers
    assert delay_s == 30
    over()
    assert waits.answers == {number: ["t"]}


def test_what_is_beyond_the_limits_is_late_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_waits, "WAITS_MAX", 2)
    monkeypatch.setattr(topic_waits, "WAITING_TOPICS_MAX", 3)
    waits = Waits()
    waits.wait("a", "b")
    assert waits.answers == {} and waits.answers.get(waits.wait("c", "d")) == ["c", "d"]
    waits.wait("c")
    assert waits.answers.get(waits.wait("e")) == ["e"] and len(waits.answers) == 2
    waits.show("c")
    waits.show("a")
    last = waits.wait("d", "e")
    assert waits.answers[2] == [] and last not in waits.answers, "their places are free"
    for _, over in (waits.timers[0], waits.timers[-1]):
        over()
    assert (waits.answers[0], waits.answers[last]) == (["b"], ["d", "e"])
    assert waits.wait("x", "y", "z") not in waits.answers
