"""All logs of a broker: start and recovery, creation, deletion, moves between directories, periodic work, shutdown.

Calls come from the control thread; one background thread does the periodic work (LogUpkeep). Both share the table of
partitions (HostedLogs) under its mutex.
"""

# The os functions, not pathlib, which costs start time.
# ruff: noqa: PTH103
from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from kafka_cy.storage.hosted_logs import HostedLogs, Key
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog
from kafka_cy.storage.log_dir import (
    NO_TOPIC_ID,
    LogDir,
    LogDirError,
    ensure_topic_id,
    folder_aside,
    read_topic_id,
    sync_topic_id,
    write_topic_id,
)
from kafka_cy.storage.log_failure import StorageFailure, is_shortage
from kafka_cy.storage.log_loader import THREADS, LogLoader, in_threads
from kafka_cy.storage.log_upkeep import CopyPace, LogUpkeep
from kafka_cy.storage.partition_folders import (
    PARTITION_INDEX_MAX,
    KnownTopics,
    LogDirContent,
    PartitionFolder,
    belongs_to,
    has_whole_name,
    holds_partition,
    is_of_earlier_topic,
    scan,
)

__all__ = ["LogDirError", "LogManager"]

NO_EPOCH = -1  # of a partition of which no controller has told yet
SYNC_THREADS = 16


class LogManager:
    """`partitions` maps (topic, index) to what is hosted. Start with start(), end with shutdown().

    A directory whose disk failed or is full is offline until the next start, as in Kafka (LogDirFailureChannel):
    `on_offline` is told its path, why, and which partitions went with it.
    """

    def __init__(
        self,
        log_dirs: list[str],
        broker_id: int,
        cluster_id: str,
        default_config: dict[str, Any],
        loop: Any = None,
        *,
        retention_check_interval_ms: int = 300_000,
        producers_check_interval_ms: int = 600_000,
        checkpoint_interval_ms: int = 60_000,
        cleaner_config: dict[str, Any] | None = None,
        on_offline: Callable[[str, str, list[HostedPartition]], None] | None = None,
        on_uncleanable: Callable[[HostedPartition, str], None] | None = None,
        warn: Callable[..., None] | None = None,
        info: Callable[..., None] | None = None,
        recovery_threads: int = THREADS,
        leads: bool = True,
        high_watermark_interval_ms: int | None = None,
        copy_pace: CopyPace | None = None,
    ) -> None:
        """`cleaner_config`: the broker's log.cleaner.* keys with typed values; without it nothing is compacted.

        `warn(text, **details)` and `info` write a line of the broker's log; any thread calls them. `recovery_threads` open
        and close logs, for all directories together. Without `leads`, no partition serves anybody before the controller says who
        leads it (replication.ReplicaManager). `high_watermark_interval_ms`: high watermarks are also written at this interval.
        `copy_pace`: the quota of moves between directories.
        """
        self.log_dirs = list(log_dirs)
        self.strays: list[tuple[str, str]] = []  # (folder, what start() renamed it to)
        self.deleted_counts: list[int] = []  # what deleted partitions had counted (HostedPartition.counts), summed up
        self._broker_id, self._cluster_id = broker_id, cluster_id
        self._recovery_threads, self._leads = recovery_threads, leads
        self._hosted = HostedLogs(broker_id, default_config, loop, cleaner_config, on_offline, warn, info)
        self._upkeep = LogUpkeep(
            self._hosted, retention_check_interval_ms / 1000, producers_check_interval_ms / 1000,
            checkpoint_interval_ms / 1000, on_uncleanable,
            None if high_watermark_interval_ms is None else high_watermark_interval_ms / 1000, copy_pace,
        )  # fmt: skip
        self._contents: dict[str, LogDirContent] = {}  # from open() to start()
        self._started = False
        self._unsynced_ids: list[str] = []  # folders of new partitions; with the mutex
        self._begun: dict[Key, str] = {}  # log directories with an empty folder of a partition that is to be created

    @property
    def partitions(self) -> Mapping[Key, HostedPartition]:
        """What is hosted, by (topic, index). Changed by the control thread only, after the start."""
        return self._hosted.partitions

    def has_topic(self, topic: str) -> bool:
        """Whether a partition of the topic is hosted."""
        return self._hosted.has_topic(topic)

    def config_of(self, topic: str) -> dict[str, Any]:
        """The typed configuration of a topic's logs."""
        return self._hosted.config_of(topic)

    @property
    def offline_dirs(self) -> set[str]:
        """Log directories that cannot be used."""
        return self._hosted.offline_dirs

    @property
    def cordoned_dirs(self) -> frozenset[str]:
        """Log directories that get no new partitions (KIP-1066). Any thread may read it."""
        return self._hosted.cordoned

    @cordoned_dirs.setter
    def cordoned_dirs(self, paths: frozenset[str]) -> None:
        self._hosted.cordoned = paths

    # -- start --

    def open(self) -> None:
        """Lock and identify the directories and see what lies in them; changes nothing. Raises LogDirError.

        Of several directories, one that cannot be used is left out (`offline_dirs`).
        """
        hosted = self._hosted
        for path in self.log_dirs:
            directory = LogDir(path)
            try:
                directory.open(self._broker_id, self._cluster_id)
                self._contents[path] = scan(path)
            except LogDirError as error:
                if error.kind != "not writable" or len(self.log_dirs) == 1:
                    self._unlock_all()
                    raise
                hosted.warn(f"{error}. It is offline")
            except OSError as error:
                directory.unlock()
                reason = f"log directory {path} cannot be read: {error.filename or path}: {error.strerror}"
                if len(self.log_dirs) == 1 or is_shortage(error):
                    self._unlock_all()
                    raise LogDirError("broken", reason) from error
                hosted.warn(f"{reason}. It is offline")
            else:
                hosted.dirs[path] = directory
                continue
            hosted.offline_dirs.add(path)
        if not hosted.dirs:
            raise LogDirError("not writable", "none of the log directories can be used")

    def unknown(self, known: KnownTopics) -> list[PartitionFolder]:
        """After open(): the partitions of topics that are not among these."""
        return [
            folder
            for content in self._contents.values()
            for folder in content.partitions
            if not belongs_to(folder, known) and not is_of_earlier_topic(folder, known)
        ]

    def named_topics(self) -> dict[str, bytes]:
        """After open(): the topics, with their ids, of which there are partitions or copies that a move has left."""
        found = {folder.topic: folder.topic_id for content in self._contents.values() for folder in content.partitions}
        for content in self._contents.values():
            for folder in content.copies:
                if has_whole_name(folder):
                    found.setdefault(folder.topic, folder.topic_id)
        return found

    def was_used(self, path: str) -> bool:
        """After open(): had the directory a meta.properties?"""
        return self._hosted.dirs[path].was_used

    def stored_directory_ids(self) -> dict[str, str | None]:
        """After open(): what stored_directory_id() returned for each directory that works, before begin()."""
        return {path: directory.stored_id for path, directory in self._hosted.dirs.items()}

    def directory_ids(self) -> dict[str, str]:
        """After open(): the path of each directory that works, by its id."""
        return {directory.directory_id: path for path, directory in self._hosted.dirs.items()}

    @property
    def begun(self) -> Collection[Key]:
        """Partitions that have an empty folder, in which create() puts them."""
        return self._begun.keys()

    def start(
        self, known: KnownTopics | None = None, deleting: KnownTopics | None = None, *, incomplete: bool = False
    ) -> None:
        """Recover every log of a `known` topic (of all topics where it is None). Raises LogDirError.

        The folders of `deleting` topics are removed; a crash had interrupted their deletion. The folder of any other
        partition is renamed, as Kafka does with a stray log (LogManager.loadLog), and nothing in it removed (`strays`).
        `incomplete`: there are partitions in log directories that are missing. Calls open() where that was not done.
        """
        hosted = self._hosted
        if not hosted.dirs:
            self.open()
        known = self._topics_found() if known is None else known
        loader = LogLoader(
            hosted, self._contents, known, deleting or {}, self._recovery_threads, incomplete=incomplete, leads=self._leads
        )
        try:
            loader.run()
            for directory in hosted.dirs.values():
                directory.begin()
        except OSError:
            self._unlock_all()
            raise
        finally:
            self.strays = loader.strays
        for content in self._contents.values():
            self._begun.update({(f.topic, f.partition): f.log_dir for f in content.empty if belongs_to(f, known)})
        self._contents.clear()
        for partition in self.partitions.values():
            hosted.compacted.add(partition, hosted.config_of(partition.topic))
        self._started = True
        unclean = {path for path, directory in hosted.dirs.items() if not directory.clean}
        self._upkeep.start([p for key, p in self.partitions.items() if hosted.dir_of[key] in unclean])

    def _topics_found(self) -> KnownTopics:
        """Every topic that has a folder; of different topic ids the first one counts."""
        found: dict[str, tuple[bytes, int]] = {}
        for content in self._contents.values():
            for folder in content.partitions:
                if found.get(folder.topic, (NO_TOPIC_ID, 0))[0] == NO_TOPIC_ID:
                    found[folder.topic] = (folder.topic_id, PARTITION_INDEX_MAX + 1)
        return found

    def _unlock_all(self) -> None:
        for directory in [*self._hosted.dirs.values(), *self._hosted.failed_dirs]:
            directory.unlock()
        self._hosted.dirs.clear()

    # -- partitions --

    def create(
        self, topic: str, index: int, topic_id: bytes, config: dict[str, Any] | None = None, log_dir: str | None = None
    ) -> HostedPartition:
        """A new, empty partition in `log_dir`, or in the directory with the fewest. Raises OSError."""
        hosted, key = self._hosted, (topic, index)
        if key in hosted.stale:
            hosted.write_checkpoints()  # a crash must not give the new log the offsets of the old one
        with hosted.mutex:
            existing = hosted.partitions.get(key)
            if existing is not None:
                return existing
            if config is not None and not hosted.has_topic(topic):  # else it may be older than what the topic's logs have
                hosted.set_config(topic, config)
            path = log_dir if log_dir is not None else self._begun.pop(key, None)
            if path is None or (log_dir is None and path not in hosted.dirs):
                path = hosted.emptiest_dir()
            if path not in hosted.dirs:
                raise hosted.not_usable(path)
            folder = f"{path}/{topic}-{index}"
            try:
                os.makedirs(folder)
            except FileExistsError:
                self._set_aside_other(folder, topic, index, topic_id)
            if topic_id != NO_TOPIC_ID:
                write_topic_id(folder, topic_id)
                if not self._leads:  # in a cluster only this id keeps records of an earlier topic of the same name apart
                    self._unsynced_ids.append(folder)
            log = PartitionLog(folder, hosted.settings_of(topic), clean=True)
            partition = HostedPartition(log, topic, topic_id, index, 0 if self._leads else NO_EPOCH, leads=self._leads)
            hosted.add(key, partition, path)
            hosted.unsynced.add(path)
            hosted.compacted.add(partition, hosted.config_of(topic))
            return partition

    def assign_topic_id(self, topic: str, index: int, topic_id: bytes) -> HostedPartition:
        """Give a partition without a topic id (before Kafka 2.8) its id: a new handle over the same log, without a role.

        The former one serves nobody and appends nothing any more. Raises OSError, StorageFailure; no handle has changed then.
        """
        hosted, key = self._hosted, (topic, index)
        with hosted.mutex:
            former = hosted.partitions[key]
            ensure_topic_id(former.log.directory, topic_id)
            end = former.high_watermark
            partition = HostedPartition(former.log, topic, topic_id, index, NO_EPOCH, high_watermark=end, leads=False)
            former.follow(NO_EPOCH)
            partition.append_received(b"", NO_EPOCH, former.high_watermark)  # which may have moved until now
            hosted.partitions[key] = partition
            hosted.apply_throttle(partition)
            hosted.compacted.remove(former)
            hosted.compacted.add(partition, hosted.config_of(topic))
            return partition

    def _set_aside_other(self, folder: str, topic: str, index: int, topic_id: bytes) -> None:
        """A new partition must not take over the records of another topic. With the mutex. Raises OSError."""
        if holds_partition(folder) and read_topic_id(folder) != topic_id:
            path = os.path.dirname(folder)  # noqa: PTH120
            stray = folder_aside(path, topic, index, "stray")
            os.rename(folder, stray)  # noqa: PTH104
            self._hosted.unsynced.add(path)
            self._hosted.warn("a stray log has the name of a new partition and was renamed", folder=folder, to=stray)
            os.makedirs(folder)

    def delete(self, topic: str, index: int) -> None:
        """Gone at once for everybody; its files go after file.delete.delay.ms. sync_directories() makes it durable.

        Raises OSError when its folder cannot be renamed; the log directory is offline then.
        """
        hosted, key = self._hosted, (topic, index)
        with hosted.mutex:
            partition = hosted.remove(key)
            if partition is None:
                return
            delay_ms = hosted.delete_delay_ms(topic)
            if not hosted.has_topic(topic):
                hosted.set_config(topic, None)
            hosted.stale.add(key)
            partition.retire("deleted")
            counts = partition.counts()
            before = self.deleted_counts or [0] * len(counts)
            self.deleted_counts = [a + b for a, b in zip(before, counts, strict=True)]
            partition.log.abandon()
            hosted.compacted.remove(partition)
            source = hosted.leaving.pop(key, None)  # of a move that has not finished
            try:
                if source is not None:
                    source.abandon()
                    self._rename_deleted(source, key, delay_ms)
            finally:
                self._rename_deleted(partition.log, key, delay_ms)

    def _rename_deleted(self, log: PartitionLog, key: Key, delay_ms: int) -> None:
        """With the mutex."""
        hosted = self._hosted
        path = os.path.dirname(log.directory)  # noqa: PTH120
        folder = folder_aside(path, *key, "delete")
        hosted.unsynced.add(path)
        try:
            log.rename(folder)
        except OSError as error:
            hosted.take_offline(path, error.strerror or str(error))
            raise
        hosted.remove_later(folder, delay_ms)

    def truncate_to(self, topic: str, index: int, offset: int) -> None:
        """Remove a partition's records from `offset` on, and write the recovery point (Kafka: LogManager.truncateTo).

        Call it before the next append: after a crash, a recovery point above the cut would keep the start from the segment
        in which a new leader epoch begins. Raises StorageFailure.
        """
        with self._hosted.cutting:
            self._hosted.cut(self.partitions[topic, index], offset)
        self._hosted.write_checkpoints()

    def cut(self, cuts: Collection[tuple[Key, int, bool]]) -> set[Key]:
        """Like truncate_to for many partitions, whose recovery points are written once: (partition, offset, fully).

        `fully`: everything is removed, and the log begins anew at the offset. Returns the partitions whose log failed, or whose
        directory did.
        """
        hosted = self._hosted
        failed, paths = set[Key](), set[str]()
        for key, offset, fully in cuts:
            with hosted.cutting:  # before that, a move may change where it is
                partition, path = self.partitions.get(key), hosted.dir_of.get(key)
                if partition is None or path is None:
                    continue
                try:
                    hosted.cut(partition, offset, fully=fully)
                    paths.add(path)
                except StorageFailure:
                    failed.add(key)
        hosted.write_checkpoints(paths)
        return failed | {key for key, _, _ in cuts if hosted.dir_of.get(key) in hosted.offline_dirs}

    def sync_directories(self) -> None:
        """Make new folders of partitions, and the renaming of deleted ones, durable."""
        with self._hosted.mutex:
            folders, self._unsynced_ids = self._unsynced_ids, []
        # Several at a time: the file system writes its journal once for all that wait.
        in_threads(self._sync_topic_id, folders, SYNC_THREADS)
        self._hosted.sync_directories()

    def _sync_topic_id(self, folder: str) -> None:
        try:
            sync_topic_id(folder)
        except OSError as error:
            self._hosted.take_offline(os.path.dirname(folder), error.strerror or str(error))  # noqa: PTH120

    def take_config(self, topic: str, config: dict[str, Any]) -> bool:
        """Take a topic's new (whole, typed) configuration: its logs have it when this returns.

        True: its partitions must be told what concerns them, too (set_config_in_steps).
        """
        hosted = self._hosted
        with hosted.mutex:
            hosted.set_config(topic, config)
            hosted.wake.set()
            return topic in hosted.untold

    def set_config(self, topic: str, config: dict[str, Any], partition_count: int | None = None) -> None:
        """Like take_config, and tell the partitions.

        With the topic's `partition_count`, the partitions of other topics are not looked at.
        """
        for _ in self.set_config_in_steps(topic, config, partition_count):
            pass

    def set_config_in_steps(self, topic: str, config: dict[str, Any], partition_count: int | None = None) -> Iterator[None]:
        """The same; each step tells some partitions. Steps after a later set_config apply the later configuration."""
        if self.take_config(topic, config):
            yield from self._hosted.tell_in_steps(topic, partition_count)

    def counted(self) -> tuple[list[HostedPartition], list[int]]:
        """All hosted partitions, and what was counted by deleted ones: each partition is in one of the two."""
        with self._hosted.mutex:
            return list(self.partitions.values()), self.deleted_counts

    def describe(self, wanted: Collection[Key] | None = None) -> Iterator[tuple[str, str, int, int, int, bool]]:
        """(log dir, topic, partition, size in bytes, offset lag, is it a future replica) of the `wanted` partitions, or of all.

        Any thread. It takes no mutex, which is held while folders are created and renamed: a partition that is created,
        deleted or moved meanwhile may be missing.
        """
        hosted, moves = self._hosted, self._upkeep.moves
        # Copying a dictionary is one step for other threads; iterating over it is not.
        partitions, copies = hosted.partitions.copy(), moves.copies.copy()
        keys = partitions.keys() if wanted is None else dict.fromkeys(wanted)
        for key in keys:
            replica, path = partitions.get(key), hosted.dir_of.get(key)
            if replica is not None and path is not None and path not in hosted.offline_dirs:
                lag = max(0, replica.high_watermark - replica.log_end_offset)
                yield path, *key, replica.log.size_bytes, lag, False
        for key, (path, log) in copies.items():
            partition = partitions.get(key)
            if partition is not None and (wanted is None or key in keys):
                lag = max(0, partition.log_end_offset - log.log_end_offset)
                yield path, *key, log.size_bytes, lag, True

    def move(self, topic: str, index: int, log_dir: str) -> None:
        """Begin to copy a partition to another log directory; it is swapped in when it has caught up. Raises LogDirError."""
        self._upkeep.moves.add((topic, index), log_dir)

    # -- upkeep --

    def apply_retention(self, now_ms: int | None = None) -> int:
        """Retire old segments of every partition. Returns how many segments went."""
        return self._upkeep.apply_retention(now_ms)

    def write_checkpoints(self) -> None:
        """Recovery points, log start offsets, high watermarks and cleaned offsets of every directory."""
        self._hosted.write_checkpoints()

    def configure_cleaner(self, config: dict[str, Any] | None) -> None:
        """Take the broker's changed log.cleaner.* keys. The upkeep thread waits for cleaner threads that end, not the caller."""
        with self._hosted.mutex:
            self._hosted.compacted.configure(config)
        self._hosted.wake.set()

    def cleaner_stats(self) -> dict[str, Any]:
        """CompactedLogs.stats; empty while nothing is compacted."""
        hosted = self._hosted
        return hosted.compacted.stats(hosted.partitions, hosted.dir_of, hosted.dirs)

    # -- shutdown --

    def shutdown(self) -> None:
        """Flush and close every log, write checkpoints and the clean-shutdown file, unlock the directories.

        After a start that failed or was refused, nothing in the directories is changed.
        """
        hosted = self._hosted
        if not self._started:
            self._unlock_all()
            return
        self._upkeep.stop()
        hosted.compacted.stop()
        failures: dict[str, list[str]] = {path: [] for path in hosted.dirs}

        def close(job: tuple[str, str, PartitionLog]) -> None:
            try:
                job[2].close()
            except StorageFailure as error:
                failures[job[0]].append(f"{job[1]}: {error}")

        logs = [(hosted.dir_of[key], f"{key[0]}-{key[1]}", partition.log) for key, partition in hosted.partitions.items()]
        in_threads(close, [job for job in logs if job[0] in hosted.dirs], self._recovery_threads)
        self.write_checkpoints()
        for path, directory in hosted.dirs.items():
            if failed := failures.get(path):
                text = "logs could not be closed: the next start checks the directory"
                self._hosted.warn(text, log_dir=path, logs=len(failed), first=min(failed))
            else:
                with contextlib.suppress(OSError):  # a full disk: the next start looks at the logs again
                    directory.mark_clean()
        self._unlock_all()
