"""The controller's nodes as the controller's values. ValueError: a node does not have its form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from uuid import UUID

from kafka_cy.cluster.change_formats import LOG_DIR_FAILURE, LogDirEvent
from kafka_cy.cluster.store import Node
from kafka_cy.cluster.znode_formats import (
    MALFORMED,
    BrokerInfo,
    PartitionState,
    TopicAssignment,
    decode_partitions,
    decode_reassignment,
)
from kafka_cy.controller.context import Broker
from kafka_cy.controller.partition_state import LeaderAndIsr, ReplicaAssignment, TopicPartition
from kafka_cy.protocol.controller_messages.update_metadata import SECURITY_PROTOCOLS, UpdateMetadataEndpoint

PREFERRED_ELECTION = "/admin/preferred_replica_election"
REASSIGN_PARTITIONS = "/admin/reassign_partitions"
ISR_CHANGES = "/isr_change_notification"
LOG_DIR_EVENTS = "/log_dir_event_notification"
T = TypeVar("T")


def _decoded(decode: Callable[[bytes | None], T], node: Node) -> T:
    try:
        return decode(node.data)
    except MALFORMED as error:
        raise ValueError(f"malformed node {node.data!r}: {error!r}") from error


def state_data(state: LeaderAndIsr) -> bytes:
    """Content of a state node; `partition_epoch` is not part of it."""
    written = PartitionState(
        state.leader, state.leader_epoch, state.isr, state.controller_epoch, state.leader_recovery_state
    )
    return written.encode()


def state_of(node: Node) -> LeaderAndIsr:
    """The inverse of state_data."""
    leader, leader_epoch, isr, controller_epoch, recovery_state = _decoded(PartitionState.decode, node)
    return LeaderAndIsr(leader, leader_epoch, isr, node.version, controller_epoch, recovery_state)


def topic_data(assignments: Mapping[int, ReplicaAssignment], topic_id: UUID | None) -> bytes:
    """Content of a topic's node. The id has to be kept: a topic without id would get a new one, which brokers refuse."""
    ordered = sorted(assignments.items())
    written = TopicAssignment(
        topic_id,
        {index: each.replicas for index, each in ordered},
        {index: each.adding for index, each in ordered if each.adding},
        {index: each.removing for index, each in ordered if each.removing},
    )
    return written.encode()


def topic_of(node: Node) -> tuple[dict[int, ReplicaAssignment], UUID | None]:
    """The inverse of topic_data."""
    topic = _decoded(TopicAssignment.decode, node)
    assignments = {
        index: ReplicaAssignment(
            tuple(replicas), tuple(topic.adding.get(index, ())), tuple(topic.removing.get(index, ()))
        )
        for index, replicas in topic.partitions.items()
    }
    return assignments, topic.topic_id


def broker_of(broker_id: int, node: Node) -> Broker:
    """A registration."""
    info = _decoded(BrokerInfo.decode, node)
    endpoints = [
        UpdateMetadataEndpoint(port, host, listener, SECURITY_PROTOCOLS.index(protocol))
        for listener, protocol, host, port in info.endpoints
    ]
    return Broker(broker_id, node.created_id, tuple(endpoints), info.rack)


def partitions_of(node: Node) -> list[TopicPartition]:
    """The partitions in an ISR change notification or in the operator's node for preferred elections."""
    return [TopicPartition(*each) for each in _decoded(decode_partitions, node)]


def reassignments_of(node: Node) -> dict[TopicPartition, tuple[int, ...]]:
    """The partitions and their target replicas in the operator's node."""
    return {TopicPartition(*each): target for each, target in _decoded(decode_reassignment, node).items()}


def failed_log_dir_of(node: Node) -> int | None:
    """The broker in a notification of a failed log directory; None for another event."""
    event = _decoded(LogDirEvent.decode, node)
    return event.broker if event.event == LOG_DIR_FAILURE else None
