"""Transactions and their offsets: a coordinator killed between any two batches comes back with the state that it had then."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.cluster.topic_names import OFFSETS_TOPIC, TRANSACTIONS_TOPIC
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.consumer.requests import HeartbeatRequest
from kafka_cy.coordinator.offsets import pending
from kafka_cy.coordinator.transactions.init_producer_id import InitRequest, Producer

from .standby import Standby, groups_and_pending, new_groups, new_transactions, transactions
from .test_transaction_property import World, operations
from .transaction_fakes import TransactionCluster, TransactionHarness

OFFSETS, TRANSACTIONS = (OFFSETS_TOPIC, 0), (TRANSACTIONS_TOPIC, 0)


def standbys(cluster: TransactionCluster, harness_of: Any) -> list[Standby]:
    """Of both coordinators' logs; `harness_of` returns the harness at this moment."""
    return [
        Standby(cluster.hosted[OFFSETS], lambda: harness_of().groups.runtime.shards.get(0), new_groups, groups_and_pending),
        Standby(
            cluster.hosted[TRANSACTIONS], lambda: harness_of().coordinator.runtime.shards.get(0), new_transactions, transactions
        ),
    ]


class WatchedWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.standbys = standbys(self.cluster, lambda: self.harness)

    def run(self, operation: tuple[Any, ...]) -> None:
        super().run(operation)
        for standby in self.standbys:
            standby.look()

    def crash(self, power_loss: bool) -> None:
        for standby in self.standbys:
            standby.is_paused = True
        super().crash(power_loss)
        for standby in self.standbys:
            standby.begin_anew()


@given(st.lists(operations, min_size=10, max_size=60))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_transactions_in_every_state(steps: list[tuple[Any, ...]]) -> None:
    world = WatchedWorld()
    for step in steps:
        world.run(step)
    world.run(("release",))
    world.run(("wait", 1000.0))


# -- offsets in transactions, and everything that may come between them and their marker --

IDS = st.sampled_from(["a", "b", "c"])
GROUPS = st.sampled_from(["g", "h"])
TOPICS = ["tt", "tu"]
PARTITION = st.tuples(st.sampled_from(TOPICS), st.integers(0, 1))
offset_operations = st.one_of(
    st.tuples(st.just("pend"), IDS, GROUPS, st.lists(PARTITION, min_size=1, max_size=4, unique=True)),
    st.tuples(st.just("pend"), IDS, GROUPS, st.lists(PARTITION, min_size=1, max_size=4, unique=True)),
    st.tuples(st.just("pend"), IDS, GROUPS, st.lists(PARTITION, min_size=1, max_size=4, unique=True)),
    st.tuples(st.just("end"), IDS, st.booleans(), st.sampled_from([0, 2])),
    st.tuples(st.just("end"), IDS, st.booleans(), st.sampled_from([0, 2])),
    st.tuples(st.just("commit"), GROUPS, PARTITION),
    st.tuples(st.just("commit"), GROUPS, PARTITION),
    st.tuples(st.just("delete_offsets"), GROUPS, PARTITION),
    st.tuples(st.just("delete_group"), GROUPS),
    st.tuples(st.just("delete_topic"), st.sampled_from(TOPICS)),
    st.tuples(st.just("member"), GROUPS, st.sampled_from([0, 1, -1])),
    st.tuples(st.just("fence"), IDS),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 50.0, 700.0])),
    st.tuples(st.just("kill")),
)


class OffsetsWorld:
    def __init__(self) -> None:
        self.cluster = TransactionCluster(1)
        self.harness = TransactionHarness(self.cluster, offsets_retention_minutes=5)
        self.producers: dict[str, Producer] = {}
        self.count = 0
        self.standbys = standbys(self.cluster, lambda: self.harness)

    def run(self, operation: tuple[Any, ...]) -> None:
        getattr(self, operation[0])(*operation[1:])
        for standby in self.standbys:
            standby.look()

    def fence(self, name: str) -> None:
        """InitProducerId: it ends an open transaction, and may have to come again."""

        def done(error: Any, producer: Producer) -> None:
            if not error:
                self.producers[name] = producer

        self.harness.coordinator.init_producer_id(InitRequest(name, 60_000, None), done)

    def pend(self, name: str, group: str, partitions: list[tuple[str, int]]) -> None:
        if name not in self.producers:
            self.fence(name)
        producer = self.producers.get(name)
        if producer is None:
            return
        coordinator, request = self.harness.coordinator, self._request(group, partitions)
        check = partial(coordinator.check_open, name, producer, OFFSETS)

        def added(errors: dict[Any, Any]) -> None:
            if not errors[OFFSETS]:
                self.harness.groups.commit_in_transaction(request, producer, check, lambda error, errors: None)

        coordinator.add_for_produce(name, *producer, [OFFSETS], True, added)

    def _request(self, group: str, partitions: list[tuple[str, int]]) -> CommitRequest:
        self.count += 1
        rows = [CommitPartition(topic, None, partition, self.count, -1, None) for topic, partition in partitions]
        return CommitRequest(group, -1, "", None, -1, True, rows)

    def end(self, name: str, committed: bool, version: int) -> None:
        producer = self.producers.get(name)
        if producer is None:
            return

        def done(error: Any, after: Producer) -> None:
            if not error and version == 2:
                self.producers[name] = after

        self.harness.coordinator.end(name, producer, committed, version, done)

    def commit(self, group: str, partition: tuple[str, int]) -> None:
        self.harness.groups.commit(self._request(group, [partition]), lambda error, errors: None)

    def delete_offsets(self, group: str, partition: tuple[str, int]) -> None:
        self.harness.groups.delete_offsets(group, [partition], lambda error, errors: None)

    def delete_group(self, group: str) -> None:
        self.harness.groups.deletion.delete_group(group, lambda error: None)

    def delete_topic(self, topic: str) -> None:
        self.harness.groups.topics_deleted({topic: self.cluster.topics[topic].id})

    def member(self, group: str, epoch: int) -> None:
        """A member of a consumer group comes, stays or goes: the group changes its kind, and keeps its offsets."""
        fields: dict[str, Any] = {} if epoch else {"topic_names": ("tt",), "rebalance_timeout_ms": 5000, "owned": {}}
        self.harness.groups.consumer.heartbeat(
            HeartbeatRequest(group, "m", epoch, client_id="c", client_host="/127.0.0.1", **fields), lambda response: None
        )

    def wait(self, seconds: float) -> None:
        self.harness.loop.advance(seconds)

    def kill(self) -> None:
        for standby in self.standbys:
            standby.is_paused = True
        self.harness = self.harness.restarted(offsets_retention_minutes=5)
        for standby in self.standbys:
            standby.begin_anew()


@given(st.lists(offset_operations, min_size=10, max_size=60), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_offsets_of_open_transactions(steps: list[tuple[Any, ...]], in_slices: bool) -> None:
    """`in_slices`: a marker with more than one offset is applied in several steps, as one with hundreds is."""
    world = OffsetsWorld()
    with patch.object(pending, "ENDED_AT_ONCE_MAX", 1 if in_slices else pending.ENDED_AT_ONCE_MAX):
        for step in steps:
            world.run(step)
        world.run(("wait", 1000.0))
    shard = world.harness.groups.runtime.shards[0]
    assert not shard.busy_producers and not groups_and_pending(shard.state)[1], "offsets of a transaction hang"
