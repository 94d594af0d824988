"""Consumer lag of a whole cluster, from any member: this broker's own groups and logs, and what the other brokers answer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kafka_cy.network.broker_connection import BrokerConnection
from kafka_cy.server.lag_peers import Address, Peers, PeersAnswer
from kafka_cy.server.lag_requests import RESPONSE_BYTES_MAX, PartitionKey, PeerGroup, PeerPartition
from kafka_cy.server.lag_view import LagView
from kafka_cy.storage.hosted_partition import STATE_ONLINE

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer
    from kafka_cy.telemetry.lag import BrokerAddress, Times

REQUEST_TIMEOUT_MS = 2000


class MemberLagView(LagView):
    """`kafka_cy.telemetry.lag.ClusterView` of a member of a cluster. Owner: the lag page's thread."""

    def __init__(self, broker: KafkaServer) -> None:
        super().__init__(broker)
        log = broker.log
        self._peers = Peers(
            self._connect,
            lambda broker_id, reason: log.warning(
                "consumer lag leaves out the groups of a broker that does not answer", broker=broker_id, reason=reason
            ),
            lambda broker_id: log.info("consumer lag has the groups of a broker again", broker=broker_id),
        )
        self._here: dict[PartitionKey, Any] = {}
        self._told = PeersAnswer([], {}, 0, 0)

    def refresh(self) -> None:
        """Ask the other brokers."""
        cluster: Any = self._broker.cluster
        if cluster is None:
            return
        self._here = {key: each for key, each in dict(super().hosted()).items() if each.state == STATE_ONLINE}
        listener = self._broker.config.inter_broker_listener_name
        found = {each: cluster.endpoint(each, listener) for each in cluster.broker_ids if each != self.broker_id}
        addresses = {broker_id: address for broker_id, address in found.items() if address is not None}
        wanted: dict[int, list[PartitionKey]] = {broker_id: [] for broker_id in addresses}
        for topic in self.topics():
            for each in topic.partitions:
                if each.leader in wanted and (topic.name, each.index) not in self._here:
                    wanted[each.leader].append((topic.name, each.index))
        self._told = self._peers.ask(addresses, wanted)

    @property
    def controller_id(self) -> int:
        """The controller; -1: none is known."""
        return int(self._broker.cluster.controller_id) if self._broker.cluster is not None else -1

    @property
    def left_out(self) -> int:
        """Groups of other brokers that are too many."""
        return self._told.left_out

    @property
    def silent_brokers(self) -> int:
        """Live brokers that did not answer."""
        return self._told.silent

    def coordinator_id(self, group: Any) -> int:
        """The broker that coordinates the group."""
        return group.coordinator_id if isinstance(group, PeerGroup) else self.broker_id

    def brokers(self) -> list[BrokerAddress]:
        """Return the live brokers, with the address of the first listener of this broker that each has."""
        from kafka_cy.telemetry.lag import BrokerAddress

        found = []
        for each in self._broker.cluster.brokers if self._broker.cluster is not None else ():
            address = next((address for address in each.addresses if address is not None), None)
            if address is not None:
                found.append(BrokerAddress(each.broker_id, *address, each.rack or ""))
        return found

    def hosted(self) -> Mapping[PartitionKey, Any]:
        """Return the partitions on this broker, and what other brokers told of theirs."""
        return {**self._told.partitions, **self._here}

    def groups(self) -> list[Any]:
        """Return the groups of all brokers; while a group moves to this one, its own."""
        own = super().groups()
        ids = {group.group_id for group in own}
        return own + [group for group in self._told.groups if group.group_id not in ids]

    def times(self) -> Times:
        """See LagView."""
        return _MemberTimes(super().times(), self._peers)

    def _connect(self, address: Address) -> BrokerConnection:
        return BrokerConnection(
            *address, f"broker-{self.broker_id}-lag",
            self._broker.transport_to(self._broker.config.inter_broker_listener_name),
            timeout_ms=REQUEST_TIMEOUT_MS, response_bytes_max=RESPONSE_BYTES_MAX,
        )  # fmt: skip


class _MemberTimes:
    """Timestamps from the logs of this broker, and then from the leaders of other partitions, while the time lasts."""

    def __init__(self, here: Times, peers: Peers) -> None:
        self._here, self._peers = here, peers

    def find(self, wanted: Iterable[tuple[Any, int]], budget_s: float) -> list[int | None]:
        """See RecordTimes.find."""
        until = time.monotonic() + budget_s
        pairs = list(wanted)
        found: list[int | None] = [None] * len(pairs)
        here = [i for i, (partition, _) in enumerate(pairs) if not isinstance(partition, PeerPartition)]
        for i, timestamp_ms in zip(here, self._here.find([pairs[i] for i in here], budget_s), strict=False):
            found[i] = timestamp_ms
        for i, (partition, offset) in enumerate(pairs):
            if isinstance(partition, PeerPartition):
                if time.monotonic() >= until:
                    break
                found[i] = self._peers.timestamp_ms(partition, offset, until)
        return found
