"""States that a leader is told once more, and roles that are taken while memory is short."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    ChangedPartition,
    ChangedTopic,
)
from kafka_cy.protocol.controller_messages.leader_and_isr import (
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    PartitionState,
    TopicState,
)
from kafka_cy.replication.isr_changes import AWAIT_STATE, IsrChanges
from kafka_cy.replication.replica_states import ReplicaStates
from kafka_cy.replication.role_changes import RoleChanges
from kafka_cy.replication.waiting_roles import WaitingRoles
from tests.replication.test_isr_changes_property import ID, Partition

KEY = ("t", 0)
Done = Callable[[AlterPartitionResponse | None], None]


class Follower(Partition):
    def follow(self, leader_epoch: int) -> None:
        self.leader_epoch = leader_epoch


class Short(Follower):
    """There is no memory for what only metrics show."""

    def set_adding(self, replicas: Any, broker_id: int) -> None:
        raise MemoryError


class Broker:
    """Broker 1, and what it asks of the controller."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        partitions: Any = {KEY: partition}
        self.states = ReplicaStates(1, partitions)
        self.sent: list[tuple[AlterPartitionRequest, Done]] = []
        self.delayed: list[Callable[[], None]] = []
        self.isr = IsrChanges(
            1, partitions, lambda request, done: self.sent.append((request, done)), lambda ms, call: self.delayed.append(call)
        )
        self.followed: list[tuple[object, int, int]] = []
        self.became: list[tuple[object, ...]] = []
        self.lines: list[str] = []
        fetchers = SimpleNamespace(
            leave=lambda key: None, stop_idle=lambda: None, follow=lambda *following: self.followed.append(following)
        )

        def line(text: str, **details: Any) -> None:
            self.lines.append(text)

        around: Any = SimpleNamespace(
            logs=SimpleNamespace(partitions=partitions), states=self.states, isr=self.isr, fetchers=fetchers,
            log=SimpleNamespace(info=lambda *_, **__: None, warning=line, error=line), alive=lambda broker: True,
            leadership=lambda *change: self.became.append(change),
            waiting=WaitingRoles(lambda topic: True, lambda delay_s, call: None, lambda: None, lambda: 0.0),
        )  # fmt: skip
        self._roles = RoleChanges(around)

    def tell(self, leader: int, leader_epoch: int) -> int:
        """LeaderAndIsr of a controller in KRaft mode: the error code of the partition."""
        state = PartitionState(0, 1, leader, leader_epoch, (leader,), 7, (1, 2), (2,))
        request = LeaderAndIsrRequest(9, 1, -1, (TopicState("t", ID, (state,)),), (), True)
        answers: list[LeaderAndIsrResponse] = []
        for _ in self._roles.leader_and_isr(request, answers.append):
            pass
        return answers[0].topics[0].partitions[0].error_code

    def answer(self, changed: ChangedPartition) -> None:
        self.sent.pop(0)[1](AlterPartitionResponse(0, (ChangedTopic("", ID, (changed,)),)))

    def run_delayed(self) -> None:
        delayed, self.delayed = self.delayed, []
        for call in delayed:
            call()


def proposing() -> Broker:
    broker = Broker(Follower())
    assert broker.tell(1, 0) == 0
    broker.partition.ready = {2}
    broker.isr.expand([KEY])
    assert len(broker.sent) == 1
    return broker


@pytest.mark.parametrize("code", sorted(AWAIT_STATE))
def test_a_state_that_is_told_again_has_the_change_asked_for_again(code: int) -> None:
    """Else nobody would ask for it or answer it any more, and the ISR would never change."""
    broker = proposing()
    broker.answer(ChangedPartition(0, code))
    broker.run_delayed()
    assert broker.sent == []
    for _ in range(3):
        assert broker.tell(1, 0) == 0
        assert broker.partition.maximal_isr == {1, 2}, "the controller may have stored it before it refused it"
    broker.run_delayed()
    [(request, _)] = broker.sent
    assert [each.broker_id for each in request.topics[0].partitions[0].new_isr] == [1, 2]
    broker.answer(ChangedPartition(0, 0, 1, 0, (1, 2), 0, 8))
    assert (broker.partition.isr, broker.isr.led[KEY].isr, broker.isr.led[KEY].proposed) == ({1, 2}, (1, 2), None)
    broker.run_delayed()
    assert broker.sent == []


def test_a_change_that_is_being_asked_for_is_not_asked_for_twice() -> None:
    broker = proposing()
    broker.tell(1, 0)
    assert (len(broker.sent), broker.delayed) == (1, [])
    broker.sent.pop(0)[1](None)  # no answer: it waits to be asked for again
    broker.tell(1, 0)
    assert len(broker.delayed) == 1
    broker.run_delayed()
    assert len(broker.sent) == 1


def test_a_role_is_taken_though_there_is_no_memory_for_its_metrics() -> None:
    broker = Broker(Short())
    assert broker.tell(1, 3) == 0
    assert (broker.states.leads(KEY), broker.isr.led[KEY].leader_epoch, broker.became) == (True, 3, [(*KEY, 3, True)])
    assert broker.tell(2, 4) == 0
    assert (broker.states.by_key[KEY].leader, broker.isr.led, broker.followed) == (2, {}, [(KEY, 2, 4)])
    assert broker.became[1:] == [(*KEY, 4, False)]
    assert len(broker.lines) == 2 and all("out of memory" in line for line in broker.lines)


def test_a_leader_that_has_missed_an_epoch_begins_anew() -> None:
    """Another broker may have led in it: what is coordinated here is loaded again."""
    broker = Broker(Short())
    for leader_epoch in (3, 4, 6):
        assert broker.tell(1, leader_epoch) == 0
    assert broker.became == [(*KEY, 3, True), (*KEY, 6, True)]
