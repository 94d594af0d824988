"""The deadlines of a reactor, against a table of deadlines."""

from __future__ import annotations

import random

import pytest

from kafka_cy.network.timer_wheel_probe import TimerWheelProbe

TICK_NS = 1_000_000
TURN_NS = 1024 * TICK_NS
TIMERS = 60


def expired(wheel: TimerWheelProbe, now_ns: int) -> list[int]:
    found = []
    while (number := wheel.expire(now_ns)) is not None:
        found.append(number)
    return found


def test_timers_of_later_turns_are_looked_at_once() -> None:
    """They share the slot, and one client can have many of them: 20 s of throttling, a fetch that waits for minutes."""
    wheel = TimerWheelProbe(10, 0)
    for number in range(5):
        wheel.set(number, 7 * TICK_NS)
        wheel.set(5 + number, 7 * TICK_NS + TURN_NS)
    found = {wheel.expire(7 * TICK_NS)}
    for number in range(5, 10):
        wheel.hide_deadline(number)
    found.update(expired(wheel, 7 * TICK_NS))
    assert found == set(range(5)) and wheel.count == 5
    assert sorted(expired(wheel, 7 * TICK_NS + TURN_NS)) == list(range(5, 10))


def test_a_timer_that_is_due_may_be_cancelled_or_set_again() -> None:
    """By the owner of one that fires before it."""
    wheel = TimerWheelProbe(3, 0)
    for number in range(3):
        wheel.set(number, TICK_NS)
    first = wheel.expire(TICK_NS)
    second, third = (number for number in range(3) if number != first)
    assert wheel.timeout_ms(TICK_NS) == 0
    wheel.cancel(second)
    wheel.cancel(third)
    assert wheel.timeout_ms(TICK_NS) == -1
    wheel.set(third, 3 * TICK_NS)
    assert expired(wheel, TICK_NS) == [] and wheel.timeout_ms(TICK_NS) == 2
    assert expired(wheel, 3 * TICK_NS) == [third]


@pytest.mark.parametrize("seed", range(20))
def test_no_timer_fires_early_or_more_than_a_tick_late(seed: int) -> None:
    chosen = random.Random(seed)
    now = chosen.randrange(1 << 40)
    wheel = TimerWheelProbe(TIMERS, now)
    deadlines: dict[int, int] = {}

    def change() -> None:
        number = chosen.randrange(TIMERS)
        if deadlines.pop(number, None) is not None:
            wheel.cancel(number)
        if chosen.random() < 0.8:
            deadlines[number] = now + chosen.choice(
                [
                    0,
                    -5,
                    TICK_NS,
                    3 * TICK_NS + 7,
                    TURN_NS,
                    TURN_NS - TICK_NS,
                    3 * TURN_NS,
                    chosen.randrange(4 * TURN_NS),
                ]
            )
            wheel.set(number, deadlines[number])

    for _ in range(2000):
        for _ in range(chosen.randrange(4)):
            change()
        now += chosen.choice([0, 1, 300_000, TICK_NS, TICK_NS, 20 * TICK_NS, chosen.randrange(2 * TURN_NS)])
        while (number := wheel.expire(now)) is not None:
            assert deadlines.pop(number) <= now
            if chosen.random() < 0.3:
                change()  # what fires may set others
        assert all(each > now - TICK_NS for each in deadlines.values())
        assert wheel.count == len(deadlines)
        waiting = wheel.timeout_ms(now)
        if not deadlines:
            assert waiting == -1
        else:
            assert 0 <= waiting * TICK_NS <= max(0, min(deadlines.values()) - now) + 2 * TICK_NS  # both are rounded up
