"""Random requests while everything takes long: each step in a turn of its own, others come in between, the partition is lost.

Each request has one response, no line stays, the log gives the live state, and the memory that is counted is that of the members.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator import commits, group_deletion
from kafka_cy.coordinator.classic import group as classic_group
from kafka_cy.coordinator.classic import leave
from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.limits import pending_bytes
from kafka_cy.coordinator.classic.requests import JoinRequest, SyncRequest
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.consumer import classic_members, consumer_groups, downgrade, upgrade
from kafka_cy.coordinator.consumer import leave as consumer_leave
from kafka_cy.coordinator.consumer.embedded_protocol import write_assignment
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.modern import groups
from kafka_cy.coordinator.offsets import delete, pieces
from kafka_cy.coordinator.runtime import shard
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.log import StorageFailure

from .consumer_fakes import ConsumerHarness
from .fakes import FakeCluster, replayed, replicated, subscription

SEEDS = 40
STEPS = 120
CHECKED_EVERY = 20
TOPICS = ("ct", "ct2", "x")
NOTHING = write_assignment(1, [])


@pytest.fixture(autouse=True)
def all_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(shard, "REPLAYED_AT_ONCE", 1)
    monkeypatch.setattr(pieces, "PIECE_OFFSETS_MAX", 1)
    monkeypatch.setattr(commits, "LONG_OFFSETS", 0)
    monkeypatch.setattr(commits, "tombstones_max", lambda group_id, batch_bytes_max: 1)
    for name in ("STORED_AT_ONCE_MEMBERS", "AT_ONCE_BYTES"):
        monkeypatch.setattr(classic_group, name, -1)
    for name, value, modules in (
        ("LEFT_AT_ONCE", 1, (leave, classic_members, consumer_groups, consumer_leave)),
        ("DELETED_AT_ONCE", 1, (delete, commits, group_deletion)),
        ("LONG_HEARTBEAT", -1, (groups, consumer_groups)),
        ("UPGRADED_AT_ONCE", 1, (upgrade,)),
        ("UPGRADED_AT_ONCE", 0, (consumer_groups,)),
        ("BYTES_AT_ONCE", 0, (upgrade, consumer_groups)),
        ("PIECE_MEMBERS", 1, (downgrade,)),
        ("PARTITIONS_AT_ONCE", 0, (downgrade,)),
    ):
        for module in modules:
            monkeypatch.setattr(module, name, value)


class Life:
    """Two groups, and the requests that are not answered yet: (what, group, what came)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.harness = ConsumerHarness(
            FakeCluster(1), group_initial_rebalance_delay_ms=500, offsets_retention_minutes=1,
            offsets_retention_check_interval_ms=20_000,
        )  # fmt: skip
        self.loop, self.coordinator = self.harness.loop, self.harness.coordinator
        self.log = self.harness.cluster.hosted[0]
        self.loop.threads = []
        self.settle()
        self.open: list[tuple[str, str, list[Any]]] = []
        self.joined: dict[str, list[JoinRequest]] = {"a": [], "b": []}
        self.epochs: dict[tuple[str, str], int] = {}  # of members with the consumer protocol

    def turn(self) -> bool:
        due = bool(self.loop.timers) and self.loop.timers[0][0] <= self.loop.time_s
        if self.loop.threads and (not due or self.random.random() < 0.5):
            work, done = self.loop.threads.pop(0)
            work()
            done()
        elif due:
            self.loop.run_next()
        else:
            return False
        self.coordinator.look()
        return True

    def settle(self) -> None:
        while self.turn():
            pass

    def sent(self, what: str, group: str) -> list[Any]:
        found: list[Any] = []
        self.open.append((what, group, found))
        return found

    def pair(self, what: str, group: str) -> Callable[[Any, Any], None]:
        found = self.sent(what, group)
        return lambda error, response: found.append(error)

    def collect(self) -> None:
        assert all(len(found) <= 1 for _, _, found in self.open)
        self.open = [each for each in self.open if not each[2]]

    # -- requests --

    def join(self, group: str) -> None:
        known = self.joined[group][-8:]
        before = self.random.choice(known) if known and self.random.random() < 0.6 else None
        instance = self.random.choice([None, None, "i1", "i2"]) if before is None else before.instance_id
        names = self.random.sample(["ct", "ct2", "y"], self.random.randint(1, 2))
        request = JoinRequest(
            group, "" if before is None else before.member_id, instance, "c", "/h", 10_000, 8000, "consumer",
            [("range", subscription(names))], self.random.random() < 0.3, True,
        )  # fmt: skip
        found = self.sent("join", group)

        def respond(response: dict[str, Any]) -> None:
            found.append(response)
            if response["error_code"] in (0, ErrorCode.MEMBER_ID_REQUIRED):
                self.joined[group].append(request._replace(member_id=response["member_id"]))

        self.coordinator.classic.join(request, respond)

    def sync(self, group: str) -> None:
        now = self.coordinator.group(group)[1]
        members = list(now.members.values()) if isinstance(now, ClassicGroup) else []
        self.random.shuffle(members)
        for each in members[: self.random.choice([1, len(members)])]:
            leads = isinstance(now, ClassicGroup) and now.leader == each.member_id
            assignments = {member.member_id: NOTHING for member in members} if leads else {}
            request = SyncRequest(group, now.generation, each.member_id, each.instance_id, None, None, assignments)  # type: ignore[union-attr]
            self.coordinator.classic.sync(request, self.sent("sync", group).append)

    def leave(self, group: str) -> None:
        named = [(each.member_id, each.instance_id) for each in self.joined[group][-8:]]
        named += [("", "i1"), ("", "i2"), ("nobody", None)]
        left = [self.random.choice(named) for _ in range(self.random.randint(1, 6))]
        self.coordinator.classic.leave(group, left, self.pair("leave", group))

    def commit(self, group: str) -> None:
        offsets = [CommitPartition(self.random.choice(TOPICS), None, partition, 5, -1, "") for partition in range(3)]
        self.coordinator.commit(CommitRequest(group, -1, "", None, -1, True, offsets), self.pair("commit", group))

    def delete_group(self, group: str) -> None:
        self.coordinator.deletion.delete_groups([group, "unknown"], self.sent("delete", group).append)

    def delete_offsets(self, group: str) -> None:
        offsets = [(topic, partition) for topic in TOPICS for partition in range(3)]
        look = iter([None] * 2) if self.random.random() < 0.4 else None
        self.coordinator.delete_offsets(group, offsets, self.pair("delete", group), look)

    def describe(self, group: str) -> None:
        self.coordinator.describe_groups([group], self.sent("describe", group).append)
        shown: list[dict[str, Any]] = []
        found = self.sent("describe", group)
        self.coordinator.in_slices(self.coordinator.consumer.descriptions([group], shown), lambda: found.append(shown))

    def beat(self, group: str) -> None:
        """A member joins with the consumer protocol, goes on, or leaves: groups are converted."""
        member, found = self.random.choice(["m1", "m2"]), self.sent("beat", group)
        epoch = self.epochs.pop((group, member), 0)
        if epoch and self.random.random() < 0.3:
            epoch = -1
        first: dict[str, Any] = {"topic_names": ("ct",), "rebalance_timeout_ms": 5000, "owned": {}} if not epoch else {}

        def respond(response: dict[str, Any]) -> None:
            found.append(response)
            if not response["error_code"]:
                self.epochs[group, member] = max(response["member_epoch"], 0)

        request = HeartbeatRequest(group, member, epoch, client_id="k", client_host="/h", **first)
        self.coordinator.consumer.heartbeat(request, respond)

    # -- the world --

    def wait(self, group: str) -> None:
        self.loop.time_s += self.random.choice([0.1, 0.5, 0.6, 2, 9, 50])

    def lose(self, group: str) -> None:
        if self.random.random() < 0.15 and 0 in self.coordinator.runtime.shards:
            self.coordinator.runtime.unload(0, reload=True)

    def fail(self, group: str) -> None:
        self.log.failing = StorageFailure("the disk is full", 2) if self.random.random() < 0.15 else None

    # -- checks --

    def check(self) -> None:
        """Nothing is under way."""
        self.log.failing = None
        self.settle()
        self.coordinator.runtime.shard(0)
        self.settle()
        self.collect()
        assert {what for what, _, _ in self.open} <= {"join", "sync"}, "these wait for other members"
        assert not any(self.coordinator.runtime.is_busy(group) for group in "ab")
        state = self.coordinator.runtime.shards[0].state
        assert replicated(state) == replicated(replayed(self.log.records()))
        assert all(not each.holds for each in state.groups.values())
        of_consumers = [each for each in state.groups.values() if isinstance(each, ConsumerGroup)]
        assert self.coordinator.consumer.context.held.member_bytes == sum(each.held_bytes for each in of_consumers)
        self.check_classic([each for each in state.groups.values() if isinstance(each, ClassicGroup)])

    def check_classic(self, classic: list[ClassicGroup]) -> None:
        pending = [member_id for each in classic for member_id in each.pending_members]
        held = self.coordinator.rebalancer.held
        assert held.pending_members == len(pending)
        assert held.member_bytes == sum(each.held_bytes() for each in classic) + sum(map(pending_bytes, pending))
        waiting = 0
        for group in classic:
            members = group.members.values()
            joins = sum(each.awaiting_join is not None for each in members)
            assert group.awaiting_joins == joins
            waiting += joins + sum(each.awaiting_sync is not None for each in members)
            if group.state_name == "Stable":
                assert group.stored is not None and group.stored.generation == group.generation
                stored = {each.member_id: each.assignment for each in group.stored.members}
                assert stored == {each.member_id: each.assignment for each in members}
        assert waiting == len(self.open)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_requests_between_the_steps_of_others(seed: int) -> None:
    life = Life(seed)
    often = [life.join, life.join, life.sync, life.sync, life.leave, life.commit, life.delete_group, life.delete_offsets]
    operations = [*often, *often, life.describe, life.beat, life.wait, life.wait, life.lose, life.fail]
    for step in range(STEPS):
        life.random.choice(operations)(life.random.choice("aab"))
        for _ in range(life.random.choice([0, 0, 1, 2, 5, 30])):
            life.turn()
        life.collect()
        if step % CHECKED_EVERY == CHECKED_EVERY - 1:
            life.check()
    for _ in range(20):  # all sessions end
        life.loop.time_s += 20
        life.settle()
    life.check()
    assert not life.open
