"""Requests that wait for ZooKeeper, or for the controller of a cluster: how much they keep, and how long their clients wait.

They wait without their turn, and without their body. A place among those of all clients (server/client_requests) counts what they
keep. A client that has its answer, REQUEST_TIMED_OUT, has changed what ZooKeeper takes later nevertheless.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Make, Request
    from kafka_cy.api.roles import MayWait
    from kafka_cy.server.client_requests import Place

ROWS_AT_ONCE: Final = 300  # of a response: it takes about a millisecond to make and encode more
ROW_BYTES: Final = 200  # of an answer that is as long as it has rows, until another thread makes the response
TEXT_SIZE_MAX: Final = 4  # bytes of memory for each byte of text in a request
LATE: Final[Mapping[str, Any]] = {"error_code": ErrorCode.REQUEST_TIMED_OUT, "error_message": None}


class WaitingRequest:
    """Owner: the controller's thread. Limit: that of ClientRequests; a broker by itself has no place."""

    def __init__(
        self, request: Request[Any], context: MayWait, *, size: int, rows: int, late: Make, timeout_ms: float = 0.0
    ) -> None:
        """`size`: bytes that are kept without the request. `late`: the response after the time-out, of so many rows.

        `timeout_ms`: 0 or less, the broker's request.timeout.ms, for requests that have none.
        """
        self._request, self._context, self._rows, self._late = request, context, rows, late
        self._turn = request.turn
        self.timeout_ms = timeout_ms
        self.place: Place | None = None
        self.is_refused = False  # there is no place: nothing is changed, and the response is `late`
        if context.member is None:
            return
        self.place = context.member.requests.begin(size, timeout_ms, request.guarded(self.refuse))
        if self.place is None:
            self.is_refused = True
            log_refusal(request, context)
        else:
            request.end_turn()

    def refuse(self) -> None:
        """Respond with `late`."""
        self.respond(self._late, self._rows)

    def respond(self, make: Make, rows: int, begun: Callable[[], object] = lambda: None) -> None:
        """Respond with so many rows; another thread makes many of them. `begun`: their limit is another one from now on."""

        def prepare(ready: Callable[[Make], object]) -> None:
            begun()
            ready(make)

        if self._turn is not None:
            prepare(partial(self._turn.build, self._request))
        elif rows <= ROWS_AT_ONCE:
            prepare(lambda made: self._request.respond(made()))
        else:
            self._request.respond_long(prepare)
            if self._request.responded:
                begun()  # it was closed instead, because too many wait for their turn

    def guarded(self, function: Callable[..., object]) -> Callable[..., None]:
        """`function`; a fault in it ends the request, and its place, for nothing else may end it any more."""

        def call(*arguments: Any) -> None:
            try:
                function(*arguments)
            except Exception:
                self._end()
                raise

        return self._request.guarded(call)

    def finish(self, make: Make, rows: int, *, counted: bool = True) -> None:
        """Everything is done: respond, if the client still waits, and end the place.

        `counted`: `size` has counted the rows already.
        """
        if self.place is not None:
            self.place.answered()
            if self.place.is_over:
                self._end()
                return
            if not counted and not self.place.keep(ROW_BYTES * rows):
                log_refusal(self._request, self._context)
                make, rows = self._late, self._rows
        self.respond(make, rows, self._end)

    def close(self, reason: str) -> None:
        """Close the connection, if the client still waits, and end the place."""
        is_over = self.place is not None and self.place.is_over
        self._end()
        if not is_over:
            self._request.close(reason)

    def _end(self) -> None:
        if self.place is not None:
            self.place.end()


def log_refusal(request: Request[Any], context: MayWait) -> None:
    """A request is refused."""
    assert context.member is not None
    waiting = context.member.requests
    details = {"requests": waiting.count, "bytes": waiting.bytes, **request.sender}
    context.log.repeated("warning", "too many requests of clients wait for the controller: others are refused", details)
