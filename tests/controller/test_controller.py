"""The controller beyond the recorded scenarios: requests, hostile ones too, lost replies, and brokers that do not answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from kafka_cy.cluster.change_formats import LogDirEvent
from kafka_cy.cluster.store import Create, NoAuthError
from kafka_cy.cluster.znode_formats import TopicAssignment
from kafka_cy.controller import channels, pace
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.controller.settings import ControllerSettings
from kafka_cy.protocol.controller_messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)
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
from tests.controller.cluster import Cluster, State

THREE = {1: 25, 2: 70, 3: 105}


def topic(replicas: tuple[int, ...] = (1, 2, 3)) -> State:
    return State(replicas, replicas[0], 0, replicas, 0)


def alter(cluster: Cluster, request: AlterPartitionRequest, version: int = 3) -> AlterPartitionResponse:
    responses: list[AlterPartitionResponse] = []
    cluster.controller.alter_partition(request, version, responses.append)
    cluster.settle()
    assert len(responses) == 1
    return responses[0]


def change(
    cluster: Cluster, isr: tuple[int, ...], *, leader: int = 1, epoch: int = 25, leader_epoch: int = 0, pe: int = 0
) -> int:
    topic_id = cluster.controller.term.parts.context.topic_ids["t"]  # type: ignore[union-attr]
    wanted = PartitionChange(0, leader_epoch, tuple(map(IsrMember, isr)), 0, pe)
    response = alter(cluster, AlterPartitionRequest(leader, epoch, (TopicChange("", topic_id, (wanted,)),)))
    return response.error_code or response.topics[0].partitions[0].error_code


def test_hostile_changes_of_an_isr_change_nothing() -> None:
    cluster = Cluster(THREE, {"t": [topic()]})
    before = cluster.state("t", 0)
    assert change(cluster, (1,), epoch=24) == ErrorCode.STALE_BROKER_EPOCH
    assert change(cluster, (1,), leader=7) == ErrorCode.STALE_BROKER_EPOCH
    assert change(cluster, (2,), leader=2, epoch=70) == ErrorCode.INVALID_REQUEST  # not the leader
    assert change(cluster, (1, 4)) == ErrorCode.INELIGIBLE_REPLICA
    assert change(cluster, ()) == ErrorCode.INVALID_REQUEST
    assert change(cluster, (1,), leader_epoch=1) == ErrorCode.NOT_CONTROLLER
    assert change(cluster, (1,), pe=1) == ErrorCode.NOT_CONTROLLER
    unknown = TopicChange("t", None, (PartitionChange(0, 0, (IsrMember(1),), 0, 0),))
    response = alter(cluster, AlterPartitionRequest(1, 25, (unknown,)))
    assert response.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID
    missing = TopicChange("t", None, (PartitionChange(9, 0, (IsrMember(1),), 0, 0),))
    response = alter(cluster, AlterPartitionRequest(1, 25, (missing,)), version=1)
    assert response.topics[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    cluster.register(5, 500)  # lives, but is not a replica
    cluster.settle()
    assert change(cluster, (1, 5)) == ErrorCode.INVALID_REQUEST
    assert cluster.state("t", 0) == before


def test_a_repeated_change_of_an_isr_is_answered_with_the_state() -> None:
    cluster = Cluster(THREE, {"t": [topic()]})
    assert change(cluster, (1, 2)) == ErrorCode.NONE
    writes = len(cluster.writes)
    assert change(cluster, (1, 2)) == ErrorCode.NONE  # with the old partition epoch: the answer was lost
    assert change(cluster, (1, 3)) == ErrorCode.INVALID_UPDATE_VERSION
    assert len(cluster.writes) == writes and cluster.state("t", 0).isr == (1, 2)


def test_a_broker_epoch_in_a_new_isr_has_to_be_the_current_one() -> None:
    cluster = Cluster(THREE, {"t": [State((1, 2, 3), 1, 0, (1, 3), 0)]})
    topic_id = cluster.controller.term.parts.context.topic_ids["t"]  # type: ignore[union-attr]

    def ask(epoch: int) -> int:
        members = (IsrMember(1), IsrMember(2, epoch), IsrMember(3))
        wanted = TopicChange("", topic_id, (PartitionChange(0, 0, members, 0, 0),))
        return alter(cluster, AlterPartitionRequest(1, 25, (wanted,))).topics[0].partitions[0].error_code

    assert ask(69) == ErrorCode.INELIGIBLE_REPLICA
    assert ask(70) == ErrorCode.NONE


def test_requests_to_a_broker_that_is_not_the_controller_are_refused() -> None:
    cluster = Cluster(THREE, {"t": [topic()]})
    cluster.controller.resign()
    answers: list[Any] = []
    controller, refused = cluster.controller, ErrorCode.NOT_CONTROLLER
    controller.alter_partition(AlterPartitionRequest(1, 25, ()), 3, answers.append)
    controller.controlled_shutdown(ControlledShutdownRequest(1, 25), answers.append)
    controller.allocate_producer_ids(AllocateProducerIdsRequest(1, 25), answers.append)
    controller.create_topic("x", [[1]], {}, answers.append)
    controller.create_partitions("t", 2, [[1]], answers.append, is_manual=False)
    controller.delete_topic("t", answers.append)
    controller.elect_leaders(None, False, answers.append)
    controller.alter_reassignments({TopicPartition("t", 0): (1,)}, answers.append)
    controller.list_reassignments(None, answers.append)
    assert answers == [
        AlterPartitionResponse(refused),
        ControlledShutdownResponse(refused),
        AllocateProducerIdsResponse(refused),
        Outcome(refused),
        Outcome(refused),
        Outcome(refused),
        (refused, {}),
        (refused, {}),
        (refused, {}),
    ]


@pytest.mark.parametrize("named", [True, False])
def test_many_partitions_are_looked_at_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch, *, named: bool) -> None:
    """Other calls have their turn in between, other events have not."""
    monkeypatch.setattr(pace, "LOOKED_AT_ONCE", 5)
    cluster = Cluster(THREE, {"t": [State((1, 2), 1, 0, (1, 2), 0)] * 27 + [State((3, 1), 1, 0, (3, 1), 0)]})
    context = cluster.controller.term.parts.context  # type: ignore[union-attr]
    looks = [0]
    assignment = type(context).assignment

    def look(self: Any, *arguments: Any, **named: Any) -> Any:
        looks[-1] += 1
        return assignment(self, *arguments, **named)

    monkeypatch.setattr(type(context), "assignment", look)
    partitions = [TopicPartition("t", index) for index in range(28)] if named else None
    context.being_reassigned.update(TopicPartition("t", index) for index in range(28))
    answers: list[Any] = []

    def until_answered() -> None:
        while not answers:
            looks.append(0)
            assert cluster.simulation.step()

    cluster.controller.list_reassignments(partitions, answers.append)
    cluster.controller.create_topic("x", [[1]], {}, answers.append)
    until_answered()
    assert answers == [(ErrorCode.NONE, {})], "no assignment says that it is being changed"
    assert sum(looks) == 28 and max(looks) <= 5
    context.being_reassigned.clear()
    cluster.settle()
    assert answers.pop() == Outcome(ErrorCode.NONE)
    answers.clear()
    looks[:] = [0]
    cluster.controller.elect_leaders(partitions, False, answers.append)
    until_answered()
    error, outcomes = answers[0]
    assert error is ErrorCode.NONE and outcomes[TopicPartition("t", 27)] == Outcome(ErrorCode.NONE)
    assert sum(looks) >= 28 and max(looks) <= 6
    others = {outcome for partition, outcome in outcomes.items() if partition.partition < 27}
    assert others == ({Outcome(ErrorCode.ELECTION_NOT_NEEDED)} if named else set())


def test_unclean_elections_that_are_allowed_while_a_partition_has_no_leader() -> None:
    cluster = Cluster({2: 70}, {"t": [State((1, 2), -1, 3, (1,), 0)]}, controller=2)
    assert cluster.state("t", 0).leader == -1
    cluster.controller.elect_missing()
    cluster.settle()
    assert cluster.state("t", 0).leader == -1, "they are not allowed yet"
    cluster.controller.take_settings(ControllerSettings(2, "REPL", unclean_leader_election_enable=True))
    cluster.controller.elect_missing()
    cluster.settle()
    assert (cluster.state("t", 0).leader, cluster.state("t", 0).isr) == (2, (2,))


def test_settings_that_may_not_be_read_end_no_other_election() -> None:
    """Somebody has set an ACL of ZooKeeper. Each controller would fail, one after the other."""
    cluster = Cluster(THREE, {"t": [topic()], "refused": [topic((1,)), State((1, 2), 1, 0, (1,), 0)]}, controller=2)
    read = cluster.session.read

    def refuse(requests: Sequence[Any], done: Any) -> None:
        if any(each.path == "/config/topics/refused" for each in requests):
            read([], lambda *_: done(None, NoAuthError("refused")))
        else:
            read(requests, done)

    cluster.session.read = refuse  # type: ignore[method-assign]
    cluster.controller.take_settings(ControllerSettings(2, "REPL", unclean_leader_election_enable=True))
    cluster.unregister(1)
    cluster.settle()
    assert cluster.state("t", 0).leader == 2 and cluster.controller.term is not None
    assert cluster.state("refused", 1).leader == -1, "the topic may not allow it"
    assert "the configuration of 1 topics, such as refused, may not be read: no unclean election" in cluster.warnings
    cluster.session.read = read  # type: ignore[method-assign]
    cluster.controller.elect_missing()
    cluster.settle()
    assert cluster.state("refused", 1).leader == 2


def test_a_partition_without_another_replica_does_not_delay_a_shutdown() -> None:
    cluster = Cluster(THREE, {"t": [topic((1, 2))], "single": [topic((1,))]})
    answers: list[ControlledShutdownResponse] = []
    cluster.controller.controlled_shutdown(ControlledShutdownRequest(1, 25), answers.append)
    cluster.settle()
    assert answers == [ControlledShutdownResponse(ErrorCode.NONE)]
    assert cluster.state("t", 0).leader == 2 and cluster.state("single", 0).leader == 1


def test_a_request_is_answered_when_the_controller_is_fenced() -> None:
    cluster = Cluster(THREE, {"t": [topic()]})
    cluster.write("/controller_epoch", b"2")  # another controller was elected
    before = cluster.state("t", 0)
    answers: list[Any] = []
    cluster.controller.controlled_shutdown(ControlledShutdownRequest(1, 25), answers.append)
    cluster.controller.allocate_producer_ids(AllocateProducerIdsRequest(1, 25), answers.append)
    cluster.settle()
    assert answers == [
        ControlledShutdownResponse(ErrorCode.NOT_CONTROLLER),
        AllocateProducerIdsResponse(ErrorCode.NOT_CONTROLLER),
    ]
    assert cluster.lost == [False] and not cluster.controller.is_active and cluster.state("t", 0) == before


def test_producer_ids_come_in_blocks() -> None:
    cluster = Cluster(THREE)
    answers: list[AllocateProducerIdsResponse] = []
    for broker_id, epoch in ((3, 105), (1, 25), (1, 24), (9, 1)):
        cluster.controller.allocate_producer_ids(AllocateProducerIdsRequest(broker_id, epoch), answers.append)
    cluster.settle()
    assert [each[:3] for each in answers] == [
        (ErrorCode.NONE, 0, 1000),
        (ErrorCode.NONE, 1000, 1000),
        (ErrorCode.STALE_BROKER_EPOCH, 0, 0),
        (ErrorCode.BROKER_ID_NOT_REGISTERED, 0, 0),
    ]


def test_a_controlled_shutdown_of_a_stranger_is_refused() -> None:
    cluster = Cluster(THREE, {"t": [topic()]})
    answers: list[ControlledShutdownResponse] = []
    cluster.controller.controlled_shutdown(ControlledShutdownRequest(9, -1), answers.append)
    cluster.controller.controlled_shutdown(ControlledShutdownRequest(1, 24), answers.append)
    cluster.settle()
    assert [each.error_code for each in answers] == [ErrorCode.BROKER_NOT_AVAILABLE, ErrorCode.STALE_BROKER_EPOCH]
    assert cluster.state("t", 0).leader == 1


def test_a_broker_that_does_not_answer_delays_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "QUEUED_BYTES_MAX", 4000)
    cluster = Cluster(THREE, {"t": [topic()]})
    cluster.forget()
    cluster.brokers.silent.add(3)
    for number in range(40):
        name = f"n{number}"
        cluster.write(f"/brokers/topics/{name}", TopicAssignment(None, {0: (1, 2, 3)}).encode())
        cluster.simulation.run_for(20)
    assert len([each for each in cluster.brokers.sent if each.broker == 2 and each.api == "LeaderAndIsr"]) == 40
    assert any("more than" in line for line in cluster.warnings)
    assert cluster.controller.term is not None
    sizes = cluster.controller.term.parts.channels.sizes
    assert sizes[1] == 0 and sizes[3] == 1
    cluster.brokers.silent.clear()
    cluster.settle()
    told = {
        name for each in cluster.brokers.sent if each.broker == 3 for name in each.entries if each.api == "LeaderAndIsr"
    }
    assert len({entry.split(" ")[0] for entry in told}) == 41  # all topics, after the requests that were forgotten


def test_a_broker_that_refuses_to_be_told() -> None:
    """Each change is sent to all brokers; a line says when a refusal begins, or becomes another one."""
    cluster = Cluster(THREE)
    for number, error in enumerate((31, 31, 11, 0, 31)):
        cluster.brokers.update_errors[3] = error
        cluster.write(f"/brokers/topics/n{number}", TopicAssignment(None, {0: (1, 2)}).encode())
        cluster.settle()
    assert cluster.warnings == [
        f"broker 3 refused UpdateMetadata: {name}"
        for name in ("CLUSTER_AUTHORIZATION_FAILED", "STALE_CONTROLLER_EPOCH", "CLUSTER_AUTHORIZATION_FAILED")
    ]


def test_a_registration_without_the_listener_is_left_out() -> None:
    cluster = Cluster(THREE, {"t": [topic()]})
    cluster.forget()
    bad = b'{"version":5,"host":"h","port":1,"endpoints":["CLIENT://h:1"],"listener_security_protocol_map":{"CLIENT":"PLAINTEXT"}}'
    cluster.write("/brokers/ids/7", bad)
    cluster.write("/brokers/ids/8", b"not json")
    cluster.register(9, 900)
    cluster.settle()
    assert cluster.brokers.sent[-1].brokers == {1, 2, 3, 9}
    assert sum("is left out" in line for line in cluster.warnings) == 2


def test_nodes_that_cannot_be_read_stop_nothing() -> None:
    cluster = Cluster(THREE, {"t": [topic()], "u": [topic()]})
    cluster.forget()
    cluster.write("/brokers/topics/bad", b"{}")
    cluster.write("/brokers/topics/u/partitions/0/state", b"{}")
    cluster.zookeeper.apply(None, [Create("/isr_change_notification/isr_change_", b"?", sequential=True)])
    cluster.zookeeper.apply(None, [Create("/log_dir_event_notification/log_dir_event_", b"?", sequential=True)])
    cluster.write("/admin/preferred_replica_election", b"?")
    cluster.write("/admin/reassign_partitions", b"?")
    cluster.unregister(1)
    cluster.settle()
    assert cluster.state("t", 0).leader == 2 and cluster.controller.numbers.failed_events == 0
    assert not cluster.zookeeper.children["/isr_change_notification"]
    assert not cluster.zookeeper.children["/log_dir_event_notification"]
    assert "/admin/reassign_partitions" not in cluster.zookeeper.nodes
    assert "/admin/preferred_replica_election" not in cluster.zookeeper.nodes


def test_an_isr_that_an_old_leader_wrote_is_passed_on() -> None:
    cluster = Cluster(THREE, {"t": [State((1, 2, 3), 1, 0, (1, 2), 0)]}, version="2.6")
    cluster.forget()
    data = b'{"version":1,"leader":1,"leader_epoch":0,"controller_epoch":1,"isr":[1,2,3]}'
    cluster.write("/brokers/topics/t/partitions/0/state", data)
    notification = b'{"version":1,"partitions":[{"topic":"t","partition":0}]}'
    cluster.zookeeper.apply(None, [Create("/isr_change_notification/isr_change_", notification, sequential=True)])
    cluster.settle()
    assert cluster.brokers.sent[-1].entries == {"t-0 L1 le0 isr[1,2,3] pe1 r[1,2,3]"}
    assert not cluster.zookeeper.children["/isr_change_notification"]


def test_a_lost_reply_is_not_a_lost_change() -> None:
    cluster = Cluster(THREE, {"t": [topic()]})
    cluster.forget()
    cluster.unregister(1)
    for _ in range(40):  # the connection breaks at every moment of what follows
        cluster.simulation.run_for(0.15)
        cluster.session.disconnect()
        cluster.session.connect()
    cluster.settle()
    assert cluster.controller.is_active
    assert cluster.state("t", 0) == State((1, 2, 3), 2, 1, (2, 3), 1)


def test_a_reassignment_that_would_lose_the_partition_is_refused() -> None:
    cluster = Cluster({1: 25, 2: 70}, {"t": [State((1, 2), 2, 3, (2,), 3)]})
    partition, answers = TopicPartition("t", 0), []
    node = TopicAssignment(None, {0: (1, 2)}, {0: (2,)}, {}).encode()
    cluster.write("/brokers/topics/t", node)
    cluster.controller.elected(1, 1)  # a term that finds 2 being added, and alone in the ISR
    cluster.settle()
    cluster.controller.alter_reassignments({partition: None}, answers.append)
    cluster.settle()
    assert answers[0][1][partition].error is ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert cluster.state("t", 0).leader == 2


def test_wrong_reassignments_are_refused() -> None:
    cluster = Cluster(THREE, {"t": [topic()]})
    wanted: dict[TopicPartition, Any] = {
        TopicPartition("t", 0): None,
        TopicPartition("t", 1): (1,),
        TopicPartition("u", 0): (1,),
    }
    answers: list[Any] = []
    cluster.controller.alter_reassignments(wanted, answers.append)
    for target in ((), (1, 1), (-1,), (1, 9)):
        cluster.controller.alter_reassignments({TopicPartition("t", 0): target}, answers.append)
    cluster.settle()
    assert [each.error for each in answers[0][1].values()] == [
        ErrorCode.NO_REASSIGNMENT_IN_PROGRESS,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ]
    assert {each[1][TopicPartition("t", 0)].error for each in answers[1:]} == {ErrorCode.INVALID_REPLICA_ASSIGNMENT}


def test_topics_are_created_extended_and_deleted_by_request() -> None:
    cluster = Cluster(THREE)
    answers: list[Any] = []
    controller = cluster.controller
    controller.create_topic("x", [[1, 2], [2, 3]], {"retention.ms": "5"}, answers.append)
    cluster.settle()
    controller.create_topic("x", [[1]], {}, answers.append)
    controller.create_partitions("x", 3, [[3, 1]], answers.append, is_manual=False)
    controller.create_partitions("y", 3, [[3, 1]], answers.append, is_manual=False)
    cluster.settle()
    assert [cluster.state("x", index).leader for index in range(3)] == [1, 2, 3]
    assert [each.error for each in answers] == [
        ErrorCode.NONE,
        ErrorCode.TOPIC_ALREADY_EXISTS,
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ]
    controller.delete_topic("x", answers.append)
    controller.delete_topic("x", answers.append)
    controller.delete_topic("y", answers.append)
    cluster.settle()
    assert [each.error for each in answers[4:]] == [
        ErrorCode.NONE,
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ]
    assert not [path for path in cluster.zookeeper.nodes if path.endswith("/x")]


def test_a_topic_waits_with_its_deletion_for_a_dead_broker() -> None:
    cluster = Cluster({1: 25, 2: 70}, {"t": [topic()]})
    cluster.write("/admin/delete_topics/t")
    cluster.settle()
    assert "/brokers/topics/t" in cluster.zookeeper.nodes
    cluster.register(3, 300)
    cluster.settle()
    assert "/brokers/topics/t" not in cluster.zookeeper.nodes and not cluster.zookeeper.children["/admin/delete_topics"]


def test_a_deletion_waits_for_a_reassignment_that_can_end() -> None:
    """The leader may still ask for the ISR for which the reassignment waits."""
    cluster = Cluster(THREE, {"t": [State((1, 2), 1, 0, (1, 2), 0)]})
    cluster.controller.alter_reassignments({TopicPartition("t", 0): (1, 3)}, lambda answer: None)
    cluster.settle()
    cluster.write("/admin/delete_topics/t")
    cluster.settle()
    state = cluster.state("t", 0)
    assert "/brokers/topics/t" in cluster.zookeeper.nodes and state.replicas == (1, 3, 2)
    assert change(cluster, (1, 2, 3), leader_epoch=state.leader_epoch, pe=state.partition_epoch) == ErrorCode.NONE
    assert "/brokers/topics/t" not in cluster.zookeeper.nodes


def come_back_late(cluster: Cluster, broker_id: int, before_ms: float) -> None:
    """A broker comes back with a new registration, of which the controller reads while answers of the old one arrive."""
    cluster.simulation.run_for(before_ms)
    cluster.unregister(broker_id)
    cluster.register(broker_id, 300)
    cluster.settle()


def test_a_deletion_that_an_earlier_registration_refused_goes_on() -> None:
    """The refusal comes, at any moment of the broker's return."""
    for tenths in range(0, 60, 3):
        cluster = Cluster(THREE, {"t": [topic()]})
        cluster.settle()
        cluster.brokers.stop_errors = {(3, "t", 0): int(ErrorCode.UNKNOWN_SERVER_ERROR)}
        cluster.brokers.heals.add(3)
        cluster.write("/admin/delete_topics/t")
        come_back_late(cluster, 3, tenths / 10)
        assert "/brokers/topics/t" not in cluster.zookeeper.nodes, tenths


def test_a_failed_directory_of_an_earlier_registration_is_forgotten() -> None:
    """It has come back with the new process. The old one's answer comes at any moment of the broker's return."""
    for tenths in range(0, 60, 3):
        cluster = Cluster(THREE, {"t": [topic()]})
        cluster.settle()
        cluster.brokers.partition_errors = {(3, "t", 0): int(ErrorCode.KAFKA_STORAGE_ERROR)}
        cluster.brokers.heals.add(3)
        cluster.write("/log_dir_event_notification/log_dir_event_0000000000", LogDirEvent(3).encode())
        come_back_late(cluster, 3, tenths / 10)
        term = cluster.controller.term
        assert term is not None and term.parts.context.is_online(3, TopicPartition("t", 0)), tenths


def test_leaders_go_back_to_preferred_brokers_by_themselves() -> None:
    cluster = Cluster(THREE, {"t": [State((1, 2, 3), 2, 4, (2, 1, 3), 4)]}, rebalance=False)
    settings = ControllerSettings(1, "REPL")
    assert settings.versions == (7, 8, 4)
    cluster.controller._settings = settings
    cluster.controller.elected(1, 1)
    cluster.simulation.run_for(6_000)
    assert cluster.state("t", 0) == State((1, 2, 3), 1, 5, (2, 1, 3), 5)
    cluster.controller.resign()
    cluster.settle()


def test_protocol_versions_before_2_6_are_refused() -> None:
    assert ControllerSettings(1, "R", "2.8-IV1").versions == (5, 7, 3)
    assert ControllerSettings(1, "R", "3.3").versions == (6, 7, 3)
    for version in ("2.5", "old"):
        with pytest.raises(ValueError, match=r"inter\.broker\.protocol\.version"):
            _ = ControllerSettings(1, "R", version).versions


def test_a_fault_in_one_answer_does_not_keep_the_others_from_theirs() -> None:
    cluster = Cluster(THREE, {"t": [topic()]})
    answers: list[Outcome] = []

    def fail(outcome: Outcome) -> None:
        raise ValueError

    for done in (fail, answers.append):
        cluster.controller.delete_topic("t", done)
    cluster.controller.resign()
    assert answers == [Outcome(ErrorCode.NOT_CONTROLLER)] and cluster.controller.numbers.failed_events == 1


def test_a_fault_in_a_reassignment_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(THREE, {"t": [topic()] * 50})
    term = cluster.controller.term
    assert term is not None
    reassignments, answers = term.parts.reassignments, list[Any]()
    check = reassignments.check

    def failing(partition: TopicPartition, target: Any) -> Any:
        if partition.partition == 30:
            raise ValueError
        return check(partition, target)

    monkeypatch.setattr(reassignments, "check", failing)
    cluster.controller.alter_reassignments({TopicPartition("t", index): (2, 1) for index in range(50)}, answers.append)
    cluster.settle()
    ((error, outcomes),) = answers
    assert error == ErrorCode.NONE and len(outcomes) == 50
    begun = {each.partition for each, outcome in outcomes.items() if outcome.error is ErrorCode.NONE}
    assert begun == set(range(20)), "what was not begun, or of which it is not known"
    assert {each.error for each in outcomes.values()} == {ErrorCode.NONE, ErrorCode.UNKNOWN_SERVER_ERROR}


def test_a_topic_that_got_the_name_of_another_is_not_deleted_by_the_id_of_that() -> None:
    cluster = Cluster(THREE, {"t": [topic()]})
    answers: list[Outcome] = []
    topic_id = cluster.controller.term.parts.context.topic_ids["t"]  # type: ignore[union-attr]
    for each in (UUID(int=7), topic_id):
        cluster.controller.delete_topic("t", answers.append, each)
    cluster.controller.delete_topic("u", answers.append, topic_id)
    cluster.settle()
    unknown = Outcome(ErrorCode.UNKNOWN_TOPIC_ID, "This server does not host this topic ID.")
    assert answers == [unknown, Outcome(ErrorCode.NONE), unknown] and "/brokers/topics/t" not in cluster.zookeeper.nodes
