"""What our controller does in the recorded scenarios is what Kafka 3.9.2's did: the same writes, the same requests.

Compared are the requests to each broker, in order (the order of partitions within one is not Kafka's to promise), and the
fenced writes of each node, in order. `golden/timelines.txt.gz` is a recording of live brokers; long lines are cut in it.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kafka_cy.cluster.store import Create
from kafka_cy.cluster.znode_formats import TopicAssignment
from kafka_cy.cluster.znodes import id_from_text
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    IsrMember,
    PartitionChange,
    TopicChange,
)
from kafka_cy.protocol.controller_messages.controlled_shutdown import (
    ControlledShutdownRequest,
    ControlledShutdownResponse,
)
from kafka_cy.protocol.errors import ErrorCode
from tests.controller.cluster import Cluster, State, made_writes, recorded_rpcs, recorded_writes

with gzip.open(Path(__file__).parent / "golden" / "timelines.txt.gz", "rt") as _file:
    SCENARIOS = {part.partition(":")[0]: part.splitlines()[1:] for part in _file.read().split("## ")[1:]}
T1 = "ogAxKBfwS9KCUQRPJDhGwg"
T2 = "XcZk6behR8qFtr_ebAuOvw"
THREE = {1: 25, 2: 70, 3: 105}
Write = tuple[str, str, int | None, Any]


def until(lines: Sequence[str], text: str) -> list[str]:
    """The lines before the first that contains a text."""
    return list(lines[: next(index for index, line in enumerate(lines) if text in line)])


def check_requests(
    cluster: Cluster, lines: Sequence[str], *, skip_apis: Sequence[str] = (), more: bool = False
) -> None:
    """The requests to each broker are the recorded ones; if the recording is cut (`more`), they begin with those."""
    cut = more or any(line.strip().startswith("...") for line in lines)
    recorded = [each for each in recorded_rpcs(lines) if each.api not in skip_apis]
    sent = [each for each in cluster.brokers.sent if each.api not in skip_apis]
    assert recorded
    for broker in sorted({each.broker for each in recorded}):
        wanted = [each for each in recorded if each.broker == broker]
        got = [each for each in sent if each.broker == broker]
        assert [each.api for each in got][: len(wanted)] == [each.api for each in wanted], f"broker {broker}"
        for number, (one, other) in enumerate(zip(wanted, got, strict=False)):
            assert one.is_like(other), f"request {number} to broker {broker}:\n{one}\n{other}"
        assert cut or len(got) == len(wanted), f"broker {broker} got {got[len(wanted) :]}"


def check_writes(cluster: Cluster, lines: Sequence[str]) -> None:
    """The writes of each node are the recorded ones, in order."""
    recorded, made = recorded_writes(lines), made_writes(cluster.writes)
    cut = any(line.strip().startswith("...") for line in lines)
    for path in sorted({write[1] for write in recorded}):
        wanted: list[Write] = [write for write in recorded if write[1] == path]
        got: list[Write] = [write for write in made if write[1] == path]
        assert got[: len(wanted)] == wanted
        assert cut or len(got) == len(wanted)
    if not cut:
        assert {write[1] for write in made} == {write[1] for write in recorded}


def full(replicas: tuple[int, ...], leader_epoch: int = 0, partition_epoch: int = 0) -> State:
    return State(replicas, replicas[0], leader_epoch, replicas, partition_epoch)


def test_a_third_broker_joins() -> None:
    cluster = Cluster({1: 25, 2: 70})
    cluster.forget()
    cluster.register(3, 105)
    cluster.settle()
    check_requests(cluster, SCENARIOS["start-3"])


def test_a_topic_is_created() -> None:
    cluster = Cluster(THREE)
    cluster.forget()
    assignment = TopicAssignment(id_from_text(T1), {0: (2, 3, 1), 1: (3, 1, 2), 2: (1, 2, 3)})
    cluster.write("/brokers/topics/t1", assignment.encode())
    cluster.settle()
    check_requests(cluster, SCENARIOS["create-topic"])
    check_writes(cluster, SCENARIOS["create-topic"])


def before_kill() -> Cluster:
    three = [full((2, 3, 1)), full((3, 1, 2)), full((1, 2, 3))]
    offsets = [full((1, 2, 3)), full((2, 3, 1)), full((3, 1, 2))]
    states = {
        "__transaction_state": [full((2, 3, 1)), full((3, 1, 2))],
        "__consumer_offsets": offsets,
        "t1": three,
        "t2": [State((3, 2), 3, 3, (2, 3), 4)],
    }
    ids = {
        "t1": T1,
        "t2": T2,
        "__transaction_state": "tIfqzbXDQO2C85U5yEtg_w",
        "__consumer_offsets": "Efx97g0RRDG8L2GUEAd4MQ",
    }
    return Cluster(THREE, states, ids=ids)


def test_a_broker_is_killed() -> None:
    cluster = before_kill()
    cluster.forget()
    cluster.unregister(2)
    cluster.settle()
    check_requests(cluster, SCENARIOS["kill-broker"])
    check_writes(cluster, SCENARIOS["kill-broker"])


def test_a_broker_comes_back() -> None:
    cluster = before_kill()
    cluster.unregister(2)
    cluster.forget()
    cluster.register(2, 273)
    cluster.settle()
    check_requests(cluster, until(SCENARIOS["restart-broker"], "AlterPartition"), more=True)


def test_a_broker_shuts_down() -> None:
    cluster = before_kill()
    cluster.unregister(2)
    cluster.settle()
    cluster.register(2, 273)
    cluster.settle()
    for topic, partition, leader in (
        ("__consumer_offsets", 0, 1),
        ("__transaction_state", 0, 3),
        ("t1", 2, 1),
        ("__transaction_state", 1, 3),
        ("t1", 1, 3),
        ("__consumer_offsets", 1, 3),
        ("t1", 0, 3),
        ("__consumer_offsets", 2, 3),
        ("t2", 0, 3),
    ):
        state = cluster.state(topic, partition)
        alter(cluster, leader, THREE[leader], topic, partition, (*state.isr, 2))
    cluster.forget()
    responses: list[ControlledShutdownResponse] = []
    cluster.controller.controlled_shutdown(ControlledShutdownRequest(3, 105), responses.append)
    cluster.settle()
    cluster.unregister(3)
    cluster.settle()
    assert responses == [ControlledShutdownResponse(ErrorCode.NONE)]
    # The recording ends before the last UpdateMetadata, which only tells that broker 3 is gone.
    check_requests(cluster, SCENARIOS["controlled-shutdown"], skip_apis=["StopReplica"], more=True)
    check_writes(cluster, SCENARIOS["controlled-shutdown"])


def alter(
    cluster: Cluster, leader: int, broker_epoch: int, topic: str, partition: int, isr: Sequence[int]
) -> AlterPartitionResponse:
    state = cluster.state(topic, partition)
    topic_id = cluster.controller.term.parts.context.topic_ids[topic]  # type: ignore[union-attr]
    members = tuple(IsrMember(each) for each in isr)
    change = PartitionChange(partition, state.leader_epoch, members, 0, state.partition_epoch)
    responses: list[AlterPartitionResponse] = []
    request = AlterPartitionRequest(leader, broker_epoch, (TopicChange("", topic_id, (change,)),))
    cluster.controller.alter_partition(request, 3, responses.append)
    cluster.settle()
    return responses[0]


def test_preferred_leaders_are_elected() -> None:
    ids = {
        "t1": T1,
        "t2": T2,
        "__transaction_state": "tIfqzbXDQO2C85U5yEtg_w",
        "__consumer_offsets": "Efx97g0RRDG8L2GUEAd4MQ",
    }
    isr = (1, 2, 3)
    states = {
        "__transaction_state": [State((2, 3, 1), 2, 2, isr, 4), State((3, 1, 2), 1, 2, isr, 4)],
        "__consumer_offsets": [
            State((1, 2, 3), 1, 2, isr, 4),
            State((2, 3, 1), 2, 2, isr, 4),
            State((3, 1, 2), 1, 2, isr, 4),
        ],
        "t1": [State((2, 3, 1), 2, 2, isr, 4), State((3, 1, 2), 1, 2, isr, 4), State((1, 2, 3), 1, 2, isr, 4)],
        "t2": [State((3, 2), 2, 5, (2, 3), 8)],
    }
    cluster = Cluster({1: 25, 2: 273, 3: 328}, states, ids=ids)
    cluster.forget()
    answers: list[Any] = []
    cluster.controller.elect_leaders(None, False, answers.append)
    cluster.settle()
    check_requests(cluster, SCENARIOS["preferred-election"])
    check_writes(cluster, SCENARIOS["preferred-election"])
    error, outcomes = answers[0]
    assert error is ErrorCode.NONE
    assert {str(each) for each, outcome in outcomes.items() if outcome.error is ErrorCode.NONE} == {
        "__transaction_state-1",
        "__consumer_offsets-2",
        "t1-1",
        "t2-0",
    }
    assert {outcome.error for outcome in outcomes.values()} == {ErrorCode.NONE}, "the others are left out"


def test_another_controller_takes_over() -> None:
    isr = (1, 2, 3)
    states = {
        "__transaction_state": [State((2, 3, 1), 2, 2, isr, 4), State((3, 1, 2), 3, 3, isr, 5)],
        "__consumer_offsets": [
            State((1, 2, 3), 1, 2, isr, 4),
            State((2, 3, 1), 2, 2, isr, 4),
            State((3, 1, 2), 3, 3, isr, 5),
        ],
        "t1": [State((2, 3, 1), 2, 2, isr, 4), State((3, 1, 2), 3, 3, isr, 5), State((1, 2, 3), 1, 2, isr, 4)],
        "t2": [State((3, 2), 3, 6, (2, 3), 9)],
    }
    ids = {
        "t1": T1,
        "t2": T2,
        "__transaction_state": "tIfqzbXDQO2C85U5yEtg_w",
        "__consumer_offsets": "Efx97g0RRDG8L2GUEAd4MQ",
    }
    cluster = Cluster({2: 273, 3: 328}, states, controller=2, epoch=2, ids=ids)
    check_requests(cluster, SCENARIOS["kill-controller"])
    check_writes(cluster, [line for line in SCENARIOS["kill-controller"] if "/controller_epoch v1" not in line])


def test_a_topic_gets_another_partition() -> None:
    cluster = Cluster(
        {1: 391, 2: 273, 3: 328}, {"t2": [State((3, 2), 3, 6, (2, 3), 9)]}, controller=2, epoch=2, ids={"t2": T2}
    )
    cluster.forget()
    cluster.write("/brokers/topics/t2", TopicAssignment(id_from_text(T2), {0: (3, 2), 1: (1, 2)}).encode())
    cluster.settle()
    check_requests(cluster, SCENARIOS["add-partition"])
    check_writes(cluster, SCENARIOS["add-partition"])


def test_a_topic_is_deleted() -> None:
    states = {"t2": [State((3, 2), 3, 6, (2, 3), 9), State((1, 2), 1, 0, (1, 2), 0)]}
    cluster = Cluster({1: 391, 2: 273, 3: 328}, states, controller=2, epoch=2, ids={"t2": T2})
    cluster.forget()
    cluster.write("/admin/delete_topics/t2")
    cluster.settle()
    check_requests(cluster, until(SCENARIOS["delete-topic"], "delete /brokers"))
    check_writes(cluster, SCENARIOS["delete-topic"])
    assert not [path for path in cluster.zookeeper.nodes if "t2" in path]


def test_a_log_directory_fails() -> None:
    states = {"ld": [State((3, 1), 3, 0, (3, 1), 0)] * 3}
    cluster = Cluster({1: 527, 2: 273, 3: 613}, states, controller=2, epoch=2, ids={"ld": "bGSykQMlMtZDs5r7lyzm3g"})
    cluster.forget()
    cluster.brokers.partition_errors = {(3, "ld", index): ErrorCode.KAFKA_STORAGE_ERROR for index in range(3)}
    cluster.zookeeper.apply(
        None,
        [Create("/log_dir_event_notification/log_dir_event_", b'{"version":1,"broker":3,"event":1}', sequential=True)],
    )
    cluster.settle()
    lines = [
        line for line in SCENARIOS["log-dir-failure"] if "__transaction_state" not in line
    ]  # other topics, and cut
    assert len(lines) == len(SCENARIOS["log-dir-failure"]) - 4
    sent = cluster.brokers.sent
    assert [each.api for each in sent if each.broker == 3][:2] == ["LeaderAndIsr", "UpdateMetadata"]
    first = {
        broker: next(each for each in sent if each.broker == broker and each.api == "UpdateMetadata")
        for broker in THREE
    }
    cluster.brokers.sent = [
        each
        for each in sent
        if each is not first[each.broker] and not (each.broker == 3 and each.api == "LeaderAndIsr")
    ]
    check_requests(cluster, lines)
    check_writes(cluster, lines)


def test_a_partition_is_reassigned() -> None:
    cluster = Cluster(THREE, {"t2": [State((1, 2), 1, 0, (1, 2), 0)]}, ids={"t2": T2})
    cluster.forget()
    answers: list[Any] = []
    cluster.controller.alter_reassignments({TopicPartition("t2", 0): (3, 2)}, answers.append)
    cluster.settle()
    assert answers[0][1][TopicPartition("t2", 0)].error is ErrorCode.NONE
    running: list[Any] = []
    cluster.controller.list_reassignments(None, running.append)
    cluster.settle()
    assert running[0][1] == {TopicPartition("t2", 0): ((3, 2, 1), (3,), (1,))}
    lines = SCENARIOS["reassign"]
    check_requests(cluster, until(lines, "AlterPartition"))
    check_writes(cluster, until(lines, "AlterPartition"))
    assert alter(cluster, 1, 25, "t2", 0, (1, 2, 3)).topics[0].partitions[0].error_code == ErrorCode.NONE
    cluster.settle()
    check_requests(cluster, lines)
    check_writes(cluster, lines)
    assert cluster.state("t2", 0) == State((3, 2), 3, 3, (2, 3), 4)
    assert cluster.brokers.sent[-1].entries == {"t2-0 L3 le3 isr[2,3] pe4 r[3,2]"}
    assert [each for each in cluster.brokers.sent if each.api == "StopReplica"] == [
        (1, "StopReplica", frozenset({"t2-0 le2"}), frozenset()),
        (1, "StopReplica", frozenset({"t2-0 le3 DELETE"}), frozenset()),
    ]


def test_the_older_tools_write_nodes() -> None:
    ids = {"t1": T1, "d1": "cMDEZzKpRgygjDDYFwyCNg"}
    states = {
        "t1": [State((2, 3, 1), 1, 19, (1, 3, 2), 34), State((3, 1, 2), 1, 20, (1, 3, 2), 35)],
        "d1": [State((1, 2), 1, 1, (1, 2), 2)],
    }
    cluster = Cluster({1: 1190, 2: 1681, 3: 1185}, states, controller=3, epoch=80, ids=ids)
    cluster.forget()
    lines = SCENARIOS["legacy-admin-znodes"]
    asked = b'{"version":1,"partitions":[{"topic":"t1","partition":0},{"topic":"t1","partition":1}]}'
    cluster.write("/admin/preferred_replica_election", asked)
    cluster.settle()
    assert "/admin/preferred_replica_election" not in cluster.zookeeper.nodes
    cluster.write(
        "/admin/reassign_partitions", b'{"version":1,"partitions":[{"topic":"d1","partition":0,"replicas":[2,3]}]}'
    )
    cluster.settle()
    check_requests(cluster, lines)
    check_writes(cluster, lines)
    alter(cluster, 1, 1190, "d1", 0, (1, 2, 3))
    cluster.settle()
    assert cluster.state("d1", 0).replicas == (2, 3)
    assert "/admin/reassign_partitions" not in cluster.zookeeper.nodes


def test_an_out_of_sync_replica_is_elected_if_the_topic_allows_it() -> None:
    cluster = Cluster({2: 273}, {"u1": [State((1, 3), -1, 1, (1,), 1)]}, controller=2, epoch=2)
    cluster.write("/config/topics/u1", b'{"version":1,"config":{"unclean.leader.election.enable":"true"}}')
    cluster.forget()
    cluster.register(3, 481)
    cluster.settle()
    assert cluster.state("u1", 0) == State((1, 3), 3, 3, (3,), 3, recovering=True)
    entry = "u1-0 L3 le3 isr[3] pe3 r[1,3]"
    assert (3, "LeaderAndIsr", frozenset({f"{entry} RECOVERING"}), frozenset({3})) in cluster.brokers.sent
    check_writes(cluster, [line for line in SCENARIOS["unclean"] if "u1" in line])
    assert cluster.controller.numbers.unclean_elections == 1


def test_a_topic_is_deleted_with_an_older_protocol_version() -> None:
    cluster = Cluster({1: 1012, 2: 1058, 3: 1106}, {}, version="2.6")
    cluster.prepare_topic("t1", [State((3, 1, 2), 3, 1, (1, 2, 3), 2), State((1, 2, 3), 1, 1, (1, 2, 3), 2)], "")
    cluster.controller.elected(1, 1)
    cluster.forget()
    cluster.write("/admin/delete_topics/t1")
    cluster.settle()
    check_requests(cluster, until(SCENARIOS["ibp26-delete"], "ControlledShutdown"))
