"""All logs of a broker: start and recovery, creation, deletion, moves between directories, periodic work, shutdown.

Calls come from the control thread; one background thread does the periodic work (retention, checkpoints, flush.ms,
delayed removal, moves). Both go through `_mutex` where they touch the table of partitions.
"""

# The os functions, not pathlib, which costs start time.
# ruff: noqa: PTH103, PTH104, PTH108, PTH208
from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.storage import checkpoints
from kafka_cy.storage.compacted_logs import CompactedLogs
from kafka_cy.storage.log import PartitionLog, StorageFailure, count_of_failures
from kafka_cy.storage.log_dir import (
    NO_TOPIC_ID,
    LogDir,
    LogDirError,
    folder_aside,
    remove_tree,
    write_topic_id,
)
from kafka_cy.storage.partition import HostedPartition
from kafka_cy.storage.partition_folders import (
    PARTITION_INDEX_MAX,
    KnownTopics,
    LogDirContent,
    PartitionFolder,
    belongs_to,
    is_of_earlier_topic,
    scan,
)

__all__ = ["LogDirError", "LogManager"]

Key = tuple[str, int]
Job = tuple[LogDir, PartitionFolder, tuple[int, int, int, int]]  # of _load
FAILURES_CHECK_S = 0.25  # one integer is compared
THREADS = 5  # that open and close logs, the calling one included


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
        checkpoint_interval_ms: int = 60_000,
        cleaner_config: dict[str, Any] | None = None,
        on_offline: Callable[[str, str, list[HostedPartition]], None] | None = None,
        on_uncleanable: Callable[[HostedPartition, str], None] | None = None,
        warn: Callable[..., None] | None = None,
        recovery_threads: int = THREADS,
    ) -> None:
        """`cleaner_config`: the broker's log.cleaner.* keys with typed values; without it nothing is compacted.

        `warn(text, **details)` writes
        a line of the broker's log; any thread calls it.
        """
        self.log_dirs = list(log_dirs)
        self.offline_dirs: set[str] = set()
        self._recovery_threads = recovery_threads  # that open and close logs, for all directories together
        self.strays: list[tuple[str, str]] = []  # (folder, what start() renamed it to)
        self.partitions: dict[Key, HostedPartition] = {}
        self.deleted_counts: list[int] = []  # what deleted partitions had counted (HostedPartition.counts), summed up
        self.on_offline = on_offline
        self.on_uncleanable = on_uncleanable
        self._warn = warn if warn is not None else _warn_on_stderr
        self._broker_id = broker_id
        self._cluster_id = cluster_id
        self._default_config = dict(default_config)
        self._configs: dict[str, dict[str, Any]] = {}
        self._loop = loop
        self._retention_check_s = retention_check_interval_ms / 1000
        self._checkpoint_s = checkpoint_interval_ms / 1000
        self._dirs: dict[str, LogDir] = {}
        self._contents: dict[str, LogDirContent] = {}  # from open() to start()
        self._dir_of: dict[Key, str] = {}
        self._futures: dict[Key, tuple[str, PartitionLog]] = {}
        self._removals: list[tuple[float, str]] = []  # (due, folder to remove, or folder with .deleted files)
        self._stale: set[Key] = set()  # deleted or set aside since the checkpoints were last written
        self._moves: list[tuple[Key, str]] = []
        self._failures_seen = 0
        self._compacted = CompactedLogs(cleaner_config)
        self._mutex = threading.RLock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: NamedThread | None = None

    # -- start --

    def open(self) -> None:
        """Lock and identify the directories and see what lies in them; changes nothing. Raises LogDirError.

        Of several directories, one that cannot be used is left out (`offline_dirs`).
        """
        for path in self.log_dirs:
            directory = LogDir(path)
            try:
                directory.open(self._broker_id, self._cluster_id)
                self._contents[path] = scan(path)
            except LogDirError as error:
                if error.kind != "not writable" or len(self.log_dirs) == 1:
                    self._unlock_all()
                    raise
                self.offline_dirs.add(path)
                continue
            except OSError as error:
                directory.unlock()
                self._unlock_all()
                raise LogDirError("broken", f"log directory {path} cannot be read: {error.strerror}") from error
            self._dirs[path] = directory
        if not self._dirs:
            raise LogDirError("not writable", "none of the log directories can be used")

    def unknown(self, known: KnownTopics) -> list[PartitionFolder]:
        """After open(): the partitions of topics that are not among these."""
        return [
            folder
            for content in self._contents.values()
            for folder in content.partitions
            if not belongs_to(folder, known) and not is_of_earlier_topic(folder, known)
        ]

    def was_used(self, path: str) -> bool:
        """After open(): had the directory a meta.properties?"""
        return self._dirs[path].was_used

    def start(self, known: KnownTopics | None = None) -> None:
        """Recover every log of a `known` topic (of all topics where it is None). Raises LogDirError.

        The folder of a partition that is not known is renamed, as Kafka does with a stray log (LogManager.loadLog), and
        nothing in it removed (`strays`). Calls open() where that was not done.
        """
        if not self._dirs:
            self.open()
        try:
            self._load_all(self._topics_found() if known is None else known)
            for directory in self._dirs.values():
                directory.begin()
        except OSError:
            self._unlock_all()
            raise
        for partition in self.partitions.values():
            self._compacted.add(partition, self._config_of(partition.topic))
        self._thread = NamedThread(target=self._work, name="log-manager", daemon=True)
        self._thread.start()

    def _unlock_all(self) -> None:
        for directory in self._dirs.values():
            directory.unlock()

    def _topics_found(self) -> KnownTopics:
        """Every topic that has a folder; of different topic ids the first one counts."""
        found: dict[str, tuple[bytes, int]] = {}
        for content in self._contents.values():
            for folder in content.partitions:
                if found.get(folder.topic, (NO_TOPIC_ID, 0))[0] == NO_TOPIC_ID:
                    found[folder.topic] = (folder.topic_id, PARTITION_INDEX_MAX + 1)
        return found

    def _load_all(self, known: KnownTopics) -> None:
        jobs: list[Job] = []
        for path, directory in self._dirs.items():
            recovery = checkpoints.read_offsets(f"{path}/{checkpoints.RECOVERY_POINTS}")
            starts = checkpoints.read_offsets(f"{path}/{checkpoints.LOG_STARTS}")
            watermarks = checkpoints.read_offsets(f"{path}/{checkpoints.HIGH_WATERMARKS}")
            cleaned = checkpoints.read_offsets(f"{path}/{checkpoints.CLEANER_OFFSETS}")
            for folder in self._ours(path, known):
                key = (folder.topic, folder.partition)
                of_key = [points.get(key, -1) for points in (starts, recovery, watermarks, cleaned)]
                offsets = (of_key[0], of_key[1], of_key[2], of_key[3])
                jobs.append((directory, folder, offsets))
        self._contents.clear()
        failed: dict[str, StorageFailure] = {}
        refused: list[OSError] = []

        def load(job: Job) -> None:
            try:
                if job[0].path not in failed and not refused:
                    self._load(*job)
            except StorageFailure as error:
                failed[job[0].path] = error
            except OSError as error:
                refused.append(error)

        _in_threads(load, jobs, self._recovery_threads)
        for path, error in failed.items():
            self._leave_out(path)
            if not self._dirs:
                raise LogDirError("broken", str(error)) from error
            self._warn(f"a log cannot be loaded, its log directory is offline: {error}", path=path)
        if refused:
            raise LogDirError("broken", str(refused[0])) from refused[0]

    def _ours(self, path: str, known: KnownTopics) -> list[PartitionFolder]:
        """The partitions in a directory that are to be loaded; the others are set aside, remains of deletions go."""
        content = self._contents[path]
        ours = []
        for folder in content.partitions:
            if belongs_to(folder, known):
                ours.append(folder)
            elif is_of_earlier_topic(folder, known):
                self._set_aside(folder, "a log of an earlier topic of the same name is stray and was renamed")
            else:
                self._set_aside(folder, "a log of a topic that does not exist is stray and was renamed")
        for folder in content.deletions + content.copies:
            self._remove_later(folder.path, 0)
        for folder in content.empty:
            if not belongs_to(folder, known):
                self._warn("a folder has a partition's name, but holds no partition: it is left alone", folder=folder.path)
        for other in content.others:
            self._warn("a folder was not made by this broker: it is left alone", folder=other)
        return ours

    def _leave_out(self, path: str) -> None:
        self.offline_dirs.add(path)
        self._dirs.pop(path).unlock()
        for key in [key for key, of in self._dir_of.items() if of == path]:
            del self._dir_of[key]
            self.partitions.pop(key).log.abandon()

    def _set_aside(self, folder: PartitionFolder, why: str) -> None:
        renamed = folder_aside(folder.log_dir, folder.topic, folder.partition, "stray")
        os.rename(folder.path, renamed)
        checkpoints.sync_directory(folder.log_dir)
        self.strays.append((folder.path, renamed))
        self._stale.add((folder.topic, folder.partition))
        self._warn(why, folder=folder.path, to=renamed)

    def _load(self, directory: LogDir, folder: PartitionFolder, offsets: tuple[int, int, int, int]) -> None:
        start, recovery, watermark, cleaned = offsets
        key = (folder.topic, folder.partition)
        log = PartitionLog(
            folder.path, self._config_of(folder.topic), start_offset=start, recovery_point=recovery, clean=directory.clean
        )
        log.restore_cleaner_offset(cleaned)
        epoch = max(log.latest_epoch, 0)
        partition = HostedPartition(
            log, folder.topic, folder.topic_id, folder.partition, epoch, high_watermark=watermark
        )
        with self._mutex:
            if key in self.partitions:
                raise LogDirError(
                    "broken", f"{folder} lies in two log directories, {self._dir_of[key]} and {directory.path}: move one away"
                )
            self.partitions[key] = partition
            self._dir_of[key] = directory.path

    def _config_of(self, topic: str) -> dict[str, Any]:
        return self._configs.get(topic) or self._default_config

    # -- partitions --

    def create(
        self, topic: str, index: int, topic_id: bytes, config: dict[str, Any] | None = None, log_dir: str | None = None
    ) -> HostedPartition:
        """A new, empty partition in `log_dir`, or in the directory with the fewest. Raises OSError."""
        with self._mutex:
            existing = self.partitions.get((topic, index))
            if existing is not None:
                return existing
            if config is not None:
                self._configs[topic] = dict(config)
            path = log_dir if log_dir is not None else self._emptiest()
            if path not in self._dirs:
                raise LogDirError("not writable", f"log directory {path} is not there or failed")
            if (topic, index) in self._stale:
                self.write_checkpoints()  # a crash must not give the new log the offsets of the old one
            folder = f"{path}/{topic}-{index}"
            os.makedirs(folder, exist_ok=True)
            write_topic_id(folder, topic_id)
            log = PartitionLog(folder, self._config_of(topic), clean=True)
            partition = HostedPartition(log, topic, topic_id, index, 0)
            self.partitions[topic, index] = partition
            self._dir_of[topic, index] = path
            self._compacted.add(partition, self._config_of(topic))
            return partition

    def _emptiest(self) -> str:
        if not self._dirs:
            raise LogDirError("not writable", "all log directories have failed")
        if len(self._dirs) == 1:
            return next(iter(self._dirs))
        counts = dict.fromkeys(self._dirs, 0)
        for path in self._dir_of.values():
            if path in counts:
                counts[path] += 1
        return min(counts, key=lambda path: counts[path])

    def delete(self, topic: str, index: int) -> None:
        """Gone at once for everybody; its files go after file.delete.delay.ms."""
        with self._mutex:
            partition = self.partitions.pop((topic, index), None)
            if partition is None:
                return
            path = self._dir_of.pop((topic, index))
            if not any(name == topic for name, _ in self.partitions):
                delay_ms = self._delete_delay_ms(topic)
                self._configs.pop(topic, None)
            else:
                delay_ms = self._delete_delay_ms(topic)
            self._stale.add((topic, index))
            partition.retire("deleted")
            counts = partition.counts()
            before = self.deleted_counts or [0] * len(counts)
            self.deleted_counts = [a + b for a, b in zip(before, counts, strict=True)]
            partition.log.abandon()
            self._compacted.remove(partition)
            folder = folder_aside(path, topic, index, "delete")
            partition.log.rename(folder)
            self._remove_later(folder, delay_ms)

    def _delete_delay_ms(self, topic: str) -> int:
        return int(self._config_of(topic).get("file.delete.delay.ms", 60_000))

    def _remove_later(self, folder: str, delay_ms: int) -> None:
        self._removals.append((time.monotonic() + delay_ms / 1000, folder))
        self._wake.set()

    def set_config(self, topic: str, config: dict[str, Any]) -> None:
        """Take a topic's new (whole, typed) configuration; it is in force when this returns."""
        with self._mutex:
            self._configs[topic] = dict(config)
            for (name, _), partition in self.partitions.items():
                if name == topic:
                    partition.log.set_config(config)
                    self._compacted.add(partition, self._config_of(topic))
        self._wake.set()

    def counted(self) -> tuple[list[HostedPartition], list[int]]:
        """All hosted partitions, and what was counted by those that are no more: each partition is in one of the two."""
        with self._mutex:
            return list(self.partitions.values()), self.deleted_counts

    def describe(self) -> Iterator[tuple[str, str, int, int, int, bool]]:
        """(log dir, topic, partition, size in bytes, offset lag, is it a future replica)"""
        with self._mutex:
            hosted = [(self._dir_of[key], key, partition) for key, partition in self.partitions.items()]
            futures = dict(self._futures)
        for path, (topic, index), replica in hosted:
            if path not in self.offline_dirs:
                lag = max(0, replica.high_watermark - replica.log_end_offset)
                yield path, topic, index, replica.log.size_bytes, lag, False
        for (topic, index), (path, log) in futures.items():
            partition = self.partitions.get((topic, index))
            if partition is not None:  # else it was deleted while it moves
                lag = max(0, partition.log_end_offset - log.log_end_offset)
                yield path, topic, index, log.size_bytes, lag, True

    def move(self, topic: str, index: int, log_dir: str) -> None:
        """Begin to copy a partition to another log directory; it is swapped in when it has caught up."""
        with self._mutex:
            if log_dir not in self._dirs:
                raise LogDirError("not writable", f"log directory {log_dir} is not there or failed")
            self._moves = [move for move in self._moves if move[0] != (topic, index)]
            if self._dir_of[topic, index] != log_dir:
                self._moves.append(((topic, index), log_dir))
        self._wake.set()

    # -- the background thread --

    def _work(self) -> None:
        next_retention = time.monotonic() + self._retention_check_s
        next_checkpoint = time.monotonic() + self._checkpoint_s
        while True:
            self._wait(time.monotonic() + self._pause_s(min(next_retention, next_checkpoint)))
            if self._stopping:
                return
            try:
                self._run_moves()
                if self._compacted.rounds_ended:
                    self._after_cleaning()
                self._flush_by_time()
                self._run_removals(time.monotonic())
                if time.monotonic() >= next_retention:
                    next_retention = time.monotonic() + self._retention_check_s
                    self.apply_retention()
                if time.monotonic() >= next_checkpoint:
                    next_checkpoint = time.monotonic() + self._checkpoint_s
                    self.write_checkpoints()
                self.check_directories()
            except OSError as error:
                self._warn(f"log manager: {error}")
                self.check_directories()

    def _wait(self, until: float) -> None:
        """Until there is work. Reactors cannot wake Python threads, so their failures are looked for meanwhile."""
        while not self._wake.wait(max(0.0, min(FAILURES_CHECK_S, until - time.monotonic()))):
            if self._failures_seen != count_of_failures():
                self.check_directories()
            if time.monotonic() >= until or self._compacted.rounds_ended:
                return
        self._wake.clear()

    def _pause_s(self, due: float) -> float:
        if self._removals:
            due = min(due, min(removal[0] for removal in self._removals))
        flush_ms = min(int(c.get("flush.ms", 1 << 62)) for c in [self._default_config, *self._configs.values()])
        return max(0.0, min(due - time.monotonic(), flush_ms / 2000, 10.0))

    def _hosted(self) -> list[HostedPartition]:
        with self._mutex:
            return list(self.partitions.values())

    def _flush_by_time(self) -> None:
        now_ms = int(time.time() * 1000)
        for partition in self._hosted():
            flush_ms = int(self._config_of(partition.topic).get("flush.ms", 1 << 62))
            log = partition.log
            if log.recovery_point < log.log_end_offset and now_ms - log.last_flush_ms >= flush_ms:
                log.flush()

    def apply_retention(self, now_ms: int | None = None) -> int:
        """Retire old segments of every partition; forgets idle producers. Returns how many segments went."""
        total = 0
        now = int(time.time() * 1000) if now_ms is None else now_ms
        for partition in self._hosted():
            try:
                count = partition.log.delete_old_segments(partition.high_watermark, now)
                partition.log.expire_producers(now)
            except StorageFailure:
                continue
            if count:
                total += count
                with self._mutex:
                    self._remove_later(partition.log.directory, self._delete_delay_ms(partition.topic))
        return total

    def _run_removals(self, now: float) -> None:
        with self._mutex:
            due = [folder for when, folder in self._removals if when <= now]
            self._removals = [removal for removal in self._removals if removal[0] > now]
        for folder in due:
            if folder.endswith(("-delete", "-future")):
                remove_tree(folder)
            else:
                _unlink_deleted(folder)

    def write_checkpoints(self) -> None:
        """Recovery points, log start offsets and high watermarks of every directory.

        A directory where they cannot be written goes offline, as in Kafka (CheckpointFile).
        """
        with self._mutex:
            hosted = [(self._dir_of[key], key, partition) for key, partition in self.partitions.items()]
            stale = set(self._stale)
        for path in list(self._dirs):
            mine = [(key, partition) for of, key, partition in hosted if of == path]
            recovery = {key: p.log.recovery_point for key, p in mine}
            starts = {key: p.log_start_offset for key, p in mine if p.log_start_offset > p.log.first_base_offset}
            watermarks = {key: p.high_watermark for key, p in mine}
            cleaned = {key: p.log.cleaner_offset for key, p in mine if p.log.cleaner_offset >= 0}
            files = {checkpoints.RECOVERY_POINTS: recovery, checkpoints.LOG_STARTS: starts}
            files[checkpoints.HIGH_WATERMARKS] = watermarks
            if cleaned or self._compacted.in_use:
                files[checkpoints.CLEANER_OFFSETS] = cleaned
            self._write_offsets(path, files)
        with self._mutex:
            self._stale -= stale

    def _write_offsets(self, path: str, files: dict[str, dict[Key, int]]) -> None:
        try:
            for name, offsets in files.items():
                checkpoints.write_offsets(f"{path}/{name}", offsets)
        except OSError as error:
            self._take_offline(path, f"its checkpoints cannot be written: {error.strerror}")

    def check_directories(self) -> None:
        """A log that went offline takes its whole directory with it, as in Kafka."""
        self._failures_seen = count_of_failures()
        failed = {self._dir_of.get((p.topic, p.index)): p.log.failed_errno for p in self._hosted() if p.log.offline}
        for path, error_number in failed.items():
            if path is not None and path not in self.offline_dirs:
                self._take_offline(path, os.strerror(error_number))

    def _take_offline(self, path: str, reason: str) -> None:
        with self._mutex:
            self.offline_dirs.add(path)
            self._dirs.pop(path, None)
            lost = [p for key, p in self.partitions.items() if self._dir_of[key] == path]
            for partition in lost:
                partition.retire("offline")
        self._tell(self.on_offline, path, reason, lost)

    def _tell(self, listener: Callable[..., None] | None, *what: Any) -> None:
        """On the control thread, if there is one."""
        if listener is None:
            return
        if self._loop is not None:
            self._loop.call_soon_threadsafe(listener, *what)
        else:
            listener(*what)

    # -- cleaning --

    def configure_cleaner(self, config: dict[str, Any] | None) -> None:
        """Take the broker's changed log.cleaner.* keys."""
        with self._mutex:
            self._compacted.configure(config)

    def cleaner_stats(self) -> dict[str, Any]:
        """CompactedLogs.stats; empty while nothing is compacted."""
        return self._compacted.stats(self.partitions, self._dir_of, self._dirs)

    def _after_cleaning(self) -> None:
        """Rounds have ended: checkpoint what is clean, remove what was replaced in time, tell what cannot be cleaned."""
        hosted = self._hosted()
        replaced, uncleanable = self._compacted.look_after(hosted)
        for partition in replaced:
            with self._mutex:
                self._remove_later(partition.log.directory, self._delete_delay_ms(partition.topic))
        for partition in uncleanable:
            self._tell(self.on_uncleanable, partition, partition.log.uncleanable)
        for path in list(self._dirs):
            cleaned = {
                (p.topic, p.index): p.log.cleaner_offset
                for p in hosted
                if self._dir_of.get((p.topic, p.index)) == path and p.log.cleaner_offset >= 0
            }
            self._write_offsets(path, {checkpoints.CLEANER_OFFSETS: cleaned})

    # -- moves --

    def _run_moves(self) -> None:
        while self._moves and not self._stopping:
            key, path = self._moves.pop(0)
            partition = self.partitions.get(key)
            if partition is not None:
                self._move(partition, key, path)

    def _move(self, partition: HostedPartition, key: Key, path: str) -> None:
        from kafka_cy.storage.log_copy import copy_log, first_offset  # not in the start path

        topic, index = key
        folder = f"{path}/{topic}-{index}.{uuid.uuid4().hex}-future"
        os.makedirs(folder)
        write_topic_id(folder, partition.topic_id)
        source = partition.log
        target = PartitionLog(folder, self._config_of(topic), clean=True)
        target.truncate_fully(first_offset(source))
        self._futures[key] = (path, target)
        source.hold_cleaning()  # a copy of old and cleaned parts would bring back what tombstones had deleted
        try:
            copy_log(source, target, lambda: self._stopping)
            source.seal()  # appends fail with a retriable error, for the few milliseconds of the swap
            copy_log(source, target, lambda: self._stopping)
            if self._stopping:
                raise StorageFailure(f"the move of {topic}-{index} was stopped: the broker shuts down", 12)
            target.delete_records(source.log_start_offset)
            target.flush()
            with self._mutex:
                self._swap(partition, key, path, source, target)
        except OSError:
            if target.offline:
                self._take_offline(path, os.strerror(target.failed_errno))
            target.abandon()
            remove_tree(folder)
            if partition.log is source:
                source.unseal()
            raise
        finally:
            source.release_cleaning()
            self._futures.pop(key, None)

    def _swap(
        self, partition: HostedPartition, key: Key, path: str, source: PartitionLog, target: PartitionLog
    ) -> None:
        if self.partitions.get(key) is not partition:
            raise StorageFailure(f"{key[0]}-{key[1]} was deleted while it was moved", 12)
        dying = folder_aside(self._dir_of[key], *key, "delete")
        source.rename(dying)
        target.rename(f"{path}/{key[0]}-{key[1]}")
        partition.swap_log(target)
        self._dir_of[key] = path
        self._remove_later(dying, self._delete_delay_ms(key[0]))

    # -- shutdown --

    def shutdown(self) -> None:
        """Flush and close every log, write checkpoints and the clean-shutdown file, let the directories go.

        Where start() did not come to its end, nothing is written: the checkpoints on disk are those of all partitions.
        """
        if self._thread is None:
            self._unlock_all()
            return
        self._stopping = True
        self._wake.set()
        self._thread.join()
        self._compacted.stop()
        clean = dict.fromkeys(self._dirs, True)

        def close(job: tuple[str, PartitionLog]) -> None:
            try:
                job[1].close()
            except StorageFailure:
                clean[job[0]] = False

        hosted = [(self._dir_of[key], partition.log) for key, partition in self.partitions.items()]
        _in_threads(close, [job for job in hosted if job[0] in self._dirs], self._recovery_threads)
        self.write_checkpoints()
        for path, directory in self._dirs.items():
            if clean[path]:
                with contextlib.suppress(OSError):  # a full disk: the next start looks at the logs again
                    directory.mark_clean()
            directory.unlock()


def _in_threads(work: Callable[[Any], None], jobs: list[Any], threads_max: int) -> None:
    """Do all jobs; many jobs run in up to `threads_max` threads, because they wait for the disk."""

    def run() -> None:
        while True:
            try:
                job = jobs.pop()
            except IndexError:
                return
            work(job)

    count = min(threads_max - 1, len(jobs) // 4)  # this thread works as well
    threads = [NamedThread(target=run, name=f"log-opener-{i}") for i in range(count)]
    for thread in threads:
        thread.start()
    run()
    for thread in threads:
        thread.join()


def _warn_on_stderr(text: str, **details: Any) -> None:
    sys.stderr.write(" ".join([text, *(f"{key}={value}" for key, value in details.items())]) + "\n")


def _unlink_deleted(folder: str) -> None:
    """Remove a log's .deleted files."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.endswith(".deleted"):
            try:
                os.unlink(f"{folder}/{name}")
            except OSError:
                pass
