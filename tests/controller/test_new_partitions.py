"""CreatePartitions at the controller: the wanted number is compared with what is stored when the partitions are added."""

from __future__ import annotations

from collections.abc import Sequence

from kafka_cy.cluster.znode_formats import TopicAssignment
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.protocol.errors import ErrorCode
from tests.controller.cluster import Cluster, State

DONE = Outcome(ErrorCode.NONE)
ONE, OTHER = State((1, 2), 1, 0, (1, 2), 0), State((2, 1), 2, 0, (2, 1), 0)


def started() -> Cluster:
    return Cluster({1: 25, 2: 70, 3: 105}, {"t": [ONE] * 3})


def ask(cluster: Cluster, count: int, added: Sequence[Sequence[int]], *, is_manual: bool = False) -> list[Outcome]:
    answers: list[Outcome] = []
    cluster.controller.create_partitions("t", count, added, answers.append, is_manual=is_manual)
    return answers


def stored(cluster: Cluster) -> list[tuple[int, ...]]:
    partitions = TopicAssignment.decode(cluster.zookeeper.nodes["/brokers/topics/t"].data).partitions
    assert sorted(partitions) == list(range(len(partitions)))
    return [tuple(partitions[index]) for index in range(len(partitions))]


def test_two_clients_that_ask_for_the_same_number_do_not_get_the_sum() -> None:
    cluster = started()
    first, second, smaller = (ask(cluster, count, [[2, 1]] * (count - 3)) for count in (6, 6, 5))
    cluster.settle()
    assert first == [DONE] and stored(cluster) == [(1, 2)] * 3 + [(2, 1)] * 3
    assert second == [Outcome(ErrorCode.INVALID_PARTITIONS, "Topic already has 6 partition(s).")]
    why = "The topic t currently has 6 partition(s); 5 would not be an increase."
    assert smaller == [Outcome(ErrorCode.INVALID_PARTITIONS, why)]
    assert [cluster.state("t", index).leader for index in range(6)] == [1, 1, 1, 2, 2, 2]


def test_a_topic_that_has_grown_meanwhile_gets_what_it_lacks() -> None:
    cluster = started()
    answers = [ask(cluster, 4, [[3, 1]]), ask(cluster, 6, [[1, 3], [2, 3], [3, 2]])]
    cluster.settle()
    assert answers == [[DONE], [DONE]] and stored(cluster) == [(1, 2)] * 3 + [(3, 1), (2, 3), (3, 2)]
    answers = [ask(cluster, 7, [[3, 1]]), ask(cluster, 8, [[1, 3], [2, 3]], is_manual=True)]
    cluster.settle()
    why = "Attempted to add 1 additional partition(s), but only 2 assignment(s) were specified."
    assert answers == [[DONE], [Outcome(ErrorCode.INVALID_REPLICA_ASSIGNMENT, why)]] and len(stored(cluster)) == 7


def test_partitions_that_never_had_a_leader_count() -> None:
    """Their brokers are away, so that no broker is told of them."""
    cluster = started()
    first = ask(cluster, 4, [[9]])
    cluster.settle()
    assert first == [DONE] and "/brokers/topics/t/partitions/3/state" not in cluster.zookeeper.nodes
    second = ask(cluster, 4, [[2, 1]])
    cluster.settle()
    assert second == [Outcome(ErrorCode.INVALID_PARTITIONS, "Topic already has 4 partition(s).")]
    assert stored(cluster) == [(1, 2)] * 3 + [(9,)]


def test_a_topic_that_became_another_one_gets_nothing() -> None:
    cluster = started()
    cluster.prepare_topic("t", [ONE], "ogAxKBfwS9KCUQRPJDhGwh")
    answers = ask(cluster, 4, [[2, 1]])
    cluster.settle()
    assert answers[0].error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and stored(cluster) == [(1, 2)]


def test_a_node_that_changes_between_reading_and_writing_is_read_again() -> None:
    cluster = started()
    data = TopicAssignment.decode(cluster.zookeeper.nodes["/brokers/topics/t"].data)
    grown = data._replace(partitions={**data.partitions, 3: (2, 1)}).encode()
    answers = ask(cluster, 5, [[3, 1], [3, 2]])
    assert cluster.simulation.step() and answers == []
    cluster.write("/brokers/topics/t", grown)
    cluster.settle()
    assert answers == [DONE] and stored(cluster) == [(1, 2)] * 3 + [(2, 1), (3, 2)]


def test_a_reassignment_right_after_it_keeps_the_new_partitions() -> None:
    cluster = started()
    answers = ask(cluster, 4, [[2, 1]])
    cluster.controller.alter_reassignments({TopicPartition("t", 0): (1, 3)}, lambda answer: None)
    cluster.settle()
    assert answers == [DONE] and len(stored(cluster)) == 4 and cluster.state("t", 3) == OTHER


def test_a_topic_that_is_being_deleted_gets_nothing() -> None:
    cluster = started()
    cluster.unregister(2)  # the deletion waits for it
    cluster.settle()
    deleted: list[Outcome] = []
    cluster.controller.delete_topic("t", deleted.append)
    cluster.settle()
    assert deleted == [DONE] and cluster.controller.is_deleting("t")
    answers = ask(cluster, 5, [[2, 1]] * 2)
    cluster.settle()
    assert answers == [Outcome(ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic is queued for deletion.")]
    cluster.controller.resign()
    assert not cluster.controller.is_deleting("t")
