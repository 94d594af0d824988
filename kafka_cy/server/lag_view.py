"""What the lag endpoint's thread may read of the control plane: copies that are made in one bytecode each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.telemetry.lag import BrokerAddress

DEAD = "Dead"


class LagView:
    """`kafka_cy.telemetry.lag.ClusterView` over a running broker; every method is safe from any thread."""

    def __init__(self, broker: KafkaServer) -> None:
        self._broker = broker
        self.broker_id: int = broker.config.broker_id

    @property
    def cluster_id(self) -> str:
        return self._broker.cluster.cluster_id if self._broker.cluster is not None else ""

    def brokers(self) -> list[BrokerAddress]:
        """This broker, at its first listener."""
        from kafka_cy.telemetry.lag import BrokerAddress

        _, host, port = self._broker.addresses[0]
        return [BrokerAddress(self.broker_id, host, port, self._broker.config.rack or "")]

    def topics(self) -> list[Any]:
        """All topics of the cluster."""
        return self._broker.cluster.all_topics() if self._broker.cluster is not None else []

    def cleanup_policy(self, topic: Any) -> str:
        """The topic's `cleanup.policy`."""
        default = ",".join(self._broker.config["log.cleanup.policy"])
        return str(topic.config.get("cleanup.policy", default))

    def hosted(self) -> Mapping[tuple[str, int], Any]:
        """The partitions on this broker."""
        return self._broker.logs.partitions if self._broker.logs is not None else {}

    def groups(self) -> list[Any]:
        """The groups that this broker coordinates, but for those just being deleted."""
        if self._broker.groups is None:
            return []
        return [group for group in self._broker.groups.all_groups() if group.state.value != DEAD]
