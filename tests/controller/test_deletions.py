"""Recorded deletions: cancelled ones, and those during which the connection to ZooKeeper is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kafka_cy.cluster.store import Delete, NoAuthError, Operation, Results
from tests.controller.cluster import Cluster, State

THREE = {1: 25, 2: 70, 3: 105}


def test_a_controller_that_may_not_delete_cancels_what_another_has_recorded() -> None:
    """Kafka's way to cancel a deletion: delete.topic.enable=false and a restart while the deletion waits."""
    partition = State((1, 2, 3), 1, 0, (1, 2, 3), 0)
    cluster = Cluster({1: 25, 2: 70}, {"t": [partition]}, deletes=False, deletions=["t", "gone"])
    cluster.register(3, 300)
    cluster.settle()
    assert not cluster.zookeeper.children["/admin/delete_topics"]
    assert cluster.state("t", 0).leader == 1
    entries = {entry for sent in cluster.brokers.sent for entry in sent.entries}
    assert entries and not [each for each in entries if "DELETE" in each or "L-2" in each]
    assert "delete.topic.enable is false: the recorded deletions of ['gone', 't'] are cancelled" in cluster.warnings


def lose_connection(cluster: Cluster, before_ms: float) -> None:
    cluster.simulation.run_for(before_ms)
    cluster.session.disconnect()
    cluster.session.connect()
    cluster.settle()


def under(cluster: Cluster, *paths: str) -> list[str]:
    return [path for path in cluster.zookeeper.nodes if path.startswith(paths)]


def test_a_connection_that_is_lost_does_not_stop_a_deletion() -> None:
    """Some of the changes are lost with it, those that wait are sent at once over the next one."""
    for moment in range(90):
        cluster = Cluster(THREE, {"t": [State((1, 2, 3), 1, 0, (1, 2, 3), 0)] * 30})
        cluster.write("/admin/delete_topics/t")
        lose_connection(cluster, moment * 0.13)
        assert not under(cluster, "/brokers/topics/t", "/config/topics/t", "/admin/delete_topics/t"), moment
        assert not cluster.warnings, moment


def test_a_connection_that_is_lost_does_not_keep_new_partitions_from_leaders() -> None:
    for moment in range(50):
        cluster = Cluster(THREE)
        cluster.controller.create_topic("t", [[1, 2, 3]] * 30, {}, lambda answer: None)
        lose_connection(cluster, moment * 0.13)
        assert [cluster.state("t", index).leader for index in range(30)] == [1] * 30, moment
        assert not cluster.warnings, moment


def test_nodes_that_cannot_be_deleted_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(THREE, {"t": [State((1, 2, 3), 1, 0, (1, 2, 3), 0)] * 2, "u": [State((1,), 1, 0, (1,), 0)]})
    protected = {"/brokers/topics/t/partitions/1"}  # by rights that somebody else has set
    apply = cluster.zookeeper.apply

    def refusing(session: Any, operations: Sequence[Operation]) -> Results:
        for index, each in enumerate(operations):
            if isinstance(each, Delete) and each.path in protected:
                error = NoAuthError(each.path)
                error.operation = index
                raise error
        return apply(session, operations)

    monkeypatch.setattr(cluster.zookeeper, "apply", refusing)
    for topic in "tu":
        cluster.write(f"/admin/delete_topics/{topic}")
    cluster.simulation.run_for(1_000)
    assert under(cluster, "/admin/delete_topics/") == ["/admin/delete_topics/t"]
    assert "/brokers/topics/t" in cluster.zookeeper.nodes and "/config/topics/t" in cluster.zookeeper.nodes
    assert ["/brokers/topics/t/partitions/1 cannot be deleted" in line for line in cluster.warnings] == [True]
    protected.clear()
    cluster.settle()
    assert not under(cluster, "/brokers/topics/", "/config/topics/", "/admin/delete_topics/")


def test_a_partition_without_a_state_is_deleted() -> None:
    """A controller that deletes one node at a time, as Kafka's, may have stopped between the two."""
    cluster = Cluster(THREE, {"t": [State((1, 2, 3), 1, 0, (1, 2, 3), 0)] * 2})
    cluster.zookeeper.apply(None, [Delete("/brokers/topics/t/partitions/1/state")])
    cluster.write("/admin/delete_topics/t")
    cluster.settle()
    assert not under(cluster, "/brokers/topics/", "/config/topics/", "/admin/delete_topics/")


def test_foreign_nodes_are_deleted_with_the_topic() -> None:
    """As Kafka does, which deletes all that is below the topic's node."""
    cluster = Cluster(THREE, {"t": [State((1, 2, 3), 1, 0, (1, 2, 3), 0)] * 3, "tt": [State((1,), 1, 0, (1,), 0)]})
    for path in ("a", "a/b", "a/b/c", "a/d", "partitions/x", "partitions/x/y", "partitions/1/state/z", "partitions/2/z"):
        cluster.write(f"/brokers/topics/t/{path}", b"")
    cluster.write("/config/topics/t/x", b"")
    cluster.write("/admin/delete_topics/t")
    cluster.simulation.run_for(1_000)
    assert not under(cluster, "/brokers/topics/t/", "/config/topics/t/", "/admin/delete_topics/")
    assert "/brokers/topics/t" not in cluster.zookeeper.nodes and "/config/topics/t" not in cluster.zookeeper.nodes
    assert cluster.state("tt", 0).leader == 1
    assert [line for line in cluster.warnings if "/brokers/topics/t/partitions/2 has nodes that are not Kafka's" in line]


def test_foreign_nodes_and_a_lost_connection() -> None:
    for moment in range(60):
        cluster = Cluster(THREE, {"t": [State((1, 2, 3), 1, 0, (1, 2, 3), 0)] * 3})
        for path in ("a", "a/b", "partitions/1/state/z", "partitions/2/z"):
            cluster.write(f"/brokers/topics/t/{path}", b"")
        cluster.write("/admin/delete_topics/t")
        lose_connection(cluster, moment * 0.3)
        assert not under(cluster, "/brokers/topics/t", "/config/topics/t", "/admin/delete_topics/t"), moment
