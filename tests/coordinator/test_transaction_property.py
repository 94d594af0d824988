"""Transactions of several producers with fencing, timeouts, disks that are slow, kill -9 and power loss, in any order.

Whatever happens: the records of a transaction, and its offsets, are all visible or none; they are visible if its commit was
acknowledged, and not if its abort was; no partition keeps an open transaction; and the log gives the same state again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_cy.cluster.topic_names import OFFSETS_TOPIC, TRANSACTIONS_TOPIC
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.transactions.init_producer_id import InitRequest, Producer
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import TRANSACTIONAL, build_batch, iterate_batches

from .transaction_fakes import (
    LogPartition,
    TransactionCluster,
    TransactionHarness,
    replayed_transactions,
    replicated_transactions,
)

IDS = ["a", "b"]
CLIENTS = range(2)  # processes with the same transactional id: the older one is a zombie
PARTITIONS = [("tt", 0), ("tt", 1), ("tu", 0)]
HELD = [*PARTITIONS, (OFFSETS_TOPIC, 0), (TRANSACTIONS_TOPIC, 0)]
RETRIED = (ErrorCode.CONCURRENT_TRANSACTIONS, ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)

client = st.tuples(st.sampled_from(IDS), st.sampled_from(CLIENTS))
operations = st.one_of(
    st.tuples(st.just("init"), client, st.booleans()),
    st.tuples(st.just("write"), client, st.sampled_from(PARTITIONS), st.sampled_from([0, 2])),
    st.tuples(st.just("write"), client, st.sampled_from(PARTITIONS), st.sampled_from([0, 2])),
    st.tuples(st.just("commit_offset"), client),
    st.tuples(st.just("end"), client, st.booleans(), st.sampled_from([0, 2])),
    st.tuples(st.just("end"), client, st.booleans(), st.sampled_from([0, 2])),
    st.tuples(st.just("wait"), st.sampled_from([0.2, 12.0, 90.0])),
    st.tuples(st.just("hold"), st.sampled_from(HELD)),
    st.tuples(st.just("release")),
    st.tuples(st.just("crash"), st.booleans()),
    # What is rare otherwise:
    st.tuples(st.just("crash_in_end"), client, st.booleans(), st.sampled_from([0, 2]), st.sampled_from(HELD), st.booleans()),
    st.tuples(st.just("time_out"), client, st.sampled_from(PARTITIONS)),
)


@dataclass
class Attempt:
    """One transaction as its client sees it. `outcome` is what was acknowledged: committed, aborted, or None."""

    asked: bool | None = None  # for a commit or an abort
    outcome: bool | None = None
    values: set[bytes] = field(default_factory=set)
    partitions: set[tuple[str, int]] = field(default_factory=set)


@dataclass
class Client:
    transactional_id: str
    producer: Producer | None = None
    waits: bool = False  # for a response
    uncertain: bool = False  # whether the last EndTxn did anything
    attempt: Attempt = field(default_factory=Attempt)


class World:
    def __init__(self) -> None:
        self.cluster = TransactionCluster(1)
        self.harness = TransactionHarness(self.cluster)
        self.clients = {(name, number): Client(name) for name in IDS for number in CLIENTS}
        self.attempts: list[Attempt] = []
        self.generation = 0  # of the broker: responses of an earlier one do not arrive
        self.count = 0

    def run(self, operation: tuple[Any, ...]) -> None:
        getattr(self, operation[0])(*operation[1:])
        self.harness.look()

    # -- requests --

    def asked(self, client: Client, function: Any) -> Any:
        """The client waits; its response is dropped when the broker crashes first."""
        client.waits = True
        generation = self.generation

        def respond(*response: Any) -> None:
            if generation == self.generation and client.waits:
                client.waits = False
                function(*response)

        return respond

    def init(self, key: tuple[str, int], recovers: bool) -> None:
        client = self.clients[key]
        if client.waits:
            return
        expected = client.producer if recovers else None

        def done(error: ErrorCode, producer: Producer) -> None:
            if not error:
                client.producer, client.uncertain, client.attempt = producer, False, Attempt()

        request = InitRequest(client.transactional_id, 60_000, expected)
        self.harness.coordinator.init_producer_id(request, self.asked(client, done))

    def ready(self, key: tuple[str, int]) -> Client | None:
        client = self.clients[key]
        return None if client.waits or client.uncertain or client.producer is None else client

    def write(self, key: tuple[str, int], where: tuple[str, int], version: int) -> None:
        client = self.ready(key)
        if client is None:
            return
        assert client.producer is not None
        done = partial(self._append, client, client.producer, where)
        self.harness.coordinator.add_partitions(
            client.transactional_id, client.producer, [where], version, self.asked(client, done)
        )

    def _append(self, client: Client, producer: Producer, where: tuple[str, int], error: ErrorCode) -> None:
        """The data plane's rule: the table has the partition, or the producer has open data there."""
        log = self.cluster.hosted[where]
        topic_id = self.cluster.topics[where[0]].id.bytes
        epoch, published = self.harness.table.producers.get(producer.producer_id, (-1, set()))
        is_added = epoch == producer.epoch and (topic_id, where[1]) in published
        if error or log.held or log.epochs.get(producer.producer_id, -1) > producer.epoch:
            return
        if not is_added and producer.producer_id not in open_data(log.batches):
            return
        self.count += 1
        value = b"%s %d" % (client.transactional_id.encode(), self.count)
        log.append(
            build_batch(
                [(b"k", value, 1, (), -1)], attributes=TRANSACTIONAL, producer_id=producer.producer_id,
                producer_epoch=producer.epoch, base_sequence=0,
            ),
            "coordinator",
        )  # fmt: skip
        self._began(client).values.add(value)
        client.attempt.partitions.add(where)

    def _began(self, client: Client) -> Attempt:
        if not any(client.attempt is each for each in self.attempts):
            self.attempts.append(client.attempt)
        return client.attempt

    def commit_offset(self, key: tuple[str, int]) -> None:
        """The offset of the partition that is named after the transactional id is the number of the record."""
        client = self.ready(key)
        if client is None:
            return
        producer, where = client.producer, (OFFSETS_TOPIC, 0)
        assert producer is not None
        self.count += 1
        offset, coordinator = self.count, self.harness.coordinator

        def added(errors: dict[Any, ErrorCode]) -> None:
            if errors[where]:
                return
            request = CommitRequest(
                f"g{offset}", -1, "", None, -1, False, [CommitPartition("wt", None, 0, offset, -1, None)], True
            )
            check = partial(coordinator.check_open, client.transactional_id, producer, where)
            self.harness.groups.commit_in_transaction(request, producer, check, self.asked(client, committed))

        def committed(error: ErrorCode, errors: Any) -> None:
            if not error:
                self._began(client).values.add(b"g%d" % offset)
                client.attempt.partitions.add(where)

        coordinator.add_for_produce(
            client.transactional_id, *producer, [where], True, self.asked(client, added)
        )

    def end(self, key: tuple[str, int], committed: bool, version: int) -> None:
        client = self.clients[key]
        if client.waits or client.producer is None:
            return
        if client.uncertain:
            assert client.attempt.asked is not None
            committed = client.attempt.asked  # a client repeats its request, with the same version
            version = 2
        client.attempt.asked, attempt = committed, client.attempt

        def done(error: ErrorCode, producer: Producer) -> None:
            if error in RETRIED:
                return
            client.uncertain = False
            if not error:
                attempt.outcome = committed
                client.producer = producer if version == 2 else client.producer
            client.attempt = Attempt()

        client.uncertain = True
        self.harness.coordinator.end(
            client.transactional_id, client.producer, committed, version, self.asked(client, done)
        )

    # -- what happens to the broker --

    def wait(self, seconds: float) -> None:
        self.harness.loop.advance(seconds)

    def hold(self, where: tuple[str, int]) -> None:
        self.cluster.hosted[where].held = True

    def release(self) -> None:
        for log in self.cluster.hosted.values():
            log.held = False
            log.high_watermark = log.log_end_offset
        self.harness.look()

    def crash(self, power_loss: bool) -> None:
        """What was not stored is lost in a power failure, and kept after kill -9."""
        self.generation += 1
        for log in self.cluster.hosted.values():
            if power_loss:
                truncate(log)
            log.held = False
            log.high_watermark = log.log_end_offset
        for each in self.clients.values():
            each.waits = False
        self.harness = self.harness.restarted()


    def crash_in_end(
        self, key: tuple[str, int], committed: bool, version: int, where: tuple[str, int], power_loss: bool
    ) -> None:
        """A transaction over several partitions, of which one is not stored when the broker crashes."""
        self.release()
        self.init(key, False)
        self.init(key, False)  # the first one may have aborted an open transaction
        for each in PARTITIONS:
            self.write(key, each, version)
        self.commit_offset(key)
        self.hold(where)
        self.end(key, committed, version)
        self.crash(power_loss)

    def time_out(self, key: tuple[str, int], where: tuple[str, int]) -> None:
        """The client goes on as if its transaction had not timed out."""
        self.write(key, PARTITIONS[0], 2)
        self.wait(90)
        self.write(key, where, 2)
        self.end(key, True, 2)


def truncate(log: LogPartition) -> None:
    while log.log_end_offset > log.high_watermark:
        (batch,) = iterate_batches(log.batches.pop())
        log.log_end_offset = batch.base_offset


def open_data(batches: Iterable[bytes]) -> dict[int, list[bytes]]:
    """The values of open transactions, by producer id."""
    return walk(batches)[1]


def walk(batches: Iterable[bytes]) -> tuple[set[bytes], dict[int, list[bytes]], set[bytes]]:
    """What read_committed shows, what is open, and everything."""
    visible: set[bytes] = set()
    everything: set[bytes] = set()
    pending: dict[int, list[bytes]] = {}
    for data in batches:
        for batch in iterate_batches(data):
            if batch.is_control:
                (record,) = batch.records()
                assert record.key is not None
                values = pending.pop(batch.producer_id, [])
                visible.update(values if record.key[3] == 1 else [])
            else:
                values = [record.value or b"" for record in batch.records()]
                pending.setdefault(batch.producer_id, []).extend(values)
                everything.update(values)
    return visible, pending, everything


@given(st.lists(operations, min_size=10, max_size=60))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_transactions_are_atomic_and_durable(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    for step in steps:
        world.run(step)
    world.release()
    world.wait(1000)  # longer than any timeout
    visible: set[bytes] = set()
    for where in PARTITIONS:
        shown, still_open, _ = walk(world.cluster.hosted[where].batches)
        assert not still_open, "a transaction hangs"
        visible |= shown
    (shard,) = world.harness.groups.runtime.loaded_shards()
    assert all(group.pending is None for group in shard.state.groups.values()), "an offset hangs"
    visible |= {name.encode() for name, group in shard.state.groups.items() if group.offsets}
    for attempt in world.attempts:
        shown = attempt.values & visible
        if attempt.outcome is None:
            assert shown in (set(), attempt.values), "a part of a transaction is visible"
        else:
            assert shown == (attempt.values if attempt.outcome else set()), "it is not as acknowledged"
    check_replay(world)


def check_replay(world: World) -> None:
    """Another coordinator that loads the log has the same state, and nothing is left to do."""
    log = world.cluster.hosted[TRANSACTIONS_TOPIC, 0]
    (shard,) = world.harness.coordinator.runtime.loaded_shards()
    live = replicated_transactions(shard.state)
    assert replicated_transactions(replayed_transactions(log.records())) == live
    assert all(stored.state not in (1, 2, 3) for stored in live.values())
    assert not world.harness.table.producers
    ends = {where: hosted.log_end_offset for where, hosted in world.cluster.hosted.items()}
    world.crash(False)
    assert {where: hosted.log_end_offset for where, hosted in world.cluster.hosted.items()} == ends
    (again,) = world.harness.coordinator.runtime.loaded_shards()
    assert replicated_transactions(again.state) == live
    assert world.harness.coordinator.held.transactional_ids == len(live)
