"""Random members of a streams group: no task runs twice, no process has it twice, epochs never go back, all reach their target.

Members join, heartbeat, acknowledge, lose responses, lie, leave and fall silent; topics come, grow and go, internal topics fail.
The state that the log gives equals the live state at every record.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.coordinator.streams import target
from kafka_cy.coordinator.streams.group import StreamsGroup
from kafka_cy.coordinator.streams.limits import member_bytes, topology_bytes
from kafka_cy.coordinator.streams.records import Topology
from kafka_cy.coordinator.streams.tasks import NO_TASKS, Tasks
from kafka_cy.protocol.errors import ErrorCode

from .fakes import FakeCluster, observe_replays, replayed, replicated
from .streams_fakes import StreamsHarness, internal, part, task_map, tasks_in

GONE = (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.GROUP_ID_NOT_FOUND)
TOPOLOGY = Topology(
    0,
    (
        part("0", ["sin"], sinks=["rep"]),
        part("1", ["more"], reads=[internal("rep")], changelogs=[internal("counts")]),
    ),
)
PROCESSES = ("A", "A", "B", "B", "C")  # of the members

who = st.integers(0, 4)
operations = st.one_of(
    st.tuples(st.just("join"), who),
    st.tuples(st.just("join"), who),
    st.tuples(st.just("beat"), who, st.booleans()),
    st.tuples(st.just("beat"), who, st.just(False)),
    st.tuples(st.just("slow"), who),
    st.tuples(st.just("lie"), who, st.integers(-2, 9), st.booleans()),
    st.tuples(st.just("leave"), who),
    st.tuples(st.just("commit"), who, st.integers(0, 2)),
    st.tuples(st.just("topic"), st.sampled_from(["sin", "more"]), st.integers(1, 5)),
    st.tuples(st.just("delete"), st.sampled_from(["sin", "more", "rep", "counts"])),
    st.tuples(st.just("standby"), st.integers(0, 2)),
    st.tuples(st.just("refuse"), st.booleans()),
    st.tuples(st.just("classic")),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.1, 1.1, 4.0, 20.0, 50.0])),
)


class Client:
    """One thread of an application."""

    def __init__(self, number: int) -> None:
        self.member = f"m{number}"
        self.process = PROCESSES[number]
        self.epoch = -1  # not a member
        self.owned = NO_TASKS

    def forget(self) -> None:
        self.epoch, self.owned = -1, NO_TASKS


class Life:
    """A coordinator with one partition, its clients, and its state after each replayed record."""

    def __init__(self) -> None:
        self.harness = StreamsHarness(FakeCluster(1), group_streams_initial_rebalance_delay_ms=500)
        self.machine = self.harness.coordinator.runtime.shards[0].state
        self.held: list[dict[str, Any]] = [replicated(self.machine)]
        self.clients = [Client(number) for number in range(5)]
        self.epoch = 0
        self.sizes = {"sin": 2}
        self.topic("more", 3)
        observe_replays(self.machine, self.held)

    @property
    def group(self) -> Any:
        return self.harness.group("g")

    def run(self, operation: tuple[Any, ...]) -> None:
        getattr(self, operation[0])(*operation[1:])
        self.check()

    # -- members --

    def send(self, client: Client, epoch: int, lost: bool = False, **fields: Any) -> None:
        response = self.harness.beat("g", client.member, epoch, **fields)
        if lost:
            return
        if response["error_code"] in GONE:
            client.forget()
        elif not response["error_code"]:
            client.epoch = response["member_epoch"]
            active = tasks_in(response)
            if active is not None:
                client.owned = Tasks(task_map(active), task_map(tasks_in(response, "standby") or {}))

    def join(self, which: int) -> None:
        client = self.clients[which]
        client.owned = NO_TASKS
        self.send(client, 0, owned=NO_TASKS, rebalance_timeout_ms=5000, topology=TOPOLOGY, process_id=client.process)

    def beat(self, which: int, lost: bool) -> None:
        client = self.clients[which]
        if client.epoch > 0:
            self.send(client, client.epoch, lost, owned=client.owned)

    def slow(self, which: int) -> None:
        """It has not given up anything yet, and says nothing about its tasks."""
        client = self.clients[which]
        if client.epoch > 0:
            self.harness.beat("g", client.member, client.epoch)

    def lie(self, which: int, epoch: int, owns_nothing: bool) -> None:
        """Another process with the same member id; the client itself does not see the response."""
        owned = NO_TASKS if owns_nothing else Tasks(task_map({"0": range(2), "1": range(2)}))
        client = self.clients[which]
        if not self.harness.beat("g", client.member, epoch, owned=owned)["error_code"]:
            client.forget()

    def leave(self, which: int) -> None:
        client = self.clients[which]
        if client.epoch > 0:
            self.send(client, -1)
        client.forget()

    def commit(self, which: int, partition: int) -> None:
        client = self.clients[which]
        error = self.harness.commit(member=client.member, generation=client.epoch, topic="sin", partition=partition)
        owns = isinstance(self.group, StreamsGroup) and partition in client.owned.active.get("0", ())
        assert not owns or client.member not in self.group.members or error != ErrorCode.STALE_MEMBER_EPOCH

    def classic(self) -> None:
        """A member of a classic group comes, and goes at once: it may take over an empty group."""
        waiting = self.harness.join("g", known=True)
        if waiting and waiting[0]["error_code"] == ErrorCode.MEMBER_ID_REQUIRED:
            waiting = self.harness.join("g", waiting[0]["member_id"], known=True)
        self.harness.loop.advance(1.1)
        if waiting and not waiting[0]["error_code"]:
            self.harness.leave([(waiting[0]["member_id"], None)])

    # -- topics, settings and time --

    def topic(self, name: str, partitions: int) -> None:
        """Never smaller than before: a member that has a task which no longer exists is refused, as by Kafka."""
        self.sizes[name] = max(partitions, self.sizes.get(name, 0))
        self.harness.topic(name, self.sizes[name])

    def delete(self, name: str) -> None:
        if name in self.harness.cluster.topics:
            self.harness.delete_topic(name)

    def standby(self, count: int) -> None:
        self.harness.cluster.configs["groups", "g"] = {"streams.num.standby.replicas": str(count)}

    def refuse(self, refuse: bool) -> None:
        self.harness.refused = {"rep": "refused"} if refuse else {}

    def wait(self, seconds: float) -> None:
        self.harness.loop.advance(seconds)

    # -- what always holds --

    def check(self) -> None:
        group = self.group
        if not isinstance(group, StreamsGroup):
            self.epoch = 0
            return
        assert group.epoch >= self.epoch
        self.epoch = group.epoch
        running: dict[tuple[str, int], str] = {}
        in_process: set[tuple[str, str, int]] = set()
        for member in group.members.values():
            assert member.member_epoch <= group.epoch
            for part_of in (member.assigned, member.pending_revocation):
                for subtopology, partitions in part_of.active.items():
                    for partition in partitions:
                        assert (subtopology, partition) not in running, "a task has two members"
                        running[subtopology, partition] = member.process_id
                for subtopology, partitions in [*part_of.active.items(), *part_of.standby.items()]:
                    for partition in partitions:
                        key = (member.process_id, subtopology, partition)
                        assert key not in in_process, "a process has a task twice"
                        in_process.add(key)
        assert running == {
            (subtopology, partition): process
            for subtopology, each in group.owners.active.items()
            for partition, process in each.items()
        }
        used: set[tuple[str, int]] = set()
        for client in self.clients:
            if client.member in group.members and client.epoch > 0:
                for subtopology, each in client.owned.active.items():
                    for partition in each:
                        assert (subtopology, partition) not in used, "two run a task"
                        used.add((subtopology, partition))
        assert group.held_bytes == topology_bytes(group.topology) + sum(
            member_bytes(group.group_id, each.member_id, each.details) for each in group.members.values()
        )
        assert self.harness.coordinator.streams.context.held.member_bytes == group.held_bytes

    def converge(self) -> None:
        """Honest heartbeats of everyone who is left, with topics that fit.

        A client whose epoch is older than the previous one of its member (two responses in a row were lost) is fenced, as by Kafka.
        It joins again then.
        """
        self.harness.refused = {}
        for name in ("rep", "counts"):
            self.delete(name)
        for name in ("sin", "more"):
            self.topic(name, 2)
        self.harness.loop.advance(11)  # failed creations are tried again then
        everyone = self.group.members if isinstance(self.group, StreamsGroup) else {}
        honest = [number for number, client in enumerate(self.clients) if client.epoch > 0]
        silent = everyone.keys() - {self.clients[number].member for number in honest}
        for _ in range(14):
            for number in honest:
                if self.clients[number].epoch > 0:
                    self.beat(number, False)
                else:
                    self.join(number)
                self.check()
            self.harness.loop.advance(1.1)
        group = self.group
        if not isinstance(group, StreamsGroup) or not group.members:
            return
        if silent:
            return  # what silent members have, others cannot get before their sessions end
        assert group.state_name == "Stable"
        counts = {name: len(self.harness.cluster.topics[name].partitions) for name in ("sin", "more", "rep", "counts")}
        assert counts["rep"] == counts["sin"] and counts["counts"] == max(counts["sin"], counts["more"])
        tasks = {"0": set(range(counts["sin"])), "1": set(range(counts["counts"]))}
        assert {name: set(each) for name, each in group.owners.active.items()} == tasks
        processes = {each.process_id for each in group.members.values()}
        copies = min(int(group.assignment_configs[0].value), len(processes) - 1)
        assert sum(len(each.assigned.standby.get("1", ())) for each in group.members.values()) == copies * len(tasks["1"])


@given(st.lists(operations, min_size=5, max_size=50), st.booleans())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_members(steps: list[tuple[Any, ...]], later: bool) -> None:
    """`later`: every target assignment is computed after the response, as a large one is."""
    life = Life()
    with patch.object(target, "AT_ONCE_MAX", 0 if later else target.AT_ONCE_MAX):
        for step in steps:
            life.run(step)
        life.converge()
    records = life.harness.cluster.hosted[0].records()
    assert len(life.held) == len(records) + 1
    assert replicated(life.machine) == life.held[-1], "replay alone changes what is stored"
    for count in range(0, len(records) + 1, 1 + len(records) // 40):
        assert replicated(replayed(records[:count])) == life.held[count]
    loaded = life.harness.reload()
    shard = loaded.coordinator.runtime.shards[0]
    while shard.is_loading:  # in slices
        loaded.loop.advance(0.001)
    assert replicated(shard.state) == life.held[-1]
    loaded.coordinator.stop()
