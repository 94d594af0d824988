"""Requests that wait for new topics are limited in number, and are answered after a failure, too."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from kafka_cy.server.topic_creations import WAITING_MAX, TopicCreations


class Loop:
    """A loop that the test runs."""

    def __init__(self) -> None:
        self.soon: deque[Any] = deque()

    def call_soon_threadsafe(self, function: Any, *arguments: Any) -> None:
        self.soon.append(partial(function, *arguments))

    def run(self) -> None:
        while self.soon:
            try:
                self.soon.popleft()()
            except OSError:
                pass


def test_requests_that_wait_are_limited() -> None:
    loop: Any = Loop()
    controller: Any = Loop()
    created: list[str] = []
    answered: list[int] = []

    def create(names: Any, sender: Any) -> None:
        created.extend(names)
        if len(created) % 2:
            raise OSError("the disk is full")

    creations = TopicCreations(loop, controller, create)
    for number in range(WAITING_MAX + 3):
        creations.create([f"t{number}"], {}, partial(answered.append, number))
    assert answered == [WAITING_MAX, WAITING_MAX + 1, WAITING_MAX + 2]
    assert len(controller.soon) == WAITING_MAX
    controller.run()
    loop.run()
    assert sorted(answered) == list(range(WAITING_MAX + 3))
    assert created == [f"t{number}" for number in range(WAITING_MAX)]
    creations.create(["late"], {}, partial(answered.append, -1))
    controller.run()
    loop.run()
    assert created[-1] == "late" and answered[-1] == -1
