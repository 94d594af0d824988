"""Many partitions are worked on a few at a time: the controller's thread has other work, and the store a limit of what waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kafka_cy.cluster.store import ReadDone, Request
from kafka_cy.controller import alter_partition, partition_machine, state_store, topic_events
from kafka_cy.controller.alter_partition import AlterPartitions
from kafka_cy.controller.context import ControllerContext
from kafka_cy.controller.pace import LOOKED_AT_ONCE
from kafka_cy.controller.term_store import DONE_AT_ONCE, READ_AT_ONCE
from kafka_cy.protocol.controller_messages import leader_and_isr, update_metadata
from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    IsrMember,
    PartitionChange,
    TopicChange,
)
from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrRequest
from kafka_cy.protocol.controller_messages.update_metadata import UpdateMetadataRequest
from kafka_cy.protocol.errors import ErrorCode
from tests.cluster.simulator.zookeeper_model import ModelSession
from tests.controller.cluster import Cluster, State

COUNT = 430


class Turns:
    """How often functions are called in one turn of the controller's thread, at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster: Cluster | None = None
        self._patch = monkeypatch
        self._calls: dict[str, Counter[int]] = {}

    def watch(self, module: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(module, name)
        calls = self._calls[name] = Counter[int]()

        def counted(*arguments: Any) -> Any:
            calls[self.cluster.simulation.steps if self.cluster is not None else -1] += 1
            return real(*arguments)

        self._patch.setattr(module, name, counted)

    def total(self, name: str) -> int:
        return sum(self._calls[name].values())

    def most(self, name: str) -> int:
        calls = self._calls[name]
        assert sum(calls.values()) >= COUNT
        return max(calls.values())


def test_a_broker_that_leads_many_partitions_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch)
    cluster = Cluster({1: 25, 2: 70, 3: 105}, {"t": [State((3, 2, 1), 3, 0, (3, 2, 1), 0)] * COUNT})
    turns.cluster = cluster
    for name in ("state_of", "state_data"):
        turns.watch(state_store, name)
    cluster.unregister(3)
    cluster.settle()
    assert {(cluster.state("t", index).leader, cluster.state("t", index).isr) for index in range(COUNT)} == {(2, (2, 1))}
    assert turns.most("state_of") == turns.most("state_data") == DONE_AT_ONCE


def test_a_new_controller_elects_leaders_before_a_dead_broker_leaves_the_isr_of_others() -> None:
    """Those that have a leader can wait. The state of each partition is written once."""
    led, followed = State((3, 2, 1), 3, 0, (3, 2, 1), 0), State((2, 3, 1), 2, 0, (2, 3, 1), 0)
    cluster = Cluster({1: 25, 2: 70}, {"t": [followed, led] * DONE_AT_ONCE})
    written = [int(each.path.split("/")[-2]) for each in cluster.writes if each.path.endswith("/state")]
    assert written == [*range(1, 2 * DONE_AT_ONCE, 2), *range(0, 2 * DONE_AT_ONCE, 2)]
    states = [cluster.state("t", index) for index in range(2 * DONE_AT_ONCE)]
    assert {(each.leader, each.leader_epoch, each.isr) for each in states} == {(2, 1, (2, 1))}
    stopped = {entry for sent in cluster.brokers.sent if sent.api == "StopReplica" for entry in sent.entries}
    assert not stopped, "the broker is not there"


def test_a_new_controller_elects_uncleanly_beside_a_member_that_is_no_replica() -> None:
    """4 is left over from a reassignment whose controller has ended: it cannot lead, and must not keep 2 from it."""
    cluster = Cluster({1: 25, 2: 70, 4: 90})
    cluster.prepare_topic("t", [State((3, 2), 3, 0, (3, 4), 0)], "ogAxKBfwS9KCUQRPJDhGwg")
    cluster.write("/config/topics/t", b'{"version":1,"config":{"unclean.leader.election.enable":"true"}}')
    cluster.controller.elected(1, 1)
    cluster.settle()
    assert cluster.state("t", 0).leader == 2


def test_a_topic_of_many_partitions_is_created_and_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch)
    turns.cluster = cluster = Cluster({1: 25, 2: 70, 3: 105})
    turns.watch(partition_machine, "state_data")
    cluster.controller.create_topic("t", [[1, 2, 3]] * COUNT, {}, lambda answer: None)
    cluster.settle()
    assert {cluster.state("t", index).leader for index in range(COUNT)} == {1}
    assert turns.most("state_data") == DONE_AT_ONCE
    submitted: Counter[int] = Counter()
    submit = ModelSession.submit

    def counted(self: ModelSession, *arguments: Any) -> None:
        submitted[cluster.simulation.steps] += 1
        submit(self, *arguments)

    monkeypatch.setattr(ModelSession, "submit", counted)
    cluster.write("/admin/delete_topics/t")
    cluster.settle()
    assert "/brokers/topics/t" not in cluster.zookeeper.nodes and max(submitted.values()) == DONE_AT_ONCE


def test_a_controller_starts_with_many_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    """One read of everything would never fit into what may wait for ZooKeeper, however often it is repeated."""
    sizes: list[int] = []
    read = ModelSession.read

    def counted(self: ModelSession, requests: Sequence[Request], done: ReadDone) -> None:
        sizes.append(len(requests))
        read(self, requests, done)

    monkeypatch.setattr(ModelSession, "read", counted)
    turns = Turns(monkeypatch)
    names = [f"t{number}" for number in range(COUNT)]
    cluster = Cluster({1: 25}, {name: [State((1,), 1, 0, (1,), 0)] for name in names}, ids=dict.fromkeys(names, ""))
    turns.cluster = cluster
    turns.watch(topic_events, "topic_of")
    turns.watch(state_store, "state_of")
    cluster.controller.elected(1, 1)
    cluster.settle()
    term = cluster.controller.term
    assert term is not None and len(term.parts.context.states) == COUNT
    assert turns.most("topic_of") == turns.most("state_of") == DONE_AT_ONCE and max(sizes) <= READ_AT_ONCE


def test_the_requests_to_brokers_are_built_a_few_partitions_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a term begins, when a broker dies, and when it comes. Each partition is encoded once, whoever hears of it."""
    turns = Turns(monkeypatch)
    topics = {f"t{number:03}": [State((1, 2, 3), 1, 0, (1, 2, 3), 0)] * 10 for number in range(COUNT // 10)}
    turns.cluster = cluster = Cluster({1: 25, 2: 70, 3: 105}, topics, ids=dict.fromkeys(topics, ""))
    encode_state = leader_and_isr.encode_state
    for module in (leader_and_isr, update_metadata):
        turns.watch(module, "encode_state")
        cluster.forget()
        cluster.controller.elected(1, 1)
        cluster.settle()
        whole = [each for _, each in cluster.brokers.requests if sum(len(topic.partitions) for topic in each.topics) == COUNT]
        assert Counter(map(type, whole)) == {LeaderAndIsrRequest: 3, UpdateMetadataRequest: 3}
        assert len({request.topics for request in whole}) == 2, "all brokers hear the same"
        assert turns.most("encode_state") <= DONE_AT_ONCE and turns.total("encode_state") == COUNT
    monkeypatch.setattr(leader_and_isr, "encode_state", encode_state)
    turns.watch(leader_and_isr, "encode_state")
    cluster.unregister(3)
    cluster.settle()
    cluster.register(3, 200)
    cluster.settle()
    assert cluster.brokers.requests[-1][0] == 3 and len(cluster.brokers.requests[-1][1].topics) == len(topics)
    assert turns.most("encode_state") <= DONE_AT_ONCE


def test_a_few_hundred_partitions_are_looked_at_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * LOOKED_AT_ONCE
    turns = Turns(monkeypatch)
    turns.cluster = cluster = Cluster({1: 25, 2: 70, 3: 105}, {"t": [State((1, 2, 3), 1, 0, (1, 2, 3), 0)] * count})
    turns.watch(ControllerContext, "is_online")
    turns.watch(ControllerContext, "assignment")
    term = cluster.controller.term
    assert term is not None
    for change in (
        lambda: cluster.controller.elected(1, 1),
        lambda: cluster.unregister(3),
        lambda: cluster.register(3, 200),
        lambda: term.parts.put("AutoPreferredReplicaLeaderElection", term.operator.rebalance),
    ):
        change()
        cluster.settle()
    assert max(turns.most("is_online"), turns.most("assignment")) <= 2 * LOOKED_AT_ONCE


@pytest.mark.parametrize("changed", ["stored", "changed by another"])
def test_a_leader_changes_many_isrs(monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    count = 2 * LOOKED_AT_ONCE
    turns = Turns(monkeypatch)
    turns.cluster = cluster = Cluster({1: 25, 2: 70, 3: 105}, {"t": [State((1, 2, 3), 1, 0, (1, 2, 3), 0)] * count})
    term = cluster.controller.term
    assert term is not None
    if changed != "stored":
        for index in range(count):
            path = f"/brokers/topics/t/partitions/{index}/state"
            cluster.write(path, cluster.zookeeper.nodes[path].data)
    turns.watch(AlterPartitions, "_check")
    turns.watch(alter_partition, "ChangedPartition")
    rows = tuple(PartitionChange(index, 0, (IsrMember(1), IsrMember(2)), 0, 0) for index in range(count))
    request = AlterPartitionRequest(1, 25, (TopicChange("", term.parts.context.topic_ids["t"], rows),))
    answers: list[AlterPartitionResponse] = []
    cluster.simulation.call_later(0, lambda: cluster.controller.alter_partition(request, 3, answers.append))
    cluster.settle()
    code = 0 if changed == "stored" else int(ErrorCode.INVALID_UPDATE_VERSION)
    assert [(each.partition, each.error_code) for each in answers[0].topics[0].partitions] == [(i, code) for i in range(count)]
    assert max(turns.most("_check"), turns.most("ChangedPartition")) <= LOOKED_AT_ONCE
