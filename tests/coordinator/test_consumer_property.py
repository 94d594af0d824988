"""Random members of a consumer group: none has a partition of another one, epochs never go back, all reach their target.

Members of both protocols join, heartbeat, acknowledge, lose responses, lie, leave and fall silent; topics come, grow and go.
The state that the log gives equals the live state at every record.
"""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.consumer import target
from kafka_cy.coordinator.consumer.embedded_protocol import read_assignment, write_assignment
from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.limits import member_bytes, regex_bytes
from kafka_cy.coordinator.consumer.member import LEAVE_STATIC_EPOCH
from kafka_cy.coordinator.modern.limits import partition_bytes
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import ConsumerHarness, assigned
from .fakes import FakeCluster, observe_replays, replayed, replicated

TOPICS = ("aa", "ab", "bb")
SUBSCRIPTIONS: list[dict[str, Any]] = [
    {"topic_names": ("aa",)}, {"topic_names": ("aa", "bb")}, {"topic_names": ("ab",), "topic_regex": "a."},
    {"topic_names": (), "topic_regex": "a.*"}, {"topic_names": (), "topic_regex": ""},
]  # fmt: skip
GONE = (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.FENCED_INSTANCE_ID, ErrorCode.GROUP_ID_NOT_FOUND)

who = st.integers(0, 4)
operations = st.one_of(
    st.tuples(st.just("join"), who, st.sampled_from(SUBSCRIPTIONS), st.sampled_from([None, "range", "uniform"])),
    st.tuples(st.just("beat"), who, st.booleans()),
    st.tuples(st.just("beat"), who, st.just(False)),
    st.tuples(st.just("subscribe"), who, st.sampled_from(SUBSCRIPTIONS)),
    st.tuples(st.just("lie"), who, st.integers(-3, 9), st.booleans()),
    st.tuples(st.just("leave"), who),
    st.tuples(st.just("classic"), who, st.sampled_from(["aa", "bb"])),
    st.tuples(st.just("commit"), who, st.integers(0, 2)),
    st.tuples(st.just("topic"), st.sampled_from(TOPICS), st.integers(1, 7)),
    st.tuples(st.just("delete"), st.sampled_from(TOPICS)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.1, 1.1, 4.0, 20.0, 50.0])),
)


class Client:
    """One process. Number 3 is static; number 4 uses the classic protocol."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.member = f"m{number}"
        self.instance = "i3" if number == 3 else None
        self.epoch = -1  # not a member
        self.owned: dict[uuid.UUID, list[int]] = {}

    def forget(self) -> None:
        self.epoch, self.owned = -1, {}


class Life:
    """A coordinator with one partition, its clients, and its state after each replayed record."""

    def __init__(self) -> None:
        self.harness = ConsumerHarness(FakeCluster(1), group_initial_rebalance_delay_ms=500)
        self.machine = self.harness.coordinator.runtime.shards[0].state
        self.held: list[dict[str, Any]] = [replicated(self.machine)]
        self.clients = [Client(number) for number in range(5)]
        self.incarnations = 0
        self.epoch = 0
        self.waiting: list[dict[str, Any]] = []
        self.names: dict[uuid.UUID, str] = {}
        self.ids: dict[str, uuid.UUID] = {}
        for name in TOPICS:
            self.new_id(name)
        self.harness.topic("aa", self.ids["aa"], 3)
        observe_replays(self.machine, self.held)

    @property
    def group(self) -> Any:
        return self.harness.group("g")

    def run(self, operation: tuple[Any, ...]) -> None:
        getattr(self, operation[0])(*operation[1:])
        self.check()

    def new_id(self, name: str) -> None:
        """The next topic of that name has another id."""
        self.ids[name] = uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {len(self.names)}")
        self.names[self.ids[name]] = name

    # -- members with the consumer protocol --

    def send(self, client: Client, epoch: int, lost: bool = False, **fields: Any) -> dict[str, Any]:
        response = self.harness.beat("g", client.member, epoch, instance_id=client.instance, **fields)
        if lost:
            return response
        if response["error_code"] in GONE:
            client.forget()
        elif not response["error_code"]:
            client.epoch = response["member_epoch"]
            found = assigned(response)
            client.owned = client.owned if found is None else found
        return response

    def join(self, which: int, subscription: dict[str, Any], assignor: str | None) -> None:
        client = self.clients[which]
        if which == 4:
            return
        if client.instance is not None and client.epoch < 0:
            self.incarnations += 1
            client.member = f"m3-{self.incarnations}"
        elif client.instance is not None:
            return
        client.owned = {}
        self.send(client, 0, rebalance_timeout_ms=5000, owned={}, assignor=assignor, **subscription)

    def beat(self, which: int, lost: bool) -> None:
        client = self.clients[which]
        if which == 4:
            self.classic_beat(client)
        elif client.epoch > 0:
            self.send(client, client.epoch, lost, owned=client.owned)

    def subscribe(self, which: int, subscription: dict[str, Any]) -> None:
        client = self.clients[which]
        if which != 4 and client.epoch > 0:
            self.send(client, client.epoch, owned=client.owned, **subscription)

    def lie(self, which: int, epoch: int, owns_nothing: bool) -> None:
        """Another process with the same member id; the client itself does not see the response."""
        owned = {} if owns_nothing else {self.ids["aa"]: list(range(9))}
        client = self.clients[which]
        response = self.harness.beat("g", client.member, epoch, owned=owned)
        if not response["error_code"]:
            client.forget()

    def leave(self, which: int) -> None:
        client = self.clients[which]
        if which == 4:
            self.harness.leave([(client.member, None)])
        elif client.epoch > 0:
            self.send(client, -2 if client.instance is not None else -1)
        client.forget()

    def commit(self, which: int, partition: int) -> None:
        client = self.clients[which]
        error = self.harness.commit(
            member=client.member, generation=client.epoch, topic="aa", topic_id=self.ids["aa"], partition=partition
        )
        owns = isinstance(self.group, ConsumerGroup) and partition in client.owned.get(self.ids["aa"], ())
        assert not owns or client.member not in self.group.members or error != ErrorCode.STALE_MEMBER_EPOCH

    # -- the member with the classic protocol --

    def classic(self, which: int, topic: str) -> None:
        client = self.clients[4]
        owned = [(self.names[topic_id], partitions) for topic_id, partitions in client.owned.items()]
        subscription = write_assignment(1, [])[:2] + len([topic]).to_bytes(4, "big") + len(topic).to_bytes(2, "big")
        subscription += topic.encode() + b"\xff\xff\xff\xff" + write_assignment(1, owned)[2:-4]
        self.waiting = self.harness.join(
            member=client.member if client.epoch > 0 else "", protocols=[("range", subscription)], session_ms=6000
        )
        self.classic_settle(client)

    def classic_settle(self, client: Client) -> None:
        if not self.waiting:
            return
        (response,), self.waiting = self.waiting, []
        if response["error_code"]:
            client.forget()
            return
        client.member, client.epoch = response["member_id"], response["generation_id"]
        everyone = [each["member_id"] for each in response["members"]]
        nothing = {each: write_assignment(1, []) for each in everyone}
        synced = self.harness.sync(client.member, client.epoch, nothing)
        if synced and not synced[0]["error_code"]:
            partitions = read_assignment(synced[0]["assignment"]).partitions
            client.owned = {self.ids[name]: list(each) for name, each in partitions.items()}
        elif synced and synced[0]["error_code"] in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION):
            client.forget()

    def classic_beat(self, client: Client) -> None:
        self.classic_settle(client)
        if client.epoch < 0:
            return
        error = self.harness.heartbeat(client.member, client.epoch)
        if error is ErrorCode.REBALANCE_IN_PROGRESS:
            self.classic(4, "aa")
        elif error:
            client.forget()

    # -- topics and time --

    def topic(self, name: str, partitions: int) -> None:
        known = self.harness.cluster.topics.get(name)
        self.harness.topic(name, self.ids[name], max(partitions, len(known.partitions) if known else 0))

    def delete(self, name: str) -> None:
        if name in self.harness.cluster.topics:
            self.harness.delete_topic(name)
            self.new_id(name)

    def wait(self, seconds: float) -> None:
        self.harness.loop.advance(seconds)

    # -- what always holds --

    def check(self) -> None:
        group = self.group
        if not isinstance(group, ConsumerGroup):
            self.epoch = 0
            return
        assert group.epoch >= self.epoch
        self.epoch = group.epoch
        owners: dict[tuple[uuid.UUID, int], str] = {}
        for member in group.members.values():
            assert member.member_epoch <= group.epoch
            for part in (member.assigned, member.pending_revocation):
                for topic_id, partitions in part.items():
                    for partition in partitions:
                        assert owners.setdefault((topic_id, partition), member.member_id) == member.member_id
        assert owners == {
            (topic_id, partition): owner for topic_id, each in group.owners.items() for partition, owner in each.items()
        }
        used: dict[tuple[uuid.UUID, int], int] = {}
        for client in self.clients:
            if client.member in group.members and client.epoch > 0:
                for topic_id, each in client.owned.items():
                    for partition in each:
                        assert used.setdefault((topic_id, partition), client.number) == client.number, "two use a partition"
        targets = [
            (topic_id, partition) for each in group.target.values() for topic_id in each for partition in each[topic_id]
        ]
        assert len(targets) == len(set(targets))
        self.check_counts(group)

    def check_counts(self, group: ConsumerGroup) -> None:
        members = list(group.members.values())
        names = Counter(name for member in members for name in member.details.subscribed_topic_names)
        assert group.subscriptions.by_name == names
        assert group.subscriptions.regexes == Counter(member.regex for member in members if member.regex)
        assert group.classic_members == sum(member.uses_classic_protocol for member in members)
        assert group.static_members == {each.instance_id: each.member_id for each in members if each.instance_id}
        partitions = partition_bytes(*group.target.values())
        partitions += sum(partition_bytes(each.assigned, each.pending_revocation) for each in members)
        regexes = sum(regex_bytes(regex, found.topics) for regex, found in group.subscriptions.resolved.items())
        own = sum(member_bytes(group.group_id, each.member_id, each.details) for each in members)
        assert group.held_bytes == partitions + regexes + own
        held = self.harness.coordinator.consumer.context.held
        assert held.member_bytes == sum(
            each.held_bytes for each in self.machine.groups.values() if isinstance(each, ConsumerGroup)
        )

    def converge(self) -> None:
        """Honest heartbeats of everyone who is left."""
        self.harness.loop.advance(11)  # regular expressions are resolved again then
        for _ in range(16):
            for client in self.clients:
                self.beat(client.number, False)
                self.check()
            self.harness.loop.advance(1.1)
        group = self.group
        if not isinstance(group, ConsumerGroup) or not group.members:
            return
        for member in list(group.members.values()):
            silent = all(client.member != member.member_id or client.epoch < 0 for client in self.clients)
            if silent or member.member_epoch == LEAVE_STATIC_EPOCH:
                return  # what it has, others cannot get before its session ends
        assert group.state_name == "Stable"
        read = self.harness.coordinator.topics.partition_counts(group.subscriptions.names())
        held = {(topic_id, partition) for topic_id, each in group.owners.items() for partition in each}
        assert held == {(topic_id, partition) for topic_id, count in read.items() for partition in range(count)}


@given(st.lists(operations, min_size=5, max_size=50), st.booleans())
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_members(steps: list[tuple[Any, ...]], later: bool) -> None:
    """`later`: every target assignment is computed after the response, as a large one is."""
    life = Life()
    with patch.object(target, "AT_ONCE_MAX", 0 if later else target.AT_ONCE_MAX):
        for step in steps:
            life.run(step)
        life.converge()
    partition = life.harness.cluster.hosted[0]
    records = partition.records()
    assert len(life.held) == len(records) + 1
    assert replicated(life.machine) == life.held[-1], "replay alone changes what is stored"
    for count in range(0, len(records) + 1, 1 + len(records) // 40):
        assert replicated(replayed(records[:count])) == life.held[count]
    loaded = life.harness.reload()
    shard = loaded.coordinator.runtime.shards[0]
    while shard.is_loading:  # in slices
        loaded.loop.advance(0.001)
    assert replicated(shard.state) == life.held[-1]
    live = life.group
    if isinstance(live, ClassicGroup):
        assert live.state.value in {"Empty", "Stable", "PreparingRebalance", "CompletingRebalance"}
    loaded.coordinator.stop()
