"""Requests that wait for new topics are limited in number, and are answered after a failure, too."""

from __future__ import annotations

from collections import deque
from functools import partial
from types import SimpleNamespace
from typing import Any

from kafka_cy.server.topic_creations import WAITING_BYTES_MAX, WAITING_MAX, TopicCreations


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


def request(size: int = 0) -> Any:
    return SimpleNamespace(sender={}, body_size=size)


def test_the_bytes_of_requests_that_wait_are_limited() -> None:
    loop: Any = Loop()
    controller: Any = Loop()
    created: list[str] = []
    answered: list[int] = []

    def create(names: Any, sender: Any, done: Any) -> None:
        created.extend(names)
        done()

    creations = TopicCreations(loop, controller, create)
    creations.create(["alone"], request(WAITING_BYTES_MAX + 1), partial(answered.append, 0))
    creations.create(["second"], request(1), partial(answered.append, 1))
    assert answered == [1], "its topic is not created"
    controller.run()
    loop.run()
    for number in (2, 3, 4):
        creations.create([f"t{number}"], request(WAITING_BYTES_MAX // 2), partial(answered.append, number))
    assert answered == [1, 0, 4]
    controller.run()
    loop.run()
    assert (answered, created) == ([1, 0, 4, 2, 3], ["alone", "t2", "t3"])


def test_requests_that_wait_are_limited() -> None:
    loop: Any = Loop()
    controller: Any = Loop()
    created: list[str] = []
    answered: list[int] = []

    def create(names: Any, sender: Any, done: Any) -> None:
        created.extend(names)
        if len(created) % 2:
            raise OSError("the disk is full")
        done()

    creations = TopicCreations(loop, controller, create)
    for number in range(WAITING_MAX + 3):
        creations.create([f"t{number}"], request(), partial(answered.append, number))
    assert answered == [WAITING_MAX, WAITING_MAX + 1, WAITING_MAX + 2]
    assert len(controller.soon) == WAITING_MAX
    controller.run()
    loop.run()
    assert sorted(answered) == list(range(WAITING_MAX + 3))
    assert created == [f"t{number}" for number in range(WAITING_MAX)]
    creations.create(["late"], request(), partial(answered.append, -1))
    controller.run()
    loop.run()
    assert created[-1] == "late" and answered[-1] == -1
