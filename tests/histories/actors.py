"""The clients of a history. A turn of an actor is one request, seldom two at once; other actors have theirs meanwhile."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier

from raw_client import Closed

from kafka_cy.protocol.errors import ErrorCode

from .client import Client
from .history import History, Outcome, Partition, Read, Send, Transaction
from .members import REFUSED, Member
from .turns import stand_at

FENCED = {
    ErrorCode.PRODUCER_FENCED,
    ErrorCode.INVALID_PRODUCER_EPOCH,
    ErrorCode.INVALID_PRODUCER_ID_MAPPING,
    ErrorCode.INVALID_TXN_STATE,
    ErrorCode.TRANSACTION_ABORTABLE,
    ErrorCode.UNSTABLE_OFFSET_COMMIT,  # the transaction of the new owner is open
}
BATCHES_MAX, RECORDS_MAX = 4, 3  # of a transaction, and of a batch
FOREVER = 1 << 62
Steps = Generator[None, None, bool]  # returns whether the producer can go on


@dataclass
class Claim:
    """An InitProducerId: when it began, and when it had ended."""

    begin: int
    end: int = FOREVER


@dataclass
class World:
    """What the actors of a history share."""

    connect: Callable[..., Client]  # name and, if it matters, version of the transaction protocol
    seed: int
    history: History
    inputs: list[Partition]
    outputs: list[Partition]
    group: str
    group_kind: str
    tolerated: frozenset[ErrorCode]
    keys: int  # of the records that are transformed; 0: each has its own
    step: int = 0
    names: int = 0
    claims: dict[str, list[Claim]] = field(default_factory=dict)  # by transactional id
    clock: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def now(self) -> int:
        """This moment. No two are the same."""
        return next(self.clock)

    def name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}.{self.names}"

    def chance(self, name: str) -> random.Random:
        """What an actor does depends on the seed and on what it got, not on when the others had their turns."""
        return random.Random(f"{self.seed} {name}")

    def surprise(self, request: str, name: str, error: ErrorCode) -> None:
        self.history.surprises.append(f"{request} of {name} got {error.name} in step {self.step}")


class Writer:
    """Makes records. Keys repeat in partitions that are transformed, if the history has such keys."""

    def __init__(self, world: World, prefix: str, transaction_version: int = 2) -> None:
        self.world = world
        self.name = world.name(prefix)
        self.chance = world.chance(self.name)
        self.client = world.connect(self.name, transaction_version)
        self.producer = (-1, -1)
        self.sequences: dict[Partition, int] = {}
        self._values = 0

    def new_send(self, partition: Partition) -> Send:
        world = self.world
        key = f"k{self.chance.randrange(world.keys)}" if world.keys and partition in world.inputs else None
        return Send(partition, self.new_value(), Outcome.UNKNOWN, key=key)

    def new_value(self) -> str:
        self._values += 1
        return f"{self.name}:{self._values}"


class Producer(Writer):
    """Sends transactions. Another producer with the same transactional id makes it a zombie."""

    def __init__(self, world: World, transactional_id: str, transaction_version: int) -> None:
        super().__init__(world, transactional_id, transaction_version)
        self.transactional_id = transactional_id
        self.added: set[Partition] = set()
        self.claim = Claim(FOREVER)
        self.other = world.connect(self.name, transaction_version)  # what a request at the same time needs

    @property
    def is_zombie(self) -> bool:
        """Whether another producer may have been initialized since we were."""
        claims = self.world.claims[self.transactional_id]
        return any(each is not self.claim and each.end > self.claim.begin for each in claims)

    def steps(self) -> Iterator[None]:
        """Endless: initialize, then transactions; anew after a fatal error. Ends when it was fenced."""
        while True:
            yield from self._initialize()
            while (yield from self._transaction()):
                yield
            if self.is_zombie:
                return

    def _initialize(self) -> Iterator[None]:
        self.claim = Claim(self.world.now())
        self.world.claims.setdefault(self.transactional_id, []).append(self.claim)
        while True:
            try:
                error = self.client.find_coordinator(self.transactional_id, 1)
                if not error:
                    error, self.producer = self.client.init_producer_id(self.transactional_id)
            except (Closed, OSError):
                yield
                continue
            if error:
                self._surprise("InitProducerId", error)
            self.sequences.clear()
            self.added.clear()
            if not error:
                self.claim.end = self.world.now()
            yield
            if not error:
                return

    def _surprise(self, request: str, error: ErrorCode) -> None:
        if error not in self.world.tolerated and not (self.is_zombie and error in FENCED):
            self.world.surprise(request, self.name, error)

    def _transaction(self) -> Steps:
        world = self.world
        transaction = Transaction(self.name, world.now())
        world.history.transactions.append(transaction)
        good = yield from self._body(transaction)
        if not good:
            return False
        commit = self.chance.random() < 0.6
        if self.added and self.chance.random() < 0.2:
            return (yield from self._end_at_once(transaction, commit))
        return (yield from self._end(transaction, commit))

    def _body(self, transaction: Transaction) -> Steps:
        for _ in range(self.chance.randint(1, BATCHES_MAX)):
            partition = self.chance.choice(self.world.inputs)
            sends = [self.new_send(partition) for _ in range(self.chance.randint(1, RECORDS_MAX))]
            good = yield from self._send(transaction, sends)
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
                    error, offset = self.client.produce(self.transactional_id, self.producer, sequence, sends)
                    acknowledge(sends, error, offset)
            except (Closed, OSError):
                yield
                continue
            yield
            if error:
                self._surprise("Produce", error)
            self.sequences[partition] = sequence + len(sends)
            return not error

    def _end(self, transaction: Transaction, commit: bool) -> Steps:
        if commit and transaction.commit_begin is None:
            transaction.commit_begin = self.world.now()
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

    def _end_at_once(self, transaction: Transaction, commit: bool) -> Steps:
        """A careless client: its last batch and EndTxn are under way at once, on two connections.

        An acknowledged batch belongs to the transaction: nothing may be appended behind its markers.
        """
        partition = self.chance.choice(sorted(self.added))
        sends = [self.new_send(partition)]
        transaction.sends += sends
        if commit:
            transaction.commit_begin = self.world.now()
        line = Barrier(2)
        producer, sequence = self.producer, self.sequences.get(partition, 0)

        def send() -> ErrorCode:
            stand_at(line)
            error, offset = self.other.produce(self.transactional_id, producer, sequence, sends)
            acknowledge(sends, error, offset)
            return error

        with ThreadPoolExecutor(1) as thread:
            late = thread.submit(send)
            stand_at(line)
            ending = self._end(transaction, commit)
            next(ending)
        try:
            error = late.result()
        except (Closed, OSError):
            error = ErrorCode.NETWORK_EXCEPTION
        if error not in FENCED and error not in (ErrorCode.NONE, ErrorCode.NETWORK_EXCEPTION):
            self._surprise("Produce beside EndTxn", error)
        yield
        good = yield from ending
        return good and not error and self.client.transaction_version == 2


class Transformer(Producer):
    """Reads records, writes one result for each, and commits its offset, all in one transaction."""

    def __init__(self, world: World, transactional_id: str, transaction_version: int) -> None:
        super().__init__(world, transactional_id, transaction_version)
        self.member = Member(self.client, world.group, world.group_kind, self.name, [world.inputs[0].topic])

    def _body(self, transaction: Transaction) -> Steps:
        world = self.world
        yield from self._join()
        partition = self.chance.choice(world.inputs)
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
        world.history.reads.append(Read(world.now(), partition, True, records))
        records = records[:3]
        following = records[-1].offset + 1 if records else following
        if records:
            output = self.chance.choice(world.outputs)
            sends = [
                Send(output, f"{self.new_value()}<{record.value}", Outcome.UNKNOWN, (partition, record.offset))
                for record in records
            ]
            good = yield from self._send(transaction, sends)
            if not good:
                return False
        return (yield from self._commit_offset(partition, following))

    def _join(self) -> Iterator[None]:
        """Become a member, or tell the group now and then that we are there."""
        while self.member.needs_to_join or self.chance.random() < 0.3:
            try:
                error = self.member.join() if self.member.needs_to_join else self.member.beat()
                if error and error not in REFUSED:
                    self.world.surprise("a request of a member", self.name, error)
            except (Closed, OSError):
                pass
            yield

    def _commit_offset(self, partition: Partition, offset: int) -> Steps:
        identity = self.member.identity(self.chance)
        while True:
            try:
                error = self.client.commit_offset(
                    self.transactional_id, self.producer, self.world.group, partition, offset, identity
                )
                break
            except (Closed, OSError):
                yield
        yield
        if self.member.never_was(identity) and not error:
            self.world.history.surprises.append(f"TxnOffsetCommit of {self.name} with a wrong epoch was accepted")
        if error in REFUSED and self.member.epoch >= 0:
            self.member.lost()
        elif error:
            self._surprise("TxnOffsetCommit", error)
        return not error


class PlainProducer(Writer):
    """Sends without a transaction, idempotently."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "plain")

    def steps(self) -> Iterator[None]:
        while True:
            try:
                if self.producer[0] < 0:
                    _, self.producer = self.client.init_producer_id(None)
                    yield
            except (Closed, OSError):
                yield
                continue
            yield from self._send(self.chance.choice(self.world.inputs))

    def _send(self, partition: Partition) -> Iterator[None]:
        world, send = self.world, self.new_send(partition)
        begin = world.now()
        world.history.transactions.append(Transaction(self.name, begin, [send], begin, Outcome.OK))
        sequence = self.sequences.get(partition, 0)
        while send.outcome is Outcome.UNKNOWN:
            try:
                error, offset = self.client.produce(None, self.producer, sequence, [send])
                acknowledge([send], error, offset)
                if error:
                    world.surprise("Produce", self.name, error)
            except (Closed, OSError):
                pass
            yield
        self.sequences[partition] = sequence + 1


def acknowledge(sends: list[Send], error: ErrorCode, offset: int) -> None:
    """What the response to one batch says. A duplicate may have no offset."""
    for place, send in enumerate(sends):
        send.outcome = Outcome.FAILED if error else Outcome.OK
        send.offset = offset + place if not error and offset >= 0 else -1
