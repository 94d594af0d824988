"""The Python side of the native log cleaner: which logs it cleans, and what to do after its rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.storage.hosted_partition import HostedPartition

if TYPE_CHECKING:
    from kafka_cy.storage.cleaner_threads import LogCleaner

Key = tuple[str, int]  # topic and partition


def is_compacted(topic_config: Mapping[str, Any]) -> bool:
    """Whether a topic's typed configuration says that its logs are cleaned."""
    return "compact" in topic_config.get("cleanup.policy", ())


class CompactedLogs:
    """Owner: LogManager, which holds its mutex for `add`, `remove` and `configure`. No thread runs until a compacted
    log exists."""

    def __init__(self, config: dict[str, Any] | None) -> None:
        """`config`: the broker's log.cleaner.* keys with typed values; without it nothing is compacted."""
        self._config = config
        self._cleaner: LogCleaner | None = None
        self._restart_due = False  # the number of threads has changed
        self._rounds_seen = 0
        self._replacements: dict[Key, int] = {}  # as of the last look
        self._uncleanable: dict[Key, HostedPartition] = {}
        self.failing: dict[Key, tuple[HostedPartition, str]] = {}  # why the last round failed; it is repeated

    @property
    def in_use(self) -> bool:
        """True once a compacted log has been added."""
        return self._cleaner is not None

    @property
    def rounds_ended(self) -> bool:
        """True if rounds have ended since the last look_after()."""
        return self._cleaner is not None and self._rounds_seen != self._cleaner.changes

    def add(self, partition: HostedPartition, topic_config: Mapping[str, Any]) -> None:
        """Clean the partition if its topic is compacted."""
        if self._config is None or not is_compacted(topic_config):
            return
        if self._cleaner is None:
            from kafka_cy.storage.cleaner_threads import LogCleaner

            self._cleaner = LogCleaner(self._config)
        self._cleaner.add(partition)

    def remove(self, partition: HostedPartition) -> None:
        """Forget a deleted partition."""
        if self._cleaner is not None:
            self._cleaner.remove(partition)
        self._uncleanable.pop((partition.topic, partition.index), None)
        self.failing.pop((partition.topic, partition.index), None)
        self._replacements.pop((partition.topic, partition.index), None)

    def configure(self, config: dict[str, Any] | None) -> None:
        """Apply changed log.cleaner.* keys. Another number of threads counts after restart_if_due()."""
        if self._config is not None and config is not None:
            self._config = dict(config)
            if self._cleaner is not None:
                self._restart_due |= self._cleaner.configure(config)

    def restart_if_due(self) -> None:
        """Start the configured number of threads, after the ends of the former ones. Thread: upkeep's; without the mutex."""
        if self._restart_due and self._cleaner is not None:
            self._restart_due = False
            self._cleaner.restart()

    def look_after(self, hosted: Sequence[HostedPartition]) -> tuple[list[HostedPartition], list[HostedPartition]]:
        """After rounds: return the partitions with replaced segments, and those that turned out not to be cleanable. `failing`
        has those whose last round lacked space or memory."""
        assert self._cleaner is not None
        self._rounds_seen = self._cleaner.changes
        replaced, uncleanable = [], []
        for partition in hosted:
            key, log = (partition.topic, partition.index), partition.log
            if log.replacements != self._replacements.get(key, 0):
                self._replacements[key] = log.replacements
                replaced.append(partition)
            if log.uncleanable and self._uncleanable.get(key) is not partition:
                self._uncleanable[key] = partition
                uncleanable.append(partition)
        self.failing = {(each.topic, each.index): (each, why) for each, why in self._cleaner.failing(hosted)}
        return replaced, uncleanable

    def stats(self, hosted: Mapping[Key, HostedPartition], dir_of: Mapping[Key, str], dirs: Iterable[str]) -> dict[str, Any]:
        """The cleaner's metrics (LogCleaner.stats), plus the uncleanable part of each log directory.

        uncleanable_partitions_count and uncleanable_bytes: {log directory: number}, with the failing logs. Empty while
        nothing is compacted.
        """
        if self._cleaner is None:
            return {}
        from kafka_cy.storage.cleaner_threads import cleanable_bytes

        counts = dict.fromkeys(dirs, 0)
        sizes = dict.fromkeys(dirs, 0)
        failing = {key: partition for key, (partition, _) in self.failing.copy().items()}
        for key, partition in {**failing, **self._uncleanable.copy()}.items():
            path = dir_of.get(key)
            if path in counts and hosted.get(key) is partition:
                counts[path] += 1
                sizes[path] += cleanable_bytes(partition)
        return {**self._cleaner.stats(), "uncleanable_partitions_count": counts, "uncleanable_bytes": sizes}

    def stop(self) -> None:
        """End the threads; a round in progress leaves nothing behind."""
        if self._cleaner is not None:
            self._cleaner.stop()
