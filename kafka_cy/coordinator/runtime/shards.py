"""The partitions of a coordinator's topic that this broker leads: each is loaded when its leadership begins, and unloaded when it
ends, in slices.

A shard belongs to one leadership: from the epoch in which this broker became leader until it leads no more. That it stays leader
in later epochs changes nothing. What the shard holds counts only as long as that leadership lasts (Shard.is_led); all appends are
refused after it. So nothing depends on when this thread hears of a change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Generic

from kafka_cy.base.duration_counts import DurationCounts
from kafka_cy.base.slices import Slices
from kafka_cy.coordinator.runtime.load_failures import LoadFailures
from kafka_cy.coordinator.runtime.load_times import LoadTimes
from kafka_cy.coordinator.runtime.shard import S, Shard
from kafka_cy.coordinator.runtime.stored_waits import StoredWaits
from kafka_cy.coordinator.runtime.work_in_slices import WorkInSlices
from kafka_cy.storage.hosted_partition import STATE_ONLINE


class Shards(WorkInSlices, Generic[S]):
    """Owner: the coordinator's thread. Limit: one shard for each partition of the topic."""

    def __init__(
        self,
        topic: str,
        cluster: Any,
        loop: Any,
        make_state: Callable[[Any], S],  # of a HostedPartition
        log: Callable[..., object],  # (what happened, field=value, ...): writes a warning line
        base_sequence: int,  # of the topic's batches
        stored_timeout_s: float,  # for how long a response waits until what it says is stored
    ) -> None:
        self.topic = topic
        self.cluster = cluster
        self.loop = loop
        self.make_state = make_state
        self.log = log
        self.base_sequence = base_sequence
        self._stored_timeout_s = stored_timeout_s
        self.slices = Slices(loop, self.on_fault)
        self.shards: dict[int, Shard[S]] = {}
        self._to_load: deque[Shard[S]] = deque()
        self._load_failures = LoadFailures()
        self.load_times = LoadTimes()
        self.flush_times = DurationCounts()  # of appends of an operation's records
        self.wait_times = DurationCounts()  # of responses that waited until what they say was stored
        self._loading = False  # the slices hold the work of loading
        self._unloading: dict[int, Iterator[None]] = {}  # partitions that cannot be loaded again yet
        self._reload: set[int] = set()  # of these, those that are led again meanwhile
        self._waiting: dict[int, Shard[S]] = {}  # shards with responses that wait

    def load_all(self, indexes: Iterable[int]) -> None:
        """Begin to load those of the partitions that this broker leads."""
        for index in indexes:
            self._host(index)
        self._load()

    def unload_now(self) -> None:
        """Unload everything without slices: the loop has ended."""
        self.unload_all()
        for steps in list(self._unloading.values()):
            for _ in steps:
                pass
        self._unloading.clear()
        self._reload.clear()

    def loaded_shards(self) -> list[Shard[S]]:
        """The shards that are not loading; a copy, safe from any thread."""
        return [shard for shard in list(self.shards.values()) if not shard.is_loading]

    def counts(self) -> tuple[int, int, int]:
        """Partitions that are loading, loaded, and those whose loading has failed; safe from any thread."""
        shards = list(self.shards.values())
        loading = sum(shard.is_loading for shard in shards)
        failed = self._load_failures.indexes() - {shard.index for shard in shards}
        return loading, len(shards) - loading, len(failed)

    def append(self, shard: Shard[S], batch: bytes, count: int) -> int:
        """Append a batch of so many records. Returns the offset of the first one. Raises AppendFailed."""
        begun_s = self.loop.now()
        offset = shard.append(batch, count)
        self.flush_times.add(self.loop.now() - begun_s)
        return offset

    def unload_all(self) -> None:
        """The topic was deleted."""
        for index in list(self.shards):
            self.unload(index)
        self._load_failures.clear()

    def shard(self, index: int) -> Shard[S] | None:
        """The partition's shard; begins to load it when this broker leads it. None if it does not, or if loading has failed."""
        shard = self.shards.get(index)
        if shard is not None:
            if shard.is_led:
                return shard
            self.unload(index, reload=True)
        else:
            self._host(index)
            self._load()
        return self.shards.get(index)

    def _host(self, index: int) -> None:
        hosted = self.cluster.partition(self.topic, index)
        if index in self.shards or index in self._unloading or not self._load_failures.allow(index, self.loop.now()):
            return
        if hosted is not None and hosted.state == STATE_ONLINE:
            coordinator_epoch = hosted.leader_since_epoch  # before anything is read: a later leadership has another one
            waiting = StoredWaits(self.loop, self._stored_timeout_s, self.wait_times)
            shard = Shard(index, hosted, self.make_state(hosted), waiting, coordinator_epoch, self.base_sequence)
            self.shards[index] = shard
            self._to_load.append(shard)

    def _load(self) -> None:
        """Load what is to be loaded, in slices."""
        if self._to_load and not self._loading:
            self._loading = True
            self.slices.add(self._load_each(), self._loading_over)

    def _loading_over(self) -> None:
        self._loading = False

    def _load_each(self) -> Iterator[object]:
        """One partition after the other."""
        while self._to_load:
            shard = self._to_load[0]
            try:
                yield from self._load_one(shard)
            except Exception as error:  # noqa: BLE001 whatever it was, the partition must not count as loading for ever
                self._load_failed(shard, error)
            self._to_load.popleft()

    def _load_one(self, shard: Shard[S]) -> Iterator[object]:
        begun_s = self.loop.now()
        yield from shard.load(self.on_fault)
        if not shard.is_loading and not shard.is_led:
            self.unload_lost(shard)  # what was read may not be one log
        elif not shard.is_loading:
            self.load_times.add(self.loop.now(), self.loop.now() - begun_s)
            self._load_failures.loaded(shard.index)
            for line in shard.state.remarks():
                self.log(line, topic=self.topic, partition=shard.index)

    def _load_failed(self, shard: Shard[S], error: Exception) -> None:
        if self.shards.get(shard.index) is not shard:
            return  # it was unloaded meanwhile
        if not shard.is_led:
            self.unload_lost(shard)
            return
        delay_s = self._load_failures.failed(shard.index, self.loop.now())
        self.log(
            "a coordinator's partition cannot be loaded; requests get NOT_COORDINATOR, and the first one after the delay loads it",
            topic=self.topic,
            partition=shard.index,
            error=repr(error),
            delay_s=delay_s,
        )
        self.unload(shard.index)

    # -- leadership --

    def leadership_changed(self, index: int) -> None:
        """This broker began to lead the partition, or leads it no more. Which of it is true now is asked of the partition itself:
        a call that comes late, of an epoch that is over, changes nothing. Kafka: scheduleLoadOperation, scheduleUnloadOperation.
        """
        shard = self.shards.get(index)
        if shard is None:
            self._load_failures.loaded(index)  # another log may be there now
            if index in self._unloading:
                self._reload.add(index)
        self.shard(index)

    def unload_lost(self, shard: Shard[S]) -> None:
        """The leadership is over in which the shard was loaded. If another one has begun since, the partition is loaded anew."""
        if self.shards.get(shard.index) is shard:
            self.unload(shard.index, reload=True)

    def unload(self, index: int, *, reload: bool = False) -> None:
        """This broker no longer leads the partition. Requests get NOT_COORDINATOR at once; the groups go in slices.

        The partition cannot be loaded before the last group has gone: the groups of before must not take away timers and
        heartbeats of those that come. `reload`: then it is loaded again, if this broker leads it.
        """
        shard = self.shards.pop(index, None)
        if shard is not None:
            self._waiting.pop(index, None)
            shard.state.lose()
            shard.cancel()
            steps = self._unloading[index] = shard.unload(self.on_fault)
            self.slices.add(steps, partial(self._unloaded, index, reload))

    def _unloaded(self, index: int, reload: bool) -> None:
        self._unloading.pop(index, None)
        if reload or index in self._reload:
            self._reload.discard(index)
            self.shard(index)

    def on_fault(self, fault: Exception) -> None:
        """Log a fault that costs only the piece of work in which it was."""
        self.log("a fault in a coordinator", topic=self.topic, error=repr(fault))
