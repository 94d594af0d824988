"""The controller: its election, its epoch, and the partition state that carries that epoch.

Every change of the metadata is one conditional write that checks the controller epoch (fence): a broker that is no
longer the controller cannot write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kafka_cy.cluster import znodes
from kafka_cy.cluster.store import Check, Create, Delete, MetadataStore, Operation, Set
from kafka_cy.cluster.topics import PartitionMetadata


class Controller:
    """Owner: the controller's thread."""

    def __init__(self, store: MetadataStore, broker_id: int, wall_clock_ms: Callable[[], int]) -> None:
        self.store = store
        self.epoch = 0
        self.new_levels: Mapping[str, int] = {}  # feature levels of a tree that is created
        self._broker_id = broker_id
        self._epoch_version = 0
        self._wall_clock_ms = wall_clock_ms

    def elect(self, cluster_id: str, *, adopting: Mapping[str, str | None] | None = None) -> None:
        """Create the tree if it does not exist, and become controller. Raises StoreError.

        A tree created with `adopting` is incomplete until the adoption is stored. `adopting`: the stored_directory_id() of
        each log directory that is adopted, by its path.
        """
        missing = [path for path in znodes.CONTAINERS if self.store.find(path) is None]
        operations: list[Operation] = [Create(path) for path in missing]
        if self.store.find(znodes.CLUSTER_ID) is None:
            operations.append(Create(znodes.CLUSTER_ID, znodes.to_json({"version": "1", "id": cluster_id})))
            if adopting is not None:
                operations.append(Create(znodes.ADOPTION, _adoption_data(adopting)))
        elif adopting is not None and self.adopting:
            data = _adoption_data({**self.adopted_directories(), **adopting})
            operations.append(Set(znodes.ADOPTION, data))
        if self.store.find(znodes.CONTROLLER_EPOCH) is None:
            operations.append(Create(znodes.CONTROLLER_EPOCH, b"0"))
        if self.store.find(znodes.FEATURE) is None:
            operations.append(Create(znodes.FEATURE, znodes.feature_data(self.new_levels)))
        epoch_node = self.store.find(znodes.CONTROLLER_EPOCH)
        epoch = int(epoch_node.data or b"0") if epoch_node is not None else 0
        version = epoch_node.version if epoch_node is not None else 0
        controller = znodes.controller_data(self._broker_id, self._wall_clock_ms())
        operations.append(Create(znodes.CONTROLLER, controller, ephemeral=True))
        operations.append(Set(znodes.CONTROLLER_EPOCH, str(epoch + 1).encode(), version))
        self.store.multi(operations)
        self.epoch, self._epoch_version = epoch + 1, version + 1

    def stored_cluster_id(self) -> str | None:
        """The cluster id of an existing tree; None if the tree is new."""
        node = self.store.find(znodes.CLUSTER_ID)
        return str(znodes.from_json(node.data)["id"]) if node is not None else None

    @property
    def adopting(self) -> bool:
        """Whether the tree is incomplete: an adoption of folders has started and is not stored yet."""
        return self.store.find(znodes.ADOPTION) is not None

    def adopted_directories(self) -> dict[str, str | None]:
        """The log directories of the adoption that is not stored yet, as `elect` got them."""
        return adopted_directories(self.store)

    def finish_adoption(self) -> None:
        """Record that the tree is complete. Raises StoreError."""
        self.store.multi([self.fence(), Delete(znodes.ADOPTION)])

    def fence(self) -> Check:
        """The condition of every write: we are still the controller."""
        return Check(znodes.CONTROLLER_EPOCH, self._epoch_version)

    def partition_nodes(self, topic: str, partitions: Sequence[PartitionMetadata]) -> list[Operation]:
        """The operations that create the nodes of new partitions, with their state."""
        operations: list[Operation] = []
        for partition in partitions:
            operations.append(Create(f"{znodes.topic_path(topic)}/partitions/{partition.index}"))
            data = znodes.state_data(partition.leader, partition.leader_epoch, self.epoch, partition.isr)
            operations.append(Create(znodes.state_path(topic, partition.index), data))
        return operations


def adopted_directories(store: MetadataStore) -> dict[str, str | None]:
    """The log directories of an adoption that is not stored yet; empty if there is none."""
    node = store.find(znodes.ADOPTION)
    return dict(znodes.from_json(node.data).get("directories", {})) if node is not None else {}


def _adoption_data(directories: Mapping[str, str | None]) -> bytes:
    return znodes.to_json({"version": 1, "directories": dict(directories)})
