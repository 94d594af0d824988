"""What a leader asks of the controller, and what its answers mean."""

from __future__ import annotations

from collections.abc import Callable, Collection
from uuid import UUID

import pytest

from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    ChangedPartition,
    ChangedTopic,
)
from kafka_cy.replication.isr_changes import INELIGIBLE_PAUSE_MS, RETRY_MS, IsrChanges, LedPartition

ID = UUID(int=1)
KEY = ("t", 0)
Done = Callable[[AlterPartitionResponse | None], None]


class Partition:
    """A partition whose data plane says what a test wants."""

    def __init__(self) -> None:
        self.late: list[int] = []
        self.ready: list[int] = []
        self.epochs: dict[int, int] = {}
        self.change: int | str | None = None
        self.isr: tuple[int, ...] | None = None
        self.replicas: tuple[int, ...] | None = None

    def lagging(self) -> list[int]:
        return self.late

    def joinable(self) -> list[tuple[int, int]]:
        return [(each, self.epochs.get(each, -1)) for each in self.ready]

    def propose_isr(self, leader_epoch: int, joining: int | None = None) -> bool:
        assert self.change is None
        self.change = "shrink" if joining is None else joining
        return True

    def withdraw_isr(self, leader_epoch: int) -> None:
        self.change = None

    def set_replicas(self, replicas: Collection[int], isr: Collection[int], broker_id: int) -> None:
        self.change, self.isr, self.replicas = None, tuple(isr), tuple(replicas)


class Leader:
    def __init__(self, partitions: int = 1) -> None:
        self.partitions = {("t", index): Partition() for index in range(partitions)}
        self.sent: list[tuple[AlterPartitionRequest, Done]] = []
        self.delayed: list[tuple[int, Callable[[], None]]] = []
        self.changes = IsrChanges(
            1, self.partitions, lambda request, done: self.sent.append((request, done)),
            lambda ms, call: self.delayed.append((ms, call)),
        )  # fmt: skip
        self.changes.broker_epoch = 55
        for key in self.partitions:
            self.lead(key)

    def lead(self, key: tuple[str, int] = KEY, *, leader_epoch: int = 3, isr: tuple[int, ...] = (1, 2)) -> None:
        self.changes.lead(key, LedPartition(ID, leader_epoch, 7, (1, 2, 3), isr))

    def request(self) -> AlterPartitionRequest:
        return self.sent[-1][0]

    def answer(self, response: AlterPartitionResponse | None) -> None:
        self.sent.pop(0)[1](response)

    def run_delayed(self, expected_ms: int = RETRY_MS) -> None:
        delayed, self.delayed = self.delayed, []
        for ms, call in delayed:
            assert ms == expected_ms
            call()


def stored(isr: tuple[int, ...], *, index: int = 0, leader_epoch: int = 3, epoch: int = 8) -> AlterPartitionResponse:
    return AlterPartitionResponse(0, (ChangedTopic("", ID, (ChangedPartition(index, 0, 1, leader_epoch, isr, 0, epoch),)),))


def refused(code: int) -> AlterPartitionResponse:
    return AlterPartitionResponse(0, (ChangedTopic("", ID, (ChangedPartition(0, code),)),))


def proposal(request: AlterPartitionRequest) -> list[tuple[int, int, tuple[int, ...], int]]:
    return [
        (each.partition, each.leader_epoch, tuple(member.broker_id for member in each.new_isr), each.partition_epoch)
        for topic in request.topics for each in topic.partitions
    ]  # fmt: skip


def test_a_replica_joins() -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    request = leader.request()
    assert (request.broker_id, request.broker_epoch, request.topics[0].topic_id) == (1, 55, ID)
    assert proposal(request) == [(0, 3, (1, 2, 3), 7)]
    assert leader.partitions[KEY].change == 3
    leader.answer(stored((1, 2, 3)))
    assert (leader.partitions[KEY].isr, leader.changes.led[KEY].partition_epoch) == ((1, 2, 3), 8)
    assert (leader.changes.expands, leader.changes.shrinks) == (1, 0)


def test_a_replica_joins_with_the_broker_epoch_of_its_fetches_also_when_it_is_asked_again() -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.partitions[KEY].epochs[3] = 70
    leader.changes.expand([KEY])
    for _ in range(2):
        members = leader.request().topics[0].partitions[0].new_isr
        assert [(each.broker_id, each.broker_epoch) for each in members] == [(1, -1), (2, -1), (3, 70)]
        leader.partitions[KEY].epochs[3] = 71  # it has started again
        leader.answer(None)
        leader.run_delayed()
    leader.answer(refused(107))
    assert leader.partitions[KEY].change is None


def test_a_member_that_is_not_assigned_counts_until_it_has_left() -> None:
    leader = Leader()
    leader.lead(isr=(1, 2, 4))
    assert leader.changes.led[KEY].counted == (1, 2, 3, 4)
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    leader.answer(stored((1, 2, 4, 3)))
    assert leader.partitions[KEY].replicas == (1, 2, 3, 4)
    leader.partitions[KEY].late = [4]
    leader.changes.shrink()
    leader.answer(stored((1, 2, 3), epoch=9))
    assert leader.partitions[KEY].replicas == (1, 2, 3)


def test_members_that_lag_leave_together() -> None:
    leader = Leader()
    leader.lead(isr=(1, 2, 3))
    leader.partitions[KEY].late = [2, 3]
    leader.changes.shrink()
    leader.changes.shrink()
    assert [proposal(request) for request, _ in leader.sent] == [[(0, 3, (1,), 7)]]
    leader.answer(stored((1,)))
    assert (leader.partitions[KEY].isr, leader.changes.shrinks) == ((1,), 1)


def test_one_request_at_a_time() -> None:
    leader = Leader(3)
    for index in range(3):
        leader.partitions["t", index].ready = [3]
        leader.changes.expand([("t", index)])
    assert len(leader.sent) == 1
    leader.answer(stored((1, 2, 3)))
    assert [each[0] for each in proposal(leader.request())] == [1, 2]


@pytest.mark.parametrize("response", [None, AlterPartitionResponse(77), AlterPartitionResponse(41)])
def test_no_answer_is_asked_again(response: AlterPartitionResponse | None) -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    leader.answer(response)
    assert leader.sent == []
    leader.run_delayed()
    assert proposal(leader.request()) == [(0, 3, (1, 2, 3), 7)]
    assert leader.partitions[KEY].change == 3  # it may be stored: the maximal ISR counts until an answer


@pytest.mark.parametrize("code", [55, 107])
def test_an_ineligible_replica_does_not_join(code: int) -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    leader.answer(refused(code))
    assert (leader.partitions[KEY].change, leader.changes.led[KEY].isr) == (None, (1, 2))
    leader.changes.expand([KEY])  # its next fetch: each answer would go to all brokers
    assert leader.sent == []
    leader.partitions[KEY].late = [2]
    leader.changes.shrink()
    leader.answer(stored((1,)))
    leader.run_delayed(INELIGIBLE_PAUSE_MS)
    assert proposal(leader.request()) == [(0, 3, (1, 3), 8)]


def test_a_replica_that_is_refused_keeps_no_other_out() -> None:
    leader = Leader()
    leader.lead(isr=(1,))
    leader.partitions[KEY].ready = [2, 3]
    leader.changes.expand([KEY])
    leader.answer(refused(107))
    assert proposal(leader.request()) == [(0, 3, (1, 3), 7)]
    leader.answer(stored((1, 3)))
    leader.partitions[KEY].ready = [2]
    leader.run_delayed(INELIGIBLE_PAUSE_MS)
    assert proposal(leader.request()) == [(0, 3, (1, 3, 2), 8)]


def test_a_pause_ends_with_the_epoch() -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    leader.answer(refused(107))
    leader.lead(leader_epoch=4)
    leader.changes.expand([KEY])
    assert proposal(leader.request()) == [(0, 4, (1, 2, 3), 7)]
    leader.run_delayed(INELIGIBLE_PAUSE_MS)
    assert len(leader.sent) == 1


@pytest.mark.parametrize("code", [3, 100, 74, 95, 42])
def test_a_stale_state_waits_for_the_controller(code: int) -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    leader.answer(refused(code))
    leader.changes.expand([KEY])
    leader.changes.shrink()
    assert (leader.sent, leader.delayed, leader.partitions[KEY].change) == ([], [], 3)
    leader.partitions[KEY].change = None  # as the data plane does with the new state
    leader.lead(leader_epoch=4)
    leader.changes.expand([KEY])
    assert proposal(leader.request()) == [(0, 4, (1, 2, 3), 7)]


def test_another_error_is_asked_again() -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    leader.answer(refused(-1))
    leader.run_delayed()
    assert proposal(leader.request()) == [(0, 3, (1, 2, 3), 7)]


def test_answers_that_come_too_late() -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    leader.partitions[KEY].change = None
    leader.lead(leader_epoch=4)
    leader.answer(stored((1, 2, 3)))
    assert (leader.partitions[KEY].isr, leader.changes.led[KEY].isr) == (None, (1, 2))
    leader.changes.expand([KEY])
    leader.answer(stored((1, 2, 3), leader_epoch=3))
    leader.changes.resign(KEY)
    assert leader.partitions[KEY].isr is None


def test_a_lost_answer_to_a_change_that_was_stored() -> None:
    """The controller answers a repeated request with the state as it is: success."""
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    leader.answer(None)
    leader.run_delayed()
    leader.answer(stored((1, 2, 3)))
    assert leader.partitions[KEY].isr == (1, 2, 3)


def test_a_partition_that_the_answer_leaves_out() -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    leader.answer(AlterPartitionResponse(0))
    leader.run_delayed()
    assert len(leader.sent) == 1


def test_an_answer_to_an_earlier_proposal_of_the_same_epochs() -> None:
    """A repeated LeaderAndIsr has brought the state anew, and the replica was proposed anew, before the answer."""
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    leader.partitions[KEY].change = None
    leader.lead()
    leader.changes.expand([KEY])
    leader.answer(refused(107))
    assert (leader.partitions[KEY].change, leader.changes.led[KEY].proposed) == (3, (1, 2, 3))
    assert proposal(leader.request()) == [(0, 3, (1, 2, 3), 7)]
    leader.answer(stored((1, 2, 3)))
    assert leader.partitions[KEY].isr == (1, 2, 3)


def test_a_second_answer_says_nothing() -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    leader.changes.expand([KEY])
    done = leader.sent[0][1]
    leader.answer(None)
    leader.run_delayed()
    done(stored((1, 2, 3)))
    assert (leader.changes.led[KEY].isr, len(leader.sent)) == ((1, 2), 1)
    leader.answer(stored((1, 2, 3)))
    assert leader.changes.led[KEY].isr == (1, 2, 3)


def test_a_request_that_cannot_be_sent_is_sent_later() -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    send, leader.changes._send = leader.changes._send, lambda request, done: 1 // 0
    with pytest.raises(ZeroDivisionError):
        leader.changes.expand([KEY])
    leader.changes._send = send
    leader.run_delayed()
    assert proposal(leader.request()) == [(0, 3, (1, 2, 3), 7)]


def test_a_request_that_cannot_be_made_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    leader = Leader()
    leader.partitions[KEY].ready = [3]
    with monkeypatch.context() as patch:
        patch.setattr("kafka_cy.replication.isr_changes.AlterPartitionRequest", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            leader.changes.expand([KEY])
    leader.changes.shrink()
    assert proposal(leader.request()) == [(0, 3, (1, 2, 3), 7)]
