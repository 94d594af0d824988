"""Leader and controller with a network that loses, delays, repeats and reorders: what the leader counts, and that it goes on.

Deciding, sending, answers and LeaderAndIsr are the broker's own code, and so are the controller's rules (check_change).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kafka_cy.controller.alter_partition import check_change
from kafka_cy.controller.partition_state import LeaderAndIsr
from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    ChangedPartition,
    ChangedTopic,
    PartitionChange,
)
from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrRequest, PartitionState, TopicState
from kafka_cy.replication.isr_changes import AWAIT_STATE, IsrChanges
from kafka_cy.replication.replica_states import ReplicaStates
from kafka_cy.replication.role_changes import RoleChanges
from kafka_cy.replication.waiting_roles import WaitingRoles
from kafka_cy.storage.hosted_partition import STATE_ONLINE

ID = UUID(int=1)
OWN = 1
REPLICAS = (1, 2, 3)
KEYS = [("t", 0), ("t", 1)]
FAILURES = [None, 41, 77]  # no answer, NOT_CONTROLLER, STALE_BROKER_EPOCH
Key = tuple[str, int]
Done = Callable[[AlterPartitionResponse | None], None]


class Partition:
    """What the data plane notes: the stored ISR, and one change in flight."""

    topic_id = ID.bytes
    state = STATE_ONLINE

    def __init__(self) -> None:
        self.leader_epoch = -1
        self.isr: frozenset[int] = frozenset()
        self.change: int | str | None = None  # the replica that joins, or "shrink"
        self.late: set[int] = set()
        self.ready: set[int] = set()

    @property
    def maximal_isr(self) -> frozenset[int]:
        return self.isr | {self.change} if isinstance(self.change, int) else self.isr

    def set_adding(self, replicas: Sequence[int], broker_id: int) -> None:
        """Only for metrics."""

    def lead(
        self, leader_epoch: int, replicas: Collection[int], isr: Collection[int], broker_id: int,
        proposed: bool = False, joining: int | None = None,
    ) -> None:  # fmt: skip
        self.leader_epoch, self.isr, self.change = leader_epoch, frozenset(isr), None
        if proposed:
            self.propose_isr(leader_epoch, joining)

    def lagging(self) -> list[int]:
        return sorted(self.late & self.isr) if self.change is None else []

    def joinable(self) -> list[tuple[int, int]]:
        return [(each, -1) for each in sorted(self.ready - self.isr)] if self.change is None else []

    def propose_isr(self, leader_epoch: int, joining: int | None = None) -> bool:
        if self.leader_epoch != leader_epoch or self.change is not None:
            return False
        self.change = "shrink" if joining is None else joining
        return True

    def withdraw_isr(self, leader_epoch: int) -> None:
        if self.leader_epoch == leader_epoch:
            self.change = None

    def set_replicas(self, replicas: Collection[int], isr: Collection[int], broker_id: int) -> None:
        self.isr, self.change = frozenset(isr), None


class LeaderAndController(RuleBasedStateMachine):
    """`requests`: on their way to the controller. `answers`: on their way back."""

    def __init__(self) -> None:
        super().__init__()
        self.partitions = {key: Partition() for key in KEYS}
        self.requests: list[tuple[AlterPartitionRequest, Done]] = []
        self.answers: list[tuple[Done, AlterPartitionResponse | None]] = []
        self.delayed: list[Callable[[], None]] = []
        self.eligible = set(REPLICAS)
        states: Any = ReplicaStates(OWN, self.partitions)  # type: ignore[arg-type]
        self.changes = IsrChanges(
            OWN, self.partitions, lambda request, done: self.requests.append((request, done)),
            lambda ms, call: self.delayed.append(call),
        )  # fmt: skip
        log = SimpleNamespace(info=lambda *_, **__: None, warning=self._unexpected, error=self._unexpected)
        around: Any = SimpleNamespace(
            logs=SimpleNamespace(partitions=self.partitions), states=states, isr=self.changes, log=log,
            fetchers=SimpleNamespace(leave=lambda key: None, stop_idle=lambda: None), leadership=lambda *_: None,
            waiting=WaitingRoles(lambda topic: True, lambda delay_s, call: None, lambda: None, lambda: 0.0),
        )  # fmt: skip
        self.roles = RoleChanges(around)
        self.stored = {key: LeaderAndIsr(OWN, 0, REPLICAS, 0, 1, 0) for key in KEYS}
        self.history = {key: [self.stored[key]] for key in KEYS}
        for key in KEYS:
            self._tell(key, self.stored[key])

    def _unexpected(self, text: str, **details: Any) -> None:
        raise AssertionError(f"{text} {details}")

    def _store(self, key: Key, **changed: Any) -> None:
        state = self.stored[key]
        self.stored[key] = state._replace(partition_epoch=state.partition_epoch + 1, **changed)
        self.history[key].append(self.stored[key])

    def _tell(self, key: Key, state: LeaderAndIsr) -> None:
        """LeaderAndIsr of a controller in KRaft mode: Kafka takes an equal leader epoch of it."""
        role = PartitionState(key[1], 1, OWN, state.leader_epoch, state.isr, state.partition_epoch, REPLICAS)
        topics = (TopicState("t", ID, (role,)),)
        for _ in self.roles.leader_and_isr(LeaderAndIsrRequest(9, 1, -1, topics, (), True), lambda response: None):
            pass

    # -- the leader --

    @rule(key=st.sampled_from(KEYS), replica=st.sampled_from([2, 3]))
    def fetch(self, key: Key, replica: int) -> None:
        """It is caught up."""
        self.partitions[key].ready.add(replica)
        self.partitions[key].late.discard(replica)
        self.changes.expand([key])

    @rule(key=st.sampled_from(KEYS), replica=st.sampled_from([2, 3]))
    def lag(self, key: Key, replica: int) -> None:
        self.partitions[key].ready.discard(replica)
        self.partitions[key].late.add(replica)
        self.changes.shrink()

    @precondition(lambda self: self.delayed)
    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        self.delayed.pop(data.draw(st.integers(0, len(self.delayed) - 1)))()

    # -- the network --

    @precondition(lambda self: self.requests)
    @rule(lost=st.integers(0, 2))
    def take_request(self, lost: int) -> None:
        """The controller takes them in their order, but some are lost on their way."""
        for _ in range(min(lost, len(self.requests) - 1)):
            self.requests.pop(0)[1](None)
        request, done = self.requests.pop(0)
        self.answers.append((done, self._alter(request)))

    @precondition(lambda self: self.requests)
    @rule(code=st.sampled_from(sorted(AWAIT_STATE)))
    def refuse(self, code: int) -> None:
        """By a controller that does not know the state of this leader, or that has stored what it asks for."""
        request, done = self.requests.pop(0)
        refused = [ChangedPartition(each.partition, code) for topic in request.topics for each in topic.partitions]
        self.answers.append((done, AlterPartitionResponse(0, (ChangedTopic("", ID, tuple(refused)),))))

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), code=st.sampled_from(FAILURES))
    def fail(self, data: st.DataObject, code: int | None) -> None:
        """The leader gets no answer, or an error. The controller takes the request all the same, later."""
        _, done = data.draw(st.sampled_from(self.requests))
        done(None if code is None else AlterPartitionResponse(code))

    @precondition(lambda self: self.answers)
    @rule(data=st.data(), again=st.booleans())
    def answer(self, data: st.DataObject, again: bool) -> None:
        index = data.draw(st.integers(0, len(self.answers) - 1))
        done, response = self.answers[index] if again else self.answers.pop(index)
        done(response)

    @rule(key=st.sampled_from(KEYS), age=st.integers(0, 2))
    def tell(self, key: Key, age: int) -> None:
        """The newest state, or an earlier one that comes late, once more."""
        self._tell(key, self.history[key][-1 - min(age, len(self.history[key]) - 1)])

    # -- the controller --

    def _alter(self, request: AlterPartitionRequest) -> AlterPartitionResponse:
        changed = [self._change(topic.topic, each) for topic in request.topics for each in topic.partitions]
        return AlterPartitionResponse(0, (ChangedTopic("", ID, tuple(changed)),))

    def _change(self, topic: str, change: PartitionChange) -> ChangedPartition:
        key = (topic, change.partition)
        error, wanted = check_change(change, self.stored[key], lambda member: member.broker_id in self.eligible, 3)
        if error:
            return ChangedPartition(key[1], int(error))
        if wanted is not None:
            self._store(key, isr=wanted.isr)
        state = self.stored[key]
        return ChangedPartition(key[1], 0, OWN, state.leader_epoch, state.isr, 0, state.partition_epoch)

    @rule(key=st.sampled_from(KEYS))
    def elect(self, key: Key) -> None:
        """The leader stays, in a new epoch."""
        self._store(key, leader_epoch=self.stored[key].leader_epoch + 1)

    @rule(replica=st.sampled_from([2, 3]))
    def stop_broker(self, replica: int) -> None:
        """It leaves every ISR."""
        self.eligible.discard(replica)
        for key, state in self.stored.items():
            if replica in state.isr:
                isr = tuple(each for each in state.isr if each != replica)
                self._store(key, isr=isr, leader_epoch=state.leader_epoch + 1)

    @rule(replica=st.sampled_from([2, 3]))
    def start_broker(self, replica: int) -> None:
        self.eligible.add(replica)

    # -- what is true --

    @invariant()
    def all_that_may_be_stored_counts(self) -> None:
        """What is committed is in every member that may be elected in this leader's epoch."""
        for key, state in self.stored.items():
            partition = self.partitions[key]
            if partition.leader_epoch == state.leader_epoch:
                assert set(state.isr) <= partition.maximal_isr, key

    @invariant()
    def a_change_in_flight_is_proposed(self) -> None:
        for key, partition in self.partitions.items():
            assert (self.changes.led[key].proposed is not None) == (partition.change is not None), key

    def teardown(self) -> None:
        """With a network that works, every replica that is caught up joins."""
        self.eligible = set(REPLICAS)
        for done, _ in self.answers:
            done(None)
        for key, partition in self.partitions.items():
            self._tell(key, self.stored[key])
            partition.late, partition.ready = set(), {2, 3}
        for _ in range(20):
            while self.requests:
                request, done = self.requests.pop(0)
                done(self._alter(request))
            delayed, self.delayed = self.delayed, []
            for call in delayed:
                call()
            self.changes.expand(KEYS)
        for key, state in self.stored.items():
            assert set(state.isr) == set(REPLICAS) == self.partitions[key].isr, key


TestLeaderAndController = LeaderAndController.TestCase
TestLeaderAndController.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
