"""Runs one history: seeded clients have their turns, several at once, while the system fails."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from raw_client import Closed

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.testing import Broker

from .actors import PlainProducer, Producer, Transformer, World
from .client import Client
from .history import History, OffsetRead, Outcome, Partition, Send, Transaction
from .members import CLASSIC, CONSUMER, NO_MEMBERS
from .readers import Consumer, Reader, consumer_group
from .turns import RacingClient, Turns

KEYS = 4  # that repeat
CONSUMERS = 2
PARTITIONS = 2
STOP_DELAY_S_MAX = 0.006  # the broker is stopped in the middle of requests, this late at most
FINISH_S_MAX = 60.0
COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "internal.segment.bytes": "2048"}
BROKER = {
    "log.cleaner.backoff.ms": 20,
    "log.initial.task.delay.ms": 20,
    "transaction.state.log.num.partitions": 5,
    "offsets.topic.num.partitions": 5,
    "group.initial.rebalance.delay.ms": 0,
}


class System(Protocol):
    """What the clients talk to."""

    replication_factor: int
    transaction_versions: tuple[int, ...]
    steps: int  # in each, up to three actors have their turns
    fault_share: float  # of the steps
    group_kinds: tuple[str, ...]
    tolerated: frozenset[ErrorCode]  # errors that a transactional producer may get through no fault of its own
    # Whether a read of committed offsets has all commits before it. A coordinator that has stood still answers for a moment from
    # what it knew; Kafka's does the same.
    reads_are_current: bool

    def connect(self, name: str, transaction_version: int = ...) -> Client: ...

    def disturb(self, chance: random.Random, step: Callable[[], None]) -> None:
        """Let something fail; `step` lets clients send requests meanwhile."""

    def settle(self, topics: Iterable[str]) -> None:
        """Mend everything, and wait until it is whole."""


class OneBroker:
    """One broker. `stops`: it is killed or stopped now and then."""

    replication_factor = 1
    steps = 150
    transaction_versions: tuple[int, ...] = (1, 2)
    group_kinds: tuple[str, ...] = (NO_MEMBERS, CLASSIC, CONSUMER)
    tolerated: frozenset[ErrorCode] = frozenset()
    reads_are_current = True

    def __init__(self, broker: Broker, *, stops: bool) -> None:
        self._broker = broker
        self.fault_share = 0.02 if stops else 0.0

    def connect(self, name: str, transaction_version: int = 2) -> Client:
        return Client(RacingClient(self._broker.bootstrap_servers, name), transaction_version)

    def disturb(self, chance: random.Random, step: Callable[[], None]) -> None:
        """Kill the broker, or stop it as a supervisor does, soon after clients have sent requests; start it again."""
        delay_s = chance.uniform(0, STOP_DELAY_S_MAX)
        stop = self._broker.kill if chance.random() < 0.6 else self._stop
        timer = threading.Timer(delay_s, stop)
        timer.start()
        step()
        timer.join()
        assert self._broker.process is None, "it does not stop"
        self._broker.start()

    def _stop(self) -> None:
        code = self._broker.terminate()
        assert code == 0, code

    def settle(self, topics: Iterable[str]) -> None:
        pass


class Workload:
    """The clients of one seed. `compacted`: whether the topics are, else the seed decides."""

    def __init__(self, system: System, seed: int, *, compacted: bool | None = None) -> None:
        self.system = system
        self.chance = random.Random(seed)
        self.compacted = self.chance.random() < 0.5 if compacted is None else compacted
        names = f"in-{seed}", f"out-{seed}"
        inputs, outputs = ([Partition(name, index) for index in range(PARTITIONS)] for name in names)
        kind = self.chance.choice(system.group_kinds)
        self.world = World(
            system.connect, seed, History(), inputs, outputs, f"group-{seed}", kind, system.tolerated, KEYS * self.compacted
        )
        self.transactional_ids = [f"id-{seed}-{number}" for number in range(2)]
        self.transformer_id = f"transform-{seed}"
        self.topics = [inputs[0].topic, outputs[0].topic]
        self.partitions = (*inputs, *outputs)

    def run(self, look: Callable[[], None] = lambda: None) -> History:
        """Let everything happen, end all transactions, and read what is left; `look` is called before the topics are deleted."""
        self._create_topics()
        with Turns(self.chance) as turns:
            self._add_actors(turns)
            for step in range(1, self.system.steps + 1):
                self.world.step = step
                self._step(turns)
            turns.finish()
        self._finish(look)
        return self.world.history

    def _create_topics(self) -> None:
        configs = [{"name": key, "value": value} for key, value in COMPACTED.items()] if self.compacted else []
        factor = self.system.replication_factor
        topics = [
            {"name": name, "num_partitions": PARTITIONS, "replication_factor": factor, "configs": configs}
            for name in self.topics
        ]
        setup = self.system.connect("setup")
        error = _finally(lambda: setup.create_topics(topics))
        assert not error, error
        assert not setup.find_coordinator(self.world.group, 0)
        for partition in self.partitions:
            error, _, _ = setup.fetch(partition, 0, committed=False)
            assert not error, error
        setup.close()

    def _add_actors(self, turns: Turns) -> None:
        for transactional_id in (*self.transactional_ids, self.transformer_id):
            self._add_producer(turns, transactional_id)
        turns.actors.append(PlainProducer(self.world).steps())
        turns.actors += [Consumer(self.world).steps() for _ in range(CONSUMERS)]
        for partition in self.partitions:
            turns.actors.append(Reader(self.world, partition, committed=self.chance.random() < 0.7).steps())

    def _add_producer(self, turns: Turns, transactional_id: str) -> None:
        """A producer with this id; one that had it before becomes a zombie."""
        version = self.chance.choice(self.system.transaction_versions)
        kind = Transformer if transactional_id == self.transformer_id else Producer
        turns.actors.append(kind(self.world, transactional_id, version).steps())

    def _step(self, turns: Turns) -> None:
        choice = self.chance.random()
        if choice < 0.05:
            self._add_producer(turns, self.chance.choice([*self.transactional_ids, self.transformer_id]))
        if choice > 1 - self.system.fault_share:
            self.system.disturb(self.chance, turns.go)
        else:
            turns.go()

    def _finish(self, look: Callable[[], None]) -> None:
        """Fence everyone, so that open transactions are aborted; then read everything."""
        world = self.world
        self.system.settle(self.topics)
        client = self.system.connect("final")
        for transactional_id in (*self.transactional_ids, self.transformer_id):
            error = _finally(lambda name=transactional_id: client.find_coordinator(name, 1))  # type: ignore[misc]
            assert not error, error
            error, _ = _finally(lambda name=transactional_id: client.init_producer_id(name))  # type: ignore[misc]
            assert not error, error
        error, producer = _finally(lambda: client.init_producer_id(None))
        assert not error, error
        for partition in self.partitions:
            self._send_last(client, producer, partition)
            world.history.final[partition] = client.read_all(partition, committed=True)
            world.history.final_uncommitted[partition] = client.read_all(partition, committed=False)
        for partition in world.outputs:
            begin = world.now()
            error, offset = client.committed_offset(consumer_group(world), partition)
            assert not error, error
            if not self.system.reads_are_current:
                world.history.offset_reads.clear()
            world.history.offset_reads.append(OffsetRead(partition, offset, begin, world.now()))
        for partition in world.inputs:
            error, offset = client.committed_offset(world.group, partition)
            assert not error, error
            world.history.group_offsets[partition] = max(offset, 0)
        look()
        # A start of the broker opens the logs of all topics.
        error = _finally(lambda: client.delete_topics(self.topics))
        assert not error, error
        client.close()

    def _send_last(self, client: Client, producer: tuple[int, int], partition: Partition) -> None:
        """Once this record is acknowledged, the high watermark has passed all before it. That of a new leader needs a moment."""
        send = Send(partition, f"last of {partition}", Outcome.OK)
        begin = self.world.now()
        last = Transaction(f"last-{partition}", begin, [send], begin, Outcome.OK)
        self.world.history.transactions.append(last)
        error, send.offset = _finally(lambda: client.produce(None, producer, 0, [send]))
        assert not error, error


def _finally(call: Callable[[], Any]) -> Any:
    """The first requests after a fault may meet the connections of before."""
    deadline = time.monotonic() + FINISH_S_MAX
    while True:
        try:
            return call()
        except (Closed, OSError):
            assert time.monotonic() < deadline
