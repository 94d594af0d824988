"""Coordinators move with the leadership of their partition: loads, unloads, and what is in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.base import slices
from kafka_cy.coordinator import heartbeat_table, open_groups
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.hosted_partition import STATE_FOLLOWER, STATE_ONLINE
from kafka_cy.storage.log import StorageFailure

from .direct_commits import Direct
from .fakes import FakeCluster, FakePartition, Harness, replayed, replicated
from .test_replay_property import Life, operations
from .transaction_fakes import LogPartition, TransactionCluster, TransactionHarness

NOT_COORDINATOR = ErrorCode.NOT_COORDINATOR


def commit(harness: Harness, offset: int, group: str = "g") -> list[ErrorCode]:
    """The responses so far."""
    responses: list[ErrorCode] = []
    each = CommitPartition("ct", None, 0, offset, -1, None)
    request = CommitRequest(group, -1, "", None, -1, True, [each])
    harness.coordinator.commit(request, lambda error, errors: responses.append(error or errors["ct", 0]))
    return responses


class Member:
    """A broker that leads the only partition of the offsets topic, or follows."""

    def __init__(self, log: FakePartition | None = None, *, leads: bool = True, epoch: int = 0) -> None:
        self.epoch = epoch
        cluster = FakeCluster(1)
        self.log = cluster.hosted[0] = log or FakePartition()
        self.log.leader_since_epoch = epoch
        self.log.state = STATE_ONLINE if leads else STATE_FOLLOWER
        self.harness = Harness(cluster)
        self.settle()

    @property
    def runtime(self) -> Any:
        return self.harness.coordinator.runtime

    def settle(self) -> None:
        """Let what is done in slices come to its end."""
        self.harness.loop.advance(0.001)

    def lose(self, *, told: bool = True) -> None:
        self.epoch += 1
        self.log.state = STATE_FOLLOWER
        if told:
            self.hear()

    def lead(self, *, told: bool = True) -> None:
        self.epoch += 1
        self.log.state, self.log.leader_since_epoch = STATE_ONLINE, self.epoch
        if told:
            self.hear()

    def hear(self) -> None:
        """The coordinator is told that the leadership has changed."""
        self.runtime.leadership_changed(0)

    def take_log(self, other: FakePartition) -> None:
        """Replicate the other broker's log, and cut what it does not have."""
        self.log.batches = list(other.batches)
        self.log.log_end_offset, self.log.high_watermark = other.log_end_offset, other.high_watermark


def test_a_partition_is_loaded_when_its_leadership_begins() -> None:
    first = Member()
    assert commit(first.harness, 5) == [ErrorCode.NONE]
    second = Member(leads=False)
    assert commit(second.harness, 9) == [NOT_COORDINATOR] and not second.runtime.shards
    second.take_log(first.log)
    second.lead()
    second.settle()
    assert second.runtime.shards[0].coordinator_epoch == 1
    assert second.harness.group().offsets["ct"][0].offset == 5


def test_requests_during_the_load_wait_for_their_client() -> None:
    member = Member(leads=False)
    member.take_log(Member().log)
    member.harness.loop.threads = []
    source = Member()
    commit(source.harness, 5)
    member.take_log(source.log)
    member.lead()
    assert commit(member.harness, 6) == [ErrorCode.COORDINATOR_LOAD_IN_PROGRESS]
    while member.harness.loop.threads:
        work, done = member.harness.loop.threads.pop()
        work()
        done()
        member.settle()
    assert commit(member.harness, 6) == [ErrorCode.NONE]


def test_what_waits_ends_with_the_leadership() -> None:
    member = Member()
    (name,), generation = member.harness.stable(1)
    joining = member.harness.join(member=name, protocols=[("range", b"other")])
    rejoining = member.harness.join(group="h")
    member.log.held = True
    waiting = commit(member.harness, 5, "other")
    assert not waiting and not rejoining
    member.lose()
    member.settle()
    assert waiting == [NOT_COORDINATOR]
    assert [each[0]["error_code"] for each in (joining, rejoining)][1] == NOT_COORDINATOR
    assert member.harness.heartbeat(name, generation) == NOT_COORDINATOR
    assert member.harness.coordinator.group_count == 0 and not member.runtime.shards
    assert heartbeat_table.count() == 0 and open_groups.count() == 0
    assert member.harness.loop.pending == 1, "the look for expired offsets is left"


def test_the_high_watermark_of_a_follower_stores_nothing() -> None:
    """The next leader's records may be at the offsets of those that were cut off."""
    member = Member()
    member.log.held = True
    waiting = commit(member.harness, 5)
    member.lose(told=False)
    member.log.high_watermark = member.log.log_end_offset
    member.harness.coordinator.look()
    member.settle()
    assert waiting == [NOT_COORDINATOR]


def test_a_leadership_that_ended_and_began_again_unheard_is_another_one() -> None:
    member, other = Member(), Member()
    commit(member.harness, 5)
    shard = member.runtime.shards[0]
    commit(other.harness, 6)
    commit(other.harness, 7, "other")
    member.lose(told=False)
    member.take_log(other.log)
    member.lead(told=False)
    with pytest.raises(StorageFailure):
        member.log.append(other.log.batches[0], "coordinator", shard.coordinator_epoch)
    assert member.runtime.shard(0) is not shard, "nothing is decided by the old state"
    member.settle()
    assert member.harness.group().offsets["ct"][0].offset == 6
    assert commit(member.harness, 8, "other") == [ErrorCode.NONE]
    assert member.harness.group("other").offsets["ct"][0].offset == 8
    member.hear()
    member.hear()
    assert member.runtime.shards[0].coordinator_epoch == 2


def test_late_calls_change_nothing() -> None:
    member = Member()
    commit(member.harness, 5)
    shard = member.runtime.shards[0]
    member.hear()
    assert member.runtime.shards[0] is shard, "of an epoch before the load"
    member.lose()
    member.settle()
    member.hear()
    member.settle()
    assert not member.runtime.shards, "a load of an epoch that is over"


def test_a_leader_that_stays_leader_in_a_new_epoch_keeps_its_groups() -> None:
    """As Kafka: a follower that dies raises the leader epoch of all partitions."""
    member = Member()
    (name,), generation = member.harness.stable(1)
    shard = member.runtime.shards[0]
    member.epoch += 1  # leader_since_epoch stays
    member.hear()
    member.settle()
    assert member.runtime.shards[0] is shard
    assert member.harness.heartbeat(name, generation) == ErrorCode.NONE


def test_a_partition_that_comes_back_while_its_groups_go_is_loaded_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0)  # a step in each turn
    member = Member()
    for number in range(300):
        commit(member.harness, 5, f"g{number}")
    member.lose(told=False)
    member.harness.coordinator.runtime.unload(0)  # a response found it first
    member.lead()
    assert not member.runtime.shards
    while 0 not in member.runtime.shards or member.runtime.shards[0].is_loading:  # no request was needed
        member.settle()
    assert member.harness.coordinator.group_count == 300


def test_a_load_that_was_overtaken_begins_again() -> None:
    member, other = Member(leads=False), Member()
    commit(other.harness, 5)
    member.take_log(other.log)
    member.harness.loop.threads = []
    member.lead()
    (work, done), *_ = member.harness.loop.threads
    work()
    member.lose(told=False)
    commit(other.harness, 6)
    member.take_log(other.log)
    member.lead(told=False)
    member.harness.loop.threads = None
    done()
    member.settle()
    assert member.runtime.shards[0].coordinator_epoch == 3
    assert member.harness.group().offsets["ct"][0].offset == 6


def test_a_load_that_failed_is_tried_at_once_in_the_next_leadership() -> None:
    member = Member(leads=False)
    member.log.log_end_offset = 1
    member.log.read = lambda *_: 1 // 0  # type: ignore[method-assign,assignment]
    member.lead()
    member.settle()
    for _ in range(3):
        commit(member.harness, 5)
        member.settle()
    assert not member.runtime.shards
    del member.log.read
    member.log.log_end_offset = 0
    assert commit(member.harness, 5) == [NOT_COORDINATOR], "the delay is not over"
    member.lose()
    member.lead()
    member.settle()
    assert commit(member.harness, 5) == [ErrorCode.NONE]


def test_too_few_replicas() -> None:
    """A coordinator's write needs min.insync.replicas, as one with acks=all."""
    member = Member()
    member.log.failing = StorageFailure("not enough replicas are in sync", 13)
    assert commit(member.harness, 5) == [ErrorCode.COORDINATOR_NOT_AVAILABLE]
    member.log.failing = None
    assert commit(member.harness, 5) == [ErrorCode.NONE]


def test_reactors_commit_for_no_other_leadership(tmp_path: Path) -> None:
    direct = Direct(tmp_path)
    direct.open()
    direct.log.follow(1)
    assert direct.directly([("ct", 0, 1)]) is None
    direct.log.lead(2, [0], [0], 0)
    end_offset = direct.log.log_end_offset
    assert direct.directly([("ct", 0, 1)]) is None and direct.log.log_end_offset == end_offset
    direct.harness.coordinator.runtime.leadership_changed(0)
    direct.settle()
    assert open_groups.count() == 0
    assert direct.commit()[0] is ErrorCode.NONE and direct.commit(offset=8) == (ErrorCode.NONE, True)
    direct.log.lead(3, [0], [0], 0)
    assert direct.commit(offset=9) == (ErrorCode.NONE, True), "it has led ever since"
    direct.stop()


def test_a_transaction_goes_on_where_its_coordinator_is() -> None:
    """Its markers have the epoch in which the coordinator began to lead."""
    cluster = TransactionCluster(1)
    harness = TransactionHarness(cluster)
    producer = harness.started()
    assert not harness.add(producer, ("tt", 0))
    log = harness.log()
    log.held = True
    found: list[Any] = []
    harness.coordinator.end("t", producer, True, 2, lambda error, after: found.append(error))
    assert not found and harness.table.producers == {}
    log.state = STATE_FOLLOWER
    harness.coordinator.runtime.leadership_changed(0)
    harness.loop.advance(0.001)
    assert found == [NOT_COORDINATOR] and harness.markers("tt", 0) == []
    assert harness.coordinator.held.transactional_ids == harness.coordinator.held.bytes == 0
    log.held, log.high_watermark = False, log.log_end_offset
    log.state, log.leader_since_epoch, log.leader_epoch = STATE_ONLINE, 7, 9
    harness.coordinator.runtime.leadership_changed(0)
    harness.loop.advance(0.001)
    assert harness.stored().state == 4
    assert harness.markers("tt", 0) == [(producer.producer_id, producer.epoch + 1, True, 7)]


def test_an_open_transaction_is_known_to_the_data_plane_of_its_coordinator_only() -> None:
    cluster = TransactionCluster(1)
    harness = TransactionHarness(cluster)
    producer = harness.started()
    assert not harness.add(producer, ("tt", 0))
    assert harness.table.producers
    log: LogPartition = harness.log()
    log.state = STATE_FOLLOWER
    harness.coordinator.runtime.leadership_changed(0)
    harness.loop.advance(0.001)
    assert not harness.table.producers
    log.state, log.leader_since_epoch = STATE_ONLINE, 2
    harness.coordinator.runtime.leadership_changed(0)
    harness.loop.advance(0.001)
    assert list(harness.table.producers) == [producer.producer_id]


moves = st.one_of(operations, st.tuples(st.just("move"), st.integers(0, 5), st.booleans(), st.booleans()))


@given(st.lists(moves, min_size=5, max_size=30))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_groups_that_move_between_brokers_have_the_state_of_their_log(steps: list[tuple[Any, ...]]) -> None:
    """Two brokers; the follower's copy ends at any batch. The one that takes over has the groups as of the end of its copy, and the
    one that gave up has nothing, also when it hears of it late, or not before it leads again."""
    life, epoch = Life(), 0
    brokers = [life.harness, Harness(FakeCluster(1))]
    brokers[1].cluster.hosted[0].state = STATE_FOLLOWER
    brokers[1].coordinator.runtime.leadership_changed(0)
    brokers[1].loop.advance(0.001)
    for step in steps:
        if step[0] != "move":
            life.run(step)
            continue
        _, cut, told, back = step
        leader, follower = brokers
        logs = [each.cluster.hosted[0] for each in brokers]
        batches = logs[0].batches[: max(0, len(logs[0].batches) - cut)]
        end_offset = len(FakePartition(batches=batches).records())
        epoch += 1
        logs[0].state = STATE_FOLLOWER
        for log in logs:
            log.batches, log.log_end_offset, log.high_watermark = list(batches), end_offset, end_offset
        if told:
            leader.coordinator.runtime.leadership_changed(0)
        taker = leader if back else follower
        log = taker.cluster.hosted[0]
        log.state, log.leader_since_epoch = STATE_ONLINE, epoch
        for each in brokers:
            each.coordinator.runtime.leadership_changed(0)
            each.loop.advance(0.001)
        brokers = [taker, follower if back else leader]
        life.harness = taker
        life.members.clear()
        life.waiting.clear()
        assert not brokers[1].coordinator.runtime.shards and brokers[1].coordinator.group_count == 0
        (shard,) = taker.coordinator.runtime.shards.values()
        assert not shard.is_loading and replicated(shard.state) == replicated(replayed(log.records()))
    log, machine = life.harness.cluster.hosted[0], life.harness.coordinator.runtime.shards[0].state
    assert replicated(machine) == replicated(replayed(log.records()))
    for each in brokers:
        each.coordinator.stop()
