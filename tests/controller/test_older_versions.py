"""inter.broker.protocol.version 2.6 to 3.3: versions of requests, topics without ids, /feature, unclean elections."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kafka_cy.cluster.znode_formats import TopicAssignment
from kafka_cy.controller.settings import ControllerSettings
from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    IsrMember,
    PartitionChange,
    TopicChange,
)
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.protocol.inter_broker_version import InterBrokerVersion
from kafka_cy.replication.settings import request_versions
from tests.controller.cluster import Cluster, State

THREE = {1: 25, 2: 70, 3: 105}
DISABLED, OLDER, NEWER = ({"features": {}, "version": v, "status": s} for v, s in ((1, 0), (1, 1), (2, 1)))

# As Kafka 3.9.2 has them (MetadataVersion, AbstractControllerBrokerRequestBatch): LeaderAndIsr, UpdateMetadata, StopReplica; Fetch,
# ListOffsets, OffsetForLeaderEpoch; WriteTxnMarkers; features, AlterPartition, topic ids, AllocateProducerIds.
KAFKA = {
    "2.6": ((4, 6, 3), (11, 5, 3), 0, (False, False, False, False)),
    "2.7-IV0": ((4, 6, 3), (11, 5, 3), 0, (True, False, False, False)),
    "2.7-IV1": ((4, 6, 3), (12, 5, 3), 0, (True, False, False, False)),
    "2.7": ((4, 6, 3), (12, 5, 3), 0, (True, True, False, False)),
    "2.8-IV0": ((4, 6, 3), (12, 6, 4), 1, (True, True, True, False)),
    "2.8": ((5, 7, 3), (12, 6, 4), 1, (True, True, True, False)),
    "3.0-IV0": ((5, 7, 3), (12, 6, 4), 1, (True, True, True, True)),
    "3.0.1": ((5, 7, 3), (12, 7, 4), 1, (True, True, True, True)),
    "3.1": ((5, 7, 3), (13, 7, 4), 1, (True, True, True, True)),
    "3.3": ((6, 7, 3), (13, 7, 4), 1, (True, True, True, True)),
    "3.4": ((7, 8, 4), (13, 7, 4), 1, (True, True, True, True)),
    "3.5": ((7, 8, 4), (15, 8, 4), 1, (True, True, True, True)),
    "3.8": ((7, 8, 4), (16, 8, 4), 1, (True, True, True, True)),
    "3.9": ((7, 8, 4), (17, 9, 4), 1, (True, True, True, True)),
}


@pytest.mark.parametrize("text", KAFKA)
def test_what_a_version_means_is_what_it_means_to_kafka(text: str) -> None:
    to_brokers, to_leaders, markers, has = KAFKA[text]
    protocol = InterBrokerVersion.parse(text)
    assert (ControllerSettings(1, "R", text).versions, request_versions(text)) == (to_brokers, to_leaders)
    assert protocol.write_txn_markers == markers
    assert has == (
        protocol.registers_features, protocol.asks_for_isr_changes, protocol.uses_topic_ids, protocol.asks_for_producer_ids
    )  # fmt: skip


@pytest.mark.parametrize(
    ("version", "before", "after"),
    [
        ("2.6", None, DISABLED), ("2.6", DISABLED, DISABLED), ("2.6", NEWER, DISABLED),
        ("2.7", None, OLDER), ("2.7", DISABLED, OLDER), ("3.2", OLDER, OLDER), ("3.2", NEWER, OLDER),
        ("3.3", None, NEWER), ("3.9", DISABLED, NEWER), ("3.9", OLDER, NEWER), ("3.9", NEWER, NEWER),
    ],
)  # fmt: skip
def test_the_node_of_features_is_one_that_the_brokers_can_read(
    version: str, before: dict[str, Any] | None, after: dict[str, Any]
) -> None:
    """Brokers before 3.3 end when they read version 2. It is written only if it differs: all brokers watch it."""
    cluster = Cluster(THREE, version=version)
    cluster.controller.resign()
    del cluster.zookeeper.nodes["/feature"]
    if before is not None:
        cluster.zookeeper.put("/feature", json.dumps(before).encode())
    cluster.controller.elected(1, 1)
    cluster.settle()
    node = cluster.zookeeper.nodes["/feature"]
    assert json.loads(node.data or b"") == after
    assert node.version == int(before is not None and before != after)


def topic_id(cluster: Cluster, topic: str) -> Any:
    return TopicAssignment.decode(cluster.zookeeper.nodes[f"/brokers/topics/{topic}"].data).topic_id


def create(cluster: Cluster, topic: str) -> None:
    cluster.controller.create_topic(topic, [[1, 2, 3]], {}, lambda outcome: None)
    cluster.settle()


@pytest.mark.parametrize(("version", "gives"), [("2.6", False), ("2.7", False), ("2.8-IV0", True), ("3.9", True)])
def test_topics_get_ids_from_2_8_on(version: str, gives: bool) -> None:
    cluster = Cluster(THREE, version=version)
    create(cluster, "t")
    assert cluster.controller.gives_topic_ids is gives
    assert (topic_id(cluster, "t") is not None) is gives
    assert cluster.state("t", 0) == State((1, 2, 3), 1, 0, (1, 2, 3), 0)


def test_topics_get_ids_at_the_next_election_after_the_version_has_risen() -> None:
    """The epochs stay, and brokers hear of the id with the state that they know."""
    cluster = Cluster(THREE, version="2.6")
    create(cluster, "t")
    cluster.controller.create_partitions("t", 2, [[2, 1]], lambda outcome: None, is_manual=False)
    cluster.settle()
    assert topic_id(cluster, "t") is None
    cluster.forget()
    cluster.controller.take_settings(ControllerSettings(1, "REPL", "2.8", auto_leader_rebalance_enable=False))
    cluster.controller.elected(1, 1)
    cluster.settle()
    given = topic_id(cluster, "t")
    assert given is not None and cluster.state("t", 0) == State((1, 2, 3), 1, 0, (1, 2, 3), 0)
    told = [request for _, request in cluster.brokers.requests if hasattr(request, "live_leaders")]
    assert {topic.topic_id for request in told for topic in request.topics} == {given}
    cluster.controller.take_settings(ControllerSettings(1, "REPL", "2.6", auto_leader_rebalance_enable=False))
    cluster.controller.elected(1, 1)
    cluster.controller.create_partitions("t", 3, [[3, 1]], lambda outcome: None, is_manual=False)
    cluster.settle()
    assert topic_id(cluster, "t") == given, "a controller with the older version keeps it"


def test_a_leader_names_a_topic_without_an_id() -> None:
    """inter.broker.protocol.version 2.7: it asks for its ISRs, and topics have no ids yet."""
    cluster = Cluster(THREE, version="2.7")
    create(cluster, "t")
    change = PartitionChange(0, 0, (IsrMember(1), IsrMember(2)), 0, 0)
    request = AlterPartitionRequest(1, 25, (TopicChange("t", None, (change,)),))
    assert request.newest_version == 1
    answers: list[AlterPartitionResponse] = []
    cluster.controller.alter_partition(request, request.newest_version, answers.append)
    cluster.settle()
    assert answers[0].topics[0].partitions[0].error_code == ErrorCode.NONE
    assert cluster.state("t", 0).isr == (1, 2)


@pytest.mark.parametrize(("version", "recovers"), [("2.6", False), ("3.1", False), ("3.2", True), ("3.9", True)])
def test_an_unclean_election_is_remembered_where_leaders_know_of_it(version: str, recovers: bool) -> None:
    """A leader that does not know of it would never end it, and its ISR could not grow."""
    cluster = Cluster({2: 70}, {"t": [State((1, 2), -1, 3, (1,), 0)]}, controller=2, version=version)
    cluster.controller.elect_leaders(None, True, lambda answer: None)
    cluster.settle()
    state = cluster.state("t", 0)
    assert (state.leader, state.isr, state.recovering) == (2, (2,), recovers)
