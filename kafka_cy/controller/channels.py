"""The requests to each broker: in order, one in flight, repeated until the broker answers or is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from kafka_cy.controller.context import Broker
from kafka_cy.controller.settings import REQUEST_RETRY_MS, Surroundings, Timer
from kafka_cy.protocol.decoder import MalformedRequest

QUEUED_BYTES_MAX = 64 << 20  # for each broker, if more than these requests wait:
WHOLE_STATE_REQUESTS = 8  # so many that the whole state always has room


class ControlRequest(NamedTuple):
    """One request; `answered` gets the body of the response."""

    api_key: int
    version: int
    body: bytes
    answered: Callable[[bytes], object]


class _Channel:
    """The requests to one registration of a broker."""

    def __init__(self, broker: Broker, around: Surroundings, too_many: Callable[[int], object]) -> None:
        self.broker = broker
        self._around = around
        self._too_many = too_many
        self._queue: deque[ControlRequest] = deque()
        self._queued_bytes = 0
        self._timer: Timer | None = None
        self._in_flight = False
        self._open = True
        self._failures = 0
        self._is_stale = False  # requests were forgotten, and the whole state is not sent yet

    @property
    def size(self) -> int:
        """How many requests wait or are in flight."""
        return len(self._queue)

    def put(self, request: ControlRequest) -> None:
        if self._is_stale:
            return  # what it says is part of the whole state
        self._queue.append(request)
        self._queued_bytes += len(request.body)
        if self._queued_bytes > QUEUED_BYTES_MAX and len(self._queue) > WHOLE_STATE_REQUESTS:
            self._drop()
            return
        self._send()

    def _drop(self) -> None:
        """Forget what waits but for the first. When that is answered, the broker gets the whole state."""
        self._queue = deque([self._queue[0]])
        self._queued_bytes = len(self._queue[0].body)
        self._is_stale = True
        self._around.warning(
            f"broker {self.broker.id} does not answer: more than {QUEUED_BYTES_MAX >> 20} MiB of requests wait; it will"
            " get the whole state instead"
        )

    def close(self) -> None:
        self._open = False
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._around.transport.disconnect(self.broker.id)

    def _send(self) -> None:
        if self._in_flight or self._timer is not None or not self._queue:
            return
        request = self._queue[0]
        self._in_flight = True
        self._around.transport.send(
            self.broker, request.api_key, request.version, request.body, lambda body: self._answered(request, body)
        )

    def _answered(self, request: ControlRequest, body: bytes | None) -> None:
        if not self._open:
            return
        self._in_flight = False
        if body is None:
            if self._failures == 0:
                self._around.warning(f"broker {self.broker.id} cannot be reached; its requests are repeated")
            self._failures += 1
            self._timer = self._around.call_later(REQUEST_RETRY_MS, self._again)
            return
        if self._failures:
            self._around.info(f"broker {self.broker.id} answers again")
            self._failures = 0
        self._queue.popleft()
        self._queued_bytes -= len(request.body)
        try:
            request.answered(body)
        except MalformedRequest as error:
            self._around.warning(f"broker {self.broker.id} answers what cannot be understood: {error}")
        finally:  # the other requests go on, whatever it has answered
            if self._is_stale:
                self._is_stale = False
                self._too_many(self.broker.id)
            self._send()

    def _again(self) -> None:
        self._timer = None
        self._send()


class Channels:
    """Owner: the controller's thread. Lifetime: one term. Limit: QUEUED_BYTES_MAX for each broker."""

    def __init__(self, around: Surroundings, too_many: Callable[[int], object]) -> None:
        """`too_many(broker id)`: requests of a broker were forgotten, because they were too many; it answers again now."""
        self._around = around
        self._too_many = too_many
        self._channels: dict[int, _Channel] = {}

    @property
    def sizes(self) -> dict[int, int]:
        """How many requests wait for each broker."""
        return {broker_id: channel.size for broker_id, channel in self._channels.items()}

    def add(self, broker: Broker) -> None:
        """A broker registered."""
        self.remove(broker.id)
        self._channels[broker.id] = _Channel(broker, self._around, self._too_many)

    def replace(self, broker: Broker) -> None:
        """The registration has other endpoints: requests that wait go there."""
        channel = self._channels.get(broker.id)
        if channel is not None:
            channel.broker = broker

    def remove(self, broker_id: int) -> None:
        """A broker's registration ended: its requests are forgotten."""
        channel = self._channels.pop(broker_id, None)
        if channel is not None:
            channel.close()

    def put(self, broker_id: int, request: ControlRequest) -> None:
        """Send a request after those that wait; it is dropped if the broker is not registered."""
        channel = self._channels.get(broker_id)
        if channel is not None:
            channel.put(request)

    def close(self) -> None:
        """The term has ended: nothing more is sent."""
        for broker_id in list(self._channels):
            self.remove(broker_id)
