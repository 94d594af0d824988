"""What an operator asks for in one node, and the rebalance of leaders, leave other events their turn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from kafka_cy.cluster.znodes import topic_path
from kafka_cy.controller import operator_events
from kafka_cy.controller.operator_events import PARTITIONS_PER_EVENT, Outcome
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.controller.term import Term
from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    IsrMember,
    PartitionChange,
    TopicChange,
)
from kafka_cy.protocol.errors import ErrorCode
from tests.controller.cluster import Cluster, State

NODE = "/admin/reassign_partitions"
THREE = {1: 25, 2: 70, 3: 105}
COUNT = 3 * PARTITIONS_PER_EVENT


def wanted(targets: Mapping[int, tuple[int, ...]]) -> bytes:
    partitions = [{"topic": "t", "partition": index, "replicas": list(target)} for index, target in targets.items()]
    return json.dumps({"version": 1, "partitions": partitions}).encode()


def term_of(cluster: Cluster) -> Term:
    term = cluster.controller.term
    assert term is not None
    return term


def reassigning() -> Cluster:
    """The first few partitions are being reassigned to brokers 1 and 3, the others wait."""
    cluster = Cluster(THREE, {"t": [State((1, 2), 1, 0, (1, 2), 0)] * COUNT})
    cluster.write(NODE, wanted(dict.fromkeys(range(COUNT), (1, 3))))
    begun = term_of(cluster).parts.context.being_reassigned
    assert cluster.simulation.run_until(lambda: len(begun) > 0)
    return cluster


def test_a_node_with_many_reassignments() -> None:
    cluster = reassigning()
    answers: list[Any] = []
    cluster.controller.create_topic("x", [[1]], {}, answers.append)
    context = term_of(cluster).parts.context
    assert cluster.simulation.run_until(lambda: bool(answers))
    assert answers == [Outcome(ErrorCode.NONE)] and len(context.being_reassigned) <= 2 * PARTITIONS_PER_EVENT
    cluster.settle()
    assert len(context.being_reassigned) == COUNT
    assert {context.assignment(TopicPartition("t", index)).target_replicas for index in range(COUNT)} == {(1, 3)}
    assert NODE in cluster.zookeeper.nodes


def test_a_node_that_changes_while_its_reassignments_begin() -> None:
    cluster = reassigning()
    cluster.write(NODE, wanted({**dict.fromkeys(range(COUNT), (1, 3)), COUNT - 1: (2, 3)}))
    cluster.settle()
    context = term_of(cluster).parts.context
    assert context.assignment(TopicPartition("t", COUNT - 1)).target_replicas == (2, 3)
    assert len(context.being_reassigned) == COUNT


def test_a_request_overrides_a_node_whose_reassignments_begin() -> None:
    cluster = reassigning()
    last = TopicPartition("t", COUNT - 1)
    answers: list[Any] = []
    cluster.controller.alter_reassignments({last: (2, 3)}, answers.append)
    cluster.settle()
    context = term_of(cluster).parts.context
    assert answers == [(ErrorCode.NONE, {last: Outcome(ErrorCode.NONE)})]
    assert context.assignment(last).target_replicas == (2, 3)
    left = json.loads(cluster.zookeeper.nodes[NODE].data or b"")["partitions"]
    assert sorted(each["partition"] for each in left) == list(range(COUNT - 1))


def test_an_earlier_reassignment_ends_before_the_one_of_the_node_begins() -> None:
    """The node asks for another target, which is not what was completed: it is not forgotten."""
    count = 2 * COUNT
    cluster = Cluster(THREE, {"t": [State((1, 2), 1, 0, (1, 2), 0)] * count})
    last, context = TopicPartition("t", count - 1), term_of(cluster).parts.context
    cluster.controller.alter_reassignments({last: (1, 3)}, lambda answer: None)
    cluster.settle()
    cluster.write(NODE, wanted({**dict.fromkeys(range(count - 1), (1, 3)), count - 1: (2, 3)}))
    assert cluster.simulation.run_until(lambda: len(context.being_reassigned) > 1)
    before = cluster.state("t", last.partition)
    members = (IsrMember(1), IsrMember(2), IsrMember(3))
    change = PartitionChange(last.partition, before.leader_epoch, members, 0, before.partition_epoch)
    topic = TopicChange("", context.topic_ids["t"], (change,))
    cluster.controller.alter_partition(AlterPartitionRequest(1, 25, (topic,)), 3, lambda response: None)
    cluster.settle()
    assert f"the reassignment of {last} to [1, 3] is complete" in cluster.infos
    assert context.assignment(last).target_replicas == (2, 3)


def test_a_node_whose_reassignments_end_at_once_goes() -> None:
    cluster = Cluster(THREE, {"t": [State((1, 2), 1, 0, (1, 2), 0)] * COUNT})
    cluster.write(NODE, wanted({**dict.fromkeys(range(COUNT), (1, 2)), COUNT: (1, 2)}))
    cluster.settle()
    assert NODE not in cluster.zookeeper.nodes and topic_path("t") in cluster.zookeeper.nodes
    assert [line for line in cluster.warnings if "UNKNOWN_TOPIC_OR_PARTITION" in line]
    cluster.write(NODE, wanted({}))
    cluster.settle()
    assert NODE not in cluster.zookeeper.nodes


def test_leaders_move_back_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has changed when their turn comes is looked at again."""
    monkeypatch.setattr(operator_events, "ELECTIONS_PER_EVENT", 20)
    cluster = Cluster(THREE, {"t": [State((1, 2), 2, 0, (1, 2), 0)] * COUNT})
    term, answers = term_of(cluster), list[Any]()
    term.parts.put("AutoPreferredReplicaLeaderElection", term.operator.rebalance)
    cluster.controller.create_topic("x", [[1]], {}, answers.append)
    assert cluster.simulation.run_until(lambda: bool(answers))
    leaders = [cluster.state("t", index).leader for index in range(COUNT)]
    assert leaders.count(1) <= 20
    cluster.settle()
    assert {cluster.state("t", index) for index in range(COUNT)} == {State((1, 2), 1, 1, (1, 2), 1)}


def test_no_leader_moves_back_while_a_reassignment_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_events, "ELECTIONS_PER_EVENT", 20)
    cluster = Cluster(THREE, {"t": [State((1, 2), 2, 0, (1, 2), 0)] * COUNT})
    term = term_of(cluster)
    term.parts.put("AutoPreferredReplicaLeaderElection", term.operator.rebalance)
    cluster.controller.alter_reassignments({TopicPartition("t", COUNT - 1): (1, 3)}, lambda answer: None)
    cluster.settle()
    moved = [index for index in range(COUNT) if cluster.state("t", index).leader == 1]
    assert len(moved) <= 20
