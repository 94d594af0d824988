"""Reads of several keys for one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.protocol.errors import ErrorCode

R = TypeVar("R")
Result = tuple[ErrorCode, R | None]


def read_each(
    runtime: CoordinatorRuntime[Any],
    keys: Sequence[str],
    operation: Callable[[int, Any], R],
    respond: Callable[[list[Result[R]]], object],
) -> None:
    """CoordinatorRuntime.read() for several keys; `operation` gets the key's place, and the state.

    `respond` gets all results, in the keys' order.
    """

    def one(place: int, key: str, done: Callable[[Result[R]], object]) -> None:
        runtime.read(key, partial(operation, place), lambda error, response: done((error, response)))

    _each(runtime, keys, one, respond, at_once=len(keys) <= AT_ONCE_MAX)


def look_each(
    runtime: CoordinatorRuntime[Any],
    keys: Sequence[str],
    look: Callable[[str], Result[R]],
    respond: Callable[[list[Result[R]]], object],
) -> None:
    """CoordinatorRuntime.look_in_turn() for several keys, in slices; `respond` gets all results, in the keys' order."""

    def one(place: int, key: str, done: Callable[[Result[R]], object]) -> None:
        runtime.look_in_turn(key, lambda: done(guarded(key)))

    def guarded(key: str) -> Result[R]:
        try:
            return look(key)
        except Exception as fault:  # noqa: BLE001 the other keys have their turn, and the request its response
            runtime.on_fault(fault)
            return ErrorCode.UNKNOWN_SERVER_ERROR, None

    _each(runtime, keys, one, respond, at_once=False)


def _each(
    runtime: CoordinatorRuntime[Any],
    keys: Sequence[str],
    one: Callable[[int, str, Callable[[Result[R]], object]], object],  # gets place, key, and what takes the result
    respond: Callable[[list[Result[R]]], object],
    *,
    at_once: bool,
) -> None:
    results: dict[int, Result[R]] = {}

    def done(place: int, result: Result[R]) -> None:
        if place in results:
            return  # a fault in `respond` below
        results[place] = result
        if len(results) == len(keys):
            respond([results[each] for each in range(len(keys))])

    def steps() -> Iterator[None]:
        for place, key in enumerate(keys):
            try:
                one(place, key, partial(done, place))
            except Exception as fault:  # noqa: BLE001 the other keys have their turn, and the request its response
                runtime.on_fault(fault)
                done(place, (ErrorCode.UNKNOWN_SERVER_ERROR, None))
            yield

    if not keys:
        respond([])
    elif at_once:
        for _ in steps():
            pass
    else:
        runtime.slices.add(steps())
