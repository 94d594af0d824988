"""What the metrics of the controller count, also of partitions that never had a leader."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

from kafka_cy.cluster.member_cache import MemberCache
from kafka_cy.controller.partition_counts import PartitionCounts, partition_counts
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.protocol.controller_messages.update_metadata import UpdateMetadataPartition, UpdateMetadataTopic
from kafka_cy.server.member_parts import Member
from kafka_cy.server.metrics_view import MetricsView
from tests.controller.cluster import Cluster, State


def led(leader: int = 1, isr: tuple[int, ...] = (1, 2)) -> State:
    return State((1, 2), leader, 0, isr, 0)


def counts(cluster: Cluster) -> PartitionCounts:
    assert cluster.controller.term is not None
    return partition_counts(cluster.controller.term.parts.context)


def view_of(cluster: Cluster, cache: Any) -> MetricsView:
    none: Any = None
    member = Member(none, none, cluster.controller, none, 0, none, none)
    logs = SimpleNamespace(counted=lambda: ([], []))
    broker: Any = SimpleNamespace(cluster=cache, logs=logs, arrangement=SimpleNamespace(member=member))
    return MetricsView(broker)


def test_partitions_without_a_leader_and_those_that_another_replica_leads() -> None:
    cluster = Cluster({1: 25, 2: 70}, {"t": [led(), led(2)], "u": [led(), State((2,), 2, 0, (2,), 0)]})
    assert counts(cluster) == PartitionCounts(2, 4, 0, 1)
    cluster.unregister(2)
    cluster.settle()
    assert counts(cluster) == PartitionCounts(2, 4, 1, 1), "t-1 is led by its first replica, u-1 by none"
    cluster.write("/admin/delete_topics/u")  # waits for broker 2
    cluster.settle()
    assert counts(cluster) == PartitionCounts(2, 4, 0, 0)


def test_a_replica_that_a_reassignment_puts_first_is_not_missed_until_it_is_in_sync() -> None:
    cluster = Cluster({1: 25, 2: 70, 3: 105}, {"t": [led()]})
    cluster.controller.alter_reassignments({TopicPartition("t", 0): (3, 1)}, lambda answer: None)
    cluster.settle()
    assert cluster.state("t", 0).replicas == (3, 1, 2) and counts(cluster).unpreferred == 0


def test_a_partition_that_never_had_a_leader_is_not_offline() -> None:
    """The metadata of brokers have it without replicas if others with a higher number have been told of."""
    cluster = Cluster({1: 25}, {"t": [led(isr=(1,))]})
    cluster.controller.create_partitions("t", 3, [[9], [1]], lambda outcome: None, is_manual=True)
    cluster.settle()
    assert counts(cluster) == PartitionCounts(1, 2, 0, 0)
    cache = MemberCache(1, ["REPL"])
    told = [UpdateMetadataPartition(index, 1, 1, 0, (1,), 0, (1,), ()) for index in (0, 2)]
    cache.take(UpdateMetadataTopic("t", UUID(int=1), tuple(told)))
    assert [each.replicas for each in cache.topics["t"].partitions] == [[1], [], [1]]
    view = view_of(cluster, cache)
    assert view.topics() == (1, 2, 0, 0)
    cluster.controller.resign()
    assert view.topics() == (0, 0, 0, 0)
