"""What the controller needs from the broker's configuration and from its surroundings."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from kafka_cy.controller.context import Broker
from kafka_cy.protocol.inter_broker_version import InterBrokerVersion

# inter.broker.protocol.version -> versions of LeaderAndIsr, UpdateMetadata and StopReplica. They are not negotiated.
_VERSIONS = (
    ((3, 4, 0), (7, 8, 4)),
    ((3, 2, 0), (6, 7, 3)),
    ((2, 8, 1), (5, 7, 3)),
    ((2, 6, 0), (4, 6, 3)),
)
REQUEST_RETRY_MS = 100  # Kafka's pause before a request to a broker is repeated


class RequestVersions(NamedTuple):
    """The versions of the requests to brokers."""

    leader_and_isr: int
    update_metadata: int
    stop_replica: int


class ControllerSettings(NamedTuple):
    """`inter_broker_protocol_version`: such as "3.9" or "2.8-IV1"; older than 2.6 is not supported (ValueError)."""

    broker_id: int
    inter_broker_listener: str
    inter_broker_protocol_version: str = "3.9"
    auto_leader_rebalance_enable: bool = True
    leader_imbalance_check_interval_seconds: int = 300
    leader_imbalance_per_broker_percentage: int = 10
    unclean_leader_election_enable: bool = False
    delete_topic_enable: bool = True

    @property
    def protocol(self) -> InterBrokerVersion:
        """What the brokers have in common. Raises ValueError."""
        return InterBrokerVersion.parse(self.inter_broker_protocol_version)

    @property
    def versions(self) -> RequestVersions:
        """The versions of the requests that this broker sends. Raises ValueError."""
        for since, versions in _VERSIONS:
            if self.protocol >= since:
                return RequestVersions(*versions)
        raise ValueError(f"inter.broker.protocol.version={self.inter_broker_protocol_version} is older than 2.6")


class Transport(Protocol):
    """Sends requests to brokers. Its `done` is called on the controller's thread, never within the call."""

    def send(
        self, broker: Broker, api_key: int, version: int, body: bytes, done: Callable[[bytes | None], object]
    ) -> None:
        """Send one request (body only) and call `done` with the body of the response; None: it failed or was not answered."""

    def disconnect(self, broker_id: int) -> None:
        """The broker is gone: close its connection. `done` of a request in flight may be called or not."""


class Timer(Protocol):
    """A function that will be called."""

    def cancel(self) -> object:
        """Do not call it any more."""


class Surroundings(NamedTuple):
    """All outside effects but the store, so that a simulator can play them."""

    clock_ms: Callable[[], float]  # monotonic
    call_later: Callable[[float, Callable[[], object]], Timer]  # milliseconds, function; on the controller's thread
    transport: Transport
    info: Callable[[str], object]
    warning: Callable[[str], object]
