"""Producer ids are handed out from durable blocks, and the next block is reserved before the last id is used."""

from __future__ import annotations

from pathlib import Path

from kafka_cy.cluster import producer_ids
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.producer_ids import BLOCK_SIZE, ProducerIdBlocks, ProducerIds, Reserved
from kafka_cy.cluster.store import BadVersionError, StoreBroken, StoreError


class SlowBlocks:
    """Blocks that the test gives out."""

    def __init__(self) -> None:
        self.asked: list[Reserved] = []
        self.next = 0

    def reserve(self, done: Reserved) -> None:
        self.asked.append(done)

    def give(self) -> None:
        self.next += BLOCK_SIZE
        self.asked.pop(0)(range(self.next - BLOCK_SIZE, self.next), None)

    def fail(self) -> None:
        self.asked.pop(0)(None, StoreBroken("the disk is full"))


class Client:
    """Takes ids and keeps what it gets."""

    def __init__(self) -> None:
        self.blocks = SlowBlocks()
        self.failures: list[StoreError] = []
        self.ids = ProducerIds(self.blocks.reserve, self.failures.append)
        self.taken: list[int | None] = []
        self.errors: list[StoreError] = []

    def take(self, count: int = 1) -> None:
        def done(producer_id: int | None, error: StoreError | None) -> None:
            self.taken.append(producer_id)
            self.errors += [error] if error is not None else []

        for _ in range(count):
            self.ids.take(done)


def test_no_id_before_its_block_is_reserved() -> None:
    client = Client()
    client.take(3)
    assert client.taken == [] and len(client.blocks.asked) == 1
    client.blocks.give()
    assert client.taken == [0, 1, 2]


def test_the_next_block_is_reserved_when_half_is_used() -> None:
    client = Client()
    client.take(1)
    client.blocks.give()
    client.take(BLOCK_SIZE // 2 - 2)
    assert client.blocks.asked == []
    client.take(1)
    assert len(client.blocks.asked) == 1
    client.take(BLOCK_SIZE // 2)
    assert client.taken == list(range(BLOCK_SIZE)), "nobody waited for the store"
    client.take(2)
    assert len(client.taken) == BLOCK_SIZE and len(client.blocks.asked) == 1
    client.blocks.give()
    assert client.taken == list(range(BLOCK_SIZE + 2))


def test_more_requests_than_a_block_has_ids() -> None:
    client = Client()
    client.take(2 * BLOCK_SIZE + 1)
    for _ in range(3):
        client.blocks.give()
    assert client.taken == list(range(2 * BLOCK_SIZE + 1))


def test_a_store_that_fails() -> None:
    client = Client()
    client.take(2)
    client.blocks.fail()
    assert client.taken == [None, None] and len(client.errors) == 2
    assert client.failures == client.errors[:1], "reported once"
    client.take(1)
    client.blocks.give()
    assert client.taken == [None, None, 0], "the next request tries again"
    client.take(BLOCK_SIZE // 2)
    client.blocks.fail()
    client.take(1)
    assert client.taken[-1] == BLOCK_SIZE // 2 + 1, "there are ids left, and the next block is asked for again"
    assert len(client.blocks.asked) == 1 and len(client.errors) == 2


def test_a_block_that_another_broker_took() -> None:
    store = EmbeddedStore(None)
    ours, theirs = ProducerIdBlocks(store, 1), ProducerIdBlocks(store, 2)
    blocks: list[range | None] = []
    submit = store.submit

    def late(operations: object, done: object) -> None:
        store.submit = submit  # type: ignore[method-assign]
        theirs.reserve(lambda block, error: blocks.append(block))
        done(None, BadVersionError("/latest_producer_id_block"))  # type: ignore[operator]

    store.submit = late  # type: ignore[assignment,method-assign]
    ours.reserve(lambda block, error: blocks.append(block))
    assert blocks == [range(1000), range(1000, 2000)]


def test_blocks_survive_a_restart_and_come_to_an_end(tmp_path: Path) -> None:
    reserved: list[tuple[range | None, StoreError | None]] = []
    for _ in range(2):
        store = EmbeddedStore(str(tmp_path / "m"))
        ProducerIdBlocks(store, 1).reserve(lambda *result: reserved.append(result))
        store.close()
    assert reserved == [(range(1000), None), (range(1000, 2000), None)]
    store = EmbeddedStore(None)
    store.create("/latest_producer_id_block", b'{"block_end": "%d"}' % (producer_ids.PRODUCER_ID_MAX - 500))
    ProducerIdBlocks(store, 1).reserve(lambda *result: reserved.append(result))
    assert isinstance(reserved[-1][1], producer_ids.ProducerIdsExhausted)


def test_the_first_block_is_reserved_before_the_first_request() -> None:
    client = Client()
    client.ids.start()
    client.blocks.give()
    client.take(1)
    assert client.taken == [0]


def test_a_fault_is_reported_and_the_next_request_tries_again() -> None:
    store = EmbeddedStore(None)
    store.create("/latest_producer_id_block", b"not JSON")
    failures: list[StoreError] = []
    ids = ProducerIds(ProducerIdBlocks(store, 1).reserve, failures.append)
    taken: list[int | None] = []
    for _ in range(2):
        ids.take(lambda producer_id, error: taken.append(producer_id))
    assert taken == [None, None] and len(failures) == 2
    store.set("/latest_producer_id_block", b'{"block_end": "999"}')
    ids.take(lambda producer_id, error: taken.append(producer_id))
    assert taken[2] == 1000


def test_attempts_end() -> None:
    store = EmbeddedStore(None)
    attempts: list[object] = []

    def always_late(operations: object, done: object) -> None:
        attempts.append(operations)
        done(None, BadVersionError("/latest_producer_id_block"))  # type: ignore[operator]

    store.submit = always_late  # type: ignore[assignment,method-assign]
    reserved: list[tuple[range | None, StoreError | None]] = []
    ProducerIdBlocks(store, 1).reserve(lambda *result: reserved.append(result))
    assert len(attempts) == producer_ids.ATTEMPTS_MAX
    assert reserved[0][0] is None and isinstance(reserved[0][1], BadVersionError)


def test_requests_that_wait_are_answered_when_the_broker_stops() -> None:
    client = Client()
    client.take(2)
    assert client.taken == []
    client.ids.stop()
    assert client.taken == [None, None]
    assert client.failures == [], "nothing has failed"
