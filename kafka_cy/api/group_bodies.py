"""Bodies of requests for groups that may be large: they are read on another thread, so that other groups do not wait."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kafka_cy.api.change_pieces import guarded
from kafka_cy.base.slices import in_work

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups

BODY_BYTES_FEW: Final = 8192  # encoded; it takes about a millisecond to read a larger one
R = TypeVar("R")


def read_body(request: Request[Any], context: UsesGroups, read: Callable[[], R], then: Callable[[R], object]) -> None:
    """Call `then` with what `read` makes of the body, now or later. A fault in either ends the request."""

    def steps() -> Generator[object, None, None]:
        then((yield from in_work(read)))

    if request.body_size <= BODY_BYTES_FEW:
        then(read())
    else:
        context.groups.in_slices(guarded(request, steps()), lambda: None)
