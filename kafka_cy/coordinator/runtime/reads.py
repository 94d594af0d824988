"""Reads of several keys for one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.protocol.errors import ErrorCode

R = TypeVar("R")


def read_each(
    runtime: CoordinatorRuntime[Any],
    keys: Sequence[str],
    operation: Callable[[int, Any], R],
    respond: Callable[[list[tuple[ErrorCode, R | None]]], object],
) -> None:
    """CoordinatorRuntime.read() for several keys; `operation` gets the key's place, and the state.

    `respond` gets all results, in the keys' order.
    """
    results: dict[int, tuple[ErrorCode, R | None]] = {}

    def one(place: int, error: ErrorCode, response: R | None) -> None:
        results[place] = (error, response)
        if len(results) == len(keys):
            respond([results[each] for each in range(len(keys))])

    def each() -> Iterator[None]:
        for place, key in enumerate(keys):
            try:
                runtime.read(key, partial(operation, place), partial(one, place))
            except Exception as fault:  # noqa: BLE001 the other keys have their turn, and the request its response
                runtime.on_fault(fault)
                one(place, ErrorCode.UNKNOWN_SERVER_ERROR, None)
            yield

    if not keys:
        respond([])
    elif len(keys) > AT_ONCE_MAX:
        runtime.slices.add(each())
    else:
        for _ in each():
            pass
