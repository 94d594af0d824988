"""Heartbeats of groups that read many topics: others are served in between, and what changes meanwhile counts."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Collection, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import join_group
from kafka_cy.api.consumer_group_heartbeat_cold import respond
from kafka_cy.base import slices
from kafka_cy.coordinator.classic.responses import join_error
from kafka_cy.coordinator.consumer.assignors.range import RangeAssignor
from kafka_cy.coordinator.consumer.assignors.uniform import UniformAssignor
from kafka_cy.coordinator.consumer.consumer_groups import LONG_HEARTBEAT
from kafka_cy.coordinator.consumer.embedded_protocol import read_assignment
from kafka_cy.coordinator.consumer.member import TOPICS_AT_ONCE
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.modern import names as modern_names
from kafka_cy.coordinator.modern.assignment import STEP_ITEMS, GroupSpec, MemberSpec, Partitions
from kafka_cy.coordinator.modern.heartbeat_responses import member_response
from kafka_cy.coordinator.modern.topics import HASHED_AT_ONCE, Topics
from kafka_cy.coordinator.share.requests import ShareHeartbeat
from kafka_cy.coordinator.streams.records import Topology
from kafka_cy.coordinator.streams.requests import StreamsHeartbeat
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import ConsumerHarness, assigned
from .fakes import FakeCluster, Harness, replayed, replicated, subscription
from .lines import Lines
from .looks import LOOKS, Name, turns_of
from .share_group_fakes import ShareCluster, ShareGroupHarness
from .streams_fakes import StreamsHarness, part

NAMES = [f"topic-{number:04}" for number in range(2 * LONG_HEARTBEAT)]
MANY_TOPICS = [uuid.uuid5(uuid.NAMESPACE_URL, str(number)) for number in range(4 * STEP_ITEMS)]


class Turns:
    """A coordinator whose turns the test runs. `most`: topics that one turn of the loop looks at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slices, "SLICE_S", 0.0)
        monkeypatch.setattr("kafka_cy.coordinator.consumer.target.AT_ONCE_MAX", len(NAMES) - 1)
        self.harness = ConsumerHarness(FakeCluster(1))
        for name in NAMES:
            self.harness.topic(name, uuid.uuid5(uuid.NAMESPACE_URL, name), 1)
        self.now = self.most = 0
        self.harness.loop.threads = []
        for looks, cost in (("_topic_hash", None), ("ids", len), ("partition_counts", len)):
            self._count(monkeypatch, looks, cost)

    def _count(self, monkeypatch: pytest.MonkeyPatch, name: str, cost: Callable[[Any], int] | None) -> None:
        looks = getattr(Topics, name)

        def counting(topics: Topics, what: Any) -> Any:
            self.now += cost(what) if cost is not None else 1
            self.most = max(self.most, self.now)
            return looks(topics, what)

        monkeypatch.setattr(Topics, name, counting)

    def beat(self, member: str, epoch: int, **fields: Any) -> list[dict[str, Any]]:
        responses: list[dict[str, Any]] = []
        request = HeartbeatRequest("g", member, epoch, client_id="k848", client_host="/127.0.0.1", **fields)
        self.now = 0
        self.harness.coordinator.consumer.heartbeat(request, responses.append)
        return responses

    @property
    def groups(self) -> Any:
        return self.harness.coordinator.runtime.shards[0].state.groups

    def join(self, member: str) -> list[dict[str, Any]]:
        return self.beat(member, 0, topic_names=tuple(NAMES), rebalance_timeout_ms=5000, owned={})

    def run(self) -> Iterator[None]:
        """What is due, and works on the other thread, one after the other."""
        loop = self.harness.loop
        while True:
            self.now = 0
            if loop.threads:
                work, done = loop.threads.pop(0)
                most = self.most
                work()
                self.now, self.most = 0, most  # it was not the loop's
                done()
            elif loop.timers and loop.timers[0][0] <= loop.time_s:
                loop.run_next()
            else:
                return
            yield

    def settle(self) -> None:
        for _ in self.run():
            pass

    def settled(self, responses: list[dict[str, Any]]) -> dict[str, Any]:
        self.settle()
        (response,) = responses
        assert response["error_code"] == 0
        return response


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    return Turns(monkeypatch)


def test_no_turn_looks_at_many_topics(turns: Turns) -> None:
    """A join, the heartbeats that bring the assignment, and those of a member that waits for partitions of another one."""
    first = turns.settled(turns.join("a"))
    turns.harness.loop.time_s += 2
    brought = turns.settled(turns.beat("a", first["member_epoch"]))
    topics = assigned(brought)
    assert topics is not None and len(topics) == len(NAMES)
    second = turns.settled(turns.join("b"))
    turns.harness.loop.time_s += 2
    for _ in range(3):
        second = turns.settled(turns.beat("b", second["member_epoch"]))
    assert turns.harness.consumer_group("g").state_name == "Reconciling"
    turns.harness.topic(NAMES[0], uuid.uuid5(uuid.NAMESPACE_URL, NAMES[0]), 2)
    turns.settled(turns.beat("b", second["member_epoch"]))
    assert 0 < turns.most <= HASHED_AT_ONCE
    hosted = turns.harness.cluster.hosted[0]
    assert replicated(replayed(hosted.records())) == replicated(turns.harness.coordinator.runtime.shards[0].state)


def test_no_turn_changes_the_owners_of_many_topics(turns: Turns) -> None:
    """Neither when they are assigned, nor when the member gives them up."""
    owned: list[int] = []

    def settled(responses: list[dict[str, Any]]) -> dict[str, Any]:
        for _ in turns.run():
            owned.append(len(turns.harness.consumer_group("g").owners) if "g" in turns.groups else 0)
        return turns.settled(responses)

    epoch = settled(turns.join("a"))["member_epoch"]
    turns.harness.loop.time_s += 2
    settled(turns.beat("a", epoch))
    assert max(owned) == len(NAMES)
    turns.harness.loop.time_s += 2
    epoch = settled(turns.beat("a", epoch + 1, topic_names=("ct",), owned={}))["member_epoch"]
    assert owned[-1] < len(NAMES)
    assert max(abs(after - before) for before, after in itertools.pairwise([0, *owned])) <= TOPICS_AT_ONCE


UNKNOWN = [Name(f"unknown-{number:04}") for number in range(600)]


def consumer_beats() -> tuple[Harness, Callable[[Any, int, Any], object]]:
    harness = ConsumerHarness(FakeCluster(1))

    def beat(respond: Any, epoch: int, names: Any) -> None:
        request = HeartbeatRequest("g", "m", epoch, topic_names=names, rebalance_timeout_ms=5000, owned=None if epoch else {})
        harness.coordinator.consumer.heartbeat(request, respond)

    return harness, beat


def share_beats() -> tuple[Harness, Callable[[Any, int, Any], object]]:
    harness = ShareGroupHarness(ShareCluster(1))

    def beat(respond: Any, epoch: int, names: Any) -> None:
        harness.coordinator.share.heartbeat(ShareHeartbeat("g", "m", epoch, topic_names=names), respond)

    return harness, beat


def streams_beats() -> tuple[Harness, Callable[[Any, int, Any], object]]:
    """Each name is a subtopology."""
    harness = StreamsHarness(FakeCluster(1), group_streams_initial_rebalance_delay_ms=0)

    def beat(respond: Any, epoch: int, names: Any) -> None:
        topology = Topology(0, tuple(part(name, [name]) for name in names)) if names and not epoch else None
        request = StreamsHeartbeat(
            "g", "m", epoch, topology=topology, rebalance_timeout_ms=5000, process_id=None if epoch else "p",
            active=None if epoch else {}, standby=None if epoch else {}, warmup=None if epoch else {},
        )  # fmt: skip
        harness.coordinator.streams.checked_heartbeat(request, respond)

    return harness, beat


@pytest.mark.parametrize("kind", [consumer_beats, share_beats, streams_beats])
def test_no_turn_looks_at_many_names_of_topics_that_do_not_exist(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[], tuple[Harness, Callable[[Any, int, Any], object]]]
) -> None:
    """A join, another subscription, and the end of the member, with what is replayed."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(modern_names, "PIECE_NAMES", 20)
    harness, beat = kind()
    harness.loop.threads = []
    LOOKS.most = 0
    epoch = 0
    for names in (UNKNOWN, UNKNOWN[1:], None):
        responses: list[dict[str, Any]] = []
        with LOOKS.of_turn():
            beat(responses.append, epoch if names is not None else -1, None if names is None else tuple(names))
        for _ in turns_of(harness.loop):
            pass
        (response,) = responses
        assert response["error_code"] == 0
        epoch = response["member_epoch"]
        harness.loop.time_s += 2
    assert LOOKS.most <= len(UNKNOWN) // 2
    hosted = harness.cluster.hosted[0]
    assert replicated(replayed(hosted.records())) == replicated(harness.coordinator.runtime.shards[0].state)


def test_a_heartbeat_that_comes_meanwhile_waits(turns: Turns) -> None:
    joining = turns.join("a")
    leaving = turns.beat("a", -1)
    assert (joining, leaving) == ([], [])
    turns.settle()
    assert [each["error_code"] for each in (*joining, *leaving)] == [0, 0]
    assert not turns.harness.consumer_group("g").members


def test_topics_that_change_meanwhile_are_compared_again(turns: Turns) -> None:
    joining = turns.join("a")
    for number, _ in enumerate(turns.run()):
        if number == 5:
            turns.harness.topic(NAMES[0], uuid.uuid5(uuid.NAMESPACE_URL, NAMES[0]), 3)
    epoch = turns.harness.consumer_group("g").epoch
    turns.harness.loop.time_s += 2
    turns.settled(turns.beat("a", joining[0]["member_epoch"]))
    group = turns.harness.consumer_group("g")
    assert group.epoch == epoch + 1
    assert group.metadata_hash == turns.harness.coordinator.topics.group_hash(NAMES)


class Counted(dict[uuid.UUID, int]):
    """Numbers of partitions. Counts how often one is asked for."""

    asked = 0

    def __getitem__(self, topic_id: uuid.UUID) -> int:
        self.asked += 1
        return super().__getitem__(topic_id)

    def get(self, topic_id: uuid.UUID, default: Any = None) -> Any:
        self.asked += 1
        return super().get(topic_id, default)


@pytest.mark.parametrize("assignor", [RangeAssignor(), UniformAssignor()])
def test_one_member_with_many_topics_takes_several_steps(assignor: Any) -> None:
    counts = Counted(dict.fromkeys(MANY_TOPICS, 1))
    before: Partitions = {topic_id: frozenset([0]) for topic_id in MANY_TOPICS}
    members = {"a": MemberSpec(None, MANY_TOPICS, before), "b": MemberSpec(None, MANY_TOPICS, {})}
    result: dict[str, Partitions] = {}
    asked = most = 0
    for _ in assignor.assign(GroupSpec(members, counts), result):
        most, asked = max(most, counts.asked - asked), counts.asked
    assert 0 < max(most, counts.asked - asked) <= STEP_ITEMS + 1
    if assignor.name == "uniform":
        assert {len(each) for each in result.values()} == {len(MANY_TOPICS) // 2}
    assert sorted(topic_id for each in result.values() for topic_id in each) == sorted(MANY_TOPICS)


class Walked(Collection[uuid.UUID]):
    """Topics. Counts the walks over them."""

    walks = 0

    def __contains__(self, topic_id: object) -> bool:
        return topic_id in MANY_TOPICS

    def __len__(self) -> int:
        return len(MANY_TOPICS)

    def __iter__(self) -> Iterator[uuid.UUID]:
        self.walks += 1
        return iter(MANY_TOPICS)


def test_members_with_one_subscription_are_not_compared_topic_by_topic() -> None:
    topics = Walked()
    group = GroupSpec({f"m{number}": MemberSpec(None, topics, {}) for number in range(100)}, {})
    assert group.is_homogeneous() and topics.walks == 1
    assert not GroupSpec({**group.members, "other": MemberSpec(None, MANY_TOPICS[1:], {})}, {}).is_homogeneous()


def test_a_response_with_many_topics_is_encoded_on_another_thread() -> None:
    made: list[Callable[[], Any]] = []
    responses: list[Any] = []
    request: Any = SimpleNamespace(respond=responses.append, respond_long=lambda prepare: prepare(made.append))
    for count in (TOPICS_AT_ONCE, TOPICS_AT_ONCE + 1):
        topics = {topic_id: [0] for topic_id in MANY_TOPICS[:count]}
        respond(request, member_response("m", 1, 5000, topics))
    assert [len(each["assignment"]["topic_partitions"]) for each in (responses[0], made[0]())] == [count - 1, count]


@pytest.mark.parametrize(("members", "size"), [(2, join_group.BYTES_AT_ONCE), (join_group.MEMBERS_AT_ONCE + 1, 10)])
def test_a_response_to_the_leader_of_a_large_group_is_encoded_on_another_thread(members: int, size: int) -> None:
    made: list[Callable[[], Any]] = []
    responses: list[Any] = []
    request: Any = SimpleNamespace(
        api_version=9, respond=responses.append, respond_long=lambda prepare: prepare(made.append)
    )
    rows = [{"member_id": f"m{number}", "group_instance_id": None, "metadata": bytes(size)} for number in range(members)]
    for count in (1, members):
        join_group.respond(request, join_error(ErrorCode.NONE) | {"members": rows[:count]})
    assert [each["members"] for each in (responses[0], made[0]())] == [rows[:1], rows]
    assert (len(responses), len(made)) == (1, 1)


def test_no_turn_reads_all_names_of_a_classic_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """JoinGroup and SyncGroup of a consumer group: nothing but a Work looks at each of the names."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    monkeypatch.setattr(modern_names, "PIECE_NAMES", 100)
    harness = ConsumerHarness(FakeCluster(1))
    harness.loop.threads = []
    harness.join_consumer("g", "m")
    names = [f"topic{number}" for number in range(5000)]
    protocols = [[("range", subscription(names[first:]))] for first in (0, 1)]
    lines = Lines()

    def settle() -> None:
        loop = harness.loop
        while loop.threads or (loop.timers and loop.timers[0][0] <= loop.time_s):
            if loop.threads:
                work, done = loop.threads.pop(0)
                work()
                lines(done)
            else:
                lines(loop.run_next)

    joined: list[dict[str, Any]] = lines(lambda: harness.join(protocols=protocols[0]))
    assert not joined
    settle()
    member, epoch = joined[0]["member_id"], joined[0]["generation_id"]
    assert joined[0]["error_code"] == 0 and harness.consumer_group("g").subscriptions.contains(names[-1])
    again = lines(lambda: harness.join(member=member, protocols=protocols[1]))
    settle()
    assert again[0]["error_code"] == 0 and not harness.consumer_group("g").subscriptions.contains(names[0])
    lines(lambda: harness.sync(member, again[0]["generation_id"]))
    assert epoch and lines.largest < len(names) // 2


def test_the_partitions_of_a_classic_member_are_encoded_on_another_thread() -> None:
    harness = ConsumerHarness(FakeCluster(1))
    harness.topic("big", uuid.uuid5(uuid.NAMESPACE_URL, "big"), LONG_HEARTBEAT + 1)
    harness.join_consumer("g", "m")
    harness.loop.advance(1.1)
    (joined,) = harness.join(protocols=[("range", subscription(["big"]))])
    harness.loop.threads = []
    synced = harness.sync(joined["member_id"], joined["generation_id"])
    assert not synced
    ((work, done),) = harness.loop.threads
    work()
    done()
    assert len(read_assignment(synced[0]["assignment"]).partitions["big"]) == LONG_HEARTBEAT + 1
