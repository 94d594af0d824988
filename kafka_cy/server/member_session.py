"""The start of a member of a cluster: the connection to ZooKeeper, and steps over it before the loops run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from kafka_cy.cluster.store import ConnectionLost, StoreError
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.zookeeper_store import ZooKeeperStore
from kafka_cy.security.zookeeper_login import zookeeper_security
from kafka_cy.server.arrangement import ClusterRefused

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer

WAIT_S = 0.02  # for what other threads post; timers are looked at in between
T = TypeVar("T")


class MemberSession:
    """Owner: the main thread until the controller's loop runs, then that loop's thread."""

    def __init__(self, broker: KafkaServer) -> None:
        """Raises ConfigError."""
        config, self._broker = broker.config, broker
        self._loop = broker.controller_loop
        self._arrived = threading.Event()
        connect = str(config["zookeeper.connect"])
        try:
            self.store = ZooKeeperStore(
                connect,
                self.post,
                self.call_later,
                broker.log,
                session_timeout_ms=int(config["zookeeper.session.timeout.ms"]),
                in_flight_max=int(config["zookeeper.max.in.flight.requests"]),
                security=zookeeper_security(config, os.environ),
            )
        except ValueError as error:
            from kafka_cy.config import ConfigError

            raise ConfigError("zookeeper.connect", connect, "host:port,host:port/chroot", str(error)) from error

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function on the controller's thread. Any thread."""
        self._loop.call_soon_threadsafe(function, *arguments)
        self._arrived.set()

    def call_later(self, delay_ms: float, function: Callable[[], object]) -> Any:
        """Call a function on the controller's thread after a delay. That thread only."""
        return self._loop.call_later(delay_ms / 1000, function)

    def calls(self) -> StoreCalls:
        """The store for coroutines, within the session of now."""
        return StoreCalls(self.store, self.call_later)

    # -- before the loops run --

    def connect(self) -> None:
        """Connect, or raise ClusterRefused."""
        config = self._broker.config
        timeout_ms = int(config["zookeeper.connection.timeout.ms"] or config["zookeeper.session.timeout.ms"])
        self.store.start()
        try:
            self.store.wait_for_connection(timeout_ms)
        except ConnectionLost as error:
            raise ClusterRefused(str(error)) from error

    def run(self, steps: Callable[[StoreCalls], Coroutine[Any, Any, T]]) -> T:
        """Run steps over the store on this thread. Raises ClusterRefused with what they raise."""
        ended: list[tuple[T | None, Exception | None]] = []
        run(steps(self.calls()), lambda value, fault: ended.append((value, fault)))
        self.run_until(lambda: bool(ended))
        value, fault = ended[0] if ended else (None, None)
        if isinstance(fault, StoreError):
            raise ClusterRefused(str(fault) or type(fault).__name__) from fault
        if fault is not None:
            raise fault
        return value  # type: ignore[return-value]

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Run what is posted, on this thread, until the condition holds. Raises ClusterRefused: the broker shall stop."""
        while not condition():
            self._loop.run_pending()
            if condition():
                return
            if self._broker.loop.is_stopped:
                raise ClusterRefused("stopped before the broker was a member of its cluster")
            self._arrived.wait(WAIT_S)
            self._arrived.clear()
