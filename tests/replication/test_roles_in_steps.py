"""What happens between two steps of a task that takes roles: the broker registers again, or something fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from kafka_cy.base.slices import Work
from kafka_cy.protocol.controller_messages.leader_and_isr import (
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    PartitionState,
    TopicState,
)
from kafka_cy.protocol.controller_messages.stop_replica import (
    StopReplicaPartition,
    StopReplicaRequest,
    StopReplicaResponse,
    StopReplicaTopic,
)
from kafka_cy.replication.isr_changes import IsrChanges
from kafka_cy.replication.replica_states import ReplicaStates
from kafka_cy.replication.role_changes import RoleChanges
from kafka_cy.replication.waiting_roles import AFTER_FAULT_S, UnknownSettings, WaitingRoles
from tests.replication.test_isr_changes_property import Partition

ID = UUID(int=7)
STALE_BROKER_EPOCH, STALE_CONTROLLER_EPOCH, FENCED_LEADER_EPOCH = 77, 11, 74
WAITS = -1  # UNKNOWN_SERVER_ERROR


class Broker:
    """Broker 1, without logs. `unknown`: topics whose settings cannot be understood. `during_work`: called in each work."""

    def __init__(self) -> None:
        self.partitions: dict[tuple[str, int], Any] = {}
        self.states = ReplicaStates(1, self.partitions)
        self.unknown: set[str] = set()
        self.during_work: Callable[[str], object] = lambda work: None
        self.create_fault: OSError | None = None
        self.hosted: set[str] = set()
        self.lines: list[str] = []
        self.now_s = 0.0
        self.waiting = WaitingRoles(self.unknown.__contains__, lambda delay_s, call: None, lambda: None, lambda: self.now_s)

        def line(text: str, **details: Any) -> None:
            self.lines.append(text)

        def repeated(level: str, text: str, details: dict[str, Any]) -> None:
            self.lines.append(text)

        def nothing(*_: Any) -> None:
            pass

        around: Any = SimpleNamespace(
            logs=SimpleNamespace(
                partitions=self.partitions, offline_dirs=(), create=self._create,
                sync_directories=lambda: self.during_work("sync"),
            ),
            states=self.states, isr=IsrChanges(1, self.partitions, nothing, nothing), topic_config=self._config,
            fetchers=SimpleNamespace(leave=nothing, stop_idle=nothing, follow=nothing),
            log=SimpleNamespace(info=line, warning=line, error=line, repeated=repeated), alive=lambda broker: True,
            leadership=nothing, hosted=self.hosted.update, later=nothing, waiting=self.waiting,
        )  # fmt: skip
        self.roles = RoleChanges(around)

    def _create(self, topic: str, index: int, topic_id: bytes, config: Any) -> None:
        if self.create_fault is not None:
            raise self.create_fault
        self.partitions[topic, index] = partition = Partition()
        partition.topic_id = topic_id

    def _config(self, topic: str) -> dict[str, Any]:
        self.during_work("config")
        if topic in self.unknown:
            raise UnknownSettings
        return {}

    def registered(self, broker_epoch: int) -> None:
        """As the replica manager."""
        self.states.broker_epoch = broker_epoch
        self.waiting.registered(broker_epoch)

    def leader_and_isr(self, *topics: str, leader_epoch: int = 0, broker_epoch: int = 5, topic_id: UUID = ID) -> Iterator[Any]:
        """A LeaderAndIsr for the first partitions of topics. Its steps; the error codes are in `answers`."""
        state = PartitionState(0, 1, 1, leader_epoch, (1,), 0, (1,), (), is_new=True)
        rows = tuple(TopicState(topic, topic_id, (state,)) for topic in topics)
        self.answers: list[int] = []

        def done(response: LeaderAndIsrResponse) -> None:
            self.answers += [partition.error_code for topic in response.topics for partition in topic.partitions]

        return self.roles.leader_and_isr(LeaderAndIsrRequest(9, 1, broker_epoch, rows, ()), done)

    def tell(self, *topics: str, **changes: Any) -> list[int]:
        run(self.leader_and_isr(*topics, **changes))
        return self.answers

    def stop(self, topic: str, leader_epoch: int) -> int:
        answers: list[StopReplicaResponse] = []
        rows = (StopReplicaTopic(topic, (StopReplicaPartition(0, leader_epoch, False),)),)
        run(self.roles.stop_replica(StopReplicaRequest(9, 1, 5, rows), answers.append))
        return answers[0].partitions[0].error_code

    def take_waiting(self) -> None:
        """All of them are due."""
        self.now_s += AFTER_FAULT_S
        run(self.roles.take_waiting())


def run(steps: Iterable[Any]) -> None:
    for step in steps:
        if isinstance(step, Work):
            step.run()


def waiting(*topics: str, leader_epoch: int = 0) -> Broker:
    """The roles of these topics wait."""
    broker = Broker()
    broker.registered(5)
    broker.unknown |= set(topics)
    assert broker.tell(*topics, leader_epoch=leader_epoch) == [WAITS] * len(topics)
    return broker


@pytest.mark.parametrize("work", ["config", "sync"])
@pytest.mark.parametrize("task", ["LeaderAndIsr", "roles that wait"])
def test_a_registration_while_roles_are_taken(task: str, work: str) -> None:
    """A partition that has gone elsewhere while the broker was away is named by no request of the new registration."""
    broker = waiting("t", "u") if task == "roles that wait" else Broker()
    broker.registered(5)
    broker.unknown.clear()
    broker.during_work = lambda what: broker.registered(9) if what == work else None
    if task == "roles that wait":
        broker.take_waiting()
    else:
        assert broker.tell("t", "u") == [STALE_BROKER_EPOCH] * 2
    assert not broker.states.by_key and not len(broker.waiting)
    assert not broker.partitions or work == "sync"
    broker.during_work = lambda what: None
    assert broker.tell("t", broker_epoch=9) == [0] and broker.states.leads(("t", 0))


@pytest.mark.parametrize("task", ["LeaderAndIsr", "roles that wait"])
def test_a_registration_while_settings_are_read_that_cannot_be_understood(task: str) -> None:
    broker = waiting("t") if task == "roles that wait" else Broker()
    broker.registered(5)
    broker.unknown.clear()

    def registers(what: str) -> None:
        broker.unknown.add("t")
        broker.registered(9)

    broker.during_work = registers
    if task == "roles that wait":
        broker.take_waiting()
    else:
        assert broker.tell("t") == [STALE_BROKER_EPOCH]
    assert not len(broker.waiting)


def test_a_role_that_is_told_before_the_broker_hears_of_its_registration() -> None:
    """Two threads: the controller's request may come first."""
    broker = Broker()
    broker.registered(5)
    broker.unknown.add("t")
    broker.tell("t", broker_epoch=9)
    broker.registered(9)
    broker.unknown.clear()
    broker.take_waiting()
    assert broker.states.leads(("t", 0)) and not len(broker.waiting)


def test_a_fault_half_way_loses_no_role() -> None:
    """No thread can be started to make the folders durable."""
    broker = waiting("t", "u")
    broker.unknown.discard("t")

    def fails(what: str) -> None:
        if what == "sync":
            raise RuntimeError("can't start new thread")

    broker.during_work = fails
    with pytest.raises(RuntimeError):
        broker.take_waiting()
    assert not broker.states.by_key and not broker.hosted
    synced: list[str] = []
    broker.during_work = synced.append
    broker.unknown.clear()
    broker.take_waiting()
    assert set(broker.states.by_key) == {("t", 0), ("u", 0)} and not len(broker.waiting)
    assert "sync" in synced and broker.hosted == {"t", "u"}, "the folder of before is durable now, and told"


@pytest.mark.parametrize("task", ["LeaderAndIsr", "roles that wait"])
def test_settings_whose_reading_fails_are_read_again(task: str) -> None:
    broker = waiting("t") if task == "roles that wait" else Broker()
    broker.unknown.clear()

    def fails(what: str) -> None:
        raise RuntimeError("can't start new thread")

    broker.during_work = fails
    if task == "roles that wait":
        broker.take_waiting()
    else:
        assert broker.tell("t") == [WAITS]
    assert not broker.states.by_key and "can't start new thread" in broker.lines[-1]
    broker.during_work = lambda what: None
    broker.take_waiting()
    assert broker.states.leads(("t", 0)) and not len(broker.waiting)


def test_a_late_request_does_not_displace_a_newer_role() -> None:
    broker = waiting("t", leader_epoch=4)
    assert broker.tell("t", leader_epoch=3) == [STALE_CONTROLLER_EPOCH]
    assert broker.stop("t", 3) == FENCED_LEADER_EPOCH
    assert broker.waiting.leader_epoch(("t", 0)) == 4
    assert broker.tell("t", leader_epoch=4) == [WAITS], "an equal epoch is a repetition"
    broker.unknown.clear()
    broker.take_waiting()
    assert broker.states.leader_epoch(("t", 0)) == 4


def test_what_ends_the_waiting() -> None:
    broker = waiting("t", leader_epoch=4)
    assert broker.tell("t", leader_epoch=0, topic_id=UUID(int=8)) == [WAITS]
    assert broker.waiting.leader_epoch(("t", 0)) == 0, "another topic of that name"
    for epoch in (-2, -1, 0, 1):
        broker = waiting("t")
        assert broker.stop("t", epoch) == 0 and not len(broker.waiting)


@pytest.mark.parametrize("when", ["before", "at the log"])
def test_a_role_that_is_refused_waits_no_longer(when: str) -> None:
    """Its log directory fails: the controller hears of that, and tells again."""
    broker = waiting("t")
    broker.unknown.clear()
    if when == "before":
        broker.states.offline.add(("t", 0))
    else:
        broker.create_fault = OSError("no space left on device")
    broker.take_waiting()
    assert not broker.states.by_key and not len(broker.waiting)
