"""Creates, extends and deletes topics: a conditional write each, then the cache, then the cache's listeners.

Topics with many partitions take their time, above all for the folders. `batch(in_steps=True)` stores them, and
`announce_in_steps` does the rest while the thread does other work in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol
from uuid import UUID

from kafka_cy.cluster import znodes
from kafka_cy.cluster.controller import Controller
from kafka_cy.cluster.metadata_cache import MetadataCache, TopicsChanged
from kafka_cy.cluster.store import Create, Delete, MetadataStore, NodeExistsError, Operation, Set, StoreBroken
from kafka_cy.cluster.topic_names import collision_key
from kafka_cy.cluster.topics import PartitionMetadata, Topic

PIECE_PARTITIONS: Final = 64  # whose nodes one step stores or removes


class Folders(Protocol):
    """Makes the folders of partitions agree with the metadata, a few in each step."""

    def host(self, topics: Sequence[Topic]) -> Iterator[object]:
        """Create the logs of the topics that do not exist. Nobody sees them yet."""

    def drop(self, topics: Sequence[Topic]) -> Iterator[object]:
        """Put the folders of deleted topics aside."""


class Batch:
    """Changes that are stored together and are not announced yet."""

    __slots__ = ("changed", "collisions", "removed", "settings", "unstored")

    def __init__(self, *, in_steps: bool = False) -> None:
        self.changed: dict[str, Topic] = {}
        self.removed: list[Topic] = []
        self.collisions: dict[str, str] = {}
        self.settings: dict[str, dict[str, str] | None] = {}  # that the cache had for a topic's name at its change
        # Partitions whose nodes are stored later: without a node, the first replica leads, with epoch 0.
        self.unstored: list[tuple[str, list[PartitionMetadata]]] | None = [] if in_steps else None


class TopicChanges:
    """Owner: the controller's thread. Arguments are already validated. StoreError: nothing was changed.

    Readers of the cache see a change when it is stored, not before. A topic that is announced in steps is busy until the end;
    its name cannot be used for another change meanwhile.
    """

    def __init__(self, store: MetadataStore, cache: MetadataCache, controller: Controller) -> None:
        self.folders: Folders | None = None  # None: a listener of the cache has no folders, or makes them at once
        self._store = store
        self._cache = cache
        self._controller = controller
        self._batch_depth = 0
        self._batch = Batch()
        self._stored: Batch | None = None  # by a batch in steps, for announce_in_steps()
        self._busy: set[str] = set()  # collision_key() of topics that are announced in steps
        self._deleting: list[Topic] = []

    @contextmanager
    def batch(self, *, in_steps: bool = False) -> Iterator[None]:
        """Store and announce the topic changes of the context together at its end: one transaction, one new image.

        On StoreBroken none of the changes was made. `in_steps`: announce_in_steps() has to follow at once. Of a topic with
        many partitions, only the nodes of the first ones are in the transaction; the topic is complete without the others.
        """
        deleting = list(self._deleting)
        assert not (in_steps and self._batch_depth)
        if self._batch_depth == 0:
            self._batch = Batch(in_steps=in_steps)
        self._batch_depth += 1
        is_whole = False
        try:
            with self._store.together():
                yield
            is_whole = True
        except StoreBroken:
            self._batch, self._deleting = Batch(), deleting
            raise
        finally:
            self._batch_depth -= 1
            if self._batch_depth == 0:
                batch, self._batch = self._batch, Batch()
                if in_steps and is_whole:
                    self._stored = batch
                else:
                    self._announce(batch)

    def is_busy(self, name: str) -> bool:
        """Whether a topic of this name, or one that differs only in '.' and '_', is being announced in steps."""
        return collision_key(name) in self._busy

    def collides_with(self, name: str) -> str | None:
        """A topic that the batch creates and whose name differs from `name` only in '.' and '_'; None if there is none."""
        other = self._batch.collisions.get(collision_key(name))
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
        if self.is_busy(name):
            raise NodeExistsError(znodes.topic_path(name))
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
        self._store_topic(operations, name, partitions)
        topic = Topic(name, topic_id, partitions, dict(configs))
        self._changed(topic)
        return topic

    def create_partitions(self, name: str, assignment: Sequence[Sequence[int]]) -> None:
        """Store and announce further partitions of a topic. `assignment`: replicas of each new one."""
        assert not self.is_busy(name)
        topic = self._current(name)
        first = len(topic.partitions)
        added = [_new_partition(first + i, replicas) for i, replicas in enumerate(assignment)]
        replicas = [partition.replicas for partition in topic.partitions] + [list(r) for r in assignment]
        operations: list[Operation] = [
            self._controller.fence(),
            Set(znodes.topic_path(name), znodes.topic_data(topic.id, replicas)),
        ]
        self._store_topic(operations, name, added)
        self._changed(Topic(name, topic.id, [*topic.partitions, *added], topic.config))

    def delete_topic(self, name: str) -> None:
        """Delete a topic and its configuration, and announce the deletion.

        The deletion is recorded first (/admin/delete_topics). Then listeners rename the folders, and the topic's nodes
        are removed. After a crash in between, the next start finishes recorded deletions (finish_deletions).
        """
        assert not self.is_busy(name)
        topic = self._current(name)
        self._store.multi([self._controller.fence(), Create(f"{znodes.DELETE_TOPICS}/{name}")])
        self._deleting.append(topic)
        self._batch.changed.pop(name, None)
        self._batch.removed.append(topic)
        self._announce_single()

    @property
    def deleting(self) -> list[Topic]:
        """Topics with a recorded deletion whose nodes still exist."""
        return list(self._deleting)

    def resume_deletions(self, deleting: Sequence[Topic]) -> None:
        """Take over deletions that the last run recorded; finish_deletions() will finish them."""
        self._deleting.extend(deleting)

    def finish_deletions(self) -> None:
        """Remove the nodes of deleted topics whose folders are already gone."""
        for _ in self._finish([topic for topic in self._deleting if not self.is_busy(topic.name)]):
            pass

    def announce_in_steps(self) -> Iterator[object]:
        """What batch(in_steps=True) stored reaches readers, and folders agree with it: a task for slices.

        Deleted topics are not seen from the first step on. New topics and partitions are seen in the last step, when they
        have logs. A fault ends neither: what is stored is announced.
        """
        batch, self._stored = self._stored, None
        if batch is None:
            return
        names = {collision_key(name) for name in (*batch.changed, *(topic.name for topic in batch.removed))}
        self._busy |= names
        try:
            yield from self._remove_in_steps(batch.removed)
            yield from self._create_in_steps(batch)
        finally:
            self._busy -= names

    def _remove_in_steps(self, removed: list[Topic]) -> Iterator[object]:
        if not removed:
            return
        fault: Exception | None = None
        try:
            for topic in removed:
                self._cache.remove_topic(topic)
            self._cache.announce(TopicsChanged((), tuple(removed), keeps_folders=self.folders is not None))
        except Exception as error:  # noqa: BLE001 raised when the folders are gone
            fault = error
        if self.folders is not None:
            yield None
            yield from self.folders.drop(removed)
        if fault is not None:
            raise fault
        yield from self._finish(removed)

    def _create_in_steps(self, batch: Batch) -> Iterator[object]:
        if not batch.changed:
            return
        faults: list[Exception] = []
        yield from _noting(faults, self._store_rest(batch))
        if self.folders is not None:
            yield from _noting(faults, self.folders.host(list(batch.changed.values())))
        self._cache.announce(TopicsChanged(self._put(batch), ()))
        if faults:
            raise faults[0]

    def _store_rest(self, batch: Batch) -> Iterator[None]:
        """Store the nodes of partitions that were not in the transaction."""
        for name, partitions in batch.unstored or ():
            for first in range(0, len(partitions), PIECE_PARTITIONS):
                yield
                nodes = self._controller.partition_nodes(name, partitions[first : first + PIECE_PARTITIONS])
                self._store.multi([self._controller.fence(), *nodes])

    def _finish(self, topics: Sequence[Topic]) -> Iterator[None]:
        """Remove the nodes of topics; a topic's deletion is recorded until its last nodes are gone."""
        operations: list[Operation] = [self._controller.fence()]
        finished: list[Topic] = []
        for topic in topics:
            path = znodes.topic_path(topic.name)
            for index in self._store.children(path + "/partitions"):
                if len(operations) > 2 * PIECE_PARTITIONS:
                    self._remove_nodes(operations, finished)
                    operations, finished = [self._controller.fence()], []
                    yield
                operations += [Delete(f"{path}/partitions/{index}/state"), Delete(f"{path}/partitions/{index}")]
            operations += self._last_nodes(topic)
            finished.append(topic)
        if finished:
            self._remove_nodes(operations, finished)

    def _last_nodes(self, topic: Topic) -> list[Operation]:
        path, config = znodes.topic_path(topic.name), f"/config/topics/{topic.name}"
        last: list[Operation] = [Delete(path + "/partitions"), Delete(path)]
        if self._store.find(config) is not None:
            last.append(Delete(config))
        return [*last, Delete(f"{znodes.DELETE_TOPICS}/{topic.name}")]

    def _remove_nodes(self, operations: list[Operation], finished: list[Topic]) -> None:
        self._store.multi(operations)
        self._deleting = [topic for topic in self._deleting if topic not in finished]

    def _store_topic(self, operations: list[Operation], name: str, partitions: list[PartitionMetadata]) -> None:
        """Store the operations and the nodes of new partitions. A batch in steps stores those of the first ones now."""
        now = partitions if self._batch.unstored is None else partitions[:PIECE_PARTITIONS]
        self._store.multi(operations + self._controller.partition_nodes(name, now))
        if self._batch.unstored is not None:
            self._batch.unstored.append((name, partitions[PIECE_PARTITIONS:]))

    def _current(self, name: str) -> Topic:
        """The topic as the batch has it, or as readers see it. Raises KeyError."""
        return self._batch.changed.get(name) or self._cache.topics[name]

    def _changed(self, topic: Topic) -> None:
        self._batch.changed[topic.name] = topic
        self._batch.settings.setdefault(topic.name, self._cache.find_config("topics", topic.name))
        self._batch.collisions[collision_key(topic.name)] = topic.name
        self._announce_single()

    def _announce_single(self) -> None:
        """Announce a change that is in no batch."""
        if self._batch_depth == 0:
            batch, self._batch = self._batch, Batch()
            self._announce(batch)

    def _announce(self, batch: Batch) -> None:
        """Announce the changes in one step."""
        if not batch.changed and not batch.removed:
            return
        for topic in batch.removed:
            self._cache.remove_topic(topic)
        self._cache.announce(TopicsChanged(self._put(batch), tuple(batch.removed)))
        if batch.removed:
            self.finish_deletions()

    def _put(self, batch: Batch) -> tuple[Topic, ...]:
        """Readers of the cache see the changed topics from now on."""
        for name, topic in batch.changed.items():
            settings = self._cache.find_config("topics", name)
            if settings is not None and settings != batch.settings[name]:  # replaced since then
                topic = Topic(name, topic.id, topic.partitions, settings)
            self._cache.put_topic(topic)
        return tuple(self._cache.topics[name] for name in batch.changed)


def _noting(faults: list[Exception], steps: Iterator[object]) -> Iterator[object]:
    """The steps until one fails: what is stored has to reach readers nevertheless."""
    try:
        yield from steps
    except Exception as fault:  # noqa: BLE001 raised at the end
        faults.append(fault)


def _new_partition(index: int, replicas: Sequence[int]) -> PartitionMetadata:
    return PartitionMetadata(index, replicas[0], 0, list(replicas), list(replicas))
