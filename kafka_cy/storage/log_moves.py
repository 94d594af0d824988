"""Moves of partitions between log directories (AlterReplicaLogDirs), as in Kafka's ReplicaAlterLogDirsThread.

The log is copied into a folder `topic-N.<hex>-future` of the other directory. In the order of
LogManager.replaceCurrentWithFutureLog, the finished copy gets the partition's name before the source loses it, each
rename durable before the next step: at every moment a folder with the partition's name is complete. A crash in between
leaves two of them; the copy holds a file that names its source (MOVED_FROM), which tells LogLoader which one to keep.
Nothing is acknowledged while both have the name: also a start to which one of the two directories is missing finds every record.
"""

# The os functions, not pathlib, which costs start time.
# ruff: noqa: PTH103, PTH112, PTH114, PTH120
from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Collection

from kafka_cy.storage.hosted_logs import HostedLogs, Key
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog
from kafka_cy.storage.log_dir import NO_TOPIC_ID, LogDirError, folder_aside, remove_tree, write_topic_id
from kafka_cy.storage.partition_folders import moved_from, write_moved_from


class MoveAbandoned(OSError):
    """The move has come to nothing, and that is no failure. The copy may be incomplete."""


class CopyOutdated(OSError):
    """The copy is of something that is not there any more: a new one is needed.

    A new leader had the source cut, so that the copy may have records that the source has not; or the partition got its topic id.
    """


class LogMoves:
    """Owner: LogManager, whose thread calls run(). The table's mutex guards which moves wait, which one runs, and its end."""

    def __init__(self, hosted: HostedLogs, stopping: Callable[[], bool], copied: Callable[[int], object]) -> None:
        """`copied(size)`: so many bytes were copied; it waits while moves are too fast."""
        self._hosted = hosted
        self._copied = copied
        self._stopping = stopping
        self._waiting: OrderedDict[Key, str] = OrderedDict()  # the log directory of each, in the order in which they were added
        self._running: tuple[HostedPartition, Key, str] | None = None
        self._is_cancelled = False  # the one that runs
        self._cuts = 0  # how often its source had been cut when it was begun
        self.copies: dict[Key, tuple[str, PartitionLog]] = {}  # (log directory, copy that is being made)

    def add(self, key: Key, log_dir: str) -> None:
        """Move a partition there, instead of where an earlier call would move it. Raises LogDirError.

        As in Kafka (Partition.futureReplicaDirChanged), a move to another directory that runs is given up, also when the partition
        lies already where it is wanted.
        """
        hosted = self._hosted
        with hosted.mutex:
            if log_dir not in hosted.dirs:
                raise hosted.not_usable(log_dir)
            self._waiting.pop(key, None)
            if self._running is not None and self._running[1] == key and self._running[2] != log_dir:
                self._is_cancelled = True
                self.copies.pop(key, None)  # nobody is told of it any more
            if hosted.dir_of.get(key, log_dir) != log_dir:  # it may be deleted meanwhile
                self._waiting[key] = log_dir
        hosted.wake.set()

    def run(self) -> None:
        """Do all moves that wait. Raises OSError for one that failed; the others begin at the next call, which follows at once."""
        hosted = self._hosted
        while not self._stopping():
            with hosted.mutex:
                if not self._waiting:
                    return
                key, path = self._waiting.popitem(last=False)
                partition = hosted.partitions.get(key)
                if partition is None or hosted.dir_of[key] == path:
                    continue
                self._running, self._is_cancelled = (partition, key, path), False
                self._cuts = partition.log.truncations
            try:
                self._check(partition, key, path)
                self._move(partition, key, path)
            except CopyOutdated as why:
                hosted.info("a move between log directories begins again", partition=str(partition), reason=str(why))
                with hosted.mutex:
                    if not self._is_cancelled:
                        self.add(key, path)
            except MoveAbandoned as why:
                hosted.info("a move between log directories was abandoned", partition=str(partition), reason=str(why))
            finally:
                with hosted.mutex:
                    self._running = None
                    if self._waiting:
                        hosted.wake.set()

    def is_over(self) -> bool:
        """Whether the move that is being made has come to nothing, so that it need not go on."""
        try:
            if self._running is not None:
                self._check(*self._running)
        except OSError:
            return True
        return False

    def _check(self, partition: HostedPartition, key: Key, path: str) -> None:
        """Raises OSError if the copy or the whole move has come to nothing. What it is once, it stays."""
        hosted = self._hosted
        if self._stopping():
            raise MoveAbandoned("the broker stops")
        with hosted.mutex:
            hosts = hosted.partitions.get(key)
            if hosts is None or hosts.log is not partition.log:
                raise MoveAbandoned("the partition was deleted")
            if self._is_cancelled:
                raise MoveAbandoned("a later request names another log directory")
            for each in (hosted.dir_of[key], path):
                if each not in hosted.dirs:
                    raise hosted.not_usable(each)
            if hosts is not partition:
                raise CopyOutdated("the partition got its topic id")
            if partition.log.truncations != self._cuts:
                raise CopyOutdated("the log was cut")

    def _new_copy(self, partition: HostedPartition, key: Key, path: str) -> PartitionLog:
        folder = folder_aside(path, *key, "future")
        try:
            os.makedirs(folder)
            if partition.topic_id != NO_TOPIC_ID:  # Kafka does not start with a partition.metadata that has a zero id
                write_topic_id(folder, partition.topic_id, sync=True)
            return PartitionLog(folder, self._hosted.settings_of(key[0]), clean=True)
        except BaseException:
            remove_tree(folder)
            raise

    def _move(self, partition: HostedPartition, key: Key, path: str) -> None:
        from kafka_cy.storage.log_copy import copy_log, first_offset  # not in the start path

        _check_name_is_free(f"{path}/{key[0]}-{key[1]}")  # before the copy, which may take hours
        source, target = partition.log, self._new_copy(partition, key, path)
        with self._hosted.mutex:
            if not self._is_cancelled:
                self.copies[key] = (path, target)
        source.hold_cleaning()  # a copy of old and cleaned parts would bring back what tombstones had deleted
        try:
            target.truncate_fully(first_offset(source))
            earlier = _forget_earlier_move(source.directory, self._hosted.dirs)
            copy_log(source, target, self.is_over, self._copied)
            with self._hosted.mutex:
                self._check(partition, key, path)
                self._hosted.arriving[key] = partition, target
            self._hosted.write_checkpoints()  # a crash during the swap must not undo DeleteRecords calls of a long copy
            target.flush()  # nearly all of it, while appends go on: up to a whole segment may not be on disk yet
            source.seal()  # appends fail with a retriable error, for the few milliseconds of the swap
            copy_log(source, target, self.is_over)
            self._check(partition, key, path)
            target.delete_records(source.log_start_offset)
            target.flush()
            write_moved_from(target.directory, [source.directory, *earlier])
            self._put_in_place(partition, key, path, target)  # the source stays sealed, and the copy for now
        except BaseException as error:  # also MemoryError: a source that stays sealed takes no records
            self._give_up(partition, key, path, target)
            if isinstance(error, OSError):
                self._check(partition, key, path)  # a cut or a deletion, while the source is read, makes all kinds of failures
            raise
        finally:
            if partition.log is source:
                source.unseal()
            source.release_cleaning()
            self.copies.pop(key, None)
            with self._hosted.mutex:
                self._hosted.arriving.pop(key, None)
                self._hosted.stale.add(key)  # one of the two directories has offsets that must not come back
        self._hosted.info("a partition was moved to another log directory", topic=key[0], partition=key[1], log_dir=path)
        self._hosted.remove_deleted_later(target, key[0])  # the copy began anew where the source does
        self._retire_source(key, path, source, target, earlier)

    def _put_in_place(self, partition: HostedPartition, key: Key, path: str, target: PartitionLog) -> None:
        """Serve from the copy. Raises OSError while the source is still served from.

        A cut waits meanwhile (LogManager.cut), and cuts the copy: otherwise the follower would go on from where the source was
        cut, and the copy would refuse its records.
        """
        hosted, source = self._hosted, partition.log
        with hosted.cutting, hosted.mutex:
            self._check(partition, key, path)
            _check_name_is_free(f"{path}/{key[0]}-{key[1]}")
            target.rename(f"{path}/{key[0]}-{key[1]}")
            if not hosted.sync_directory(path):
                raise LogDirError("not writable", f"log directory {path} failed during the move of {key[0]}-{key[1]} to it")
            target.seal()  # until the source has lost its name
            partition.swap_log(target)
            hosted.moved(key, path)
            hosted.leaving[key] = source

    def _give_up(self, partition: HostedPartition, key: Key, path: str, target: PartitionLog) -> None:
        """Remove the copy, unless it is served from."""
        hosted = self._hosted
        if partition.log is target:
            target.unseal()
            return
        if target.offline:
            hosted.take_offline(path, os.strerror(target.failed_errno))
        target.abandon()
        if not target.directory.endswith("-future"):
            # What a crash leaves of a folder with the partition's name would count as a whole copy. When the name cannot be
            # taken away, the copy stays whole, for the next start.
            try:
                target.rename(folder_aside(path, *key, "future"))
            except OSError:
                hosted.take_offline(path, os.strerror(target.failed_errno))
                raise
            if not hosted.sync_directory(path):
                return
        remove_tree(target.directory)

    def _retire_source(
        self, key: Key, path: str, source: PartitionLog, target: PartitionLog, earlier: list[str]
    ) -> None:
        """The copy is in place: the source's folder goes. A failure takes its directory offline, not the partition.

        Appends go on when the source has lost its name: otherwise a start without the copy's directory would serve the source,
        which lacks what came after the swap.
        """
        hosted = self._hosted
        old_dir = os.path.dirname(source.directory)
        dying = folder_aside(old_dir, *key, "delete")
        try:
            is_renamed = self._rename_source(key, path, source, dying)
        finally:
            target.unseal()
        hosted.write_checkpoints()
        if is_renamed is None:
            self._keep_source(key, source, target)
        elif is_renamed and path in hosted.dirs:  # otherwise what is left of the source may be wanted: the next start decides
            hosted.remove_later(dying, hosted.delete_delay_ms(key[0]))
            with contextlib.suppress(OSError):
                write_moved_from(target.directory, earlier)

    def _rename_source(self, key: Key, path: str, source: PartitionLog, dying: str) -> bool | None:
        """Whether its new name is durable; None: the source keeps its name, because the copy's directory has failed meanwhile."""
        hosted = self._hosted
        old_dir = os.path.dirname(dying)
        with hosted.mutex:
            if hosted.leaving.get(key) is not source:
                return False  # the partition was deleted, and this folder with it
            if path not in hosted.dirs:
                return None
            try:
                source.rename(dying)
            except OSError:
                hosted.take_offline(old_dir, os.strerror(source.failed_errno))
                raise
            finally:
                source.abandon()
            del hosted.leaving[key]
        return hosted.sync_directory(old_dir)

    def _keep_source(self, key: Key, source: PartitionLog, target: PartitionLog) -> None:
        """The copy's directory failed before the source lost its name: the source has all records, for a start without the copy.

        It is closed like the logs of a shutdown, which may mark its directory as clean.
        """
        hosted = self._hosted
        hosted.warn(
            "the target of a move between log directories failed at its end: the source is kept for the next start",
            topic=key[0], partition=key[1], source=source.directory, copy=target.directory,
        )  # fmt: skip
        try:
            source.close()
        except OSError as error:
            if source.offline:
                hosted.take_offline(os.path.dirname(source.directory), error.strerror or str(error))


def _check_name_is_free(folder: str) -> None:
    """Raises LogDirError. A renaming that fails would take the directory offline, for a folder that somebody else has put there.

    An empty folder gives way to the renaming.
    """
    if os.path.lexists(folder):
        if os.path.isdir(folder) and not os.path.islink(folder):
            with os.scandir(folder) as entries:
                if next(entries, None) is None:
                    return
        raise LogDirError("broken", f"{folder} is in the way of a move between log directories: move it away")


def _forget_earlier_move(folder: str, working: Collection[str]) -> list[str]:
    """Forget the move that brought the source here, so that a start cannot take its file for one of this move.

    The folder is synced even if the file is missing: after a loss of power, two folders that name each other as their source
    would refuse the start. Returns what is not forgotten: sources in directories that have failed.
    """
    earlier = [source for source in moved_from(folder) if os.path.dirname(source) not in working]
    write_moved_from(folder, earlier)
    return earlier
