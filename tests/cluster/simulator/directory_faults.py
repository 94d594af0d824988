"""Log directories that fail, come back, lose what was not flushed, or are replaced; and partitions that move between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster.simulator.broker import SimulatedBroker
from tests.cluster.simulator.directories import Directory

if TYPE_CHECKING:
    from tests.cluster.simulator.cluster import SimulatedCluster


class DirectoryFaults:
    """Faults of a cluster."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._simulation = cluster.simulation
        self._random = cluster.simulation.random
        self.are_over = False  # what is broken stays so until replace_all()

    def any_broken(self) -> bool:
        """Whether a disk is broken, or a process does without one that was. Its broker will start again."""
        return any(broker.disks.has_broken or broker.logs.offline_dirs for broker in self._cluster.brokers.values())

    def fail(self) -> None:
        """A disk breaks. It is repaired while the broker runs, or is down; the broker may start in between, without it."""
        cluster, random = self._cluster, self._random
        broker = random.choice(list(cluster.brokers.values()))
        directory = random.choice(list(broker.disks.by_path.values()))
        if not broker.up or (broker.disks.has_broken and random.random() < 0.8):
            return
        loses = cluster.is_undisturbed() and random.random() < 0.5
        cluster.note(f"directory {directory.path} of {broker.id} breaks")
        directory.broken = broker.disks.has_been_broken = True
        time_ms = random.choice([300, 4_000, 12_000]) * random.uniform(0.5, 1.5)
        if loses:
            cluster.stay_calm(time_ms + 2_000)
            self._simulation.call_later(time_ms, lambda: self._lose_end(broker, directory))
        elif random.random() < 0.3:
            self._simulation.call_later(time_ms, lambda: self._restart(broker))
            self._simulation.call_later(2 * time_ms, lambda: self._replace(broker, directory))
        else:
            self._simulation.call_later(time_ms, lambda: self._replace(broker, directory))

    def _replace(self, broker: SimulatedBroker, directory: Directory) -> None:
        """Its process uses it after its next start only."""
        if directory.broken and not self.are_over:
            self._cluster.note(f"directory {directory.path} of {broker.id} is repaired")
            directory.broken = False
            self._restart(broker)

    def _restart(self, broker: SimulatedBroker) -> None:
        if broker.runs and not self.are_over:
            self._cluster.note(f"restart {broker.id}")
            broker.end(clean=self._random.random() < 0.5)
            self._simulation.call_later(self._random.uniform(1, 2_000), lambda: self._cluster.start(broker))

    def _lose_end(self, broker: SimulatedBroker, directory: Directory) -> None:
        """What was not flushed is gone with the process, or the disk is another one: else as a power cut."""
        cluster = self._cluster
        is_controller = broker.controller is cluster.controller()
        if self.are_over or not broker.up or not directory.broken or is_controller or not cluster.others_have_everything(broker.id):
            self._replace(broker, directory)
            return
        is_new = self._random.random() < 0.3
        cluster.note(f"directory {directory.path} of {broker.id} is repaired, and {'is empty' if is_new else 'lost ends'}")
        cluster.invariants.lost_power[broker.id] = broker.epoch
        broker.end(clean=False)
        directory.broken = False
        for key, log in list(directory.logs.items()):
            log.lose_tail()
            if is_new:
                del directory.logs[key]
            cluster.taint(broker, key)
        self._simulation.call_later(self._random.uniform(1, 4_000), lambda: cluster.start(broker))

    def move(self) -> None:
        """AlterReplicaLogDirs"""
        broker = self._random.choice(list(self._cluster.brokers.values()))
        if broker.runs and broker.partitions:
            key = self._random.choice(list(broker.partitions))
            path = self._random.choice(list(broker.disks.by_path))
            if broker.logs.move(key, path):
                self._cluster.note(f"{key} is in directory {path} of {broker.id}")

    def all_failed(self, broker: SimulatedBroker) -> None:
        """A broker without a log directory stops, when the code that runs is through."""
        incarnation = broker.process.incarnation

        def stop() -> None:
            if broker.up and broker.process.incarnation == incarnation:
                self._cluster.note(f"{broker.id} stops: all its directories have failed")
                broker.end(clean=False)
                self._simulation.call_later(self._random.uniform(100, 5_000), lambda: self._cluster.start(broker))

        self._simulation.call_later(0, stop)

    def repair(self, broker: SimulatedBroker) -> None:
        """All disks of a broker that is down, or before it starts again."""
        for directory in broker.disks.by_path.values():
            directory.broken = False

    def replace_all(self, broker: SimulatedBroker) -> None:
        """At the end of the faults."""
        if broker.disks.has_broken or broker.logs.offline_dirs:
            self._cluster.note(f"the directories of {broker.id} are repaired")
            self.repair(broker)
            if broker.up:
                broker.end(clean=True)
            self._cluster.start(broker)
