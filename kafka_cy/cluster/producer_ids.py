"""Hands out producer ids from blocks of 1000 that are reserved in the metadata store."""

from __future__ import annotations

from kafka_cy.cluster import znodes
from kafka_cy.cluster.store import BadVersionError, MetadataStore, NodeExistsError, StoreError

BLOCK_SIZE = 1000
PRODUCER_ID_MAX = (1 << 63) - 1


class ProducerIdsExhausted(StoreError):
    """All 2^63 ids were handed out."""


class ProducerIds:
    """Owner: the control thread. An id is never handed out twice: a block is stored before its first id is used."""

    def __init__(self, store: MetadataStore, broker_id: int) -> None:
        self._store = store
        self._broker_id = broker_id
        self._next = 0
        self._end = -1  # last id of our block

    def next_id(self) -> int:
        """An unused producer id."""
        if self._next > self._end:
            self._reserve_block()
        self._next += 1
        return self._next - 1

    def _reserve_block(self) -> None:
        while True:
            node = self._store.find(znodes.PRODUCER_ID_BLOCK)
            start = int(znodes.from_json(node.data)["block_end"]) + 1 if node is not None and node.data else 0
            if start > PRODUCER_ID_MAX - BLOCK_SIZE:
                raise ProducerIdsExhausted("no producer ids are left")
            end = start + BLOCK_SIZE - 1
            data = znodes.to_json(
                {"version": 1, "broker": self._broker_id, "block_start": str(start), "block_end": str(end)}
            )
            try:
                if node is None:
                    self._store.create(znodes.PRODUCER_ID_BLOCK, data)
                else:
                    self._store.set(znodes.PRODUCER_ID_BLOCK, data, node.version)
            except (BadVersionError, NodeExistsError):
                continue
            self._next, self._end = start, end
            return
