"""Controlled shutdown: before a member stops, the controller moves its leaders and takes it out of the ISRs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.protocol.controller_messages import controlled_shutdown
from kafka_cy.protocol.controller_messages.controlled_shutdown import (
    ControlledShutdownRequest,
    ControlledShutdownResponse,
)
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.server.controller_transport import ControllerChannel
    from kafka_cy.server.log import BrokerLog


class Leaving:
    """Owner: the controller's thread."""

    def __init__(
        self,
        channel: ControllerChannel,
        request: Callable[[], ControlledShutdownRequest],
        call_later: Callable[[float, Callable[[], object]], Any],
        log: BrokerLog,
        *,
        retries: int,
        backoff_ms: int,
        timeout_ms: int,
        done: Callable[[], object],
    ) -> None:
        """`done` is called once, also when the controller did not do what it was asked for.

        `timeout_ms`: for each answer. A controller that has lost ZooKeeper does not answer, and this broker may be that one.
        """
        self._channel, self._request, self._call_later, self._log = channel, request, call_later, log
        self._left, self._backoff_ms, self._timeout_ms, self._done = retries, backoff_ms, timeout_ms, done
        self._asked: object = None  # the question that waits for its answer

    def start(self) -> None:
        """Ask the controller."""
        asked = self._asked = object()
        answered = partial(self._answered, asked)
        self._call_later(self._timeout_ms, partial(answered, None))
        self._channel.send(controlled_shutdown, self._request(), ControlledShutdownResponse, answered)

    def _answered(self, asked: object, response: ControlledShutdownResponse | None) -> None:
        if asked is not self._asked:
            return  # it was in time, or it is too late
        self._asked = None
        if response is not None and response.error_code == 0 and not response.remaining_partitions:
            self._log.info("the controller has moved what this broker led")
            self._done()
            return
        if response is None:
            why = "it does not answer"
        elif response.error_code:
            why = ErrorCode(response.error_code).name
        else:
            why = f"this broker still leads {len(response.remaining_partitions)} partitions"
        if self._left == 0:
            self._log.warning("the controller has not moved what this broker led: it stops all the same", reason=why)
            self._done()
            return
        self._left -= 1
        self._log.info("the controller has not moved everything that this broker led: it is asked again", reason=why)
        self._call_later(self._backoff_ms, self.start)
