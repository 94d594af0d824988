"""Replicas that a live broker could not use for a moment, such as without a free file descriptor."""

from __future__ import annotations

from typing import NoReturn
from uuid import UUID

from kafka_cy.cluster.change_formats import LogDirEvent
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.protocol.errors import ErrorCode
from tests.controller.cluster import Cluster, State
from tests.controller.test_controller import change

THREE = {1: 25, 2: 70, 3: 105}
PARTITION = TopicPartition("t", 0)
FAILS = {(2, "t", 0): int(ErrorCode.KAFKA_STORAGE_ERROR)}


def ask_for_replicas(cluster: Cluster, number: int) -> None:
    """The controller asks broker 2 for all its replicas."""
    cluster.write(f"/log_dir_event_notification/log_dir_event_{number:010d}", LogDirEvent(2).encode())
    cluster.settle()


def join(cluster: Cluster, isr: tuple[int, ...]) -> None:
    state = cluster.state("t", 0)
    wanted = change(cluster, isr, leader_epoch=state.leader_epoch, pe=state.partition_epoch)
    assert wanted == ErrorCode.NONE


def deleted(cluster: Cluster) -> list[int]:
    return [sent.broker for sent in cluster.brokers.sent if any("DELETE" in entry for entry in sent.entries)]


def test_a_replica_that_can_be_used_again_may_lead() -> None:
    cluster = Cluster(THREE, {"t": [State((1, 2), 1, 0, (1, 2), 0)]})
    cluster.brokers.partition_errors = dict(FAILS)
    ask_for_replicas(cluster, 0)
    assert cluster.state("t", 0).isr == (1,)
    cluster.brokers.partition_errors.clear()
    ask_for_replicas(cluster, 1)
    assert "broker 2 can use 1 replicas again" in cluster.infos
    join(cluster, (1, 2))
    cluster.unregister(1)
    cluster.settle()
    assert (cluster.state("t", 0).leader, cluster.state("t", 0).isr) == (2, (2,))


def test_a_replica_that_can_be_used_again_leads_at_once() -> None:
    cluster = Cluster(THREE, {"t": [State((2,), 2, 0, (2,), 0)]})
    cluster.brokers.partition_errors = dict(FAILS)
    ask_for_replicas(cluster, 0)
    assert cluster.state("t", 0).leader == -1
    cluster.brokers.partition_errors.clear()
    ask_for_replicas(cluster, 1)
    assert cluster.state("t", 0).leader == 2


def test_old_replicas_stay_while_no_new_one_can_lead() -> None:
    cluster = Cluster(THREE, {"t": [State((1, 3), 1, 0, (1, 3), 0)]})
    cluster.brokers.partition_errors = dict(FAILS)
    cluster.controller.alter_reassignments({PARTITION: (2,)}, lambda answer: None)
    cluster.settle()
    join(cluster, (1, 3, 2))
    assert not deleted(cluster) and (cluster.state("t", 0).leader, cluster.state("t", 0).replicas) == (1, (2, 1, 3))
    cluster.brokers.partition_errors.clear()
    ask_for_replicas(cluster, 0)
    state = cluster.state("t", 0)
    assert (state.leader, state.replicas, state.isr) == (2, (2,), (2,)) and sorted(deleted(cluster)) == [1, 3]


def test_an_answer_does_not_look_through_all_topics_for_each_partition() -> None:
    class Names(dict[UUID, str]):
        def items(self) -> NoReturn:
            raise AssertionError("all topics were looked at")

    cluster = Cluster(THREE, {"t": [State((1, 2), 1, 0, (1, 2), 0)]})
    term = cluster.controller.term
    assert term is not None
    term.parts.context.topic_names = Names(term.parts.context.topic_names)
    cluster.brokers.partition_errors = dict(FAILS)
    ask_for_replicas(cluster, 0)
    assert cluster.state("t", 0).isr == (1,)
