"""Random joins, syncs, heartbeats, commits, leaves and silence: no group gets stuck, and loading restores the same state."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kafka_cy.coordinator import heartbeat_table
from kafka_cy.coordinator.classic.limits import pending_bytes
from kafka_cy.protocol.errors import ErrorCode

from .fakes import SUBSCRIPTION, FakeCluster, Harness, replayed

OTHER = bytes.fromhex("00010000000100027878ffffffff00000000")  # topic "xx"
INSTANCES = [None, None, "i1", "i2"]
LONGEST_S = 300 + 60  # the wait of a new member, then one complete rebalance


class Client:
    """The state of one client: its assigned member id, and the request that it waits for."""

    def __init__(self, instance: str | None) -> None:
        self.instance = instance
        self.member = ""
        self.generation = -1
        self.joining: list[dict[str, Any]] | None = None
        self.syncing: list[dict[str, Any]] | None = None


class GroupMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.harness = Harness(FakeCluster(1), group_initial_rebalance_delay_ms=500)
        self.clients = [Client(instance) for instance in INSTANCES]
        self.generation = 0

    def settle(self, client: Client) -> None:
        if client.joining:
            (response,), client.joining = client.joining, None
            if response["error_code"] in (0, ErrorCode.MEMBER_ID_REQUIRED):
                client.member, client.generation = response["member_id"], response["generation_id"]
            elif response["error_code"] in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID):
                client.member = ""
        if client.syncing:
            (response,), client.syncing = client.syncing, None
            if response["error_code"] in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID):
                client.member = ""

    @rule(which=st.integers(0, 3), metadata=st.sampled_from([SUBSCRIPTION, OTHER]), known=st.booleans())
    def join(self, which: int, metadata: bytes, known: bool) -> None:
        client = self.clients[which]
        self.settle(client)
        if client.joining is None:
            client.joining = self.harness.join(
                member=client.member, instance=client.instance, known=known, session_ms=6000, rebalance_ms=9000,
                protocols=[("range", metadata), ("sticky", metadata)],
            )  # fmt: skip

    @rule(which=st.integers(0, 3))
    def sync(self, which: int) -> None:
        client = self.clients[which]
        self.settle(client)
        if client.member and client.syncing is None and client.joining is None:
            assignments = {each.member: each.member.encode() for each in self.clients if each.member}
            client.syncing = self.harness.sync(client.member, client.generation, assignments, instance=client.instance)

    @rule(which=st.integers(0, 3))
    def heartbeat(self, which: int) -> None:
        client = self.clients[which]
        self.settle(client)
        if not client.member:
            return
        name, instance = client.member.encode(), client.instance and client.instance.encode()
        now_ns = int(self.harness.loop.now() * 1e9)
        if heartbeat_table.stamp(b"g", name, instance, client.generation, now_ns):
            # The coordinator would have given the same response as the reactor.
            assert self.harness.heartbeat(client.member, client.generation, instance=client.instance) == 0

    @rule(which=st.integers(0, 3), partition=st.integers(0, 2), offset=st.integers(0, 99))
    def commit(self, which: int, partition: int, offset: int) -> None:
        client = self.clients[which]
        self.harness.commit(member=client.member, generation=client.generation, partition=partition, offset=offset)

    @rule(which=st.integers(0, 3))
    def leave(self, which: int) -> None:
        client = self.clients[which]
        self.settle(client)
        if client.member:
            self.harness.leave([(client.member, client.instance)])
            client.member = ""

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.0, 5.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.harness.loop.advance(seconds)

    @invariant()
    def generation_only_grows(self) -> None:
        group = self.harness.group()
        if group is not None:
            assert group.generation >= self.generation
            self.generation = group.generation
            assert (group.leader in group.members) == bool(group.members)
            assert set(group.static_members.values()) <= set(group.members)
            held = self.harness.coordinator.rebalancer.held
            pending = sum(map(pending_bytes, group.pending_members))
            assert held.member_bytes == sum(each.held_bytes for each in group.members.values()) + pending
            waiting = [each for each in group.members.values() if each.awaiting_join is not None]
            assert group.awaiting_joins == len(waiting)
            names = Counter(name for each in group.members.values() for name, _ in each.protocols)
            assert group.protocol_members == dict(names)
            assert held.pending_members == len(group.pending_members)
            assert heartbeat_table.count() == len(group.members) or group.state.value == "PreparingRebalance"

    @invariant()
    def reloading_gives_the_stored_state(self) -> None:
        group = self.harness.group()
        if group is None:
            return
        loaded = replayed(self.harness.written()).groups["g"]
        assert loaded.offsets == group.offsets
        if group.state.value in ("Stable", "Empty"):
            assert loaded.state is group.state and loaded.generation == group.generation
            stored = {name: each.assignment for name, each in loaded.members.items()}
            assert stored == {name: each.assignment for name, each in group.members.items()}
            assert loaded.leader == group.leader and loaded.static_members == group.static_members

    def teardown(self) -> None:
        # All clients become silent: the group must become stable or empty, and every waiting request must get a response.
        self.harness.loop.advance(LONGEST_S)
        group = self.harness.group()
        if group is not None:
            assert group.state.value == "Empty" and not group.members
        for client in self.clients:
            assert client.joining is None or len(client.joining) == 1
            assert client.syncing is None or len(client.syncing) == 1
        assert heartbeat_table.count() == 0
        assert self.harness.loop.pending == 1, "only the timer of the expiry is left"


TestGroups = GroupMachine.TestCase
TestGroups.settings = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
