"""Topics whose nodes would be larger than what ZooKeeper takes: they are refused, and the controller goes on."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.cluster import change_size
from kafka_cy.cluster.change_size import CHANGE_BYTES_MAX
from kafka_cy.cluster.store import Set
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.protocol.errors import ErrorCode
from tests.controller.cluster import Cluster, State

THREE = {1: 25, 2: 70, 3: 105}
THROTTLED = "leader.replication.throttled.replicas"


def largest_change(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of node data in each change that ZooKeeper gets."""
    sizes: list[int] = []
    submit = cluster.session.submit

    def submitted(operations: Any, done: Any) -> None:
        sizes.append(sum(len(getattr(each, "data", None) or b"") for each in operations))
        submit(operations, done)

    monkeypatch.setattr(cluster.session, "submit", submitted)
    return sizes


def test_settings_and_assignment_together_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, answers = Cluster(THREE), list[Outcome]()
    sizes = largest_change(cluster, monkeypatch)
    half = CHANGE_BYTES_MAX * 6 // 10
    cluster.controller.create_topic("settings", [[1]], {THROTTLED: "1:1," * (CHANGE_BYTES_MAX // 4)}, answers.append)
    cluster.controller.create_topic("both", [[1, 2, 3]] * (half // 15), {THROTTLED: "1:1," * (half // 4)}, answers.append)
    cluster.controller.create_topic("small", [[1]], {}, answers.append)
    cluster.settle()
    assert [each.error for each in answers] == [ErrorCode.POLICY_VIOLATION] * 2 + [ErrorCode.NONE]
    assert "too large" in str(answers[0].message) and cluster.state("small", 0).leader == 1
    assert max(sizes) < CHANGE_BYTES_MAX
    assert not [path for path in cluster.zookeeper.nodes if path.endswith(("/settings", "/both"))]


def test_a_topic_does_not_outgrow_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    one = State((1, 2), 1, 0, (1, 2), 0)
    cluster, answers = Cluster(THREE, {"t": [one] * 3}), list[Any]()
    before = cluster.zookeeper.nodes["/brokers/topics/t"].data
    monkeypatch.setattr(change_size, "CHANGE_BYTES_MAX", 600)
    cluster.controller.create_partitions("t", 63, [[2, 1]] * 60, answers.append, is_manual=False)
    cluster.settle()
    assert [each.error for each in answers] == [ErrorCode.POLICY_VIOLATION]
    monkeypatch.setattr(change_size, "CHANGE_BYTES_MAX", 330)
    cluster.controller.alter_reassignments({TopicPartition("t", 0): (2, 3)}, answers.append)
    cluster.settle()
    assert answers[1][1][TopicPartition("t", 0)].error is ErrorCode.UNKNOWN_SERVER_ERROR
    assert cluster.zookeeper.nodes["/brokers/topics/t"].data == before
    monkeypatch.undo()
    cluster.controller.create_partitions("t", 4, [[2, 1]], answers.append, is_manual=False)
    cluster.settle()
    assert answers[2].error is ErrorCode.NONE and cluster.state("t", 3).leader == 2
    assert change_size.too_large([Set("/brokers/topics/t", b"x" * CHANGE_BYTES_MAX)]) is not None
