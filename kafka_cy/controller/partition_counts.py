"""What the metrics count of all partitions: KafkaController's gauges, as Kafka's ControllerContext counts them."""

from __future__ import annotations

from typing import NamedTuple

from kafka_cy.controller.context import ControllerContext, PartitionStatus
from kafka_cy.controller.partition_state import LeaderAndIsr, ReplicaAssignment


class PartitionCounts(NamedTuple):
    """As of now."""

    topics: int = 0
    partitions: int = 0  # those that have had a leader
    offline: int = 0  # those that have lost it
    unpreferred: int = 0  # those that another replica than the first leads, or none


def partition_counts(context: ControllerContext) -> PartitionCounts:
    """Any thread: tables are copied in one step before they are iterated."""
    states, statuses = context.states.copy(), context.partition_status.copy()
    deleting, begun = context.deleting.copy(), context.deletion_begun.copy()
    offline = sum(
        1 for each, status in statuses.items() if status is PartitionStatus.OFFLINE and each.topic not in begun
    )
    unpreferred = 0
    for each, state in states.items():
        assignment = context.assignment(each)
        if each.topic not in deleting and assignment.replicas:  # else it was removed meanwhile
            unpreferred += not _has_preferred_leader(assignment, state)
    return PartitionCounts(len(context.topics), len(states), offline, unpreferred)


def _has_preferred_leader(assignment: ReplicaAssignment, state: LeaderAndIsr) -> bool:
    """A partition whose first replica a reassignment adds counts only while that replica is in the ISR and does not lead yet."""
    preferred = assignment.replicas[0]
    return preferred not in state.isr if preferred in assignment.adding else state.leader == preferred
