"""Producer ids: blocks of 1000 are reserved in the metadata store, ids are handed out from memory.

A block is durable before its first id is used, so that no id is handed out twice. When half of a block is used, the next
one is reserved; requests wait for the store only when they use up 500 ids within the time of one write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kafka_cy.cluster import znodes
from kafka_cy.cluster.store import (
    BadVersionError,
    Create,
    Get,
    MetadataStore,
    Node,
    NodeExistsError,
    Operation,
    OutcomeUnknown,
    Results,
    Set,
    StoreError,
)
from kafka_cy.cluster.store_calls import StoreCalls
from kafka_cy.cluster.znode_formats import MALFORMED, ProducerIdBlock

BLOCK_SIZE = 1000
PRODUCER_ID_MAX = (1 << 63) - 1
ATTEMPTS_MAX = 10  # to reserve a block, when another broker takes each one first
Reserved = Callable[[range | None, StoreError | None], object]  # a durable block, or the error
Reserve = Callable[[Reserved], object]
Taken = Callable[[int | None, StoreError | None], object]  # a producer id, or the error


class ProducerIdsExhausted(StoreError):
    """All 2^63 ids were handed out."""


def block_after(node: Node | None, broker_id: int) -> tuple[Operation, range]:
    """The change of /latest_producer_id_block that reserves the next block for a broker, and that block.

    Raises ProducerIdsExhausted, or MALFORMED.
    """
    last = znodes.from_json(node.data) if node is not None else {}
    start = int(last["block_end"]) + 1 if last else 0
    if start > PRODUCER_ID_MAX - BLOCK_SIZE:
        raise ProducerIdsExhausted("no producer ids are left")
    block = range(start, start + BLOCK_SIZE)
    path, data = znodes.PRODUCER_ID_BLOCK, ProducerIdBlock(broker_id, block[0], block[-1]).encode()
    return (Create(path, data) if node is None else Set(path, data, node.version)), block


async def take_block(calls: StoreCalls, broker_id: int) -> range:
    """Reserve the next block. A broker does so itself before inter.broker.protocol.version 3.0. Raises StoreError.

    Others take blocks at the same time; one whose reply was lost is left out.
    """
    while True:
        node: Node | None = (await calls.read(Get(znodes.PRODUCER_ID_BLOCK)))[0]
        try:
            change, block = block_after(node, broker_id)
        except MALFORMED as error:
            raise StoreError(f"{znodes.PRODUCER_ID_BLOCK} is malformed") from error
        try:
            await calls.change(change)
        except (BadVersionError, NodeExistsError, OutcomeUnknown):
            await calls.catch_up()
        else:
            return block


class ProducerIdBlocks:
    """Reserves blocks. Owner: the controller's thread."""

    def __init__(self, store: MetadataStore, broker_id: int) -> None:
        self._store = store
        self._broker_id = broker_id

    def reserve(self, done: Reserved) -> None:
        """Call `done` when the next block is durable, or with the error. A fault is an error, too."""
        self._attempt(done, ATTEMPTS_MAX)

    def _attempt(self, done: Reserved, attempts: int) -> None:
        try:
            operation, block = self._next()

            def stored(results: Results | None, error: StoreError | None) -> None:
                if isinstance(error, BadVersionError | NodeExistsError) and attempts > 1:
                    self._attempt(done, attempts - 1)  # another broker took this block
                else:
                    done(None if error is not None else block, error)

            self._store.submit([operation], stored)
        except StoreError as error:
            done(None, error)
        except Exception as fault:  # noqa: BLE001 without an answer, no block would be reserved any more
            done(None, StoreError(repr(fault)))

    def _next(self) -> tuple[Operation, range]:
        """The change that reserves the next block, and the block. Raises ProducerIdsExhausted."""
        return block_after(self._store.find(znodes.PRODUCER_ID_BLOCK), self._broker_id)


class ProducerIds:
    """Hands out ids. Owner: the coordinator's thread. Limit: each request that waits has a connection of its own."""

    def __init__(self, reserve: Reserve, on_error: Callable[[StoreError], object] = lambda error: None) -> None:
        """`reserve` is ProducerIdBlocks.reserve, wherever it runs; its `done` has to be called on the owner's thread.

        `on_error` is called with the reason of each reservation that failed.
        """
        self._reserve = reserve
        self._on_error = on_error
        self._block = range(0)
        self._used = 0
        self._next_block: range | None = None
        self._reserving = False
        self._waiting: deque[Taken] = deque()

    def start(self) -> None:
        """Reserve the first block, so that the first request does not wait for the store."""
        self._serve()

    def stop(self) -> None:
        """Answer the requests that wait. The loops have ended."""
        self._fail(StoreError("the broker shuts down"))

    def take(self, done: Taken) -> None:
        """Call `done` with an unused producer id: at once, or when the next block is reserved."""
        self._waiting.append(done)
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._has_id():
            self._used += 1
            self._waiting.popleft()(self._block[self._used - 1], None)
        if self._next_block is None and not self._reserving and 2 * self._used >= len(self._block):
            self._reserving = True
            self._reserve(self._reserved)

    def _has_id(self) -> bool:
        if self._used == len(self._block) and self._next_block is not None:
            self._block, self._used, self._next_block = self._next_block, 0, None
        return self._used < len(self._block)

    def _reserved(self, block: range | None, error: StoreError | None) -> None:
        self._reserving = False
        self._next_block = block
        if error is not None:
            self._on_error(error)
            self._fail(error)
        else:
            self._serve()

    def _fail(self, error: StoreError) -> None:
        failed, self._waiting = self._waiting, deque()
        for done in failed:
            done(None, error)
