"""A partition that gets its topic id, and with it a new handle, while a change of its ISR is in flight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from kafka_cy.base.slices import Work
from kafka_cy.protocol.controller_messages.alter_partition import AlterPartitionResponse, ChangedPartition, ChangedTopic
from kafka_cy.protocol.controller_messages.leader_and_isr import (
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    PartitionState,
    TopicState,
)
from kafka_cy.replication import new_handles
from kafka_cy.replication.isr_changes import IsrChanges, LedPartition
from kafka_cy.replication.new_handles import NewHandles
from kafka_cy.replication.replica_states import ReplicaStates, replica_state
from kafka_cy.replication.role_changes import ADOPTED_AT_ONCE, Role, RoleChanges
from kafka_cy.replication.waiting_roles import WaitingRoles
from kafka_cy.storage import topic_id_files
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog, StorageFailure
from tests.storage.batches import batch

Later = list[tuple[float, Callable[[], object]]]

ID = UUID(int=1)
KEY = ("t", 0)


class Adoption:
    """Broker 1 leads and 2 fetches; the handle is replaced while the controller has not answered that 2 may join."""

    def __init__(self, folder: Path, config: dict[str, Any] | None = None) -> None:
        log = PartitionLog(str(folder), config or {}, clean=True)
        former = HostedPartition(log, "t", bytes(16), 0, leads=False)
        partitions = {KEY: former}
        sent: list[Any] = []
        self.changes = IsrChanges(1, partitions, lambda request, done: sent.append(done), lambda ms, call: None)
        self.changes.lead(KEY, LedPartition(UUID(int=0), 3, 7, (1, 2), (1,)))
        former.lead(3, [1, 2], [1], 1)
        former.follower_fetched(2, 0)
        self.changes.expand([KEY])
        former.append(batch(5))
        assert former.high_watermark == 0

        self.new = partitions[KEY] = HostedPartition(log, "t", ID, 0, -1, high_watermark=0, leads=False)
        states = SimpleNamespace(by_key={KEY: SimpleNamespace(leader=1, leader_epoch=3, adding_replicas=())}, broker_id=1)
        around: Any = SimpleNamespace(logs=SimpleNamespace(partitions=partitions), states=states, isr=self.changes)
        state: Any = None
        NewHandles(around, RoleChanges(around)._guarded).take_again(Role(KEY, ID.bytes, state))
        assert (self.new.state, self.new.high_watermark) == (0, 0)
        self._done = sent.pop()

    def answer(self, code: int) -> None:
        answer = ChangedPartition(0, code) if code else ChangedPartition(0, 0, 1, 3, (1, 2), 0, 8)
        self._done(AlterPartitionResponse(0, (ChangedTopic("", ID, (answer,)),)))


@pytest.mark.parametrize("code", [0, 107])
def test_an_expansion_in_flight_holds_the_high_watermark(tmp_path: Path, code: int) -> None:
    """The controller may have stored it: the next leader may be the replica that joins."""
    adoption = Adoption(tmp_path)
    adoption.answer(code)
    assert adoption.new.high_watermark == (5 if code else 0)
    assert adoption.changes.led[KEY].proposed is None
    adoption.new.follower_fetched(2, 5)
    assert adoption.new.high_watermark == 5


@pytest.mark.parametrize("code", [0, 107])
def test_a_replica_that_joins_does_not_count_for_min_insync_replicas(tmp_path: Path, code: int) -> None:
    """The controller may not store it: then one replica has what was acknowledged by two."""
    adoption = Adoption(tmp_path, {"min.insync.replicas": 2})
    partition = adoption.new
    partition.follower_fetched(2, 5)
    with pytest.raises(StorageFailure, match="not enough replicas"):
        partition.append(batch(), leader_since=3)
    assert partition.high_watermark == 0
    adoption.answer(code)
    assert partition.high_watermark == (0 if code else 5)
    if not code:
        assert partition.append(batch(), leader_since=3) == 5


class WithoutMemory:
    """Broker 1 has a role with epoch 3 in a partition that gets its topic id while memory is missing for some tries."""

    def __init__(self, folder: Path, failures: int, leader: int) -> None:
        self.failures = failures
        self.later: Later = []
        self.lines: list[str] = []
        self.followed: list[tuple[Any, int, int]] = []
        self.partition = HostedPartition(PartitionLog(str(folder), {}, clean=True), "t", ID, 0, -1, leads=False)
        self.led = LedPartition(UUID(int=0), 3, 7, (1, 2), (1,))
        handle = SimpleNamespace(
            topic_id=ID.bytes, lead=self.failing(self.partition.lead), follow=self.failing(self.partition.follow),
            set_adding=lambda *_: None,
        )  # fmt: skip
        self.partitions: dict[Any, Any] = {KEY: handle}
        following = SimpleNamespace(leader=2, leader_epoch=3)
        around: Any = SimpleNamespace(
            logs=SimpleNamespace(partitions=self.partitions),
            states=SimpleNamespace(by_key={KEY: SimpleNamespace(leader=leader, leader_epoch=3, adding_replicas=())}, broker_id=1),
            isr=SimpleNamespace(led={KEY: self.led} if leader == 1 else {}),
            fetchers=SimpleNamespace(following={KEY: following}, follow=lambda *each: self.followed.append(each)),
            later=lambda delay_s, call: self.later.append((delay_s, call)),
            log=SimpleNamespace(warning=self.log, error=self.log),
        )
        state: Any = None
        NewHandles(around, RoleChanges(around)._guarded).take_again(Role(KEY, ID.bytes, state))

    def failing(self, step: Callable[..., object]) -> Callable[..., object]:
        def take(*arguments: Any, **more: Any) -> None:
            self.failures -= 1
            if self.failures >= 0:
                raise MemoryError
            step(*arguments, **more)

        return take

    def log(self, text: str, **details: object) -> None:
        self.lines.append(text)

    def wait(self) -> None:
        delay_s, call = self.later.pop()
        assert delay_s == new_handles.AGAIN_S and not self.later
        call()


WAITS = "a replica waits for memory to take its role again"


def test_a_leader_waits_for_memory(tmp_path: Path) -> None:
    """The controller does not send the epoch again: the partition would have no role until the next one."""
    replica = WithoutMemory(tmp_path, failures=2, leader=1)
    assert replica.partition.leader_epoch == -1
    replica.wait()
    replica.wait()
    assert (replica.partition.state, replica.partition.leader_epoch, replica.led.topic_id) == (0, 3, ID)
    assert replica.lines == [WAITS] and not replica.later


def test_a_follower_waits_for_memory(tmp_path: Path) -> None:
    replica = WithoutMemory(tmp_path, failures=1, leader=2)
    assert replica.followed == []
    replica.wait()
    assert replica.followed == [(KEY, 2, 3)] and replica.partition.leader_epoch == 3
    assert replica.lines == [WAITS] and not replica.later


def test_a_partition_that_is_deleted_waits_no_more(tmp_path: Path) -> None:
    replica = WithoutMemory(tmp_path, failures=2, leader=1)
    replica.partitions.clear()
    replica.wait()
    assert replica.lines == [WAITS] and not replica.later


def test_it_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_handles, "AGAIN_MAX", 3)
    replica = WithoutMemory(tmp_path, failures=10, leader=1)
    for _ in range(3):
        replica.wait()
    assert replica.lines == [WAITS, "a replica has no role before its next leader epoch: out of memory"] and not replica.later


def test_a_log_that_fails_meanwhile_ends_the_waiting(tmp_path: Path) -> None:
    replica = WithoutMemory(tmp_path, failures=1, leader=1)
    replica.partition.retire("offline")
    replica.wait()
    assert replica.lines == [WAITS, "a replica is offline: its log fails"] and not replica.later


class Renaming:
    """A broker that leads partitions of topics without ids, and the order in which it does what LeaderAndIsr asks for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, partitions: int) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.failing: set[int] = set()
        self.partitions: dict[Any, Any] = {}
        for index in range(partitions):
            self.partitions["t", index] = self._handle(f"{folder}/t-{index}", bytes(16))
        monkeypatch.setattr(topic_id_files, "ensure_topic_id", lambda path, topic_id: self.events.append(("write", path)))
        states = ReplicaStates(1, self.partitions)
        role = PartitionState(0, 1, 1, 3, (1,), 7, (1,))
        for key in self.partitions:
            states.by_key[key] = replica_state(role, (1,))
        logs = SimpleNamespace(partitions=self.partitions, assign_topic_id=self._assign, offline_dirs=set())
        fetchers = SimpleNamespace(leave=lambda key: None, stop_idle=lambda: None, following={})
        around: Any = SimpleNamespace(
            logs=logs, states=states, isr=IsrChanges(1, self.partitions, lambda *_: None, lambda *_: None), fetchers=fetchers,
            hosted=lambda topics: self.events.append(("publish", topics)),
            leadership=lambda topic, index, epoch, leads: self.events.append(("tell", index, epoch, leads)),
            log=SimpleNamespace(info=lambda *_, **__: None, warning=lambda *_, **__: None, error=lambda *_, **__: None),
            waiting=WaitingRoles(lambda topic: True, lambda delay_s, call: None, lambda: None, lambda: 0.0),
        )  # fmt: skip
        self._roles = RoleChanges(around)

    def _handle(self, path: str, topic_id: bytes) -> Any:
        log = SimpleNamespace(directory=path)
        return SimpleNamespace(
            topic_id=topic_id, log=log, state=0, lead=lambda *_, **__: None, follow=lambda epoch: None, set_adding=lambda *_: None
        )  # fmt: skip

    def _assign(self, topic: str, index: int, topic_id: bytes) -> None:
        if index in self.failing:
            raise OSError
        self.partitions[topic, index] = self._handle("", topic_id)
        self.events.append(("assign", index))

    def tell_ids(self) -> dict[int, int]:
        """LeaderAndIsr with ids: the error codes."""
        rows = tuple(PartitionState(index, 1, 1, 3, (1,), 7, (1,)) for _, index in self.partitions)
        request = LeaderAndIsrRequest(9, 1, -1, (TopicState("t", ID, rows),), ())
        answers: list[LeaderAndIsrResponse] = []
        for each in self._roles.leader_and_isr(request, answers.append):
            if isinstance(each, Work):
                each.run()
        return {each.partition: each.error_code for each in answers[0].topics[0].partitions}


def test_partitions_that_get_ids_are_used_until_their_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each can be used again as soon as a few others have their new handles, too."""
    count = 2 * ADOPTED_AT_ONCE + 1
    broker = Renaming(tmp_path, monkeypatch, count)
    assert set(broker.tell_ids().values()) == {0}
    kinds = [kind for kind, *_ in broker.events]
    rounds = [ADOPTED_AT_ONCE, ADOPTED_AT_ONCE, 1]
    expected = ["write"] * count + [each for size in rounds for each in ["assign"] * size + ["publish"] + ["tell"] * size]
    assert kinds == expected
    assert [event[1:] for event in broker.events if event[0] == "tell"] == [(index, 3, True) for index in range(count)]
    broker.events.clear()
    assert set(broker.tell_ids().values()) == {11} and broker.events == []


def test_a_partition_whose_id_cannot_be_written_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Renaming(tmp_path, monkeypatch, 3)
    broker.failing = {1}
    assert broker.tell_ids() == {0: 0, 1: 56, 2: 0}
    assert [event[1] for event in broker.events if event[0] == "tell"] == [0, 2]
    broker.failing = set()
    broker.events.clear()
    assert broker.tell_ids() == {0: 11, 1: 0, 2: 11}
    assert [event for event in broker.events if event[0] != "write"] == [("assign", 1), ("publish", {"t"}), ("tell", 1, 3, True)]
