"""Standing fetches against a plain model: each response is the one of a session that looks at all its partitions.

Nothing is looked at because of the time only, so a change of which a standing fetch does not hear is a wrong response, or none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from kafka_cy.api import fetch_session_cache, fetch_standing
from kafka_cy.network import jobs
from kafka_cy.records import Record, build_batch, iterate_batches
from kafka_cy.storage.isr_candidates import forget_candidates

from .harness import BROKER_ID, HotServer
from .kio_wire import encode_request
from .test_fetch import request

FOLLOWER, VERSION, LONG_WAIT_MS, PARTITIONS = 9, 12, 120_000, 3
TOPICS = ("a", "b")
UNKNOWN, OUT_OF_RANGE, FENCED, UNKNOWN_EPOCH = 3, 1, 74, 75
Named = tuple[str, int]
Row = tuple[str, int, int, int, int, bytes]  # topic, index, error, high watermark, log start, records
names = itertools.count()


def place(random: Random) -> tuple[int, int]:
    return random.randrange(len(TOPICS)), random.randrange(PARTITIONS)


def change(random: Random) -> tuple[Any, ...]:
    kind = random.choice(["append", "append", "report", "begin", "end", "delete_records", "lead", "set_isr"])
    return (kind, place(random), random.random() < 0.5) if kind == "set_isr" else (kind, place(random))


def operation(random: Random) -> tuple[Any, ...]:
    chosen = random.random()
    if chosen < 0.4:
        return change(random)
    if chosen < 0.5:
        kind = random.choice(["publish", "delete_topic", "create_topic", "create_topic"])
        return (kind,) if kind == "publish" else (kind, random.randrange(len(TOPICS)))
    client = random.randrange(3)
    if chosen < 0.85:
        extra = [place(random) for _ in range(random.choice([0, 0, 0, 1, 2]))]
        forget = [place(random)] if random.random() < 0.05 else []
        return "fetch", client, random.random() < 0.8, random.choice([1, 150, 400, 1 << 20, 1 << 20]), extra, forget
    if chosen < 0.97:
        return "wait", client, [change(random) for _ in range(random.randrange(6))], place(random)
    return "anew", client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HotServer]:
    fetch_session_cache.set_slots(1000)
    fetch_standing.set_limits(partitions_min=1, look_ms=0)
    started = HotServer(tmp_path_factory.mktemp("standing"))
    yield started
    started.stop()
    jobs.resume_jobs()
    fetch_standing.set_limits()
    forget_candidates()


class Entry:
    """What a session knows of a partition."""

    def __init__(self) -> None:
        self.offset, self.epoch, self.sent = 0, 5, (-1, -1)


class Client:
    """A client, and the plain model of its session. `limit`: the attribute of a partition up to which it reads."""

    def __init__(self, world: World, limit: str) -> None:
        self.world, self.limit = world, limit
        self.connection = world.server.connect()
        self.id = self.epoch = 0
        self.entries: dict[Named, Entry] = {}  # in the order of the response
        self.positions: dict[Named, Entry] = {}  # what the client is about to tell
        self.begin()

    def values(self, named: dict[Named, Entry], forget: Sequence[Named] = (), **options: Any) -> dict[str, Any]:
        values = request(
            self.world.server, {each: named[each].offset for each in named}, session=(self.id, self.epoch), forget=list(forget),
            isolation_level=int(self.limit == "last_stable_offset"), **options)
        for topic in values["topics"]:
            for row in topic["partitions"]:
                entry = named[topic["topic"], row["partition"]]
                row |= {"current_leader_epoch": entry.epoch, "last_fetched_epoch": -1, "log_start_offset": 0}
        if self.limit == "log_end_offset":
            values |= {"replica_id": FOLLOWER}
        return values

    def begin(self) -> None:
        """A new session, which closes the one before."""
        self.epoch = 0
        self.entries, self.positions = {}, {}
        for each in self.world.all():
            self.entries[each] = Entry()
            self.entries[each].epoch = self.world.epoch(each)
        found = self.rows(self.connection.call(1, VERSION, self.values(self.entries)))
        for row in found:
            self.entries[row[:2]].sent = (row[3], row[4])
        self.epoch = 1
        self.take(found)

    def rows(self, response: dict[str, Any]) -> list[Row]:
        assert response["error_code"] == 0
        self.id = response["session_id"]
        return [
            (topic["topic"], row["partition_index"], row["error_code"], row["high_watermark"], row["log_start_offset"],
             row["records"])
            for topic in response["responses"] for row in topic["partitions"]
        ]

    def read(self, each: Named, bytes_left: int, first: bool) -> tuple[int, int, int, bytes]:
        partition, entry = self.world.server.partitions.get(each), self.entries[each]
        if partition is None:
            return UNKNOWN, -1, -1, b""
        if entry.epoch != partition.leader_epoch:       # of a deleted topic it may have been higher
            return FENCED if entry.epoch < partition.leader_epoch else UNKNOWN_EPOCH, -1, -1, b""
        if not partition.log_start_offset <= entry.offset <= partition.log_end_offset:
            return OUT_OF_RANGE, -1, -1, b""
        found, limit = b"", getattr(partition, self.limit)
        if entry.offset < limit and (bytes_left > 0 or first):
            found = partition.read(entry.offset, min(bytes_left, 1 << 20), limit)
            if len(found) > bytes_left and not first:
                found = b""
        return 0, partition.high_watermark, partition.log_start_offset, found

    def reading(self, max_bytes: int) -> dict[Named, tuple[int, int, int, bytes]]:
        found, size = {}, 0
        for each in self.entries:
            found[each] = self.read(each, max_bytes - size, size == 0)
            size += len(found[each][3])
        return found

    def is_complete(self) -> bool:
        return any(error or records for error, _, _, records in self.reading(1 << 20).values())

    def expected(self, max_bytes: int) -> list[Row]:
        """The response of now; what was sent is noted."""
        chosen: list[Row] = []
        for each, (error, high_watermark, start, records) in self.reading(max_bytes).items():
            entry = self.entries[each]
            if error or records or entry.sent != (high_watermark, start):
                chosen.append((*each, error, high_watermark, start, records))
            entry.sent = (-1, start) if error else (high_watermark, start)
            if records:
                self.entries[each] = self.entries.pop(each)
        return chosen

    def note(self, named: dict[Named, Entry], forget: Sequence[Named]) -> None:
        for each in named:
            entry = self.entries.setdefault(each, Entry())
            entry.offset, entry.epoch = named[each].offset, named[each].epoch
        for each in forget:
            self.entries.pop(each, None)
        self.positions = {}

    def take(self, found: list[Row]) -> None:
        """Go on after what was received: told with the next request."""
        for topic, index, error, _, _, records in found:
            each, position = (topic, index), Entry()
            partition = self.world.server.partitions.get(each)
            if each not in self.entries or partition is None:
                continue
            position.offset, position.epoch = self.entries[each].offset, partition.leader_epoch
            if records:
                position.offset = self.world.after(partition, records)
            elif error == OUT_OF_RANGE:
                position.offset = partition.log_start_offset
            if records or error:
                self.positions[each] = position

    def name(self, extra: Sequence[Named]) -> dict[Named, Entry]:
        named = dict(self.positions)
        for each in extra:
            if each not in named:
                named[each] = Entry()
                known = self.entries.get(each)
                named[each].offset, named[each].epoch = (known.offset, known.epoch) if known else (0, self.world.epoch(each))
        return {each: named[each] for topic in dict.fromkeys(topic for topic, _ in named) for each in named if each[0] == topic}

    def send(self, named: dict[Named, Entry], forget: Sequence[Named], **options: Any) -> None:
        self.connection.send(1, VERSION, encode_request(1, VERSION, self.values(named, forget, **options)))
        self.note(named, forget)
        self.epoch += 1

    def fetch(self, goes_on: bool, max_bytes: int, extra: Sequence[Named], forget: Sequence[Named]) -> None:
        if not set(self.entries) - set(forget):
            return
        self.send(self.name([each for each in extra if each not in forget]), forget, max_bytes=max_bytes)
        found = self.rows(self.connection.answer(1, VERSION))
        assert found == self.expected(max_bytes)
        if goes_on:
            self.take(found)

    def wait(self, steps: Sequence[tuple[Any, ...]], last: Named) -> None:
        """A fetch waits while partitions change, and is answered when it has something to say."""
        self.send(self.name([last]), (), max_wait_ms=LONG_WAIT_MS)
        for step in itertools.chain([()], steps, [("append", last), ("report", last), ("lead", last)]):
            if step:
                getattr(self.world, step[0])(*step[1:])
            if self.is_complete_now():
                break
        found = self.rows(self.connection.answer(1, VERSION))
        assert found == self.expected(1 << 20)
        self.take(found)

    def is_complete_now(self) -> bool:
        """The server may still be about to take the request; it notes what a follower reports when it does."""
        while not self.is_complete():
            parked = self.world.server.server.counters()["parked"]
            if parked == 1:
                return self.is_complete()
        return True


class World:
    """Partitions and clients."""

    def __init__(self, server: HotServer) -> None:
        self.server = server
        self.topics: dict[int, str] = {}
        self.producers: dict[Named, int] = {}
        for number in range(len(TOPICS)):
            self.create_topic(number)
        self.clients = [Client(self, limit) for limit in ("high_watermark", "last_stable_offset", "log_end_offset")]

    def all(self) -> list[Named]:
        return [(self.topics[number], index) for number in sorted(self.topics) for index in range(PARTITIONS)]

    def named(self, place: tuple[int, int] | Named) -> Named:
        number, index = place
        return (self.topics[number], index) if isinstance(number, int) else (number, index)

    def epoch(self, each: Named) -> int:
        partition = self.server.partitions.get(each)
        return partition.leader_epoch if partition is not None else 5

    def after(self, partition: Any, records: bytes) -> int:
        """The offset after the last batch."""
        return max(each.last_offset for each in iterate_batches(records)) + 1

    def do(self, operation: tuple[Any, ...]) -> None:
        kind, *arguments = operation
        if kind == "fetch":
            client, goes_on, max_bytes, extra, forget = arguments
            self.clients[client].fetch(
                goes_on, max_bytes, list(dict.fromkeys(map(self.named, extra))), list(map(self.named, forget)))
        elif kind == "wait":
            client, steps, last = arguments
            if self.server.partitions.get(self.named(last)) is not None and self.clients[client].entries:
                self.clients[client].wait(steps, self.named(last))
        elif kind == "anew":
            self.clients[arguments[0]].begin()
        else:
            getattr(self, kind)(*arguments)

    def append(self, place: Any) -> None:
        partition = self.server.partitions.get(self.named(place))
        if partition is not None:
            partition.append(build_batch([Record(value=b"x" * 40), Record(value=b"y")]))

    def report(self, place: Any) -> None:
        """Of a follower that has everything."""
        partition = self.server.partitions.get(self.named(place))
        if partition is not None:
            partition.follower_fetched(FOLLOWER, partition.log_end_offset, leader_epoch=partition.leader_epoch)

    def begin(self, place: Any) -> None:
        """A transaction."""
        partition = self.server.partitions.get(self.named(place))
        if partition is not None and self.named(place) not in self.producers:
            self.producers[self.named(place)] = producer_id = next(names) + 1000
            partition.append(build_batch(
                [Record(value=b"t")], attributes=0x10, base_sequence=0, producer_id=producer_id, producer_epoch=0))

    def end(self, place: Any) -> None:
        partition = self.server.partitions.get(self.named(place))
        producer_id = self.producers.pop(self.named(place), None)
        if partition is not None and producer_id is not None:
            partition.append_marker(producer_id, 0, 0, True, 1)

    def delete_records(self, place: Any) -> None:
        partition = self.server.partitions.get(self.named(place))
        if partition is not None:
            partition.delete_records(partition.high_watermark)

    def lead(self, place: Any) -> None:
        partition = self.server.partitions.get(self.named(place))
        if partition is not None:
            partition.lead(partition.leader_epoch + 1, [BROKER_ID, FOLLOWER], [BROKER_ID, FOLLOWER], BROKER_ID)

    def set_isr(self, place: Any, both: bool) -> None:
        partition = self.server.partitions.get(self.named(place))
        if partition is not None:
            isr = [BROKER_ID, FOLLOWER] if both else [BROKER_ID]
            partition.set_replicas([BROKER_ID, FOLLOWER], isr, BROKER_ID)

    def publish(self) -> None:
        self.server.publisher.publish()

    def delete_topic(self, number: int) -> None:
        self.server.delete_topic(self.topics[number])
        self.producers.clear()

    def create_topic(self, number: int) -> None:
        """The same name again, if it was deleted."""
        name = self.topics.setdefault(number, f"{TOPICS[number]}{next(names)}")
        if (name, 0) in self.server.partitions:
            return
        folder = self.server.folder
        self.server.folder = folder / str(next(names))
        self.server.create_topic(name, PARTITIONS, sole_replica=False)
        self.server.folder = folder
        for index in range(PARTITIONS):
            self.server.partitions[name, index].lead(5, [BROKER_ID, FOLLOWER], [BROKER_ID, FOLLOWER], BROKER_ID)

    def close(self) -> None:
        for client in self.clients:
            client.connection.close()
        for name in self.topics.values():
            if (name, 0) in self.server.partitions:
                self.server.delete_topic(name)


@pytest.mark.parametrize("seed", range(100))
def test_any_order_of_requests_and_changes(server: HotServer, seed: int) -> None:
    random = Random(seed)
    world = World(server)
    before = fetch_standing.counters()["taken"]
    try:
        for _ in range(60):
            world.do(operation(random))
        for number, _ in itertools.product(range(3), range(2)):  # nothing was lost
            if world.clients[number].entries:
                world.clients[number].fetch(True, 1 << 20, [], [])
    finally:
        world.close()
    assert fetch_standing.counters()["taken"] > before
