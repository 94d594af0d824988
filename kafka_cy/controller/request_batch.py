"""The requests of one change, merged for each broker.

They are sent in Kafka's order: LeaderAndIsr, then UpdateMetadata, then StopReplica. Every LeaderAndIsr implies an
UpdateMetadata of its partitions to all brokers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from kafka_cy.controller.channels import Channels, ControlRequest
from kafka_cy.controller.context import Broker, ControllerContext
from kafka_cy.controller.partition_state import LeaderAndIsr, ReplicaAssignment, TopicPartition
from kafka_cy.controller.settings import ControllerSettings
from kafka_cy.protocol.controller_messages import leader_and_isr, stop_replica, update_metadata
from kafka_cy.protocol.controller_messages.leader_and_isr import (
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    LiveLeader,
    PartitionState,
    TopicState,
)
from kafka_cy.protocol.controller_messages.stop_replica import (
    EPOCH_DURING_DELETE,
    NO_EPOCH,
    StopReplicaPartition,
    StopReplicaRequest,
    StopReplicaResponse,
    StopReplicaTopic,
)
from kafka_cy.protocol.controller_messages.update_metadata import (
    LEADER_DURING_DELETE,
    UpdateMetadataBroker,
    UpdateMetadataPartition,
    UpdateMetadataRequest,
    UpdateMetadataResponse,
    UpdateMetadataTopic,
    encode_tail,
)

LeaderAndIsrAnswered = Callable[[Broker, LeaderAndIsrResponse], object]  # the registration that was asked, response
UpdateMetadataAnswered = Callable[[Broker, UpdateMetadataResponse], object]
StopReplicaAnswered = Callable[[Broker, StopReplicaResponse, set[TopicPartition]], object]  # and the deleted partitions


class RequestBatch:
    """Owner: the controller's thread. Filled and sent within one event."""

    def __init__(
        self,
        context: ControllerContext,
        settings: ControllerSettings,
        channels: Channels,
        leader_and_isr_answered: LeaderAndIsrAnswered,
        update_metadata_answered: UpdateMetadataAnswered,
        stop_replica_answered: StopReplicaAnswered,
    ) -> None:
        self._context = context
        self._settings = settings
        self._channels = channels
        self._versions = settings.versions
        self._leader_and_isr_answered = leader_and_isr_answered
        self._update_metadata_answered = update_metadata_answered
        self._stop_replica_answered = stop_replica_answered
        self._leader_and_isr: dict[int, dict[TopicPartition, PartitionState]] = {}
        self._update_brokers: set[int] = set()
        self._update_partitions: dict[TopicPartition, UpdateMetadataPartition] = {}
        self._stop_replica: dict[int, dict[TopicPartition, StopReplicaPartition]] = {}

    def clear(self) -> None:
        """Forget what was added."""
        self._leader_and_isr, self._update_brokers, self._update_partitions, self._stop_replica = {}, set(), {}, {}

    def add_leader_and_isr(
        self,
        broker_ids: Iterable[int],
        partition: TopicPartition,
        state: LeaderAndIsr,
        assignment: ReplicaAssignment,
        is_new: bool,
    ) -> None:
        """Tell brokers about the state of a partition that they host, and all brokers about the partition."""
        for broker_id in broker_ids:
            states = self._leader_and_isr.setdefault(broker_id, {})
            before = states.get(partition)
            states[partition] = PartitionState(
                partition.partition,
                state.controller_epoch,
                state.leader,
                state.leader_epoch,
                state.isr,
                state.partition_epoch,
                assignment.replicas,
                assignment.adding,
                assignment.removing,
                is_new or (before is not None and before.is_new),
                state.leader_recovery_state,
            )
        self.add_update_metadata(self._context.registered_ids(), [partition])

    def add_update_metadata(self, broker_ids: Iterable[int], partitions: Iterable[TopicPartition]) -> None:
        """Tell brokers about partitions, and about the live brokers."""
        self._update_brokers.update(broker_ids)
        for partition in partitions:
            state = self._context.states.get(partition)
            if state is None:
                continue  # it never had a leader
            replicas = self._context.assignment(partition).replicas
            leader, leader_epoch, epoch = state.leader, state.leader_epoch, state.partition_epoch
            if partition.topic in self._context.deleting:
                leader, leader_epoch, epoch = LEADER_DURING_DELETE, 0, 0
            self._update_partitions[partition] = UpdateMetadataPartition(
                partition.partition,
                state.controller_epoch,
                leader,
                leader_epoch,
                state.isr,
                epoch,
                replicas,
                tuple([each for each in replicas if not self._context.is_online(each, partition)]),
            )

    def add_stop_replica(self, broker_id: int, partition: TopicPartition, delete: bool) -> None:
        """Tell a broker to stop a replica, and perhaps to delete it."""
        if partition.topic in self._context.deleting:
            epoch = EPOCH_DURING_DELETE
        else:
            state = self._context.states.get(partition)
            epoch = state.leader_epoch if state is not None else NO_EPOCH
        stopped = StopReplicaPartition(partition.partition, epoch, delete)
        self._stop_replica.setdefault(broker_id, {})[partition] = stopped

    def send(self) -> None:
        """Hand all requests to the channels. Requests to brokers that are not registered are dropped."""
        self._send_leader_and_isr()
        self._send_update_metadata()
        self._send_stop_replica()
        self.clear()

    def _send_leader_and_isr(self) -> None:
        for broker_id, states in sorted(self._leader_and_isr.items()):
            broker = self._context.brokers.get(broker_id)
            if broker is None:
                continue
            request = LeaderAndIsrRequest(
                self._settings.broker_id,
                self._context.epoch,
                broker.epoch,
                tuple(
                    [
                        TopicState(
                            topic, self._context.topic_ids.get(topic), tuple([states[each] for each in partitions])
                        )
                        for topic, partitions in _by_topic(states)
                    ]
                ),
                self._live_leaders({state.leader for state in states.values()}),
            )
            version = self._versions.leader_and_isr
            self._put(
                broker_id, leader_and_isr.API_KEY, version, request.encode(version), self._on_leader_and_isr(broker)
            )

    def _on_leader_and_isr(self, broker: Broker) -> Callable[[bytes], object]:
        version = self._versions.leader_and_isr
        return lambda body: self._leader_and_isr_answered(broker, LeaderAndIsrResponse.decode(version, body))

    def _live_leaders(self, leaders: set[int]) -> tuple[LiveLeader, ...]:
        found = []
        for broker_id in sorted(leaders & self._context.brokers.keys()):
            endpoint = self._context.brokers[broker_id].endpoint(self._settings.inter_broker_listener)
            if endpoint is not None:
                found.append(LiveLeader(broker_id, endpoint.host, endpoint.port))
        return tuple(found)

    def _send_update_metadata(self) -> None:
        receivers = sorted(self._update_brokers & self._context.brokers.keys())
        if not receivers:
            return
        version = self._versions.update_metadata
        topics = tuple(
            [
                UpdateMetadataTopic(
                    topic,
                    self._context.topic_ids.get(topic),
                    tuple([self._update_partitions[each] for each in partitions]),
                )
                for topic, partitions in _by_topic(self._update_partitions)
            ]
        )
        brokers = tuple(
            [
                UpdateMetadataBroker(id_, each.endpoints, each.rack)
                for id_, each in sorted(self._context.brokers.items())
            ]
        )
        tail = encode_tail(version, topics, brokers)
        for broker_id in receivers:
            broker = self._context.brokers[broker_id]
            head = UpdateMetadataRequest(self._settings.broker_id, self._context.epoch, broker.epoch, (), ()).encode_head(
                version
            )
            self._put(broker_id, update_metadata.API_KEY, version, head + tail, self._on_update_metadata(broker))

    def _on_update_metadata(self, broker: Broker) -> Callable[[bytes], object]:
        version = self._versions.update_metadata
        return lambda body: self._update_metadata_answered(broker, UpdateMetadataResponse.decode(version, body))

    def _send_stop_replica(self) -> None:
        version = self._versions.stop_replica
        for broker_id, stopped in sorted(self._stop_replica.items()):
            broker = self._context.brokers.get(broker_id)
            if broker is None:
                continue
            topics = [
                StopReplicaTopic(topic, tuple([stopped[each] for each in partitions]))
                for topic, partitions in _by_topic(stopped)
            ]
            request = StopReplicaRequest(self._settings.broker_id, self._context.epoch, broker.epoch, tuple(topics))
            deleted = {partition for partition, each in stopped.items() if each.delete_partition}
            body = request.encode(version)
            self._put(broker_id, stop_replica.API_KEY, version, body, self._on_stop_replica(broker, deleted))

    def _on_stop_replica(self, broker: Broker, deleted: set[TopicPartition]) -> Callable[[bytes], object]:
        version = self._versions.stop_replica
        return lambda body: self._stop_replica_answered(broker, StopReplicaResponse.decode(version, body), deleted)

    def _put(
        self, broker_id: int, api_key: int, version: int, body: bytes, answered: Callable[[bytes], object]
    ) -> None:
        self._channels.put(broker_id, ControlRequest(api_key, version, body, answered))


def _by_topic(partitions: Iterable[TopicPartition]) -> list[tuple[str, list[TopicPartition]]]:
    """Partitions grouped by topic, in order."""
    return [(topic, list(group)) for topic, group in groupby(sorted(partitions), key=lambda each: each.topic)]
