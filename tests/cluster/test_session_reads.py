"""Reading everything: once at a time, and again whenever something may have been missed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from kafka_cy.cluster.session_reads import SessionReads
from kafka_cy.cluster.store import NoAuthError, SessionEvent, SessionExpired
from kafka_cy.cluster.store_calls import Answer, StoreCalls


class World:
    """SessionReads whose reads end when the test says so."""

    def __init__(self) -> None:
        self.open: list[Answer[Exception | None]] = []
        self.later: list[Callable[[], object]] = []
        self.faults: list[Exception] = []
        self.listeners: list[Callable[[SessionEvent], object]] = []
        store: Any = SimpleNamespace(listen=self.listeners.append, session_id=1)
        self.reads = SessionReads(store, self.steps, lambda delay_ms, function: self.later.append(function), self.faults.append)

    async def steps(self, calls: StoreCalls) -> None:
        answer: Answer[Exception | None] = Answer()
        self.open.append(answer)
        fault = await answer
        if fault is not None:
            raise fault

    def end(self, fault: Exception | None = None) -> None:
        self.open.pop(0).set(fault)


def test_what_changes_while_everything_is_read_has_it_read_once_more() -> None:
    world = World()
    world.reads.start()
    for _ in range(3):
        world.reads.read_all()
    assert len(world.open) == 1
    world.end()
    assert len(world.open) == 1 and world.reads.is_current
    world.end()
    assert world.open == []


def test_a_new_session_has_everything_read_though_the_read_of_the_last_one_goes_on() -> None:
    """It waits, and finds out later that its session has ended."""
    world = World()
    world.reads.start()
    for event in (SessionEvent.EXPIRED, SessionEvent.CONNECTED):
        world.listeners[0](event)
    world.end(SessionExpired("the session has ended"))
    assert len(world.open) == 1 and world.reads.fault is None and world.faults == []
    world.end()
    assert world.reads.is_current and world.open == []


def test_a_fault_is_kept_until_everything_was_read() -> None:
    world = World()
    world.reads.start()
    world.reads.read_all()
    world.end(NoAuthError("/config"))
    assert isinstance(world.reads.fault, NoAuthError) and world.faults == [world.reads.fault]
    assert world.open == [] and not world.reads.is_current
    world.later.pop()()
    world.end()
    assert world.reads.fault is None and world.reads.is_current


def test_changes_that_are_missed_again_and_again_have_everything_read_once_in_a_while() -> None:
    """Whoever may delete notifications would keep ZooKeeper and the control plane busy."""
    world, reads = World(), 0
    for _ in range(3):
        for _ in range(10):
            world.reads.missed()
            while world.open:
                reads += 1
                world.end()
        assert len(world.later) == 1
        world.later.pop()()
        while world.open:
            reads += 1
            world.end()
    assert reads == 4, "the first at once, and one after each pause"
    world.later.pop()()
    assert world.later == world.open == []
    world.reads.missed()
    assert len(world.open) == 1
