"""The requests of one change, merged for each broker.

They are sent in Kafka's order: LeaderAndIsr, then UpdateMetadata, then StopReplica. Every LeaderAndIsr implies an
UpdateMetadata of its partitions to all brokers. Each partition is encoded once for all brokers that hear the same of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kafka_cy.controller.channels import Channels, ControlRequest
from kafka_cy.controller.context import Broker, ControllerContext
from kafka_cy.controller.pace import Pace
from kafka_cy.controller.partition_state import LeaderAndIsr, ReplicaAssignment, TopicPartition
from kafka_cy.controller.settings import ControllerSettings
from kafka_cy.protocol.controller_messages import leader_and_isr, stop_replica, update_metadata
from kafka_cy.protocol.controller_messages.leader_and_isr import (
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    LiveLeader,
    PartitionState,
)
from kafka_cy.protocol.controller_messages.stop_replica import (
    EPOCH_DURING_DELETE,
    NO_EPOCH,
    StopReplicaPartition,
    StopReplicaRequest,
    StopReplicaResponse,
)
from kafka_cy.protocol.controller_messages.update_metadata import (
    LEADER_DURING_DELETE,
    UpdateMetadataBroker,
    UpdateMetadataPartition,
    UpdateMetadataRequest,
    UpdateMetadataResponse,
)
from kafka_cy.protocol.controller_messages.wire import Output

LeaderAndIsrAnswered = Callable[[Broker, LeaderAndIsrResponse], object]  # the registration that was asked, response
UpdateMetadataAnswered = Callable[[Broker, UpdateMetadataResponse], object]
StopReplicaAnswered = Callable[[Broker, StopReplicaResponse, set[TopicPartition]], object]  # and the deleted partitions
ByTopic = dict[str, dict[int, "Told"]]  # by topic and partition


class Told(NamedTuple):
    """What LeaderAndIsr tells of one partition."""

    state: LeaderAndIsr
    assignment: ReplicaAssignment
    is_new: bool
    encoded: bytes


class RequestBatch:
    """Owner: the controller's thread. Filled and sent within one event.

    UpdateMetadata tells what the controller knows when it is sent; LeaderAndIsr and StopReplica what it knew when they were added.
    """

    def __init__(
        self,
        context: ControllerContext,
        settings: ControllerSettings,
        channels: Channels,
        pace: Pace,
        leader_and_isr_answered: LeaderAndIsrAnswered,
        update_metadata_answered: UpdateMetadataAnswered,
        stop_replica_answered: StopReplicaAnswered,
    ) -> None:
        self._context = context
        self._settings = settings
        self._channels = channels
        self._pace = pace
        self._versions = settings.versions
        self._leader_and_isr_answered = leader_and_isr_answered
        self._update_metadata_answered = update_metadata_answered
        self._stop_replica_answered = stop_replica_answered
        self._leader_and_isr: dict[int, ByTopic] = {}
        self._told: dict[TopicPartition, Told] = {}  # the last of each partition
        self._update_brokers: set[int] = set()
        self._update_partitions: dict[str, set[int]] = {}
        self._stop_replica: dict[int, dict[str, dict[int, StopReplicaPartition]]] = {}

    def clear(self) -> None:
        """Forget what was added."""
        self._leader_and_isr, self._told, self._stop_replica = {}, {}, {}
        self._update_brokers, self._update_partitions = set(), {}

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
            of_topic = self._leader_and_isr.setdefault(broker_id, {}).setdefault(partition.topic, {})
            before = of_topic.get(partition.partition)
            of_topic[partition.partition] = self._encoded(
                partition, state, assignment, is_new or (before is not None and before.is_new)
            )
        self.add_update_metadata(self._context.brokers, [partition])

    def _encoded(
        self, partition: TopicPartition, state: LeaderAndIsr, assignment: ReplicaAssignment, is_new: bool
    ) -> Told:
        known = self._told.get(partition)
        if known is not None and known[:3] == (state, assignment, is_new):
            return known
        written = PartitionState(
            partition.partition,
            state.controller_epoch,
            state.leader,
            state.leader_epoch,
            state.isr,
            state.partition_epoch,
            assignment.replicas,
            assignment.adding,
            assignment.removing,
            is_new,
            state.leader_recovery_state,
        )
        told = Told(state, assignment, is_new, leader_and_isr.encode_state(written, self._versions.leader_and_isr))
        self._told[partition] = told
        return told

    def add_update_metadata(self, broker_ids: Iterable[int], partitions: Iterable[TopicPartition]) -> None:
        """Tell brokers about partitions, and about the live brokers."""
        self._update_brokers.update(broker_ids)
        for topic, index in partitions:
            self._update_partitions.setdefault(topic, set()).add(index)

    def add_stop_replica(self, broker_id: int, partition: TopicPartition, delete: bool) -> None:
        """Tell a broker to stop a replica, and perhaps to delete it."""
        if partition.topic in self._context.deleting:
            epoch = EPOCH_DURING_DELETE
        else:
            state = self._context.states.get(partition)
            epoch = state.leader_epoch if state is not None else NO_EPOCH
        stopped = StopReplicaPartition(partition.partition, epoch, delete)
        self._stop_replica.setdefault(broker_id, {}).setdefault(partition.topic, {})[partition.partition] = stopped

    async def send(self) -> None:
        """Hand all requests to the channels. Requests to brokers that are not registered are dropped."""
        try:
            await self._send_leader_and_isr()
            await self._send_update_metadata()
            await self._send_stop_replica()
        finally:
            self.clear()

    async def _send_leader_and_isr(self) -> None:
        version = self._versions.leader_and_isr
        for broker_id, topics in sorted(self._leader_and_isr.items()):
            broker = self._context.brokers.get(broker_id)
            if broker is None:
                continue
            out, leaders = _topics_of(topics), set[int]()
            for topic, states in sorted(topics.items()):
                ordered = [states[index] for index in sorted(states)]
                leaders.update([each.state.leader for each in ordered])
                encoded = [each.encoded for each in ordered]
                out.topic(topic, self._context.topic_ids.get(topic), encoded, with_id=version >= leader_and_isr.TOPIC_IDS_FROM)
                await self._pace.looked(len(ordered))
            request = LeaderAndIsrRequest(
                self._settings.broker_id, self._context.epoch, broker.epoch, (), self._live_leaders(leaders)
            )
            body = request.encode_head(version) + out + request.encode_end(version)
            self._put(broker_id, leader_and_isr.API_KEY, version, body, self._on_leader_and_isr(broker))

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

    async def _send_update_metadata(self) -> None:
        receivers = sorted(self._update_brokers & self._context.brokers.keys())
        if not receivers:
            return
        version = self._versions.update_metadata
        topics: dict[str, list[bytes]] = {}
        for topic, indices in sorted(self._update_partitions.items()):
            encoded = []
            for index in sorted(indices):
                state = self._partition_metadata(TopicPartition(topic, index))
                if state is not None:
                    encoded.append(update_metadata.encode_state(state, version))
                await self._pace.done()
            if encoded:
                topics[topic] = encoded
        out = _topics_of(topics)
        for topic, encoded in topics.items():
            out.topic(topic, self._context.topic_ids.get(topic), encoded, with_id=version >= update_metadata.TOPIC_IDS_FROM)
            await self._pace.looked(len(encoded))
        brokers = tuple(
            [
                UpdateMetadataBroker(id_, each.endpoints, each.rack)
                for id_, each in sorted(self._context.brokers.items())
            ]
        )
        request = UpdateMetadataRequest(self._settings.broker_id, self._context.epoch, -1, (), brokers)
        out += request.encode_end(version)
        for broker_id in receivers:
            broker = self._context.brokers[broker_id]
            body = request._replace(broker_epoch=broker.epoch).encode_head(version) + out
            self._put(broker_id, update_metadata.API_KEY, version, body, self._on_update_metadata(broker))

    def _partition_metadata(self, partition: TopicPartition) -> UpdateMetadataPartition | None:
        """None: it never had a leader."""
        state = self._context.states.get(partition)
        if state is None:
            return None
        replicas = self._context.assignment(partition).replicas
        leader, leader_epoch, epoch = state.leader, state.leader_epoch, state.partition_epoch
        if partition.topic in self._context.deleting:
            leader, leader_epoch, epoch = LEADER_DURING_DELETE, 0, 0
        return UpdateMetadataPartition(
            partition.partition,
            state.controller_epoch,
            leader,
            leader_epoch,
            state.isr,
            epoch,
            replicas,
            tuple([each for each in replicas if not self._context.is_online(each, partition)]),
        )

    def _on_update_metadata(self, broker: Broker) -> Callable[[bytes], object]:
        version = self._versions.update_metadata
        return lambda body: self._update_metadata_answered(broker, UpdateMetadataResponse.decode(version, body))

    async def _send_stop_replica(self) -> None:
        version = self._versions.stop_replica
        for broker_id, topics in sorted(self._stop_replica.items()):
            broker = self._context.brokers.get(broker_id)
            if broker is None:
                continue
            out, deleted = _topics_of(topics), set[TopicPartition]()
            for topic, stopped in sorted(topics.items()):
                encoded = []
                for index in sorted(stopped):
                    encoded.append(stop_replica.encode_partition(stopped[index], version))
                    if stopped[index].delete_partition:
                        deleted.add(TopicPartition(topic, index))
                    await self._pace.looked()
                out.topic(topic, None, encoded, with_id=False)
            out.no_tags()
            request = StopReplicaRequest(self._settings.broker_id, self._context.epoch, broker.epoch, ())
            body = request.encode_head(version) + out
            self._put(broker_id, stop_replica.API_KEY, version, body, self._on_stop_replica(broker, deleted))

    def _on_stop_replica(self, broker: Broker, deleted: set[TopicPartition]) -> Callable[[bytes], object]:
        version = self._versions.stop_replica
        return lambda body: self._stop_replica_answered(broker, StopReplicaResponse.decode(version, body), deleted)

    def _put(
        self, broker_id: int, api_key: int, version: int, body: bytes, answered: Callable[[bytes], object]
    ) -> None:
        self._channels.put(broker_id, ControlRequest(api_key, version, body, answered))


def _topics_of(topics: Mapping[str, object]) -> Output:
    """The begin of an array of topics. All versions that a controller sends are flexible, and have topics."""
    out = Output(True)
    out.array_length(len(topics))
    return out
