"""Recorded deletions: cancelled ones, and those during which the connection to ZooKeeper is lost."""

from __future__ import annotations

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
