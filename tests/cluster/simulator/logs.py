"""A broker's logs: what replica_manager asks of a LogManager. The table of logs and directories is the broker's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from errno import EIO
from typing import Any

from kafka_cy.storage.hosted_logs import HostedLogs
from kafka_cy.storage.log_failure import StorageFailure
from tests.cluster.simulator.directories import Directories
from tests.cluster.simulator.log import SimulatedLog
from tests.cluster.simulator.partition import SimulatedPartition
from tests.cluster.simulator.process import Process, SimulatedLoop

Key = tuple[str, int]
FAILURES_CHECK_MS = 250.0  # as in log_upkeep


class SimulatedLogs:
    """All that is in working directories at the start is hosted, without a role.

    `on_offline(path, reason, lost)`: called on the control loop, as LogManager does.
    """

    def __init__(
        self,
        broker_id: int,
        process: Process,
        disks: Directories,
        host: Callable[[Key, SimulatedLog], SimulatedPartition],
        on_offline: Callable[[str, str, list[Any]], None],
    ) -> None:
        self._process = process
        self._disks = disks
        self._host = host
        self._hosted: Any = HostedLogs(broker_id, {}, SimulatedLoop(process), None, on_offline, None)
        for path, directory in disks.by_path.items():
            if directory.broken:
                self._hosted.offline_dirs.add(path)
                continue
            self._hosted.dirs[path] = directory
            for key, log in directory.logs.items():
                log.recover()
                self._add(key, log, path)

    @property
    def partitions(self) -> dict[Key, SimulatedPartition]:
        found: dict[Key, SimulatedPartition] = self._hosted.partitions
        return found

    @property
    def offline_dirs(self) -> set[str]:
        found: set[str] = self._hosted.offline_dirs
        return found

    @property
    def all_failed(self) -> bool:
        """Whether no directory works: the broker stops."""
        return len(self.offline_dirs) == len(self._disks.by_path)

    def _add(self, key: Key, log: SimulatedLog, path: str) -> None:
        log.on_failure = self._failed
        self._hosted.add(key, self._host(key, log), path)

    def _failed(self) -> None:
        """The log manager's thread looks for failures now and then."""
        delay_ms = self._process.simulation.random.uniform(0, FAILURES_CHECK_MS)
        self._process.later(delay_ms, self._hosted.check_directories)

    def _is_broken(self, path: str) -> bool:
        return self._disks.by_path[path].broken

    def create(self, topic: str, index: int, topic_id: bytes, config: dict[str, Any] | None = None) -> SimulatedPartition:
        key = (topic, index)
        if key not in self.partitions:
            path = self._hosted.emptiest_dir()
            directory = self._disks.by_path[path]
            if directory.broken:
                raise OSError(EIO, "no folder can be made")
            number = 1 + max((log.number for _, _, log in self._disks.logs()), default=0)
            log = directory.logs[key] = SimulatedLog(self._process.simulation, topic_id, directory, number)
            self._add(key, log, path)
        return self.partitions[key]

    def delete(self, topic: str, index: int) -> None:
        key = (topic, index)
        path = self._hosted.dir_of.get(key)
        partition = self._hosted.remove(key)
        if partition is None:
            return
        partition.retire("deleted")
        if self._is_broken(path):
            self._hosted.take_offline(path, "its folder cannot be renamed")
            raise OSError(EIO, "a folder cannot be renamed")
        del self._disks.by_path[path].logs[key]

    def move(self, key: Key, path: str) -> bool:
        """AlterReplicaLogDirs: a copy takes the place of the log. False: one of the two directories does not work."""
        source = self._hosted.dir_of[key]
        if any(each not in self._hosted.dirs or self._is_broken(each) for each in (source, path)):
            return False
        log = self._disks.by_path[source].logs.pop(key)
        log.disk = self._disks.by_path[path]
        log.flush()
        self._disks.by_path[path].logs[key] = log
        self._hosted.moved(key, path)
        return True

    def cut(self, cuts: Collection[tuple[Key, int, bool]]) -> set[Key]:
        failed: set[Key] = set()
        for key, offset, fully in cuts:
            partition = self.partitions.get(key)
            if partition is None:
                continue
            try:
                partition.truncate_fully(offset) if fully else partition.truncate_to(offset)
            except StorageFailure:
                failed.add(key)
        return failed | {key for key, _, _ in cuts if self._hosted.dir_of.get(key) in self.offline_dirs}

    def sync_directories(self) -> None:
        """Folders are durable at once."""
        self._look_at_disks()

    def write_high_watermarks(self) -> None:
        """replica.high.watermark.checkpoint.interval.ms"""
        self._look_at_disks()
        for partition in self._hosted.working():
            partition.log.stored_high_watermark = partition.high_watermark

    def _look_at_disks(self) -> None:
        for path in list(self._hosted.dirs):
            if self._is_broken(path):
                self._hosted.take_offline(path, "its files cannot be written")

    def set_alive(self, broker_ids: Iterable[int]) -> None:
        live = set(broker_ids)
        for partition in self.partitions.values():
            partition.set_alive(live)
