"""Requests between the controller and the brokers of a cluster; those to this broker itself stay in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from kafka_cy.protocol.controller_messages import leader_and_isr, stop_replica, update_metadata
from kafka_cy.protocol.decoder import MalformedRequest
from kafka_cy.server.broker_caller import Api, BrokerCaller, Call

if TYPE_CHECKING:
    from kafka_cy.cluster.member_cache import MemberCache
    from kafka_cy.controller.context import Broker

TO_BROKERS: dict[int, Api] = {each.API_KEY: each for each in (leader_and_isr, stop_replica, update_metadata)}
Post = Callable[..., object]


class Receiver(Protocol):
    """The broker's side of the controller's requests."""

    def receive(self, api_key: int, version: int, body: bytes, done: Callable[[bytes | None], object]) -> None:
        """Handle a request of the controller; `done` gets the body of the response, on any thread."""


class ControllerTransport:
    """See controller.settings.Transport. A thread for each broker that the controller sends to. Owner: the controller's thread."""

    def __init__(
        self,
        broker_id: int,
        listener: str,
        receiver: Receiver,
        post: Post,
        timeout_ms: int,
        repeated: Callable[..., object],
        encryption: Any = None,
    ) -> None:
        """`listener`: the one on which brokers take the controller's requests; `encryption`: that of connections to it.

        `repeated(level, text, details, broker)`: see BrokerLog; any thread.
        """
        self._broker_id, self._listener, self._receiver = broker_id, listener, receiver
        self._post, self._timeout_ms = post, timeout_ms
        self._repeated, self._encryption = repeated, encryption
        self._callers: dict[int, BrokerCaller] = {}
        self._closing: list[BrokerCaller] = []

    def send(
        self, broker: Broker, api_key: int, version: int, body: bytes, done: Callable[[bytes | None], object]
    ) -> None:
        """See Transport."""
        if broker.id == self._broker_id:
            self._post(self._receiver.receive, api_key, version, body, partial(self._post, done))
            return
        endpoint = broker.endpoint(self._listener)
        if endpoint is None:
            self._post(done, None)
            return
        caller = self._callers.get(broker.id)
        if caller is None:
            caller = BrokerCaller(
                f"to-broker-{broker.id}", str(self._broker_id), self._timeout_ms, partial(self._failed, broker.id),
                self._encryption,
            )  # fmt: skip
            self._callers[broker.id] = caller

        def answered(answer: tuple[int, bytes] | None) -> None:
            self._post(done, None if answer is None else answer[1])

        try:
            caller.call(Call(endpoint.host, endpoint.port, TO_BROKERS[api_key], version, lambda _: body, answered))
        except RuntimeError:  # the process may have no more threads: the channel tries again
            self._post(done, None)

    def _failed(self, broker_id: int, why: str) -> None:
        """Any thread."""
        text = f"a request of the controller to a broker failed; it is tried again: {why}"
        self._repeated("warning", text, {"broker": broker_id}, str(broker_id))

    def disconnect(self, broker_id: int) -> None:
        """See Transport."""
        caller = self._callers.pop(broker_id, None)
        if caller is not None:
            caller.close()
            self._closing = [each for each in self._closing if not each.has_ended] + [caller]

    def close(self) -> None:
        """End all threads. The controller's loop has ended."""
        for broker_id in list(self._callers):
            self.disconnect(broker_id)
        for caller in self._closing:
            caller.join()


class ControllerChannel:
    """What this broker asks the controller, wherever that is. Owner: the controller's thread.

    Limit: its users have one request of each kind in flight.
    """

    def __init__(
        self,
        broker_id: int,
        listener: str,
        cache: MemberCache,
        local: Callable[[Api, Any, Callable[[Any], object]], object],
        post: Post,
        timeout_ms: int,
        repeated: Callable[..., object],
        encryption: Any = None,
    ) -> None:
        """`local(api, request, done)`: this broker is the controller, as far as it was told. The rest: see ControllerTransport."""
        self._broker_id, self._listener, self._cache, self._local, self._post = broker_id, listener, cache, local, post
        self._repeated = repeated
        self._caller = BrokerCaller("to-controller", str(broker_id), timeout_ms, self._failed, encryption)

    def send(
        self, api: Any, request: Any, response: Any, done: Callable[[Any], object], newest: int | None = None
    ) -> None:
        """Call `done` with the response (of the class `response`), or None where there is none; later, on this thread.

        `newest`: the version that is sent at most.
        """
        controller_id = self._cache.controller_id
        if controller_id == self._broker_id:
            self._post(self._local, api, request, done)
            return
        address = self._cache.endpoint(controller_id, self._listener)
        if address is None:
            self._post(done, None)
            return

        def answered(answer: tuple[int, bytes] | None) -> None:
            self._post(self._answered, response, answer, done)

        try:
            self._caller.call(Call(*address, api, None, request.encode, answered, newest=newest))
        except RuntimeError:
            self._post(done, None)

    def _answered(self, response: Any, answer: tuple[int, bytes] | None, done: Callable[[Any], object]) -> None:
        found = None
        if answer is not None:
            try:
                found = response.decode(*answer)
            except MalformedRequest as error:
                self._failed(f"malformed response: {error}")
        done(found)

    def _failed(self, why: str) -> None:
        """Any thread."""
        self._repeated("warning", f"the controller cannot be asked; this is tried again: {why}", {}, "controller")

    def close(self) -> None:
        """End the thread."""
        self._caller.close()
        self._caller.join()
