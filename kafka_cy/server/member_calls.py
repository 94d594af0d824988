"""Requests of a member's transaction coordinator, and of its leaders of partitions, to other brokers: a thread for each broker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.coordinator.transactions.broker_calls import UNSUPPORTED
from kafka_cy.protocol.broker_messages import write_txn_markers
from kafka_cy.protocol.decoder import MalformedRequest
from kafka_cy.server.broker_caller import BrokerCaller, Call

if TYPE_CHECKING:
    from kafka_cy.cluster.member_cache import MemberCache
    from kafka_cy.server.broker import KafkaServer

RETRY_S = 0.1  # after a request that got no response


class MemberCalls:
    """See coordinator.transactions.broker_calls. Limit: two threads for each broker that was ever asked.

    Markers and questions have threads of their own, so that one does not wait for the other.
    """

    def __init__(self, broker: KafkaServer, cache: MemberCache) -> None:
        self._config, self._log, self._loop = broker.config, broker.log, broker.coordinator_loop
        self._cache = cache
        self._callers: dict[tuple[int, int], BrokerCaller] = {}  # by broker and API key
        self._encryption = broker.transport_to(broker.config.inter_broker_listener_name)

    def send(
        self, broker_id: int, api: Any, version: int | None, request: Any, response: Any, done: Callable[[Any], object]
    ) -> None:
        """See BrokerCalls."""
        address = self._cache.endpoint(broker_id, self._config.inter_broker_listener_name)
        key = (broker_id, api.API_KEY)
        if address is None:
            self._loop.call_later(RETRY_S, done, None)
            return
        post = self._loop.call_soon_threadsafe

        def answered(answer: tuple[int, bytes] | None) -> None:
            """On the caller's thread."""
            try:
                found = None if answer is None else response.decode(*answer)
            except MalformedRequest as error:
                self._failed(key, f"its response is malformed: {error}")
                found = None
            post(self._answered, found, done)

        call = Call(*address, api, version, request.encode, answered, lambda: post(done, UNSUPPORTED))
        try:
            self._caller(key).call(call)
        except RuntimeError:  # the process may have no more threads
            self._loop.call_later(RETRY_S, done, None)

    def _answered(self, found: Any, done: Callable[[Any], object]) -> None:
        if found is None:
            self._loop.call_later(RETRY_S, done, None)
        else:
            done(found)

    def _caller(self, key: tuple[int, int]) -> BrokerCaller:
        caller = self._callers.get(key)
        if caller is None:
            broker_id, api_key = key
            is_marker = api_key == write_txn_markers.API_KEY
            own_id = self._config.broker_id
            client_id = f"broker-{own_id}-txn-marker-sender" if is_marker else "AddPartitionsManager-client-1"
            caller = self._callers[key] = BrokerCaller(
                f"{'markers' if is_marker else 'verify'}-{broker_id}", client_id, int(self._config["request.timeout.ms"]),
                partial(self._failed, key), self._encryption,
            )  # fmt: skip
        return caller

    def _failed(self, key: tuple[int, int], why: str) -> None:
        """Any thread."""
        is_marker = key[1] == write_txn_markers.API_KEY
        what = "markers of transactions cannot be sent" if is_marker else "transactions cannot be verified"
        self._log.repeated("warning", f"{what}; this is tried again: {why}", {"broker": key[0]}, str(key[0]))

    def close(self) -> None:
        """End the threads. The coordinator loop has ended."""
        for caller in self._callers.values():
            caller.close()
        for caller in self._callers.values():
            caller.join()
