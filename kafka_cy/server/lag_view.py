"""What the lag endpoint's thread may read of the control plane: each copy is made by a single bytecode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.telemetry.lag import BrokerAddress

DEAD = "Dead"


class LagView:
    """`kafka_cy.telemetry.lag.ClusterView` of a running broker; every method is safe on any thread."""

    def __init__(self, broker: KafkaServer) -> None:
        self._broker = broker
        self.broker_id: int = broker.config.broker_id

    @property
    def cluster_id(self) -> str:
        return self._broker.cluster.cluster_id if self._broker.cluster is not None else ""

    def brokers(self) -> list[BrokerAddress]:
        """Return this broker, with its first listener's address."""
        from kafka_cy.telemetry.lag import BrokerAddress

        _, host, port = self._broker.addresses[0]
        return [BrokerAddress(self.broker_id, host, port, self._broker.config.rack or "")]

    def topics(self) -> list[Any]:
        """Return all topics of the cluster."""
        return self._broker.cluster.all_topics() if self._broker.cluster is not None else []

    def cleanup_policy(self, topic: Any) -> str:
        """Return the topic's `cleanup.policy`."""
        default = ",".join(self._broker.config["log.cleanup.policy"])
        return str(topic.config.get("cleanup.policy", default))

    def hosted(self) -> Mapping[tuple[str, int], Any]:
        """Return the partitions on this broker."""
        return self._broker.logs.partitions if self._broker.logs is not None else {}

    def groups(self) -> list[Any]:
        """Return the groups that this broker coordinates, except those being deleted."""
        if self._broker.groups is None:
            return []
        return [group for group in self._broker.groups.all_groups() if group.state.value != DEAD]
