"""The disks of a broker. They outlive its processes; what is on one that breaks can be read again when it is repaired."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cluster.simulator.log import SimulatedLog

Key = tuple[str, int]


class Directory:
    """A log directory on a disk of its own. `broken`: it takes nothing, until it is repaired and its process has started anew."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.broken = False
        self.logs: dict[Key, SimulatedLog] = {}


class Directories:
    """A partition may be in two of them: one was broken when the broker got the replica a second time."""

    def __init__(self, count: int) -> None:
        self.by_path = {f"d{number}": Directory(f"d{number}") for number in range(count)}
        self.has_been_broken = False  # one of them, at any time

    def working(self) -> list[Directory]:
        """Those that a start can use."""
        return [each for each in self.by_path.values() if not each.broken]

    @property
    def has_broken(self) -> bool:
        """Whether a disk is broken."""
        return len(self.working()) < len(self.by_path)

    def logs(self) -> Iterator[tuple[Directory, Key, SimulatedLog]]:
        """All that is on the disks."""
        for directory in self.by_path.values():
            for key, log in list(directory.logs.items()):
                yield directory, key, log

    def log_of(self, key: Key) -> SimulatedLog | None:
        """A partition's log; of two, the later one, with which the broker has worked."""
        found = [each.logs[key] for each in self.by_path.values() if key in each.logs]
        return max(found, key=lambda log: log.number, default=None)

    def is_broken(self, key: Key) -> bool:
        """Whether the only log of a partition is on a broken disk."""
        where = [each for each in self.by_path.values() if key in each.logs]
        return bool(where) and all(each.broken for each in where)

    def settle_duplicates(self) -> None:
        """The broker does not start with two logs of a partition: its operator moves the one away that was not in use."""
        for directory, key, log in self.logs():
            twice = all(key in each.logs for each in self.working()) and len(self.working()) > 1
            if twice and not directory.broken and log is not self.log_of(key):
                del directory.logs[key]
