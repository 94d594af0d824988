"""One event at a time, whatever each of them waits for."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from kafka_cy.controller.events import Answer, EventQueue


class Queue:
    def __init__(self) -> None:
        self.failed: list[tuple[str, str]] = []
        self.timed: list[tuple[str, float, float]] = []
        self.now_ms = 0.0
        self.order: list[str] = []
        self.queue = EventQueue(
            lambda: self.now_ms,
            lambda name, error: self.failed.append((name, repr(error))),
            lambda *times: self.timed.append(times),
        )

    def event(self, name: str, *answers: Answer[Any]) -> None:
        async def run() -> None:
            self.order.append(f"{name} begins")
            for answer in answers:
                self.order.append(f"{name} has {await answer}")
            self.order.append(f"{name} ends")

        self.queue.put(name, run)


def test_an_event_begins_when_the_one_before_has_ended() -> None:
    made, first, second = Queue(), Answer[int](), Answer[int]()
    made.event("a", first, second)
    made.event("b")
    assert made.order == ["a begins"] and not made.queue.is_idle
    made.now_ms = 5.0
    first.set(1)
    assert made.order[1:] == ["a has 1"]
    made.now_ms = 7.0
    second.set(2)
    assert made.order[2:] == ["a has 2", "a ends", "b begins", "b ends"]
    assert made.timed == [("a", 0.0, 7.0), ("b", 7.0, 0.0)] and made.queue.is_idle


def test_answers_that_are_there_need_no_wait_and_no_stack() -> None:
    made = Queue()
    answers = [Answer[int]() for _ in range(5000)]
    for answer in answers:
        answer.set(0)
    made.event("a", *answers)
    for number in range(3000):
        made.event(str(number))
    assert made.queue.is_idle and made.order[-1] == "2999 ends"


def test_an_event_that_raises_does_not_stop_the_next() -> None:
    made, answer = Queue(), Answer[int]()
    made.event("a", answer)
    made.event("b")
    answer.fail(ValueError("no"))
    assert made.failed == [("a", "ValueError('no')")] and made.order[-1] == "b ends"


def test_abandoned_events_never_go_on() -> None:
    made, answer = Queue(), Answer[int]()
    made.event("a", answer)
    made.event("b")
    made.queue.abandon()
    assert made.queue.is_idle
    answer.set(1)
    made.event("c")
    assert made.order == ["a begins", "c begins", "c ends"] and made.failed == []


def test_an_event_that_abandons_the_others_ends_by_itself() -> None:
    made = Queue()

    async def resign() -> None:
        made.queue.abandon()

    async def put_and_resign() -> None:
        made.event("b")
        await resign()

    made.queue.put("a", put_and_resign)
    assert made.order == [] and made.queue.is_idle


def test_an_answer_comes_once() -> None:
    answer = Answer[int]()
    answer.set(1)
    with pytest.raises(RuntimeError, match="answered twice"):
        answer.set(2)


def test_an_event_put_by_an_event_runs_after_it() -> None:
    made = Queue()

    def inner() -> Coroutine[Any, Any, None]:
        async def run() -> None:
            made.event("later")
            made.order.append("inner ends")

        return run()

    made.queue.put("inner", inner)
    assert made.order == ["inner ends", "later begins", "later ends"]
