"""What the lag endpoint's thread may read of the control plane: each copy is made by a single bytecode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.telemetry.lag import BrokerAddress, ShareOffset, Times

DEAD = "Dead"


class LagView:
    """`kafka_cy.telemetry.lag.ClusterView` of a running broker; every method is safe on any thread."""

    def __init__(self, broker: KafkaServer) -> None:
        self._broker = broker
        self.broker_id: int = broker.config.broker_id

    @property
    def left_out(self) -> int:
        """Return how many groups of other brokers are too many."""
        return 0

    @property
    def silent_brokers(self) -> int:
        """Return how many live brokers did not answer."""
        return 0

    def refresh(self) -> None:
        """Read what is read once for each page: nothing, everything is in this process."""

    @property
    def controller_id(self) -> int:
        return self.broker_id

    def coordinator_id(self, group: Any) -> int:
        """Return the broker that coordinates the group."""
        return self.broker_id

    def times(self) -> Times:
        """Return what finds timestamps in the logs."""
        from kafka_cy.storage.record_times import RecordTimes

        return RecordTimes()

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

    def share_offsets(self) -> dict[str, list[ShareOffset]]:
        """Return where share groups are, by group; without those that have read nothing yet."""
        from kafka_cy.telemetry.lag import ShareOffset

        found: dict[str, list[ShareOffset]] = {}
        share = self._broker.share
        for shard in share.coordinator.runtime.loaded_shards() if share is not None else ():
            for key, state in list(shard.state.states.items()):
                if state.start_offset >= 0:
                    offset = ShareOffset(key.topic_id, key.partition, state.start_offset, max(0, state.delivery_complete_count))
                    found.setdefault(key.group_id, []).append(offset)
        return found

    def groups(self) -> list[Any]:
        """Return the groups that this broker coordinates, except those being deleted."""
        if self._broker.groups is None:
            return []
        return [group for group in self._broker.groups.all_groups() if group.state_name != DEAD]


def lag_view(broker: KafkaServer) -> LagView:
    """Return what the lag page of this broker shows: a member of a cluster shows the whole cluster."""
    if broker.config.is_member:
        from kafka_cy.server.member_lag_view import MemberLagView

        return MemberLagView(broker)
    return LagView(broker)
