"""What a cold API handler is given: the request, and the broker's parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka_cy.protocol.bridge import encode_response

if TYPE_CHECKING:
    from kafka_cy.cluster.metadata import ClusterMetadata
    from kafka_cy.cluster.producer_ids import ProducerIds
    from kafka_cy.server.control_loop import ControlLoop


@dataclass(slots=True)
class Request:
    """One request on the control thread. `body` is the kio entity; answered once, now or later, through `respond`."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    client_host: str
    listener_index: int
    connection_id: int
    body: Any
    control: Any  # network's ControlRequest
    answered: bool = False

    def respond(self, answer: Mapping[str, Any]) -> None:
        """Encode and send the answer; a second call does nothing."""
        if not self.answered:
            self.answered = True
            self.control.respond(encode_response(self.api_key, self.api_version, answer))

    def close(self, reason: str) -> None:
        """Answer by closing the connection."""
        if not self.answered:
            self.answered = True
            self.control.close(reason)


@dataclass(slots=True)
class ApiContext:
    """The parts of the broker that handlers use. All on the control thread."""

    config: Any  # kafka_cy.config.BrokerConfig
    cluster: ClusterMetadata
    logs: Any  # kafka_cy.storage.log_manager.LogManager
    groups: Any  # kafka_cy.coordinator.group_coordinator.GroupCoordinator
    producer_ids: ProducerIds
    loop: ControlLoop
    server: Any  # kafka_cy.network.server.Server
    publisher: Any  # kafka_cy.network.metadata_image.ImagePublisher
    broker_id: int
    cluster_id: str
    advertised: list[tuple[str, int]] = field(default_factory=list)  # host and port told to clients, by listener index
    log: Any = None  # kafka_cy.server.log.BrokerLog
