"""The table of all logs of a broker: the log directory of each partition, and which directories work."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from kafka_cy.storage import checkpoints
from kafka_cy.storage.compacted_logs import CompactedLogs, is_compacted
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog
from kafka_cy.storage.log_dir import LogDir, LogDirError
from kafka_cy.storage.log_failure import count_of_failures
from kafka_cy.storage.log_settings import LogSettings
from kafka_cy.storage.removals import Removal, merged, planned
from kafka_cy.storage.throttled_replicas import NONE as NOT_THROTTLED
from kafka_cy.storage.throttled_replicas import ThrottledReplicas, throttled_replicas

Key = tuple[str, int]  # topic and partition
STEP_PARTITIONS = 100  # that are told of a new configuration in one step


class HostedLogs:
    """Owner: LogManager. Used by the controller's thread and by the log manager's own thread.

    `mutex` guards all tables. Threads that must not wait for it copy a dictionary or look up single keys
    (LogManager.describe). It is not held during disk waits, with two exceptions: folders are created and renamed
    under it, and when a moved partition switches directories the new name is synced under it. `_checkpoints_mutex`
    keeps two threads from writing checkpoints at once; it is never taken while `mutex` is held.
    `cutting` is held while one log is cut, and while a moved partition switches directories; it is taken before `mutex`.
    """

    def __init__(
        self,
        broker_id: int,
        default_config: dict[str, Any],
        loop: Any,
        cleaner_config: dict[str, Any] | None,
        on_offline: Callable[[str, str, list[HostedPartition]], None] | None,
        warn: Callable[..., None] | None,
        info: Callable[..., None] | None = None,
    ) -> None:
        self.mutex = threading.RLock()
        self._checkpoints_mutex = threading.Lock()
        self.cutting = threading.Lock()
        self.wake = threading.Event()  # the log manager's thread has work
        self.partitions: dict[Key, HostedPartition] = {}
        self.dir_of: dict[Key, str] = {}
        self._topic_sizes: Counter[str] = Counter()  # partitions of each topic
        self._dir_sizes: Counter[str] = Counter()  # partitions in each log directory
        self.arriving: dict[Key, tuple[HostedPartition, PartitionLog]] = {}  # copies of moves that get their partition's name soon
        self.leaving: dict[Key, PartitionLog] = {}  # sources of moves that still have their partition's name
        self.dirs: dict[str, LogDir] = {}  # working directories
        self.offline_dirs: set[str] = set()
        self.cordoned: frozenset[str] = frozenset()  # get no new partitions (KIP-1066); replaced as a whole
        self.failed_dirs: list[LogDir] = []  # offline since the start; still locked because their logs are still open
        self.stale: set[Key] = set()  # checkpoints that still have offsets of deleted or set-aside partitions
        self.unsynced: set[str] = set()  # log directories with renamed folders since their last fsync
        self.removals: dict[str, Removal] = {}  # folders to remove, or with .deleted files
        self.next_removal = float("inf")  # none of them is due before; they are not looked at until then
        self.compacted = CompactedLogs(cleaner_config)
        self.on_offline = on_offline
        self.warn = warn if warn is not None else _warn_on_stderr
        self.info = info if info is not None else _not_logged
        self._default_config = dict(default_config)
        self._broker_id = broker_id
        self._configs: dict[str, dict[str, Any]] = {}
        self._settings: dict[str, LogSettings] = {}  # topics whose logs have been opened
        self._throttled: dict[str, ThrottledReplicas] = {}  # topics that have such replicas
        self.untold: set[str] = set()  # topics of which not all partitions know whether they are throttled or compacted
        self._loop = loop
        self._failures_seen = 0
        self._watermarks_written: dict[str, dict[Key, int]] = {}  # by directory; with _checkpoints_mutex

    # -- configuration --

    def config_of(self, topic: str) -> dict[str, Any]:
        """The typed configuration of a topic's logs."""
        return self._configs.get(topic) or self._default_config

    def settings_of(self, topic: str) -> LogSettings:
        """The configuration that the topic's logs share."""
        with self.mutex:
            settings = self._settings.get(topic)
            if settings is None:
                settings = self._settings[topic] = LogSettings(self.config_of(topic))
            return settings

    def set_config(self, topic: str, config: dict[str, Any] | None) -> None:
        """Set a topic's configuration, which its logs have when this returns; None removes it. Call with the mutex held.

        Its partitions may have to be told, too (`untold`). Raises KeyError for an unknown codec; nothing has changed then.
        """
        if config is None:
            for table in (self._configs, self._settings, self._throttled):
                table.pop(topic, None)
            self.untold.discard(topic)
            return
        throttled = throttled_replicas(config, self._broker_id)
        if topic in self._settings:
            self._settings[topic].replace(config or self._default_config)
        if throttled != self._throttled.get(topic, NOT_THROTTLED) or is_compacted(config) > is_compacted(self.config_of(topic)):
            self.untold.add(topic)
        self._configs[topic] = dict(config)
        if throttled != NOT_THROTTLED:
            self._throttled[topic] = throttled
        else:
            self._throttled.pop(topic, None)

    def tell_in_steps(self, topic: str, partition_count: int | None) -> Iterator[None]:
        """Tell a topic's partitions whether they are throttled, and the cleaner whether it cleans them; some in each step.

        Without the topic's `partition_count`, all partitions are looked at for those of the topic.
        """
        with self.mutex:
            self.untold.discard(topic)
            indexes: Sequence[int] = range(partition_count or 0)
            if partition_count is None:
                indexes = [index for name, index in self.partitions if name == topic]
        try:
            for first in range(0, len(indexes), STEP_PARTITIONS):
                with self.mutex:
                    for index in indexes[first : first + STEP_PARTITIONS]:
                        partition = self.partitions.get((topic, index))
                        if partition is not None:
                            self.apply_throttle(partition)
                            self.compacted.add(partition, self.config_of(topic))
                yield
        except BaseException:
            with self.mutex:
                self.untold.add(topic)
            raise

    def apply_throttle(self, partition: HostedPartition) -> None:
        """Tell the partition whether its replica here is throttled."""
        partition.set_throttled(*self._throttled.get(partition.topic, NOT_THROTTLED).of(partition.index))

    def shortest_flush_ms(self) -> int:
        """The lowest flush.ms of all topics."""
        with self.mutex:
            return min(int(c.get("flush.ms", 1 << 62)) for c in [self._default_config, *self._configs.values()])

    def delete_delay_ms(self, topic: str) -> int:
        """file.delete.delay.ms of a topic."""
        return int(self.config_of(topic).get("file.delete.delay.ms", 60_000))

    # -- partitions --

    def add(self, key: Key, partition: HostedPartition, path: str) -> None:
        """A partition in a log directory. Call with the mutex held."""
        self.partitions[key] = partition
        self.apply_throttle(partition)
        self.dir_of[key] = path
        self._topic_sizes[key[0]] += 1
        self._dir_sizes[path] += 1

    def remove(self, key: Key) -> HostedPartition | None:
        """Forget a partition; returns it. Call with the mutex held."""
        partition = self.partitions.pop(key, None)
        if partition is not None:
            self._dir_sizes[self.dir_of.pop(key)] -= 1
            self._topic_sizes[key[0]] -= 1
            if not self._topic_sizes[key[0]]:
                del self._topic_sizes[key[0]]
        return partition

    def moved(self, key: Key, path: str) -> None:
        """A partition is in another log directory now. Call with the mutex held."""
        self._dir_sizes[self.dir_of[key]] -= 1
        self._dir_sizes[path] += 1
        self.dir_of[key] = path

    def has_topic(self, topic: str) -> bool:
        """Whether a partition of the topic is hosted."""
        return topic in self._topic_sizes

    def emptiest_dir(self) -> str:
        """The working directory with the fewest partitions. Call with the mutex held. Raises LogDirError if none works.

        It is one that is not cordoned, if there is one.
        """
        if not self.dirs:
            raise LogDirError("not writable", "all log directories have failed")
        usable = [path for path in self.dirs if path not in self.cordoned] or self.dirs
        return min(usable, key=lambda path: self._dir_sizes[path])

    def hosted(self) -> list[HostedPartition]:
        """All partitions."""
        with self.mutex:
            return list(self.partitions.values())

    def working(self) -> list[HostedPartition]:
        """All partitions in working directories."""
        with self.mutex:
            return [partition for key, partition in self.partitions.items() if self.dir_of[key] in self.dirs]

    def remove_later(self, folder: str, delay_ms: int) -> None:
        """Let the log manager's thread remove a renamed folder, or the `.deleted` files in a partition's folder.

        A folder that waits already is looked at when that is due; what is too young then waits for its own time.
        """
        self.plan_removal(folder, planned(delay_ms))

    def plan_removal(self, folder: str, removal: Removal) -> None:
        """Let the log manager's thread look at a folder when the removal is due."""
        with self.mutex:
            removal = self.removals[folder] = merged(self.removals.get(folder), removal)
            self.next_removal = min(self.next_removal, removal.due_s)
        self.wake.set()

    def remove_deleted_later(self, log: PartitionLog, topic: str) -> None:
        """Let the files of the log's removed segments go later, if there are any."""
        folder = log.directory
        try:
            has_deleted = any(name.endswith(".deleted") for name in os.listdir(folder))  # noqa: PTH208 (start time)
        except OSError:
            return  # the log was deleted meanwhile, or its directory failed
        if has_deleted:
            self.remove_later(folder, self.delete_delay_ms(topic))

    def take_due_removals(self) -> dict[str, Removal]:
        """The folders whose time has come; they are forgotten."""
        now_s = time.monotonic()
        with self.mutex:
            if now_s < self.next_removal:
                return {}
            due = {folder: removal for folder, removal in self.removals.items() if removal.due_s <= now_s}
            for folder in due:
                del self.removals[folder]
            self.next_removal = min((removal.due_s for removal in self.removals.values()), default=float("inf"))
        return due

    def cut(self, partition: HostedPartition, offset: int, *, fully: bool = False) -> None:
        """Cut a partition's log, with `cutting`; the files of its removed segments go later."""
        partition.truncate_fully(offset) if fully else partition.truncate_to(offset)
        self.remove_deleted_later(partition.log, partition.topic)

    def sync_directories(self) -> None:
        """Make renamed folders durable; a directory where this fails goes offline."""
        with self.mutex:
            unsynced, self.unsynced = self.unsynced, set()
        for path in unsynced:
            self.sync_directory(path)

    def sync_directory(self, path: str) -> bool:
        """Make the names in a log directory durable; returns False if this failed and took the directory offline."""
        try:
            checkpoints.sync_directory(path)
        except OSError as error:
            self.take_offline(path, error.strerror or str(error))
            return False
        return True

    # -- failed directories --

    def check_directories(self) -> None:
        """A log that goes offline takes its whole directory offline, as in Kafka."""
        self._failures_seen = count_of_failures()
        with self.mutex:
            failed = {self.dir_of[key]: p.log.failed_errno for key, p in self.partitions.items() if p.log.offline}
        for path, error_number in failed.items():
            if path not in self.offline_dirs:
                self.take_offline(path, os.strerror(error_number))

    @property
    def has_new_failures(self) -> bool:
        """Has a log failed since the last check_directories()?"""
        return self._failures_seen != count_of_failures()

    def take_offline(self, path: str, reason: str) -> None:
        """A directory failed: its partitions stay offline until the next start."""
        with self.mutex:
            if path in self.offline_dirs:
                return
            self.offline_dirs.add(path)
            directory = self.dirs.pop(path, None)
            if directory is not None:
                self.failed_dirs.append(directory)
            lost = [p for key, p in self.partitions.items() if self.dir_of[key] == path]
            for partition in lost:
                partition.retire("offline")
        self.tell(self.on_offline, path, reason, lost)

    def tell(self, listener: Callable[..., None] | None, *what: Any) -> None:
        """Call `listener` on the control thread, or here if there is no control loop."""
        if listener is None:
            return
        if self._loop is not None:
            self._loop.call_soon_threadsafe(listener, *what)
        else:
            listener(*what)

    # -- checkpoints --

    def write_checkpoints(self, paths: Collection[str] | None = None) -> None:
        """Write the recovery points, log start offsets, high watermarks and cleaner offsets of every directory, or of `paths`.

        A directory where this fails goes offline, as in Kafka (CheckpointFile).
        """
        with self._checkpoints_mutex:
            with self.mutex:
                stale = set(self.stale)
            for path, hosted in self._by_directory().items():
                if paths is not None and path not in paths:
                    continue
                recovery = {key: log.recovery_point for key, _, log in hosted}
                starts = {key: p.log_start_offset for key, p, log in hosted if p.log_start_offset > log.first_base_offset}
                watermarks = {key: p.high_watermark for key, p, _ in hosted}
                cleaned = {key: log.cleaner_offset for key, _, log in hosted if log.cleaner_offset >= 0}
                files = {checkpoints.RECOVERY_POINTS: recovery, checkpoints.LOG_STARTS: starts}
                files[checkpoints.HIGH_WATERMARKS] = watermarks
                if cleaned or self.compacted.in_use:
                    files[checkpoints.CLEANER_OFFSETS] = cleaned
                self._write_offsets(path, files)
                self._watermarks_written[path] = watermarks
            if paths is None:
                with self.mutex:
                    self.stale -= stale

    def write_high_watermarks(self) -> None:
        """Write the high watermarks of the directories in which one has changed since they were written last."""
        with self._checkpoints_mutex:
            for path, hosted in self._by_directory().items():
                watermarks = {key: p.high_watermark for key, p, _ in hosted}
                if watermarks != self._watermarks_written.get(path):
                    self._write_offsets(path, {checkpoints.HIGH_WATERMARKS: watermarks})
                    self._watermarks_written[path] = watermarks

    def write_cleaned_offsets(self) -> None:
        """Write the cleaner offsets only."""
        with self._checkpoints_mutex:
            for path, hosted in self._by_directory().items():
                cleaned = {key: log.cleaner_offset for key, _, log in hosted if log.cleaner_offset >= 0}
                self._write_offsets(path, {checkpoints.CLEANER_OFFSETS: cleaned})

    def _by_directory(self) -> dict[str, list[tuple[Key, HostedPartition, PartitionLog]]]:
        """Partitions and their logs; also the copies and sources of moves: after a crash, a start may take either."""
        with self.mutex:
            found: dict[str, list[tuple[Key, HostedPartition, PartitionLog]]] = {path: [] for path in self.dirs}
            for key, partition in self.partitions.items():
                if self.dir_of[key] in found:
                    found[self.dir_of[key]].append((key, partition, partition.log))
            moving = [(key, log) for key, log in self.leaving.items() if key in self.partitions]
            for key, (partition, log) in self.arriving.items():
                if self.partitions.get(key) is partition:  # otherwise it was deleted, and may have been created anew
                    moving.append((key, log))
            for key, log in moving:
                path = os.path.dirname(log.directory)  # noqa: PTH120
                if path in found:
                    found[path].append((key, self.partitions[key], log))
        return found

    def _write_offsets(self, path: str, files: dict[str, dict[Key, int]]) -> None:
        try:
            for name, offsets in files.items():
                checkpoints.write_offsets(f"{path}/{name}", offsets)
        except OSError as error:
            self.take_offline(path, f"its checkpoints cannot be written: {error.strerror}")

    def not_usable(self, path: str) -> LogDirError:
        """The error for a directory that is not a working log directory."""
        return LogDirError("not writable", f"log directory {path} does not exist or has failed")


def _not_logged(text: str, **details: Any) -> None:
    """Nobody wants these lines."""


def _warn_on_stderr(text: str, **details: Any) -> None:
    sys.stderr.write(" ".join([text, *(f"{key}={value}" for key, value in details.items())]) + "\n")
