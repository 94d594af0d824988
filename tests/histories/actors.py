"""The clients of a history. Each step of an actor is one request; between two steps others have their turn."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from raw_client import Closed

from kafka_cy.protocol.errors import ErrorCode

from .client import Client
from .history import History, Outcome, Partition, Read, Send, Transaction

FENCED = {
    ErrorCode.PRODUCER_FENCED,
    ErrorCode.INVALID_PRODUCER_EPOCH,
    ErrorCode.INVALID_PRODUCER_ID_MAPPING,
    ErrorCode.INVALID_TXN_STATE,
    ErrorCode.TRANSACTION_ABORTABLE,
    ErrorCode.UNSTABLE_OFFSET_COMMIT,  # the transaction of the new owner is open
}
BATCHES_MAX, RECORDS_MAX = 4, 3  # of a transaction, and of a batch
Steps = Generator[None, None, bool]  # returns whether the producer can go on


@dataclass
class World:
    """What the actors of a history share."""

    connect: Callable[..., Client]  # name and, if it matters, version of the transaction protocol
    chance: random.Random
    history: History
    inputs: list[Partition]
    outputs: list[Partition]
    group: str
    tolerated: frozenset[ErrorCode]
    step: int = 0
    values: int = 0
    names: int = 0
    owners: dict[str, int] = field(default_factory=dict)  # transactional id -> the producer that was initialized last

    def new_value(self) -> str:
        self.values += 1
        return f"v{self.values}"


class Producer:
    """Sends transactions. Another producer with the same transactional id makes it a zombie."""

    def __init__(self, world: World, transactional_id: str, transaction_version: int) -> None:
        world.names += 1
        self.world = world
        self.name = f"{transactional_id}.{world.names}"
        self.transactional_id = transactional_id
        self.client = world.connect(self.name, transaction_version)
        self.producer = (-1, -1)
        self.sequences: dict[Partition, int] = {}
        self.added: set[Partition] = set()
        self.number = world.names

    @property
    def is_zombie(self) -> bool:
        return self.world.owners.get(self.transactional_id, self.number) != self.number

    def steps(self) -> Iterator[None]:
        """Endless: initialize, then transactions; anew after a fatal error. Ends when it was fenced."""
        while True:
            yield from self._initialize()
            while (yield from self._transaction()):
                yield
            if self.is_zombie:
                return

    def _initialize(self) -> Iterator[None]:
        while True:
            try:
                error = self.client.find_coordinator(self.transactional_id, 1)
                self.world.owners[self.transactional_id] = self.number
                if not error:
                    error, self.producer = self.client.init_producer_id(self.transactional_id)
            except (Closed, OSError):
                yield
                continue
            if error:
                self._surprise("InitProducerId", error)
            self.sequences.clear()
            self.added.clear()
            yield
            if not error:
                return

    def _surprise(self, request: str, error: ErrorCode) -> None:
        if error not in self.world.tolerated and not (self.is_zombie and error in FENCED):
            self.world.history.surprises.append(f"{request} of {self.name} got {error.name} in step {self.world.step}")

    def _transaction(self) -> Steps:
        world = self.world
        transaction = Transaction(self.name, world.step)
        world.history.transactions.append(transaction)
        good = yield from self._body(transaction)
        if not good:
            return False
        commit = world.chance.random() < 0.6
        return (yield from self._end(transaction, commit))

    def _body(self, transaction: Transaction) -> Steps:
        chance = self.world.chance
        for _ in range(chance.randint(1, BATCHES_MAX)):
            partition = chance.choice(self.world.inputs)
            values = [self.world.new_value() for _ in range(chance.randint(1, RECORDS_MAX))]
            good = yield from self._send(transaction, [Send(partition, value, Outcome.UNKNOWN) for value in values])
            if not good:
                return False
        return True

    def _send(self, transaction: Transaction, sends: list[Send]) -> Steps:
        """Send one batch; after a lost connection again with the same sequence number, as an idempotent producer does."""
        partition = sends[0].partition
        transaction.sends += sends
        sequence = self.sequences.get(partition, 0)
        while True:
            try:
                error = ErrorCode.NONE
                if self.client.transaction_version == 1 and partition not in self.added:
                    error = self.client.add_partition(self.transactional_id, self.producer, partition)
                if not error:
                    self.added.add(partition)
                    error = self.client.produce(
                        self.transactional_id, self.producer, sequence, partition, [send.value for send in sends]
                    )
            except (Closed, OSError):
                yield
                continue
            yield
            for send in sends:
                send.outcome = Outcome.FAILED if error else Outcome.OK
            if error:
                self._surprise("Produce", error)
            self.sequences[partition] = sequence + len(sends)
            return not error

    def _end(self, transaction: Transaction, commit: bool) -> Steps:
        if commit:
            transaction.commit_step = self.world.step
        while True:
            try:
                error, following = self.client.end(self.transactional_id, self.producer, commit=commit)
            except (Closed, OSError):
                yield
                continue  # the client sends it again: the outcome follows from the transaction's state
            yield
            if error:
                transaction.ended = Outcome.UNKNOWN if commit else Outcome.FAILED
                self._surprise("EndTxn", error)
                return False
            transaction.ended = Outcome.OK
            if following != self.producer:
                self.producer = following
                self.sequences.clear()
            self.added.clear()
            return True


class Transformer(Producer):
    """Reads records, writes one result for each, and commits its offset, all in one transaction."""

    def _body(self, transaction: Transaction) -> Steps:
        world = self.world
        partition = world.chance.choice(world.inputs)
        while True:
            try:
                error, offset = self.client.committed_offset(world.group, partition)
                if not error:
                    error, records, following = self.client.fetch(partition, max(offset, 0), committed=True)
                break
            except (Closed, OSError):
                yield
        yield
        if error:
            self._surprise("OffsetFetch or Fetch", error)
            return False
        world.history.reads.append(Read(world.step, partition, True, records))
        records = records[:3]
        following = records[-1].offset + 1 if records else following
        if records:
            output = world.chance.choice(world.outputs)
            sends = [
                Send(output, f"{world.new_value()}<{record.value}", Outcome.UNKNOWN, (partition, record.offset))
                for record in records
            ]
            good = yield from self._send(transaction, sends)
            if not good:
                return False
        while True:
            try:
                error = self.client.commit_offset(self.transactional_id, self.producer, world.group, partition, following)
                break
            except (Closed, OSError):
                yield
        yield
        if error:
            self._surprise("TxnOffsetCommit", error)
        return not error


class Reader:
    """Reads one partition from its beginning, again and again."""

    def __init__(self, world: World, partition: Partition, *, committed: bool) -> None:
        self.world = world
        self.partition = partition
        self.committed = committed
        self.client = world.connect(f"reader-{partition.topic}-{partition.index}")

    def steps(self) -> Iterator[None]:
        offset = 0
        while True:
            step = self.world.step
            try:
                error, records, following = self.client.fetch(self.partition, offset, committed=self.committed)
            except (Closed, OSError):
                yield
                continue
            if error:
                self.world.history.surprises.append(f"Fetch got {error.name} in step {step}")
            self.world.history.reads.append(Read(step, self.partition, self.committed, records))
            offset = 0 if following == offset else following
            yield


class PlainProducer:
    """Sends without a transaction, idempotently."""

    def __init__(self, world: World) -> None:
        world.names += 1
        self.world = world
        self.name = f"plain.{world.names}"
        self.client = world.connect(self.name)

    def steps(self) -> Iterator[None]:
        producer = (-1, -1)
        sequences: dict[Partition, int] = {}
        while True:
            try:
                if producer[0] < 0:
                    _, producer = self.client.init_producer_id(None)
                    yield
                partition = self.world.chance.choice(self.world.inputs)
            except (Closed, OSError):
                yield
                continue
            yield from self._send(producer, sequences, partition)

    def _send(self, producer: tuple[int, int], sequences: dict[Partition, int], partition: Partition) -> Iterator[None]:
        world = self.world
        send = Send(partition, world.new_value(), Outcome.UNKNOWN)
        world.history.transactions.append(Transaction(self.name, world.step, [send], world.step, Outcome.OK))
        sequence = sequences.get(partition, 0)
        while send.outcome is Outcome.UNKNOWN:
            try:
                error = self.client.produce(None, producer, sequence, partition, [send.value])
                send.outcome = Outcome.FAILED if error else Outcome.OK
                if error:
                    world.history.surprises.append(f"Produce of {self.name} got {error.name} in step {world.step}")
            except (Closed, OSError):
                pass
            yield
        sequences[partition] = sequence + 1

