"""Runs one history: seeded clients take turns while the system fails; the same seed gives the same turns."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from raw_client import Closed, RawClient

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.testing import Broker

from .actors import PlainProducer, Producer, Reader, Transformer, World
from .client import Client
from .history import History, Outcome, Partition, Send, Transaction

STEPS = 150
PARTITIONS = 2
KILL_DELAY_S_MAX = 0.003  # a kill in the middle of a request comes this late at most
FINISH_S_MAX = 60.0
COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "internal.segment.bytes": "2048"}
BROKER = {
    "log.cleaner.backoff.ms": 20,
    "log.initial.task.delay.ms": 20,
    "transaction.state.log.num.partitions": 5,
    "offsets.topic.num.partitions": 5,
}


class System(Protocol):
    """What the clients talk to."""

    replication_factor: int
    transaction_versions: tuple[int, ...]
    fault_share: float  # of the steps
    tolerated: frozenset[ErrorCode]  # errors that a transactional producer may get through no fault of its own

    def connect(self, name: str, transaction_version: int = ...) -> Client: ...

    def disturb(self, chance: random.Random, step: Callable[[], None]) -> None:
        """Let something fail; `step` lets a client send a request meanwhile."""

    def settle(self, topics: Iterable[str]) -> None:
        """Mend everything, and wait until it is whole."""


class OneBroker:
    """One broker. `kills`: it is killed now and then."""

    replication_factor = 1
    transaction_versions: tuple[int, ...] = (1, 2)
    tolerated: frozenset[ErrorCode] = frozenset()

    def __init__(self, broker: Broker, *, kills: bool) -> None:
        self._broker = broker
        self.fault_share = 0.02 if kills else 0.0

    def connect(self, name: str, transaction_version: int = 2) -> Client:
        return Client(RawClient(self._broker.bootstrap_servers, name), transaction_version)

    def disturb(self, chance: random.Random, step: Callable[[], None]) -> None:
        """Kill the broker between two requests, or in the middle of one, and start it again."""
        delay_s = chance.uniform(0, KILL_DELAY_S_MAX)
        if chance.random() < 0.7:
            timer = threading.Timer(delay_s, self._broker.kill)
            timer.start()
            step()
            timer.join()
        else:
            self._broker.kill()
        self._broker.start()

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
        self.world = World(system.connect, self.chance, History(), inputs, outputs, f"group-{seed}", system.tolerated)
        self.transactional_ids = [f"id-{seed}-{number}" for number in range(2)]
        self.transformer_id = f"transform-{seed}"
        self.actors: list[Iterator[None]] = []
        self.topics = [inputs[0].topic, outputs[0].topic]
        self.partitions = (*inputs, *outputs)

    def run(self, look: Callable[[], None] = lambda: None) -> History:
        """Let everything happen, end all transactions, and read what is left; `look` is called before the topics are deleted."""
        self._create_topics()
        self._start_actors()
        for step in range(1, STEPS + 1):
            self.world.step = step
            self._step()
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

    def _start_actors(self) -> None:
        for transactional_id in self.transactional_ids:
            self._start(transactional_id)
        self._start(self.transformer_id)
        self.actors.append(PlainProducer(self.world).steps())
        for partition in self.partitions:
            self.actors.append(Reader(self.world, partition, committed=self.chance.random() < 0.7).steps())

    def _start(self, transactional_id: str) -> None:
        """A producer with this id; one that had it before becomes a zombie."""
        version = self.chance.choice(self.system.transaction_versions)
        kind = Transformer if transactional_id == self.transformer_id else Producer
        self.actors.append(kind(self.world, transactional_id, version).steps())

    def _step(self) -> None:
        choice = self.chance.random()
        if choice < 0.03:
            self._start(self.chance.choice([*self.transactional_ids, self.transformer_id]))
        elif choice < 0.03 + self.system.fault_share:
            self.system.disturb(self.chance, lambda: next(self.chance.choice(self.actors), None))
        else:
            actor = self.chance.choice(self.actors)
            if next(actor, actor) is actor:
                self.actors.remove(actor)

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
        send = Send(partition, self.world.new_value(), Outcome.OK)
        last = Transaction(f"last-{partition}", self.world.step, [send], self.world.step, Outcome.OK)
        self.world.history.transactions.append(last)
        error = _finally(lambda: client.produce(None, producer, 0, partition, [send.value]))
        assert not error, error


def _finally(call: Callable[[], Any]) -> Any:
    """The first requests after a fault may meet the connections of before."""
    deadline = time.monotonic() + FINISH_S_MAX
    while True:
        try:
            return call()
        except (Closed, OSError):
            assert time.monotonic() < deadline
