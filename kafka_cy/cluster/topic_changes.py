"""Creates, extends and deletes topics: a conditional write each, then the cache, then the cache's listeners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from kafka_cy.cluster import znodes
from kafka_cy.cluster.controller import Controller
from kafka_cy.cluster.metadata_cache import MetadataCache, TopicsChanged
from kafka_cy.cluster.store import Create, Delete, MetadataStore, Operation, Set, StoreBroken
from kafka_cy.cluster.topic_names import collision_key
from kafka_cy.cluster.topics import PartitionMetadata, Topic


class TopicChanges:
    """Owner: the controller's thread. Arguments are already validated. StoreError: nothing was changed.

    Readers of the cache see a change when it is stored, not before.
    """

    def __init__(self, store: MetadataStore, cache: MetadataCache, controller: Controller) -> None:
        self._store = store
        self._cache = cache
        self._controller = controller
        self._batch_depth = 0
        self._batch_changed: dict[str, Topic] = {}
        self._batch_removed: list[Topic] = []
        self._batch_collisions: dict[str, str] = {}
        self._batch_settings: dict[str, dict[str, str] | None] = {}  # that the cache had for a topic's name at its change
        self._deleting: list[Topic] = []

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Store and announce the topic changes of the context together at its end: one transaction, one new image.

        On StoreBroken none of the changes was made.
        """
        deleting = list(self._deleting)
        self._batch_depth += 1
        try:
            with self._store.together():
                yield
        except StoreBroken:
            self._batch_changed, self._batch_removed, self._deleting = {}, [], deleting
            self._batch_settings = {}
            self._batch_collisions.clear()
            raise
        finally:
            self._batch_depth -= 1
            if self._batch_depth == 0:
                self._announce()

    def collides_with(self, name: str) -> str | None:
        """A topic that the batch creates and whose name differs from `name` only in '.' and '_'; None if there is none."""
        other = self._batch_collisions.get(collision_key(name))
        return other if other != name else None

    def create_topic(
        self,
        name: str,
        assignment: Sequence[Sequence[int]],
        configs: Mapping[str, str],
        topic_id: UUID | None = None,
        leader_epochs: Sequence[int] | None = None,
    ) -> Topic:
        """Store and announce a new topic. Raises NodeExistsError if it exists.

        `assignment`: replicas by partition; the first one leads. The topic is stored in one transaction. Id and leader
        epochs are passed for a topic whose logs were found, and generated (epoch 0) for a new one.
        """
        if any(topic.name == name for topic in self._deleting):
            self.finish_deletions()  # the store failed to finish them before
        topic_id = topic_id or znodes.new_id()
        path, config_path = znodes.topic_path(name), f"/config/topics/{name}"
        config, has_config = znodes.config_data(configs), self._store.find(config_path) is not None
        partitions = [_new_partition(i, replicas) for i, replicas in enumerate(assignment)]
        for partition, epoch in zip(partitions, leader_epochs or (), strict=False):
            partition.leader_epoch = epoch
        operations: list[Operation] = [
            self._controller.fence(),
            Set(config_path, config) if has_config else Create(config_path, config),
            Create(path, znodes.topic_data(topic_id, assignment)),
            Create(path + "/partitions"),
        ]
        self._store.multi(operations + self._controller.partition_nodes(name, partitions))
        topic = Topic(name, topic_id, partitions, dict(configs))
        self._changed(topic)
        return topic

    def create_partitions(self, name: str, assignment: Sequence[Sequence[int]]) -> None:
        """Store and announce further partitions of a topic. `assignment`: replicas of each new one."""
        topic = self._current(name)
        first = len(topic.partitions)
        added = [_new_partition(first + i, replicas) for i, replicas in enumerate(assignment)]
        replicas = [partition.replicas for partition in topic.partitions] + [list(r) for r in assignment]
        operations: list[Operation] = [
            self._controller.fence(),
            Set(znodes.topic_path(name), znodes.topic_data(topic.id, replicas)),
        ]
        self._store.multi(operations + self._controller.partition_nodes(name, added))
        self._changed(Topic(name, topic.id, [*topic.partitions, *added], topic.config))

    def delete_topic(self, name: str) -> None:
        """Delete a topic and its configuration, and announce the deletion.

        The deletion is recorded first (/admin/delete_topics). Then listeners rename the folders, and the topic's nodes
        are removed. After a crash in between, the next start finishes recorded deletions (finish_deletions).
        """
        topic = self._current(name)
        self._store.multi([self._controller.fence(), Create(f"{znodes.DELETE_TOPICS}/{name}")])
        self._deleting.append(topic)
        self._batch_changed.pop(name, None)
        self._batch_removed.append(topic)
        if self._batch_depth == 0:
            self._announce()

    @property
    def deleting(self) -> list[Topic]:
        """Topics with a recorded deletion whose nodes still exist."""
        return list(self._deleting)

    def resume_deletions(self, deleting: Sequence[Topic]) -> None:
        """Take over deletions that the last run recorded; finish_deletions() will finish them."""
        self._deleting.extend(deleting)

    def finish_deletions(self) -> None:
        """Remove the nodes of deleted topics; their folders are already gone."""
        if not self._deleting:
            return
        operations: list[Operation] = [self._controller.fence()]
        for topic in self._deleting:
            path, config = znodes.topic_path(topic.name), f"/config/topics/{topic.name}"
            for index in self._store.children(path + "/partitions"):
                operations.append(Delete(f"{path}/partitions/{index}/state"))
                operations.append(Delete(f"{path}/partitions/{index}"))
            operations += [Delete(path + "/partitions"), Delete(path)]
            if self._store.find(config) is not None:
                operations.append(Delete(config))
            operations.append(Delete(f"{znodes.DELETE_TOPICS}/{topic.name}"))
        self._store.multi(operations)
        self._deleting.clear()

    def _current(self, name: str) -> Topic:
        """The topic as the batch has it, or as readers see it. Raises KeyError."""
        return self._batch_changed.get(name) or self._cache.topics[name]

    def _changed(self, topic: Topic) -> None:
        self._batch_changed[topic.name] = topic
        self._batch_settings.setdefault(topic.name, self._cache.find_config("topics", topic.name))
        self._batch_collisions[collision_key(topic.name)] = topic.name
        if self._batch_depth == 0:
            self._announce()

    def _announce(self) -> None:
        if not self._batch_changed and not self._batch_removed:
            return
        changed, removed = self._batch_changed, tuple(self._batch_removed)
        settings_before = self._batch_settings
        self._batch_changed, self._batch_removed, self._batch_settings = {}, [], {}
        self._batch_collisions.clear()
        for topic in removed:
            self._cache.remove_topic(topic)
        for name, topic in changed.items():
            settings = self._cache.find_config("topics", name)
            if settings is not None and settings != settings_before[name]:  # replaced since, in the same batch
                topic = Topic(name, topic.id, topic.partitions, settings)
            self._cache.put_topic(topic)
        change = TopicsChanged(tuple(self._cache.topics[name] for name in changed), removed)
        self._cache.announce(change)
        if change.removed:
            self.finish_deletions()


def _new_partition(index: int, replicas: Sequence[int]) -> PartitionMetadata:
    return PartitionMetadata(index, replicas[0], 0, list(replicas), list(replicas))
