"""Operations on one key are done in the order of their arrival, whatever they are and however long they take."""

from __future__ import annotations

import random
from collections.abc import Generator
from functools import partial
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.state_machine import GroupStateMachine
from kafka_cy.protocol.errors import ErrorCode

from .fakes import FakeCluster, Harness

STEPS = 3  # of a long operation


@pytest.fixture(autouse=True)
def one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step in each turn of the loop."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)


class Orders:
    """Operations with numbers on the keys of one partition, and the order in which they were done."""

    def __init__(self) -> None:
        self.harness = Harness(FakeCluster(1))
        self.runtime = self.harness.coordinator.runtime
        self.settle()
        self.done: list[Any] = []
        self.errors: list[ErrorCode] = []

    def turn(self) -> bool:
        loop = self.harness.loop
        if not loop.timers or loop.timers[0][0] > loop.time_s:
            return False
        loop.run_next()
        return True

    def settle(self) -> None:
        while self.turn():
            pass

    def until_busy(self, key: str) -> None:
        while self.runtime.busy_key != key:
            assert self.turn()

    def until_free(self) -> None:
        while self.runtime.busy_key is not None:
            assert self.turn()

    def operation(self, what: Any, state: Any) -> CoordinatorResult[bool]:
        self.done.append(what)
        return CoordinatorResult(response=True)

    def steps(self, what: Any, state: Any) -> Generator[object, None, CoordinatorResult[bool]]:
        for _ in range(STEPS):
            yield None
        return self.operation(what, state)

    def respond(self, error: ErrorCode, response: Any) -> None:
        self.errors.append(error)

    def write(self, key: str, what: Any) -> None:
        self.runtime.write(key, partial(self.operation, what), self.respond)

    def read(self, key: str, what: Any) -> None:
        self.runtime.read(key, lambda state: self.done.append(what), self.respond)

    def write_own(self, key: str, what: Any) -> None:
        self.runtime.write_own(key, partial(self.operation, what))

    def timer(self, key: str, what: Any) -> None:
        self.runtime.call_later(key, 0.0, self.done.append, what)

    def write_long(self, key: str, what: Any, prepared_steps: int | None = None) -> None:
        operation = partial(self.steps, what)
        if prepared_steps is None:
            self.runtime.write_long(key, operation, self.respond)
        else:
            self.runtime.write_long(key, operation, self.respond, range(prepared_steps))

    def own_long(self, key: str, what: Any) -> None:
        self.runtime.write_long(key, partial(self.steps, what))


def test_the_order_of_arrival_is_kept() -> None:
    orders = Orders()
    orders.write_long("g", 1)
    orders.write("g", 2)
    orders.read("g", 3)
    orders.write_own("g", 4)
    orders.write_long("g", 5)
    orders.write("g", 6)
    orders.until_free()
    orders.write("g", 7)
    orders.settle()
    assert orders.done == [1, 2, 3, 4, 5, 6, 7]
    orders.write("g", 8)
    assert orders.done[-1] == 8, "nobody waits any more"


def test_a_timer_waits_for_its_turn() -> None:
    """It is due when the long operation is over, and others still wait."""
    orders = Orders()
    orders.write_long("g", 1)
    for number in range(2, 6):
        orders.write("g", number)
    orders.until_free()
    orders.timer("g", 6)
    orders.settle()
    assert orders.done == [1, 2, 3, 4, 5, 6]


def test_a_timer_that_is_cancelled_while_it_waits_does_nothing() -> None:
    orders = Orders()
    orders.write_long("g", 1)
    timer = orders.runtime.call_later("g", 0.0, orders.done.append, "timer")
    while orders.harness.loop.timers and orders.done != [1]:
        if orders.runtime.busy_key == "g" and not any(each[2] is timer for each in orders.harness.loop.timers):
            timer.cancel()
        orders.turn()
    orders.settle()
    assert orders.done == [1]


def test_an_operation_that_waits_for_its_turn_is_not_overtaken() -> None:
    """A long operation on another key is under way."""
    orders = Orders()
    orders.write_long("other", 1)
    orders.until_busy("other")
    orders.write_long("g", 2)
    orders.write("g", 3)
    orders.write("third", 4)
    assert orders.done == [4], "other keys go on"
    orders.settle()
    assert orders.done == [4, 1, 2, 3]


def test_an_operation_that_is_prepared_is_not_overtaken() -> None:
    orders = Orders()
    orders.write_long("g", 1, prepared_steps=50)
    orders.write("g", 2)
    orders.write_long("other", 3)
    orders.settle()
    assert orders.done == [3, 1, 2], "others do not wait for it"


def test_a_fault_while_it_is_prepared_holds_nobody_up() -> None:
    def faulty() -> Generator[None, None, None]:
        yield
        raise RuntimeError("broken")

    orders = Orders()
    orders.runtime.write_long("g", partial(orders.steps, 1), orders.respond, faulty())
    orders.write("g", 2)
    orders.settle()
    assert orders.done == [1, 2]


def test_those_who_wait_do_not_starve() -> None:
    """Another long operation on the key follows each one."""
    orders = Orders()
    orders.write_long("g", 0)
    orders.write("g", "waits")
    for number in range(1, 5):
        orders.write_long("g", number)
    orders.until_free()
    orders.settle()
    assert orders.done == [0, "waits", 1, 2, 3, 4]


def test_the_line_gets_shorter_however_many_come() -> None:
    orders = Orders()
    orders.write_long("g", 0)
    for number in range(10):
        orders.write("g", number)
    orders.until_free()
    for number in range(10, 1000):
        orders.write("g", number)
        if orders.done[-1] == number:
            break
        assert orders.turn()
    assert orders.done[-1] < 30 and orders.done == [0, *range(orders.done[-1] + 1)]


def test_pieces_of_a_walk_are_done_in_small_steps() -> None:
    """A walk over all groups puts many pieces into the line at once; they are not done at once."""
    orders = Orders()
    orders.write_long("g", "long")
    orders.runtime.in_slices(range(3), lambda piece: [orders.write("g", (piece, number)) for number in range(50)])
    most = 0
    while True:
        before = len(orders.done)
        if not orders.turn():
            break
        most = max(most, len(orders.done) - before)
    assert most <= 2 and orders.done == ["long", *((piece, number) for piece in range(3) for number in range(50))]


def test_what_an_operation_begins_is_a_part_of_it() -> None:
    orders = Orders()

    def begins(state: Any) -> CoordinatorResult[bool]:
        return CoordinatorResult(response=True, apply=partial(orders.write, "g", "a part"))

    orders.write_long("g", 1)
    orders.runtime.write("g", begins)
    orders.write("g", 3)
    orders.settle()
    assert orders.done == [1, "a part", 3]


def test_work_of_the_coordinator_waits_behind_requests() -> None:
    orders = Orders()
    orders.write_long("other", 0)
    orders.until_busy("other")
    orders.own_long("g", "own")
    orders.write("g", 1)
    assert orders.done == [1], "requests do not wait for work whose turn has not come"
    orders.write_long("g", 2)
    orders.write("g", 3)
    orders.settle()
    assert orders.done == [1, 0, 2, 3, "own"]


def test_a_fault_in_one_that_waits_stops_no_other() -> None:
    orders = Orders()
    orders.write_long("g", 1)
    orders.runtime.read("g", lambda state: [][0], orders.respond)
    orders.write("g", 2)
    orders.settle()
    assert orders.done == [1, 2]


@pytest.mark.parametrize("is_long", [True, False])
def test_whether_an_operation_takes_long_is_asked_when_it_has_its_turn(*, is_long: bool) -> None:
    """What was done before may have changed the answer. It keeps its place."""
    orders = Orders()
    answers = [not is_long]
    orders.runtime.write_long("g", lambda state: orders.steps(1, state), lambda *_: answers.append(is_long))
    orders.runtime.write_either("g", partial(orders.steps, 2), orders.respond, lambda: answers[-1])
    orders.write("g", 3)
    while not orders.done:
        assert orders.turn()
    turns = 0
    while orders.done == [1]:
        assert orders.turn()
        turns += 1
    orders.settle()
    assert orders.done == [1, 2, 3] and (turns >= STEPS) == is_long
    orders.runtime.write_either("g", partial(orders.steps, 4), orders.respond, lambda: is_long)
    orders.write("g", 5)
    orders.settle()
    assert orders.done == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("seed", range(20))
def test_random_operations(seed: int) -> None:
    orders, chance = Orders(), random.Random(seed)
    expected: dict[str, list[tuple[str, int]]] = {key: [] for key in "abc"}
    for number in range(150):
        key = chance.choice("abc")
        kind = chance.choice(("write", "write", "read", "write_own", "write_long", "prepared", "either", "turn", "turn", "turn"))
        if kind == "turn":
            orders.turn()
            continue
        expected[key].append((key, number))
        if kind == "either":
            operation = partial(orders.steps, (key, number))
            orders.runtime.write_either(key, operation, orders.respond, lambda: chance.random() < 0.5)
        elif kind == "prepared":
            orders.write_long(key, (key, number), chance.randrange(10))
        else:
            getattr(orders, kind)(key, (key, number))
    orders.settle()
    assert {key: [each for each in orders.done if each[0] == key] for key in expected} == expected
    assert not any(orders.errors) and orders.runtime.busy_key is None
    for key in expected:
        orders.write(key, "free")
        assert orders.done[-1] == "free"
        orders.done.clear()


# -- a door that cannot be shut --


def failing_hold(monkeypatch: pytest.MonkeyPatch, orders: Orders, name: str) -> Any:
    """The group's door raises once when it is shut. Returns the group."""
    orders.harness.commit(group=name)
    group = orders.harness.group(name)
    faults = iter([RuntimeError("broken")])

    class Door:
        def shut(self) -> None:
            for fault in faults:
                raise fault

        def open(self, *arguments: Any) -> None:
            pass

        def remove(self) -> None:
            pass

    group.door = Door()
    assert group.holds == 0
    return group


def test_a_key_that_cannot_be_held_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for begin in (Orders.write, Orders.write_long, Orders.own_long):
        orders = Orders()
        group = failing_hold(monkeypatch, orders, "g")
        begin(orders, "g", 1)
        orders.write("g", 2)
        orders.settle()
        assert orders.done == [2] and orders.runtime.busy_key is None and group.holds == 0
        expected = [ErrorCode.NONE] if begin is Orders.own_long else [ErrorCode.UNKNOWN_SERVER_ERROR, ErrorCode.NONE]
        assert orders.errors == expected


def test_a_marker_whose_group_cannot_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the group has changed: the partition is loaded again."""
    orders = Orders()
    failing_hold(monkeypatch, orders, "g")
    shard = orders.runtime.shards[0]

    def steps(*_: Any) -> Generator[str | None, None, None]:
        yield "h"
        yield "g"
        yield "g"

    orders.harness.commit(group="h")
    found: list[ErrorCode] = []
    orders.runtime._long.apply(shard, steps(), 1, found.append, at_once=False)
    orders.write("h", 1)
    orders.settle()
    assert found == [ErrorCode.NOT_COORDINATOR]
    assert orders.runtime.shards[0] is not shard and orders.runtime.busy_key is None
    orders.write("g", 2)
    orders.write("h", 3)
    assert orders.done[-2:] == [2, 3]


def test_a_hold_that_fails_changes_nothing() -> None:
    orders = Orders()
    state: GroupStateMachine = orders.runtime.shards[0].state
    group = failing_hold(pytest.MonkeyPatch(), orders, "g")
    with pytest.raises(RuntimeError, match="broken"):
        state.hold("g")
    assert group.holds == 0


@pytest.mark.parametrize("waits", [False, True])
def test_a_fault_in_a_read_is_a_response(*, waits: bool) -> None:
    """Nobody else would answer the request."""
    orders = Orders()

    def look(state: GroupStateMachine) -> bool:
        raise RuntimeError("a fault")

    if waits:
        orders.runtime.write_long("g", partial(orders.steps, "long"), orders.respond)
    orders.runtime.read("g", look, orders.respond)
    orders.write("g", "next")
    orders.settle()
    assert orders.done == ["long"] * waits + ["next"]
    assert orders.errors == [ErrorCode.NONE] * waits + [ErrorCode.UNKNOWN_SERVER_ERROR, ErrorCode.NONE]
    assert not orders.runtime.is_busy("g")


def test_a_fault_before_an_operation_that_waited_is_a_response() -> None:
    """One in what tells whether it takes long: nobody else would answer the request."""
    orders = Orders()

    def is_long() -> bool:
        raise RuntimeError("a fault")

    orders.runtime.write_long("g", partial(orders.steps, "long"), orders.respond)
    orders.runtime.write_either("g", partial(orders.steps, "either"), orders.respond, is_long)
    orders.write("g", "next")
    orders.settle()
    assert orders.done == ["long", "next"]
    assert orders.errors == [ErrorCode.NONE, ErrorCode.UNKNOWN_SERVER_ERROR, ErrorCode.NONE]
    assert not orders.runtime.is_busy("g")
