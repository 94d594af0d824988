"""The start of all logs: sorts out what lies in the log directories, finishes what a crash cut off, opens the logs.

A folder is a partition's when the metadata knows its topic id and number. Nothing else is opened, and nothing is removed
but what our own deletions and moves have left behind.
"""

# The os functions, not pathlib, which costs start time.
# ruff: noqa: PTH104
from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any, Literal

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.storage import checkpoints
from kafka_cy.storage.hosted_logs import HostedLogs, Key
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.load_report import LoadReport, segments_read
from kafka_cy.storage.log import OffsetOutOfRange, PartitionLog
from kafka_cy.storage.log_dir import NO_TOPIC_ID, LogDirError, folder_aside, write_topic_id
from kafka_cy.storage.log_failure import is_shortage
from kafka_cy.storage.partition_folders import (
    KnownTopics,
    LogDirContent,
    PartitionFolder,
    belongs_to,
    has_whole_name,
    is_of_earlier_topic,
    moved_from,
)

THREADS = 5  # that open and close logs, the calling one included
Offsets = tuple[int, int, int, int]  # log start offset, recovery point, high watermark, cleaned offset; -1: there is none


class LogLoader:
    """Fills the table of logs; for one start. Owner: LogManager.start()."""

    def __init__(
        self,
        hosted: HostedLogs,
        contents: dict[str, LogDirContent],
        known: KnownTopics,
        deleting: KnownTopics,
        threads: int,
        *,
        incomplete: bool,
        leads: bool,
    ) -> None:
        """`contents`: what lies in each directory of `hosted.dirs`; `deleting`: topics whose deletion was cut off;
        `incomplete`: partitions may lie in directories that cannot be read, or are missing."""
        self.strays: list[tuple[str, str]] = []  # (folder, what it was renamed to)
        self._hosted = hosted
        self._contents = dict(contents)
        self._known = known
        self._deleting = deleting
        self._threads = threads
        self._leads = leads
        self._incomplete = incomplete or bool(hosted.offline_dirs)
        self._name_of = {topic_id: name for name, (topic_id, _) in known.items() if topic_id != NO_TOPIC_ID}
        self._current: dict[Key, list[PartitionFolder]] = {}
        self._offsets: dict[tuple[str, Key], Offsets] = {}
        self._superseded: list[tuple[Key, str]] = []  # folders of partitions that have another one
        self._report: LoadReport | None = None  # while the logs are opened

    def run(self) -> None:
        """Raises LogDirError. A directory in which a log cannot be read goes offline, as long as another one works."""
        self._read_checkpoints()
        for content in self._contents.values():
            for folder in content.partitions:
                self._sort_out(folder)
        self._settle_copies()
        for key, folders in self._current.items():
            if len(folders) > 1:
                self._current[key] = [self._settle_duplicates(key, folders)]
        self._tell_what_is_left_alone()
        self._hosted.sync_directories()
        if not self._hosted.dirs:
            raise LogDirError("broken", "none of the log directories can be synced to disk")
        self._open_all()
        self._remove_superseded()

    # -- sorting out --

    def _sort_out(self, folder: PartitionFolder) -> None:
        if belongs_to(folder, self._known):
            self._current.setdefault((folder.topic, folder.partition), []).append(folder)
        elif belongs_to(folder, self._deleting):
            self._hosted.remove_later(self._rename(folder, "delete"), 0)
        elif is_of_earlier_topic(folder, self._known):
            self._set_aside(folder, "a log of an earlier topic of the same name is stray and was renamed")
        else:
            self._set_aside(folder, "a log of a topic that does not exist is stray and was renamed")

    def _settle_copies(self) -> None:
        """`-delete` and `-future`: their partition lies elsewhere, so they go, or else one of them is all that is left.

        Of a member of a cluster, the controller takes single partitions away (StopReplica), which ends their moves, too: its
        `-delete` is never the only copy, and a `-future` may be a part only.
        """
        left: dict[Key, list[PartitionFolder]] = {}
        for content in self._contents.values():
            for folder in content.copies + (content.deletions if self._leads else []):
                topic = self._name_of.get(folder.topic_id)
                if folder.topic_id == NO_TOPIC_ID:
                    self._settle_without_id(folder)
                elif topic is not None and folder.partition < self._known[topic][1]:
                    left.setdefault((topic, folder.partition), []).append(folder)
                elif not self._leads and folder.path.endswith("-future") and not has_whole_name(folder):
                    self._hosted.warn("a copy is kept: its name does not tell its topic", folder=folder.path)
                else:
                    self._hosted.info("a folder left by a deletion or a move is removed", folder=folder.path)
                    self._hosted.remove_later(folder.path, 0)
            for folder in [] if self._leads else content.deletions:
                self._hosted.info("a folder left by a deletion or a move is removed", folder=folder.path)
                self._hosted.remove_later(folder.path, 0)
        for key, folders in left.items():
            if key in self._current:
                self._superseded += [(key, folder.path) for folder in folders]
            elif self._incomplete:
                for folder in folders:
                    self._hosted.warn("a folder is kept until all log directories can be read", folder=folder.path)
            elif not self._leads:
                for folder in folders:
                    self._set_aside(folder, "a copy of a move that did not end is stray and was renamed: it may lack records")
            else:
                self._restore(key, folders)

    def _settle_without_id(self, folder: PartitionFolder) -> None:
        """What a removal has left half-way, or the whole log of a broker before Kafka 2.8: only the name tells of its topic."""
        in_use = has_whole_name(folder) and folder.partition < self._known.get(folder.topic, (NO_TOPIC_ID, 0))[1]
        if in_use and (folder.topic, folder.partition) not in self._current:
            if self._incomplete:
                self._hosted.warn("a folder is kept until all log directories can be read", folder=folder.path)
            else:
                self._set_aside(folder, "a folder may be the only log of a partition, but has no topic id: it was renamed")
            return
        self._hosted.warn("a folder left by a deletion or a move is removed; it has no topic id", folder=folder.path)
        self._hosted.remove_later(folder.path, 0)

    def _restore(self, key: Key, folders: list[PartitionFolder]) -> None:
        """A crash, of an earlier version or of Apache Kafka, between the two renames of a move."""
        sources = [folder for folder in folders if folder.path.endswith("-delete")] or folders
        if len(sources) > 1:
            raise LogDirError(
                "broken",
                f"{key[0]}-{key[1]} has no folder, but {sources[0].path} and {sources[1].path} remain: rename the correct"
                f" one to {key[0]}-{key[1]}",
            )
        source = sources[0]
        path = f"{source.log_dir}/{key[0]}-{key[1]}"
        os.rename(source.path, path)
        self._hosted.unsynced.add(source.log_dir)
        self._hosted.warn("an interrupted move between log directories was undone", folder=source.path, to=path)
        self._current[key] = [PartitionFolder(source.log_dir, *key, path, source.topic_id)]
        self._superseded += [(key, folder.path) for folder in folders if folder is not source]

    def _settle_duplicates(self, key: Key, folders: list[PartitionFolder]) -> PartitionFolder:
        """A crash came after the first rename of a move, or the source of an earlier one was out of reach."""
        sources = {folder: moved_from(folder.path) for folder in folders}
        for a, b in itertools.combinations(folders, 2):
            if (a.path in sources[b]) == (b.path in sources[a]):
                raise LogDirError(
                    "broken", f"{a} is in two log directories, {a.log_dir} and {b.log_dir}: move the wrong folder away"
                )
        kept = folders[0]
        for other in folders[1:]:
            is_copy = other.path in sources[kept]
            kept = self._settle_pair(key, kept, other) if is_copy else self._settle_pair(key, other, kept)
        return kept

    def _settle_pair(self, key: Key, copy: PartitionFolder, source: PartitionFolder) -> PartitionFolder:
        """The copy is kept, unless the source was written to since then.

        A leader of a later epoch may have had either of them cut, so that the one with later records can be the shorter one.
        """
        is_older, has_all = self._compare(key, copy, source)
        if is_older:
            self._set_aside(copy, "a move between log directories was cut off: its copy is stray and was renamed")
            return source
        if not has_all:  # the offsets of the source are of other records
            self._set_aside(source, "a move between log directories was cut off: its source is stray and was renamed")
            return copy
        self._offsets[copy.log_dir, key] = self._offsets_of_move(key, copy, source)
        self._store_offsets(key, copy)
        renamed = self._rename(source, "delete")
        self._superseded.append((key, renamed))
        self._hosted.warn("an interrupted move between log directories was completed", folder=copy.path, removed=renamed)
        return copy

    def _compare(self, key: Key, copy: PartitionFolder, source: PartitionFolder) -> tuple[bool, bool]:
        """Whether the copy is older than the source, and whether it has all records of the source."""
        kept = self._open_log(key, copy)
        try:
            other = self._open_log(key, source)
            try:
                is_older = (kept.latest_epoch, kept.log_end_offset) < (other.latest_epoch, other.log_end_offset)
                return is_older, not is_older and _has_all(kept, other)
            finally:
                other.abandon()
        finally:
            kept.abandon()

    def _offsets_of_move(self, key: Key, copy: PartitionFolder, source: PartitionFolder) -> Offsets:
        """The crash may have come before the checkpoints of the copy's directory: the source's tell of DeleteRecords."""
        start, recovery, watermark, cleaned = self._offsets_of(key, copy)
        source_start, _, source_watermark, _ = self._offsets_of(key, source)
        return max(start, source_start), recovery, max(watermark, source_watermark), cleaned

    def _store_offsets(self, key: Key, copy: PartitionFolder) -> None:
        """Before the source goes: a start after this one would not find them otherwise."""
        start, _, watermark, _ = self._offsets_of(key, copy)
        for name, offset in ((checkpoints.LOG_STARTS, start), (checkpoints.HIGH_WATERMARKS, watermark)):
            path = f"{copy.log_dir}/{name}"
            stored = checkpoints.read_offsets(path)
            if offset > stored.get(key, -1):
                checkpoints.write_offsets(path, {**stored, key: offset})

    def _tell_what_is_left_alone(self) -> None:
        for content in self._contents.values():
            for folder in content.empty:
                if not belongs_to(folder, self._known):
                    self._hosted.warn(
                        "a folder has the name of a partition but contains none: it is left alone", folder=folder.path
                    )
            for other in content.others:
                self._hosted.warn("a folder was not created by this broker: it is left alone", folder=other)

    def _set_aside(self, folder: PartitionFolder, why: str) -> None:
        renamed = self._rename(folder, "stray")
        self.strays.append((folder.path, renamed))
        self._hosted.warn(why, folder=folder.path, to=renamed)

    def _rename(self, folder: PartitionFolder, suffix: Literal["delete", "stray"]) -> str:
        renamed = folder_aside(folder.log_dir, folder.topic, folder.partition, suffix)
        os.rename(folder.path, renamed)
        self._hosted.unsynced.add(folder.log_dir)
        return renamed

    # -- opening --

    def _read_checkpoints(self) -> None:
        """First: nothing of a directory is touched whose checkpoints cannot be read."""
        for path in list(self._hosted.dirs):
            try:
                self._read_checkpoints_of(path)
            except OSError as error:
                reason = f"the checkpoints of log directory {path} cannot be read: {error}"
                if is_shortage(error) or len(self._hosted.dirs) == 1:
                    raise LogDirError("broken", reason) from error
                self._leave_out(path)
                del self._contents[path]
                self._incomplete = True
                self._hosted.warn(f"{reason}. It is offline", path=path)

    def _read_checkpoints_of(self, path: str) -> None:
        starts = self._read_checkpoint(f"{path}/{checkpoints.LOG_STARTS}")
        recovery = self._read_checkpoint(f"{path}/{checkpoints.RECOVERY_POINTS}")
        watermarks = self._read_checkpoint(f"{path}/{checkpoints.HIGH_WATERMARKS}")
        cleaned = self._read_checkpoint(f"{path}/{checkpoints.CLEANER_OFFSETS}")
        for key in {*starts, *recovery, *watermarks, *cleaned}:
            self._offsets[path, key] = (
                starts.get(key, -1), recovery.get(key, -1), watermarks.get(key, -1), cleaned.get(key, -1)
            )  # fmt: skip

    def _read_checkpoint(self, file: str) -> dict[Key, int]:
        def damaged(why: str) -> None:
            self._hosted.warn("a checkpoint is damaged: it counts as empty", file=file, reason=why)

        return checkpoints.read_offsets(file, damaged)

    def _offsets_of(self, key: Key, folder: PartitionFolder) -> Offsets:
        return self._offsets.get((folder.log_dir, key), (-1, -1, -1, -1))

    def _open_log(self, key: Key, folder: PartitionFolder) -> PartitionLog:
        start, recovery, _, cleaned = self._offsets_of(key, folder)
        clean = self._hosted.dirs[folder.log_dir].clean
        before = {} if clean or self._report is None else segments_read(folder.path, recovery)
        repairs: dict[str, int] = {}
        log = PartitionLog(
            folder.path, self._hosted.settings_of(key[0]), start_offset=start, recovery_point=recovery, clean=clean,
            repairs=repairs,
        )  # fmt: skip
        log.restore_cleaner_offset(cleaned)
        if before and self._report is not None:
            self._report.recovered(folder.path, before, log)
        if repairs and self._report is not None:
            self._report.repaired(folder.path, repairs)
        return log

    def _open(self, key: Key, folder: PartitionFolder) -> None:
        topic_id = folder.topic_id
        if topic_id == NO_TOPIC_ID and self._known[folder.topic][0] != NO_TOPIC_ID:
            topic_id = self._known[folder.topic][0]  # from before Kafka 2.8, or the file was lost with the power
            write_topic_id(folder.path, topic_id)
        log = self._open_log(key, folder)
        watermark = self._offsets_of(key, folder)[2]
        epoch = max(log.latest_epoch, 0) if self._leads else -1
        partition = HostedPartition(
            log, key[0], topic_id, key[1], epoch, high_watermark=watermark, leads=self._leads
        )
        with self._hosted.mutex:
            self._hosted.add(key, partition, folder.log_dir)

    def _open_all(self) -> None:
        hosted = self._hosted
        self._tell_unclean_stops()
        report = self._report = LoadReport(hosted.info, hosted.warn, len(self._current))
        failed: dict[str, OSError] = {}
        refused: list[OSError] = []

        def open_one(job: tuple[Key, PartitionFolder]) -> None:
            try:
                if job[1].log_dir in hosted.dirs and job[1].log_dir not in failed and not refused:
                    self._open(*job)
                    report.opened()
            except OSError as error:
                if is_shortage(error):  # the directory is as good as before
                    refused.append(error)
                else:
                    failed[job[1].log_dir] = error

        in_threads(open_one, [(key, folders[0]) for key, folders in self._current.items()], self._threads)
        for path, error in failed.items():
            self._leave_out(path)
            if not hosted.dirs:
                raise LogDirError("broken", str(error)) from error
            hosted.warn(f"a log cannot be loaded, so its log directory is offline: {error}", path=path)
        if refused:
            raise LogDirError("broken", str(refused[0])) from refused[0]
        report.finish()
        hosted.stale.update(key for path, key in self._offsets if hosted.dir_of.get(key) != path)

    def _remove_superseded(self) -> None:
        """Once the other folder of the partition is open: until then, each may be the last one that can be read."""
        for key, path in self._superseded:
            if key in self._hosted.partitions:
                self._hosted.remove_later(path, 0)
            else:
                self._hosted.warn("a folder is kept until all log directories can be read", folder=path)

    def _tell_unclean_stops(self) -> None:
        for path, directory in self._hosted.dirs.items():
            logs = sum(folders[0].log_dir == path for folders in self._current.values())
            if directory.was_used and not directory.clean and logs:
                self._hosted.info("the last stop was not clean: the ends of the logs are checked", log_dir=path, logs=logs)

    def _leave_out(self, path: str) -> None:
        hosted = self._hosted
        hosted.offline_dirs.add(path)
        hosted.dirs.pop(path).unlock()
        for key in [key for key, of in hosted.dir_of.items() if of == path]:
            partition = hosted.remove(key)
            if partition is not None:
                partition.log.abandon()


def _has_all(kept: PartitionLog, other: PartitionLog) -> bool:
    """Whether it is proven that no record of `other` is missing in `kept`.

    Logs of a partition that have the same batch at an offset have the same records before it. A batch holds its leader epoch.
    """
    end = other.log_end_offset
    if other.log_start_offset == end:  # without a batch, only the same epoch tells that `kept` was not cut below this offset
        return kept.log_end_offset >= end and kept.latest_epoch == other.latest_epoch
    try:
        last = other.read(end - 1, 1)
        return bool(last) and kept.read(end - 1, 1) == last
    except OffsetOutOfRange:
        return False


def in_threads(work: Callable[[Any], None], jobs: list[Any], threads_max: int) -> None:
    """Do all jobs; many jobs run in up to `threads_max` threads, or as many as can start, because they wait for the disk.

    Raises the first exception of a job, in whichever thread, after the other jobs.
    """
    failures: list[Exception] = []

    def run() -> None:
        while True:
            try:
                job = jobs.pop()
            except IndexError:
                return
            try:
                work(job)
            except Exception as error:  # noqa: BLE001 raised below: the caller must not take the job for done
                failures.append(error)

    count = min(threads_max - 1, len(jobs) // 4)  # this thread works as well
    threads: list[NamedThread] = []
    for i in range(count):
        thread = NamedThread(target=run, name=f"log-opener-{i}")
        try:
            thread.start()
        except RuntimeError:  # the process may have no more threads
            break
        threads.append(thread)
    run()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
