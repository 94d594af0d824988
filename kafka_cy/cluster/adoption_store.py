"""Stores a planned adoption (imported_folders) in the metadata tree.

The adoption is one transaction: after a crash everything is stored or nothing is, and the command can be repeated.
Only our metadata changes on disk.
"""

from __future__ import annotations

from typing import Any, Final

from kafka_cy.cluster import znodes
from kafka_cy.cluster.controller import Controller
from kafka_cy.cluster.imported_folders import Adoption
from kafka_cy.cluster.store import Create, Delete, MetadataStore, Operation, Set
from kafka_cy.cluster.topics import PartitionMetadata

#: Our node that records that a cluster's settings were taken over, so that they are not taken over again.
ADOPTED: Final = "/kafkacy_adopted"


def store_adoption(adoption: Adoption, controller: Controller, broker_id: int) -> None:
    """Store the adoption in one transaction. StoreError: nothing was stored."""
    store = controller.store
    operations = _Operations(store)
    operations.add(controller.fence())
    if controller.adopting:
        operations.add(Delete(znodes.ADOPTION))  # marks the tree as complete
    for topic in adoption.topics:
        operations.put(f"/config/topics/{topic.name}", znodes.config_data(topic.configs))
        path, us = znodes.topic_path(topic.name), [broker_id]
        operations.add(Create(path, znodes.topic_data(topic.id, [us] * len(topic.leader_epochs))))
        operations.add(Create(f"{path}/partitions"))
        partitions = [PartitionMetadata(i, broker_id, epoch, us, us) for i, epoch in enumerate(topic.leader_epochs)]
        for operation in controller.partition_nodes(topic.name, partitions):
            operations.add(operation)
    if settings_are_new(store):
        for path, data in adoption.nodes.items():
            operations.create_if_missing(path, data)
        operations.create_if_missing(ADOPTED, znodes.to_json({"version": 1, "from": adoption.origin}))
    block = _producer_id_block(store, broker_id, adoption.next_producer_id)
    if block is not None:
        operations.put(znodes.PRODUCER_ID_BLOCK, block)
    store.multi(operations.all)


def settings_are_new(store: MetadataStore) -> bool:
    """Whether no earlier adoption stored settings of users, brokers, ... If one did, ours are newer."""
    return store.find(ADOPTED) is None


def _producer_id_block(store: MetadataStore, broker_id: int, next_id: int) -> bytes | None:
    node = store.find(znodes.PRODUCER_ID_BLOCK)
    used_to: Any = znodes.from_json(node.data).get("block_end", -1) if node is not None else -1
    if next_id - 1 <= int(used_to):
        return None
    return znodes.to_json({"version": 1, "broker": broker_id, "block_start": "0", "block_end": str(next_id - 1)})


class _Operations:
    """Collects the operations of one transaction, including missing parents of new nodes."""

    def __init__(self, store: MetadataStore) -> None:
        self.all: list[Operation] = []
        self._store = store
        self._made: set[str] = set()

    def add(self, operation: Operation) -> None:
        self.all.append(operation)

    def put(self, path: str, data: bytes) -> None:
        if self._store.find(path) is not None or path in self._made:
            self.add(Set(path, data))
        else:
            self.create_if_missing(path, data)

    def create_if_missing(self, path: str, data: bytes) -> None:
        node = self._store.find(path)
        if node is not None and node.data:
            return
        self._add_parents(path)
        if node is not None or path in self._made:
            self.add(Set(path, data))
        else:
            self._made.add(path)
            self.add(Create(path, data))

    def _add_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent and parent not in self._made and self._store.find(parent) is None:
            self._add_parents(parent)
            self._made.add(parent)
            self.add(Create(parent))
