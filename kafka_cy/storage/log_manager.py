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
from collections.abc import Callable, Iterator, Mapping
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
    read_topic_id,
    remove_tree,
    write_topic_id,
)
from kafka_cy.storage.partition import HostedPartition

__all__ = ["LogDirError", "LogManager"]

Key = tuple[str, int]
Job = tuple[LogDir, str, bytes, int, str, tuple[int, int, int]]  # of _load
FAILURES_CHECK_S = 0.25  # one integer is compared
THREADS = 4  # beside the caller's, to open and close logs


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
    ) -> None:
        """`cleaner_config`: the broker's log.cleaner.* keys with typed values; without it nothing is compacted."""
        self.log_dirs = list(log_dirs)
        self.offline_dirs: set[str] = set()
        self.strays: list[tuple[str, str]] = []  # (folder, what start() renamed it to)
        self.partitions: dict[Key, HostedPartition] = {}
        self.deleted_counts: list[int] = []  # what deleted partitions had counted (HostedPartition.counts), summed up
        self.on_offline = on_offline
        self.on_uncleanable = on_uncleanable
        self._broker_id = broker_id
        self._cluster_id = cluster_id
        self._default_config = dict(default_config)
        self._configs: dict[str, dict[str, Any]] = {}
        self._loop = loop
        self._retention_check_s = retention_check_interval_ms / 1000
        self._checkpoint_s = checkpoint_interval_ms / 1000
        self._dirs: dict[str, LogDir] = {}
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

    def start(self, topic_ids: Mapping[str, bytes] | None = None) -> None:
        """Lock and identify the directories, recover every log in them. Raises LogDirError.

        Of several directories, one that cannot be used is left out (`offline_dirs`). A folder whose partition.metadata
        has another id than `topic_ids` (by topic name) is the log of an earlier topic of that name: it is renamed, as
        Kafka does with a stray log (LogManager.loadLog), and nothing in it removed (`strays`).
        """
        for path in self.log_dirs:
            directory = LogDir(path)
            try:
                directory.open(self._broker_id, self._cluster_id)
            except LogDirError as error:
                if error.kind != "not writable" or len(self.log_dirs) == 1:
                    self._unlock_all()
                    raise
                self.offline_dirs.add(path)
                continue
            self._dirs[path] = directory
        if not self._dirs:
            raise LogDirError("not writable", "none of the log directories can be used")
        try:
            self._load_all(dict(topic_ids or {}))
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

    def _load_all(self, topic_ids: dict[str, bytes]) -> None:
        jobs: list[Job] = []
        for directory in self._dirs.values():
            recovery = checkpoints.read_offsets(f"{directory.path}/{checkpoints.RECOVERY_POINTS}")
            starts = checkpoints.read_offsets(f"{directory.path}/{checkpoints.LOG_STARTS}")
            cleaned = checkpoints.read_offsets(f"{directory.path}/{checkpoints.CLEANER_OFFSETS}")
            for topic, index, folder in directory.partitions():
                key = (topic, index)
                topic_id = read_topic_id(folder)
                # Of a topic that is not known, the first id counts: it is the one that it will be known by.
                if topic_id != NO_TOPIC_ID and topic_id != topic_ids.setdefault(topic, topic_id):
                    self._set_aside(directory.path, key, folder)
                    continue
                offsets = (starts.get(key, -1), recovery.get(key, -1), cleaned.get(key, -1))
                jobs.append((directory, topic, topic_id, index, folder, offsets))
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

        _in_threads(load, jobs)
        for path, error in failed.items():
            self._leave_out(path)
            if not self._dirs:
                raise LogDirError("broken", str(error)) from error
            sys.stderr.write(f"log manager: {error}\n")
        if refused:
            raise LogDirError("broken", str(refused[0])) from refused[0]

    def _leave_out(self, path: str) -> None:
        self.offline_dirs.add(path)
        self._dirs.pop(path).unlock()
        for key in [key for key, of in self._dir_of.items() if of == path]:
            del self._dir_of[key]
            self.partitions.pop(key).log.abandon()

    def _set_aside(self, path: str, key: Key, folder: str) -> None:
        renamed = folder_aside(path, *key, "stray")
        os.rename(folder, renamed)
        self.strays.append((folder, renamed))
        self._stale.add(key)

    def _load(
        self, directory: LogDir, topic: str, topic_id: bytes, index: int, folder: str, offsets: tuple[int, int, int]
    ) -> None:
        start, recovery, cleaned = offsets
        log = PartitionLog(
            folder, self._config_of(topic), start_offset=start, recovery_point=recovery, clean=directory.clean
        )
        log.restore_cleaner_offset(cleaned)
        partition = HostedPartition(log, topic, topic_id, index, max(log.latest_epoch, 0))
        with self._mutex:
            if (topic, index) in self.partitions:
                raise LogDirError("broken", f"{topic}-{index} lies in two log directories")
            self.partitions[topic, index] = partition
            self._dir_of[topic, index] = directory.path

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
                sys.stderr.write(f"log manager: {error}\n")
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
            if folder.endswith("-delete"):
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
            partition.retire("follower")  # appends fail with a retriable error, for the few milliseconds of the swap
            source.expire_producers(0)  # takes the append mutex once: who was inside is through
            copy_log(source, target, lambda: self._stopping)
            target.delete_records(source.log_start_offset)
            target.flush()
            with self._mutex:
                self._swap(partition, key, path, source, target)
        except OSError:
            if target.offline:
                self._take_offline(path, os.strerror(target.failed_errno))
            target.abandon()
            remove_tree(folder)
            if self.partitions.get(key) is partition and self._dir_of.get(key) not in self.offline_dirs:
                partition.become_leader(partition.leader_epoch)
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
        partition.become_leader(partition.leader_epoch)

    # -- shutdown --

    def shutdown(self) -> None:
        """Flush and close every log, write checkpoints and the clean-shutdown file, let the directories go."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._compacted.stop()
        clean = dict.fromkeys(self._dirs, True)

        def close(job: tuple[str, PartitionLog]) -> None:
            try:
                job[1].close()
            except StorageFailure:
                clean[job[0]] = False

        hosted = [(self._dir_of[key], partition.log) for key, partition in self.partitions.items()]
        _in_threads(close, [job for job in hosted if job[0] in self._dirs])
        self.write_checkpoints()
        for path, directory in self._dirs.items():
            if clean[path]:
                with contextlib.suppress(OSError):  # a full disk: the next start looks at the logs again
                    directory.mark_clean()
            directory.unlock()


def _in_threads(work: Callable[[Any], None], jobs: list[Any]) -> None:
    """Do all jobs; several at a time where they are many, as they wait for the disk."""

    def run() -> None:
        while True:
            try:
                job = jobs.pop()
            except IndexError:
                return
            work(job)

    threads = [NamedThread(target=run, name=f"log-opener-{i}") for i in range(min(THREADS, len(jobs) // 4))]
    for thread in threads:
        thread.start()
    run()
    for thread in threads:
        thread.join()


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
