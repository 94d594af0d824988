"""Keeps the logs on this broker and the reactors' metadata image consistent with the cluster's metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from kafka_cy.cluster.log_directories import missing_directories, record_directories
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.metadata_cache import Change, TopicsChanged
from kafka_cy.cluster.topics import PartitionMetadata, Topic

CREATED_MAX = 20  # partitions without a log that are named at the start
IMAGE_STEP: Final = 128  # partitions that one step looks at, or for which it prepares what reactors see


def folders_of(topics: Iterable[Topic]) -> dict[str, tuple[bytes, int]]:
    """(topic id, number of partitions) by name: LogManager uses it to recognise the folders of these topics."""
    return {topic.name: (topic.id.bytes, len(topic.partitions)) for topic in topics}


class Prepared(NamedTuple):
    """A topic whose logs were created in steps, and which readers do not see yet."""

    partitions: list[PartitionMetadata]
    config: dict[str, Any]  # of the logs
    offline_dirs: set[str]  # when the image was made
    image: Any


class Hosting:
    """Owner: the controller's thread. Registers itself as a listener of the metadata."""

    def __init__(
        self,
        metadata: ClusterMetadata,
        logs: Any,
        publisher: Any,
        topic_config: Callable[[dict[str, str]], dict[str, Any]],
        on_storage_error: Callable[[str, int, Exception], None],
        warn: Callable[..., None] = lambda text, **details: None,
    ) -> None:
        """`warn(text, **details)` writes a line of the broker's log."""
        self._metadata = metadata
        self._cluster = metadata.cache
        self._logs = logs
        self._publisher = publisher
        self._topic_config = topic_config
        self._on_storage_error = on_storage_error
        self._warn = warn
        # Partitions that may be in a missing log directory or one that failed before the start: a new, empty log would hide
        # them.
        self._out_of_reach: set[tuple[str, int]] = set()
        self._prepared: dict[str, Prepared] = {}

    def start(self) -> None:
        """Finish deletions that the last run started, create missing logs, publish the first image."""
        self._metadata.topic_changes.finish_deletions()
        topics = self._cluster.all_topics()
        self._settle_directories(topics)
        created: list[str] = []
        for topic in topics:
            for _ in self._host(topic, created):
                pass
            self._lead(topic)
        self._tell_created(created)
        self._logs.sync_directories()
        self._publish(topics, [])
        self._cluster.add_listener(self.on_change)
        self._metadata.topic_changes.folders = self

    def _settle_directories(self, topics: list[Topic]) -> None:
        present = self._logs.directory_ids()
        missing = missing_directories(self._metadata.controller, present)
        if missing or self._logs.offline_dirs:
            known = {(topic.name, partition.index) for topic in topics for partition in topic.partitions}
            self._out_of_reach = known - set(self._logs.partitions) - set(self._logs.begun)
        if not self._out_of_reach and not self._logs.offline_dirs:
            missing = {}  # their contents are gone
        gone = sorted(path for path in missing.values() if path not in self._logs.offline_dirs)
        if gone and self._out_of_reach:
            topic, partition = min(self._out_of_reach)
            self._warn(
                "a log directory with partitions is no longer in log.dirs, or was emptied: its partitions are offline until it"
                " is back or their topics are deleted; a partition with an empty folder in another log directory starts empty",
                directories=",".join(gone),
                partitions=len(self._out_of_reach),
                first=f"{topic}-{partition}",
            )
        record_directories(self._metadata.controller, {**present, **missing})

    def on_change(self, change: Change) -> None:
        """Apply one change of the metadata."""
        if isinstance(change, TopicsChanged):
            if not change.keeps_folders:
                for topic in change.removed:
                    for _ in self._drop(topic):
                        pass
            images = [self._take_prepared(topic) or self._host_at_once(topic) for topic in change.changed]
            self._logs.sync_directories()
            kept = {topic.name for topic in change.changed}
            self._publish_images(images, [topic.name for topic in change.removed if topic.name not in kept])

    def host(self, topics: Sequence[Topic]) -> Iterator[None]:
        """See Folders: one log in each step, then what reactors see of the topic."""
        for topic in topics:
            config = self._topic_config(topic.config)
            yield from self._host(topic, [])
            offline_dirs = set(self._logs.offline_dirs)
            partitions: list[Any] = []
            for partition in topic.partitions:
                partitions.append(self._partition_image(topic, partition))
                if len(partitions) % IMAGE_STEP == 0:
                    yield
            self._prepared[topic.name] = Prepared(topic.partitions, config, offline_dirs, self._image(topic, partitions))
        self._logs.sync_directories()
        yield

    def drop(self, topics: Sequence[Topic]) -> Iterator[None]:
        """See Folders: one folder in each step."""
        for topic in topics:
            yield from self._drop(topic)
        self._logs.sync_directories()
        yield

    def _take_prepared(self, topic: Topic) -> Any:
        """The image of a topic that `host` has prepared. None: it has not, or a log directory has failed since then."""
        prepared = self._prepared.pop(topic.name, None)
        if prepared is None or prepared.partitions is not topic.partitions:
            return None
        config = self._topic_config(topic.config)
        if config != prepared.config:  # changed since then: not all new logs have it
            self._logs.set_config(topic.name, config, len(topic.partitions))
        return prepared.image if prepared.offline_dirs == self._logs.offline_dirs else None

    def _host_at_once(self, topic: Topic) -> Any:
        for _ in self._host(topic, []):
            pass
        return self._image(topic, [self._partition_image(topic, partition) for partition in topic.partitions])

    def republish(self, names: Iterable[str]) -> None:
        """Publish topics again after a change of their hosted partitions (a failed log directory)."""
        self._publish([self._cluster.topics[name] for name in names if name in self._cluster.topics], [])

    def _tell_created(self, created: list[str]) -> None:
        """A crash came right after the creation of a topic, or somebody removed the folder with the records."""
        for name in created[:CREATED_MAX]:
            self._warn("a partition had no log: an empty one was created", partition=name)
        if len(created) > CREATED_MAX:
            self._warn("more partitions had no log: empty ones were created", count=len(created) - CREATED_MAX)

    def _host(self, topic: Topic, created: list[str]) -> Iterator[None]:
        """Create the logs of the topic that do not exist, one in a step; append their partitions to `created`.

        The first one brings the topic's settings. The others have those that the topic gets meanwhile.
        """
        has_config = False
        for partition in topic.partitions:
            key = (topic.name, partition.index)
            hosted = key in self._logs.partitions or key in self._out_of_reach
            if hosted or self._cluster.broker_id not in partition.replicas:
                if partition.index % IMAGE_STEP == IMAGE_STEP - 1:
                    yield
                continue
            from kafka_cy.storage.log import StorageFailure

            try:
                config = None if has_config else self._topic_config(topic.config)
                self._logs.create(topic.name, partition.index, topic.id.bytes, config)
                created.append(f"{topic.name}-{partition.index}")
                has_config = True
            except (OSError, StorageFailure) as error:
                self._on_storage_error(topic.name, partition.index, error)
            yield

    def _lead(self, topic: Topic) -> None:
        """Become leader with the epochs from the metadata: a log knows only epochs in which records were appended."""
        for partition in topic.partitions:
            hosted = self._logs.partitions.get((topic.name, partition.index))
            if hosted is not None and hosted.leader_epoch < partition.leader_epoch:
                hosted.become_leader(partition.leader_epoch)

    def _drop(self, topic: Topic) -> Iterator[None]:
        for partition in topic.partitions:
            self._out_of_reach.discard((topic.name, partition.index))
            if (topic.name, partition.index) not in self._logs.partitions:
                continue
            try:
                self._logs.delete(topic.name, partition.index)
            except OSError as error:  # the disk failed: the topic is deleted nevertheless
                self._on_storage_error(topic.name, partition.index, error)
            yield

    def _publish(self, changed: Iterable[Topic], removed: list[str]) -> None:
        images = [self._image(topic, [self._partition_image(topic, p) for p in topic.partitions]) for topic in changed]
        self._publish_images(images, removed)

    def _publish_images(self, images: list[Any], removed: list[str]) -> None:
        if images or removed:
            self._publisher.set_topics(images, removed)
        self._publisher.publish()

    def _image(self, topic: Topic, partitions: list[Any]) -> Any:
        from kafka_cy.network.metadata_image import TopicMetadata

        return TopicMetadata(topic.name, topic.id.bytes, topic.internal, partitions)

    def _partition_image(self, topic: Topic, p: PartitionMetadata) -> tuple[Any, ...]:
        hosted = self._cluster.partition(topic.name, p.index)
        offline = [self._cluster.broker_id] if hosted is None and self._cluster.broker_id in p.replicas else []
        leader = p.leader if not (offline and p.leader == self._cluster.broker_id) else -1
        if hosted is None:
            hosted = self._logs.partitions.get((topic.name, p.index))  # offline: requests get KAFKA_STORAGE_ERROR
        if hosted is not None:
            hosted.set_replicas(p.replicas, p.isr, self._cluster.broker_id)
        return (p.index, leader, p.leader_epoch, p.replicas, p.isr, offline, hosted)
