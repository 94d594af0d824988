"""Moves of partitions between log directories (AlterReplicaLogDirs), as in Kafka's ReplicaAlterLogDirsThread.

The log is copied into a folder `topic-N.<hex>-future` of the other directory. In the order of
LogManager.replaceCurrentWithFutureLog, the finished copy gets the partition's name before the source loses it, each
rename durable before the next step: at every moment a folder with the partition's name is complete. A crash in between
leaves two of them; the copy holds a file that names its source (MOVED_FROM), which tells LogLoader which one to keep.
"""

# The os functions, not pathlib, which costs start time.
# ruff: noqa: PTH103, PTH108
from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from kafka_cy.storage import checkpoints
from kafka_cy.storage.hosted_logs import HostedLogs, Key
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog, StorageFailure
from kafka_cy.storage.log_dir import LogDirError, folder_aside, remove_tree, write_topic_id
from kafka_cy.storage.partition_folders import MOVED_FROM


class MoveStopped(OSError):
    """The copy may be incomplete, because the broker stops."""


class LogMoves:
    """Owner: LogManager, whose thread calls run(). The table's mutex guards the list of moves."""

    def __init__(self, hosted: HostedLogs, stopping: Callable[[], bool]) -> None:
        self._hosted = hosted
        self._stopping = stopping
        self._waiting: list[tuple[Key, str]] = []
        self.copies: dict[Key, tuple[str, PartitionLog]] = {}  # (log directory, copy that is being made)

    def add(self, key: Key, log_dir: str) -> None:
        """Move a partition there, instead of where an earlier call that has not begun would move it. Raises LogDirError."""
        hosted = self._hosted
        with hosted.mutex:
            if log_dir not in hosted.dirs:
                raise hosted.not_usable(log_dir)
            self._waiting = [move for move in self._waiting if move[0] != key]
            if hosted.dir_of[key] != log_dir:
                self._waiting.append((key, log_dir))
        hosted.wake.set()

    def run(self) -> None:
        """Do all moves that wait. Raises OSError for one that failed; the others wait for the next call."""
        while not self._stopping():
            with self._hosted.mutex:
                if not self._waiting:
                    return
                key, path = self._waiting.pop(0)
                partition = self._hosted.partitions.get(key)
                where = self._hosted.dir_of.get(key)
            if partition is not None and where != path and where not in self._hosted.offline_dirs:
                self._move(partition, key, path)

    def _move(self, partition: HostedPartition, key: Key, path: str) -> None:
        from kafka_cy.storage.log_copy import copy_log, first_offset  # not in the start path

        source = partition.log
        folder = folder_aside(path, *key, "future")
        os.makedirs(folder)
        write_topic_id(folder, partition.topic_id, sync=True)
        target = PartitionLog(folder, self._hosted.config_of(key[0]), clean=True)
        target.truncate_fully(first_offset(source))
        self.copies[key] = (path, target)
        source.hold_cleaning()  # a copy of old and cleaned parts would bring back what tombstones had deleted
        try:
            _forget_earlier_move(source.directory)
            copy_log(source, target, self._stopping)
            self._hosted.write_checkpoints()  # a crash during the swap must not undo DeleteRecords calls of a long copy
            source.seal()  # appends fail with a retriable error, for the few milliseconds of the swap
            copy_log(source, target, self._stopping)
            if self._stopping():
                raise MoveStopped(f"the move of {key[0]}-{key[1]} was abandoned: the broker stops")
            target.delete_records(source.log_start_offset)
            target.flush()
            checkpoints.write_file(f"{folder}/{MOVED_FROM}", source.directory)
            self._put_in_place(partition, key, path, target)  # the source stays sealed
        except BaseException:  # also MemoryError: a source that stays sealed takes no records
            self._give_up(partition, key, path, target)
            raise
        finally:
            if partition.log is source:
                source.unseal()
            source.release_cleaning()
            self.copies.pop(key, None)
        self._hosted.info("a partition was moved to another log directory", topic=key[0], partition=key[1], log_dir=path)
        self._retire_source(key, path, source, target)

    def _put_in_place(self, partition: HostedPartition, key: Key, path: str, target: PartitionLog) -> None:
        """Serve from the copy. Raises OSError while the source is still served from."""
        hosted, source = self._hosted, partition.log
        with hosted.mutex:
            if hosted.partitions.get(key) is not partition:
                raise StorageFailure(f"{key[0]}-{key[1]} was deleted during its move", 12)
            target.rename(f"{path}/{key[0]}-{key[1]}")
            if not hosted.sync_directory(path):
                raise LogDirError("not writable", f"log directory {path} failed during the move of {key[0]}-{key[1]} to it")
            target.set_config(hosted.config_of(key[0]))  # it may have changed since the copy was made
            partition.swap_log(target)
            hosted.moved(key, path)
            hosted.leaving[key] = source

    def _give_up(self, partition: HostedPartition, key: Key, path: str, target: PartitionLog) -> None:
        """Remove the copy, unless it is served from."""
        hosted = self._hosted
        if partition.log is target:
            return
        if target.offline:
            hosted.take_offline(path, os.strerror(target.failed_errno))
        target.abandon()
        if not target.directory.endswith("-future"):
            # What a crash leaves of a folder with the partition's name would count as a whole copy. When the name cannot be
            # taken away, the copy stays whole, for the next start.
            target.rename(folder_aside(path, *key, "future"))
            checkpoints.sync_directory(path)
        remove_tree(target.directory)

    def _retire_source(self, key: Key, path: str, source: PartitionLog, target: PartitionLog) -> None:
        """The copy is in place: the source's folder goes. A failure takes its directory offline, not the partition."""
        hosted = self._hosted
        old_dir = os.path.dirname(source.directory)  # noqa: PTH120
        with hosted.mutex:
            hosted.stale.add(key)
        hosted.write_checkpoints()  # the new place has the log start offset, the old one no offsets that come back
        with hosted.mutex:
            if hosted.leaving.get(key) is not source:
                return  # the partition was deleted, and this folder with it
            if path not in hosted.dirs:
                return  # the new place failed: the source stays, for the next start
            dying = folder_aside(old_dir, *key, "delete")
            try:
                source.rename(dying)
            except OSError:
                hosted.take_offline(old_dir, os.strerror(source.failed_errno))
                raise
            finally:
                source.abandon()
            del hosted.leaving[key]
        if hosted.sync_directory(old_dir):
            hosted.remove_later(dying, hosted.delete_delay_ms(key[0]))
            with contextlib.suppress(OSError):
                os.unlink(f"{target.directory}/{MOVED_FROM}")


def _forget_earlier_move(folder: str) -> None:
    """Remove the file of the move that brought the source here, so that a start cannot take it for a file of this move.

    The folder is synced even if the file is missing: the earlier move removed it without a sync, and after a loss of power
    two folders that name each other as their source would refuse the start.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{folder}/{MOVED_FROM}")
    checkpoints.sync_directory(folder)
