"""Reassignments while leaders write ISRs themselves (inter.broker.protocol.version 2.6)."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.cluster.store import BadVersionError, NoAuthError, Set
from kafka_cy.cluster.znode_formats import PartitionState, TopicAssignment
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.protocol.errors import ErrorCode
from tests.controller.cluster import Cluster, State

PARTITION = TopicPartition("t", 0)
TOPIC = "/brokers/topics/t"
STATE = "/brokers/topics/t/partitions/0/state"


def half_way() -> Cluster:
    """[1, 2] is being reassigned to [3, 4]; 3 leads, and 1 is the only other member of the ISR."""
    cluster = Cluster({1: 25, 2: 70, 3: 105, 4: 140}, {"t": [State((1, 2), 3, 0, (3, 1), 0)]}, version="2.6")
    cluster.write(TOPIC, TopicAssignment(None, {0: (3, 4, 1, 2)}, {0: (3, 4)}, {0: (1, 2)}).encode())
    cluster.write(STATE, PartitionState(3, 0, (3, 1), 1, 0).encode())
    cluster.controller.elected(1, 1)
    cluster.forget()
    assert cluster.state("t", 0)[:2] == ((3, 4, 1, 2), 3) and cluster.state("t", 0).isr == (3, 1)
    return cluster


def cancel(cluster: Cluster) -> list[Any]:
    answers: list[Any] = []
    cluster.controller.alter_reassignments({PARTITION: None}, answers.append)
    return answers


def shrink(cluster: Cluster, version: int) -> None:
    """The leader takes 1 out of the ISR. It tells the controller some seconds later."""
    before = cluster.state("t", 0)
    data = PartitionState(3, before.leader_epoch, (3,), 1, 0).encode()
    cluster.zookeeper.apply(None, [Set(STATE, data, version)])


def was_deleted(cluster: Cluster, broker_id: int) -> bool:
    return any(sent.broker == broker_id and any("DELETE" in each for each in sent.entries) for sent in cluster.brokers.sent)


def test_a_leader_that_is_alone_in_the_isr_stays() -> None:
    cluster = half_way()
    shrink(cluster, cluster.state("t", 0).partition_epoch)
    answers = cancel(cluster)
    cluster.settle()
    outcome = answers[0][1][PARTITION]
    assert outcome.error is ErrorCode.INVALID_REPLICA_ASSIGNMENT and "empty ISR" in outcome.message
    assert cluster.warnings == ["t-0 keeps the replicas [3, 4, 1, 2]: it would result in an empty ISR"]
    assert cluster.state("t", 0)[:2] == ((3, 4, 1, 2), 3) and not was_deleted(cluster, 3)


def test_a_leader_that_is_alone_in_the_isr_since_a_moment_stays() -> None:
    """It changes the ISR at any moment of the cancellation; or cannot, because another one leads already."""
    kept = moved = 0
    for moment in range(40):
        cluster = half_way()
        version = cluster.state("t", 0).partition_epoch
        cancel(cluster)
        cluster.simulation.run_for(moment * 0.06)
        try:
            shrink(cluster, version)
        except BadVersionError:
            moved += 1
            cluster.settle()
            assert cluster.state("t", 0)[:2] == ((1, 2), 1) and was_deleted(cluster, 3)
        else:
            kept += 1
            cluster.settle()
            assert cluster.state("t", 0)[:2] == ((3, 4, 1, 2), 3) and not was_deleted(cluster, 3)
        term = cluster.controller.term
        assert term is not None and not term.parts.context.without_leader
    assert kept > 1 and moved > 1


def test_a_former_leader_hears_of_the_election_when_the_assignment_cannot_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays a replica. Without the new epoch it would go on to take records that only it has."""
    cluster = half_way()
    apply = cluster.zookeeper.apply

    def refuse(session: Any, operations: Any) -> Any:
        if any(isinstance(each, Set) and each.path == TOPIC for each in operations):
            raise NoAuthError(TOPIC)
        return apply(session, operations)

    monkeypatch.setattr(cluster.zookeeper, "apply", refuse)
    answers = cancel(cluster)
    cluster.settle()
    assert answers[0][1][PARTITION].error is ErrorCode.UNKNOWN_SERVER_ERROR
    assert cluster.warnings == ["the assignment of t-0 cannot be stored: NoAuthError: /brokers/topics/t"]
    state = cluster.state("t", 0)
    assert state[:2] == ((3, 4, 1, 2), 1) and not was_deleted(cluster, 3)
    last = {each.broker: each.entries for each in cluster.brokers.sent if each.api == "LeaderAndIsr"}
    entry = f"t-0 L1 le{state.leader_epoch} isr[3,1] pe{state.partition_epoch} r[3,4,1,2]"
    assert last == {1: {f"{entry} +[3,4] -[1,2]"}, 2: {f"{entry} +[3,4] -[1,2]"},
                    3: {f"{entry} +[3,4] -[1,2] NEW"}, 4: {f"{entry} +[3,4] -[1,2] NEW"}}  # fmt: skip
