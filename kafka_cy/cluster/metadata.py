"""What the cluster consists of: topics, configurations, brokers. The store is the truth, this is its image in memory.

Every change is one conditional write that names the controller epoch, then the image changes, then the listeners hear
of it: TopicsChanged makes the broker create, retire and publish logs, ConfigChanged applies settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from kafka_cy.cluster import znodes
from kafka_cy.cluster.store import Check, Create, Delete, MetadataStore, Operation, Set, StoreBroken
from kafka_cy.cluster.topic_names import collision_key
from kafka_cy.cluster.topics import PartitionMetadata, Topic

CONFIG_CHANGES_KEPT = 100
PARTITION_OFFLINE = 2  # PartitionState of storage/partition.pxd


class Logs(Protocol):
    """The part of the log manager that metadata looks at."""

    partitions: Mapping[tuple[str, int], Any]


class TopicsChanged(NamedTuple):
    """Topics that were created or got partitions (`changed`), and topics that went (`removed`)."""

    changed: tuple[Topic, ...]
    removed: tuple[Topic, ...]


class ConfigChanged(NamedTuple):
    """An entity's configuration was replaced."""

    entity_type: str
    entity_name: str
    values: dict[str, str]


Change = TopicsChanged | ConfigChanged
Listener = Callable[[Change], None]


class ClusterMetadata:
    """Owner: the control thread."""

    def __init__(self, store: MetadataStore, broker_id: int, wall_clock_ms: Callable[[], int]) -> None:
        self.store = store
        self.broker_id = broker_id
        self.cluster_id = ""
        self.controller_epoch = 0
        self.topics: dict[str, Topic] = {}
        self.topic_by_id: dict[UUID, Topic] = {}
        self.logs: Logs | None = None
        self._collisions: dict[str, str] = {}
        self._configs: dict[tuple[str, str], dict[str, str]] = {}
        self._controller_epoch_version = 0
        self._wall_clock_ms = wall_clock_ms
        self._listeners: list[Listener] = []
        self._batch_depth = 0
        self._batch_changed: dict[str, Topic] = {}
        self._batch_removed: list[Topic] = []
        self._deleting: list[Topic] = []

    # -- start --

    def load(self, cluster_id: str, *, adopting: bool = False) -> None:
        """Lay out a new tree or read an old one; become controller. StoreBroken: another cluster's, or unreadable.

        A new tree that is laid out with `adopting` is incomplete until end_adoption().
        """
        missing = [path for path in znodes.CONTAINERS if self.store.find(path) is None]
        operations: list[Operation] = [Create(path) for path in missing]
        if self.store.find(znodes.CLUSTER_ID) is None:
            operations.append(Create(znodes.CLUSTER_ID, znodes.to_json({"version": "1", "id": cluster_id})))
            if adopting:
                operations.append(Create(znodes.ADOPTION))
        if self.store.find(znodes.CONTROLLER_EPOCH) is None:
            operations.append(Create(znodes.CONTROLLER_EPOCH, b"0"))
        if self.store.find(znodes.FEATURE) is None:
            operations.append(Create(znodes.FEATURE, znodes.to_json({"features": {}, "version": 2, "status": 1})))
        epoch_node = self.store.find(znodes.CONTROLLER_EPOCH)
        epoch = int(epoch_node.data or b"0") if epoch_node is not None else 0
        version = epoch_node.version if epoch_node is not None else 0
        controller = znodes.controller_data(self.broker_id, self._wall_clock_ms())
        operations.append(Create(znodes.CONTROLLER, controller, ephemeral=True))
        operations.append(Set(znodes.CONTROLLER_EPOCH, str(epoch + 1).encode(), version))
        self.store.multi(operations)
        self.controller_epoch, self._controller_epoch_version = epoch + 1, version + 1
        try:
            self._read_tree()
        except (ValueError, KeyError, TypeError) as error:
            raise StoreBroken(f"the metadata tree cannot be read: {error!r}") from error
        if self.cluster_id != cluster_id:
            raise StoreBroken(f"the metadata belongs to cluster {self.cluster_id}, the log directories to {cluster_id}")

    def stored_cluster_id(self) -> str | None:
        """The cluster id of an old tree; None when the tree is new."""
        node = self.store.find(znodes.CLUSTER_ID)
        return str(znodes.from_json(node.data)["id"]) if node is not None else None

    @property
    def adopting(self) -> bool:
        """Is the tree new, with the topics of the folders that were found still to be taken over?"""
        return self.store.find(znodes.ADOPTION) is not None

    def end_adoption(self) -> None:
        """The topics of the folders that were found are in the tree."""
        if self.adopting:
            self.store.multi([self.fence(), Delete(znodes.ADOPTION)])

    def _read_tree(self) -> None:
        self.cluster_id = znodes.from_json(self.store.get(znodes.CLUSTER_ID).data)["id"]
        for entity_type in ("topics", "brokers", "clients", "users", "ips", "groups", "client-metrics"):
            for name in self.store.children(f"/config/{entity_type}"):
                data = znodes.from_json(self.store.get(f"/config/{entity_type}/{name}").data)
                self._configs[entity_type, name] = dict(data.get("config", {}))
        deletions = set(self.store.children(znodes.DELETE_TOPICS))
        states: dict[bytes | None, dict[str, Any]] = {}  # most partitions have the same text
        for name in self.store.children(znodes.TOPICS):
            data = znodes.from_json(self.store.get(znodes.topic_path(name)).data)
            partitions = []
            for index in range(len(data["partitions"])):
                replicas = list(data["partitions"][str(index)])
                node = self.store.find(znodes.state_path(name, index))
                text = node.data if node is not None else None
                state = states.get(text)
                if state is None:
                    state = states[text] = znodes.from_json(text)
                partitions.append(
                    PartitionMetadata(
                        index=index,
                        leader=state.get("leader", replicas[0]),
                        leader_epoch=state.get("leader_epoch", 0),
                        replicas=replicas,
                        isr=list(state.get("isr", replicas)),
                        partition_epoch=node.version if node is not None else 0,
                    )
                )
            topic = Topic(name, znodes.id_from_text(data["topic_id"]), partitions, self.config("topics", name))
            if name in deletions:
                self._deleting.append(topic)
                self._configs.pop(("topics", name), None)
            else:
                self._remember(topic)

    def register_broker(self, endpoints: Sequence[tuple[str, str, str, int]], rack: str | None) -> None:
        """Write our registration; endpoints are (listener name, security protocol, host, port)."""
        path = f"{znodes.BROKER_IDS}/{self.broker_id}"
        data = znodes.broker_data(endpoints, rack, self._wall_clock_ms())
        self.store.multi([Create(path, None, ephemeral=True), Set(path, data, 0)])

    # -- reading --

    @property
    def broker_ids(self) -> list[int]:
        """Ids of the brokers that live."""
        return sorted(int(name) for name in self.store.children(znodes.BROKER_IDS)) or [self.broker_id]

    def add_listener(self, listener: Listener) -> None:
        """Hear of every change, on the control thread, before the call that made it returns."""
        self._listeners.append(listener)

    def topic_config(self, name: str) -> dict[str, str]:
        """A topic's overrides as text."""
        return self.config("topics", name)

    def config(self, entity_type: str, entity_name: str) -> dict[str, str]:
        """An entity's stored configuration as text; empty when there is none."""
        return dict(self._configs.get((entity_type, entity_name), {}))

    def config_entities(self, entity_type: str) -> list[str]:
        """Names of the entities of a type that have a stored configuration."""
        return sorted(name for kind, name in self._configs if kind == entity_type)

    def partition(self, topic: str, index: int) -> Any:
        """The HostedPartition, or None when this broker hosts no such partition or its log directory failed."""
        hosted = self.logs.partitions.get((topic, index)) if self.logs is not None else None
        return hosted if hosted is not None and hosted.state != PARTITION_OFFLINE else None

    def collides_with(self, name: str) -> str | None:
        """A topic whose name differs from this one in '.' and '_' only."""
        other = self._collisions.get(collision_key(name))
        return other if other != name else None

    # -- topics --

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Within it, changes of topics are stored and announced together at the end: one transaction and one new image.

        Raises StoreBroken, and what the store holds is read again: none of the changes was made.
        """
        self._batch_depth += 1
        try:
            with self.store.together():
                yield
        except StoreBroken:
            self._forget_batch()
            raise
        finally:
            self._batch_depth -= 1
            if self._batch_depth == 0:
                self._announce_topics()

    def _forget_batch(self) -> None:
        """The store could not keep the batch: go back to what it holds."""
        self._batch_changed, self._batch_removed, self._deleting = {}, [], []
        self.topics, self.topic_by_id, self._collisions, self._configs = {}, {}, {}, {}
        self._read_tree()

    def create_topic(
        self,
        name: str,
        assignment: Sequence[Sequence[int]],
        configs: Mapping[str, str],
        topic_id: UUID | None = None,
        leader_epochs: Sequence[int] | None = None,
    ) -> Topic:
        """Store and announce a new topic; arguments were validated; NodeExistsError when it exists.

        `assignment`: replicas by partition, the first one leads. All of it is stored in one transaction. Id and leader
        epochs are given for a topic whose logs were found, made (epoch 0) for a new one.
        """
        if any(topic.name == name for topic in self._deleting):
            self.finish_deletions()  # the store failed at it before
        topic_id = topic_id or znodes.new_id()
        path = znodes.topic_path(name)
        operations: list[Operation] = [self.fence()]
        if ("topics", name) not in self._configs:
            operations.append(Create(f"/config/topics/{name}", znodes.config_data(configs)))
        else:
            operations.append(Set(f"/config/topics/{name}", znodes.config_data(configs)))
        operations.append(Create(path, znodes.topic_data(topic_id, assignment)))
        operations.append(Create(path + "/partitions"))
        partitions = [self._new_partition(i, replicas) for i, replicas in enumerate(assignment)]
        for partition, epoch in zip(partitions, leader_epochs or (), strict=False):
            partition.leader_epoch = epoch
        self.store.multi(operations + self._partition_nodes(name, partitions))
        self._configs["topics", name] = dict(configs)
        topic = Topic(name, topic_id, partitions, dict(configs))
        self._remember(topic)
        self._changed(topic)
        return topic

    def create_partitions(self, name: str, assignment: Sequence[Sequence[int]]) -> None:
        """Store and announce further partitions of a topic: replicas of each new one."""
        topic = self.topics[name]
        first = len(topic.partitions)
        added = [self._new_partition(first + i, replicas) for i, replicas in enumerate(assignment)]
        replicas = [partition.replicas for partition in topic.partitions] + [list(r) for r in assignment]
        operations: list[Operation] = [
            self.fence(),
            Set(znodes.topic_path(name), znodes.topic_data(topic.id, replicas)),
        ]
        self.store.multi(operations + self._partition_nodes(name, added))
        topic.partitions.extend(added)
        self._changed(topic)

    def delete_topic(self, name: str) -> None:
        """Forget a topic and its configuration, and announce that it went.

        The deletion is recorded first (/admin/delete_topics), then the listeners rename the folders, then the topic's nodes
        go: after a crash in between, the next start finishes what was recorded (finish_deletions).
        """
        topic = self.topics[name]
        self.store.multi([self.fence(), Create(f"{znodes.DELETE_TOPICS}/{name}")])
        self._deleting.append(topic)
        self._configs.pop(("topics", name), None)
        del self.topics[name]
        self.topic_by_id.pop(topic.id, None)
        if self._collisions.get(collision_key(name)) == name:
            del self._collisions[collision_key(name)]
        self._batch_changed.pop(name, None)
        self._batch_removed.append(topic)
        if self._batch_depth == 0:
            self._announce_topics()

    @property
    def deleting(self) -> list[Topic]:
        """Topics whose deletion is recorded, while their nodes still exist."""
        return list(self._deleting)

    def finish_deletions(self) -> None:
        """Remove the nodes of deleted topics, whose folders are gone."""
        if not self._deleting:
            return
        operations: list[Operation] = [self.fence()]
        for topic in self._deleting:
            path, config = znodes.topic_path(topic.name), f"/config/topics/{topic.name}"
            for index in self.store.children(path + "/partitions"):
                operations.append(Delete(f"{path}/partitions/{index}/state"))
                operations.append(Delete(f"{path}/partitions/{index}"))
            operations += [Delete(path + "/partitions"), Delete(path)]
            if self.store.find(config) is not None:
                operations.append(Delete(config))
            operations.append(Delete(f"{znodes.DELETE_TOPICS}/{topic.name}"))
        self.store.multi(operations)
        self._deleting.clear()

    # -- configuration --

    def set_config(self, entity_type: str, entity_name: str, values: Mapping[str, str]) -> None:
        """Replace an entity's configuration (validated before) and announce it."""
        entity = znodes.config_entity(entity_type, entity_name)
        path, data = f"/config/{entity}", znodes.config_data(values)
        operations: list[Operation] = [self.fence()]
        operations.append(Create(path, data) if self.store.find(path) is None else Set(path, data))
        change = znodes.to_json({"version": 2, "entity_path": entity})
        operations.append(Create(f"{znodes.CONFIG_CHANGES}/config_change_", change, sequential=True))
        old_changes = self.store.children(znodes.CONFIG_CHANGES)[:-CONFIG_CHANGES_KEPT]
        operations += [Delete(f"{znodes.CONFIG_CHANGES}/{name}") for name in old_changes]
        self.store.multi(operations)
        self._configs[entity_type, entity_name] = dict(values)
        if entity_type == "topics" and entity_name in self.topics:
            self.topics[entity_name].config = dict(values)
        self._announce(ConfigChanged(entity_type, entity_name, dict(values)))

    # -- inside --

    def fence(self) -> Check:
        """The condition of every write: we are still the controller."""
        return Check(znodes.CONTROLLER_EPOCH, self._controller_epoch_version)

    def _new_partition(self, index: int, replicas: Sequence[int]) -> PartitionMetadata:
        return PartitionMetadata(index, replicas[0], 0, list(replicas), list(replicas))

    def _partition_nodes(self, name: str, partitions: Sequence[PartitionMetadata]) -> list[Operation]:
        operations: list[Operation] = []
        for p in partitions:
            operations.append(Create(f"{znodes.topic_path(name)}/partitions/{p.index}"))
            data = znodes.state_data(p.leader, p.leader_epoch, self.controller_epoch, p.isr)
            operations.append(Create(znodes.state_path(name, p.index), data))
        return operations

    def _remember(self, topic: Topic) -> None:
        self.topics[topic.name] = topic
        self.topic_by_id[topic.id] = topic
        self._collisions[collision_key(topic.name)] = topic.name

    def _changed(self, topic: Topic) -> None:
        self._batch_changed[topic.name] = topic
        if self._batch_depth == 0:
            self._announce_topics()

    def _announce_topics(self) -> None:
        if not self._batch_changed and not self._batch_removed:
            return
        change = TopicsChanged(tuple(self._batch_changed.values()), tuple(self._batch_removed))
        self._batch_changed, self._batch_removed = {}, []
        self._announce(change)
        if change.removed:
            self.finish_deletions()

    def _announce(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)


def new_cluster_id() -> str:
    """A fresh cluster id: 22 characters of base64url, as Kafka makes them."""
    return znodes.id_to_text(znodes.new_id())
