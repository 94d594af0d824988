"""Controlled shutdown: the broker's side ends whatever the controller does."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.protocol.controller_messages.controlled_shutdown import ControlledShutdownResponse, RemainingPartition
from kafka_cy.server.leaving import Leaving

RETRIES, BACKOFF_MS, TIMEOUT_MS = 3, 50, 1000
MOVED = ControlledShutdownResponse(0, ())
Answer = Callable[[ControlledShutdownResponse | None], object]


class Leaver:
    """A broker that leaves, with a clock that the test moves."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.timers: list[tuple[float, Callable[[], object]]] = []
        self.answers: list[Answer] = []
        self.ended = 0
        channel: Any = SimpleNamespace(send=lambda api, request, response, done: self.answers.append(done))
        log: Any = SimpleNamespace(info=lambda *_, **__: None, warning=lambda *_, **__: None)
        self.leaving = Leaving(
            channel, lambda: None, self.call_later, log,  # type: ignore[arg-type, return-value]
            retries=RETRIES, backoff_ms=BACKOFF_MS, timeout_ms=TIMEOUT_MS, done=self.end,
        )  # fmt: skip
        self.leaving.start()

    def call_later(self, delay_ms: float, function: Callable[[], object]) -> None:
        self.timers.append((self.now_ms + delay_ms, function))

    def end(self) -> None:
        self.ended += 1

    def run_timers(self, until_ms: float) -> None:
        while due := [timer for timer in self.timers if timer[0] <= until_ms]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now_ms = first[0]
            first[1]()


def test_it_ends_when_the_controller_never_answers() -> None:
    """As when ZooKeeper is gone, and this broker is the controller."""
    leaver = Leaver()
    all_ms = (RETRIES + 1) * TIMEOUT_MS + RETRIES * BACKOFF_MS
    leaver.run_timers(all_ms - 1)
    assert (leaver.ended, len(leaver.answers)) == (0, RETRIES + 1)
    leaver.run_timers(all_ms)
    for answer in leaver.answers:
        answer(MOVED)  # too late
    leaver.run_timers(10 * all_ms)
    assert (leaver.ended, len(leaver.answers)) == (1, RETRIES + 1)


def test_an_answer_in_time_is_the_only_one() -> None:
    leaver = Leaver()
    leaver.answers[0](MOVED)
    leaver.run_timers(100 * TIMEOUT_MS)
    assert (leaver.ended, len(leaver.answers)) == (1, 1)


@pytest.mark.parametrize("answer", [None, ControlledShutdownResponse(0, (RemainingPartition("t", 0),))])
def test_it_asks_again_after_the_backoff(answer: ControlledShutdownResponse | None) -> None:
    leaver = Leaver()
    leaver.answers[0](answer)
    leaver.run_timers(BACKOFF_MS - 1)
    assert len(leaver.answers) == 1
    leaver.run_timers(BACKOFF_MS)
    assert (leaver.ended, len(leaver.answers)) == (0, 2)
    leaver.answers[1](MOVED)
    assert leaver.ended == 1
