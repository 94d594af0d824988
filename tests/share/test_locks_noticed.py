"""Reactors tell the coordinator of locks for which nobody looks: it takes a few share partitions at a time, in their order."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.share import share_partitions
from kafka_cy.share.in_flight import InFlight, take_noticed
from kafka_cy.share.share_partitions import SharePartitions
from tests.coordinator.fakes import FakeLoop

COUNT = 25
AT_ONCE = 10


@pytest.fixture(autouse=True)
def nothing_noticed() -> Iterator[None]:
    """Neither by earlier tests nor for later ones."""
    take_noticed(1_000_000)
    yield
    take_noticed(1_000_000)


def notice(count: int) -> list[InFlight]:
    made = [InFlight(0) for _ in range(count)]
    assert [each.notice(100.0 + place) for place, each in enumerate(made)] == [True] + [False] * (count - 1), "one wake"
    return made


def test_those_that_wait_longest_come_first() -> None:
    made = notice(COUNT)
    expected = [(each.number, 100.0 + place) for place, each in enumerate(made)]
    assert take_noticed(AT_ONCE) == (expected[:AT_ONCE], True)
    assert not made[0].notice(50.0), "some are left: the coordinator comes back without a wake"
    assert take_noticed(COUNT) == ([*expected[AT_ONCE:], (made[0].number, 50.0)], False)
    assert made[0].notice(1.0)


def test_the_earliest_lock_counts() -> None:
    (one,) = notice(1)
    for due_s in (120.0, 90.0, 95.0):
        assert not one.notice(due_s)
    assert take_noticed(AT_ONCE) == ([(one.number, 90.0)], False)
    one.await_expiry(80.0)
    assert not one.notice(85.0) and take_noticed(AT_ONCE) == ([], False), "somebody looks before"


def test_the_loop_comes_back_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_partitions, "LOCKS_AT_ONCE", AT_ONCE)
    loop = FakeLoop()
    no_coordinator: Any = None
    partitions = SharePartitions(SimpleNamespace(), no_coordinator, loop, no_coordinator)
    made = notice(COUNT)
    looked: list[int] = []
    for each in made:
        locked = SimpleNamespace(locked=lambda due_s, number=each.number: looked.append(number))
        partitions._by_number[each.number] = locked  # type: ignore[assignment]
    partitions.look_at_locks()
    assert looked == [each.number for each in made[:AT_ONCE]]
    partitions.look_at_locks()
    assert len(looked) == 2 * AT_ONCE and len(loop.timers) == 1, "one timer, however often the loop looks"
    loop.run_next()
    assert looked == [each.number for each in made] and not loop.timers
