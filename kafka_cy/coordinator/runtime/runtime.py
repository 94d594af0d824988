"""What every coordinator needs: loading, writing, replaying, waiting until it is stored, timers, unloading.

A coordinator keeps its state in a topic. Each partition of it that this broker leads is a shard with a state machine.
An operation looks at the state and returns a CoordinatorResult; the runtime appends its records as one batch, replays
them, and sends the response when the high watermark has passed them. Replay is the only way to change replicated
state, so an exception half way changes nothing. If the partition is lost first, the shard is unloaded and the response
is NOT_COORDINATOR. Everything runs on one thread, the one of the loop that is passed in.

Kafka: CoordinatorRuntime, CoordinatorShard, CoordinatorResult.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from kafka_cy.base.slices import AT_ONCE_MAX, Slices
from kafka_cy.coordinator.runtime.load_failures import LoadFailures
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.runtime.shard import AppendFailed, S, Shard, Stored
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.hosted_partition import STATE_ONLINE

R = TypeVar("R")
T = TypeVar("T")


class CoordinatorRuntime(Generic[S]):
    """The shards of one coordinator. Owner: the coordinator's thread. An idle shard costs no timer."""

    def __init__(
        self,
        topic: str,
        partition_of: Callable[[str, int], int],  # (key, partition count) -> the key's partition
        cluster: Any,
        loop: Any,
        make_state: Callable[[], S],
        batch_bytes_max: Callable[[], int],
        compression: str,  # of the topic's batches
        log: Callable[..., object],  # (what happened, field=value, ...): writes a warning line
    ) -> None:
        self.topic = topic
        self.partition_of = partition_of
        self.cluster = cluster
        self.loop = loop
        self.make_state = make_state
        self.batch_bytes_max = batch_bytes_max
        self.compression = compression
        self.log = log
        self.slices = Slices(loop, self._on_fault)
        self.shards: dict[int, Shard[S]] = {}
        self._to_load: deque[Shard[S]] = deque()
        self._load_failures = LoadFailures()
        self._loading = False  # the slices hold the work of loading
        self._unloading: dict[int, Iterator[None]] = {}  # partitions that cannot be loaded again yet
        self._waiting: dict[int, Shard[S]] = {}  # shards with responses that wait

    # -- shards --

    def start(self) -> None:
        """Begin to load every partition that this broker hosts."""
        topic = self.cluster.topics.get(self.topic)
        for index in range(len(topic.partitions) if topic is not None else 0):
            self._host(index)
        self._load()

    def stop(self) -> None:
        """Unload everything, now: the loop has ended."""
        self.unload_all()
        for steps in list(self._unloading.values()):
            for _ in steps:
                pass
        self._unloading.clear()

    def unload_all(self) -> None:
        """The topic was deleted."""
        for index in list(self.shards):
            self.unload(index)
        self._load_failures.clear()

    def shard(self, index: int) -> Shard[S] | None:
        """The partition's shard; begins to load it when this broker hosts it. None if it does not, or if loading has failed."""
        if index not in self.shards:
            self._host(index)
            self._load()
        return self.shards.get(index)

    def _host(self, index: int) -> None:
        hosted = self.cluster.partition(self.topic, index)
        if index in self.shards or index in self._unloading or not self._load_failures.allow(index, self.loop.now()):
            return
        if hosted is not None:
            shard = self.shards[index] = Shard(index, hosted, self.make_state())
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
        yield from shard.load(self._on_fault)
        if not shard.is_loading:
            self._load_failures.loaded(shard.index)
            for line in shard.state.remarks():
                self.log(line, topic=self.topic, partition=shard.index)

    def _load_failed(self, shard: Shard[S], error: Exception) -> None:
        if self.shards.get(shard.index) is not shard:
            return  # it was unloaded meanwhile
        delay_s = self._load_failures.failed(shard.index, self.loop.now())
        self.log(
            "a coordinator's partition cannot be loaded; requests get NOT_COORDINATOR, and the first one after the delay loads it",
            topic=self.topic,
            partition=shard.index,
            error=repr(error),
            delay_s=delay_s,
        )
        self.unload(shard.index)

    def unload(self, index: int, *, reload: bool = False) -> None:
        """This broker no longer leads the partition. Requests get NOT_COORDINATOR at once; the groups go in slices.

        The partition cannot be loaded before the last group has gone: the groups of before must not take away timers and
        heartbeats of those that come.
        """
        shard = self.shards.pop(index, None)
        if shard is not None:
            self._waiting.pop(index, None)
            shard.cancel()
            steps = self._unloading[index] = shard.unload(self._on_fault)
            self.slices.add(steps, partial(self._unloaded, index, reload))

    def _unloaded(self, index: int, reload: bool) -> None:
        self._unloading.pop(index, None)
        if reload:
            self.shard(index)

    def _on_fault(self, fault: Exception) -> None:
        self.log("a fault in a coordinator", topic=self.topic, error=repr(fault))

    def partition_index(self, key: str) -> int | None:
        """The partition of the topic that the key belongs to; None while the topic does not exist."""
        topic = self.cluster.topics.get(self.topic)
        return None if topic is None else self.partition_of(key, len(topic.partitions))

    def shard_of(self, key: str) -> tuple[ErrorCode, Shard[S] | None]:
        """The loaded shard of the key, or NOT_COORDINATOR, or COORDINATOR_LOAD_IN_PROGRESS."""
        index = self.partition_index(key)
        if index is None:
            return ErrorCode.NOT_COORDINATOR, None
        shard = self.shards.get(index) or self.shard(index)
        if shard is None:
            return ErrorCode.NOT_COORDINATOR, None
        if shard.is_loading:
            return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, None
        return ErrorCode.NONE, shard

    def loaded_shards(self) -> list[Shard[S]]:
        """The shards that are not loading; a copy, safe from any thread."""
        return [shard for shard in list(self.shards.values()) if not shard.is_loading]

    def _replayed_shard(self, key: str) -> Shard[S] | None:
        """The key's shard once its log is replayed, also while it does not let requests in yet."""
        index = self.partition_index(key)
        shard = self.shards.get(index) if index is not None else None
        return shard if shard is not None and shard.is_replayed else None

    # -- operations --

    def write(
        self,
        key: str,
        operation: Callable[[S], CoordinatorResult[R]],
        respond: Callable[[ErrorCode, R | None], object] = lambda error, response: None,
    ) -> None:
        """Run an operation on the state that `key` belongs to.

        `respond` gets (NONE, response) when all that was appended so far is stored, else (error, None); it is not called
        when the operation keeps the request (response None) and succeeds.
        """
        error, shard = self.shard_of(key)
        if shard is None:
            respond(error, None)
        else:
            self._write(shard, key, operation, respond)

    def write_own(self, key: str, operation: Callable[[S], CoordinatorResult[R]]) -> None:
        """write() for work of the coordinator itself (timers), which may begin before requests are let in.

        Nothing happens if the partition is gone: its groups end, or have ended.
        """
        shard = self._replayed_shard(key)
        if shard is not None:
            self._write(shard, key, operation, lambda error, response: None)

    def _write(
        self,
        shard: Shard[S],
        key: str,
        operation: Callable[[S], CoordinatorResult[R]],
        respond: Callable[[ErrorCode, R | None], object],
    ) -> None:
        try:
            result = operation(shard.state)
        except Exception as fault:  # noqa: BLE001 nothing has changed: only this request fails
            self.log("an operation of a coordinator failed", key=key, error=repr(fault))
            respond(ErrorCode.UNKNOWN_SERVER_ERROR, None)
            return
        if result.records:
            error = self._append(shard, key, result)
            if error:
                if result.failed is not None:
                    self._run(key, partial(result.failed, error))
                respond(error, None)
                return
        if result.apply is not None and not self._run(key, result.apply):
            respond(ErrorCode.UNKNOWN_SERVER_ERROR, None)
            return
        response = result.response
        if response is None:
            return
        if shard.is_stored():
            respond(ErrorCode.NONE, response)
        else:
            self._when_stored(shard, lambda lost: respond(lost, None if lost else response))

    def _append(self, shard: Shard[S], key: str, result: CoordinatorResult[R]) -> ErrorCode:
        try:
            shard.append(result.records, self.loop.wall_clock_ms(), self.batch_bytes_max(), self.compression)
        except AppendFailed as failure:
            if not isinstance(failure.__cause__, ValueError):  # a client's string too long: no line for each
                self.log("a change of a coordinator could not be stored", key=key, error=str(failure))
            return failure.code
        try:
            shard.replay(result.records)
        except Exception as fault:  # noqa: BLE001 the log is right, the memory may not be: load it again
            self.log("a coordinator's partition is loaded again after a fault", partition=shard.index, error=repr(fault))
            self.unload(shard.index, reload=True)
            return ErrorCode.NOT_COORDINATOR
        return ErrorCode.NONE

    def _run(self, key: str, change: Callable[[], object]) -> bool:
        """Change the soft state. After a fault in it, the key's soft state begins anew. False: there was a fault."""
        try:
            change()
        except Exception as fault:  # noqa: BLE001 a fault costs the key one restart, nobody else anything
            self.log("the state of a group begins anew after a fault", key=key, error=repr(fault))
            shard = self._replayed_shard(key)
            if shard is not None:
                shard.state.restart(key)
            return False
        return True

    def read(
        self, key: str, operation: Callable[[S], R], respond: Callable[[ErrorCode, R | None], object]
    ) -> None:
        """Look at the state that `key` belongs to; `respond` is called when all that it shows is stored."""
        error, shard = self.shard_of(key)
        if shard is None:
            respond(error, None)
            return
        response = operation(shard.state)
        self._when_stored(shard, lambda lost: respond(lost, None if lost else response))

    # -- what waits for the high watermark --

    def when_stored(self, key: str, send: Stored) -> None:
        """Call `send` when all that was appended to the key's shard so far is stored; mostly at once."""
        index = self.partition_index(key)
        shard = None if index is None else self.shards.get(index)
        if shard is None:
            send(ErrorCode.NONE)
        else:
            self._when_stored(shard, send)

    def _when_stored(self, shard: Shard[S], send: Stored) -> None:
        if shard.is_stored():
            send(ErrorCode.NONE)
            return
        if self.shards.get(shard.index) is not shard:  # unloaded since, by a fault in a nested operation
            send(ErrorCode.NOT_COORDINATOR)
            return
        shard.waiting.append((shard.end_offset, send))
        self._waiting[shard.index] = shard
        self._send_stored(shard)

    def look(self) -> None:
        """Send the responses that waited for partitions that have moved; the loop calls it in every round."""
        for shard in list(self._waiting.values()):
            self._send_stored(shard)

    def _send_stored(self, shard: Shard[S]) -> None:
        shard.hosted.watch()
        if shard.hosted.state != STATE_ONLINE:
            self.unload(shard.index)
            return
        shard.send_stored()
        if not shard.waiting and self._waiting.get(shard.index) is shard:
            self._waiting.pop(shard.index, None)

    # -- timers and long work --

    def call_later(self, key: str, delay_s: float, function: Callable[..., object], *arguments: Any) -> Any:
        """A timer of the key's soft state; has `cancel()`."""
        return self.loop.call_later(delay_s, self._timer, key, partial(function, *arguments))

    def _timer(self, key: str, change: Callable[[], object]) -> None:
        if self._replayed_shard(key) is not None:  # else the partition is being unloaded, which ends the key's soft state
            self._run(key, change)

    def in_slices(
        self, items: Iterable[T], work: Callable[[T], object], done: Callable[[], object] = lambda: None
    ) -> None:
        """Call `work` for each item, in slices, then `done`. A fault in one does not stop the others."""

        def steps() -> Iterator[None]:
            for item in items:
                try:
                    work(item)
                except Exception as fault:  # noqa: BLE001 the other items have their turn
                    self._on_fault(fault)
                yield

        self.slices.add(steps(), done)

    def read_each(
        self,
        keys: Sequence[str],
        operation: Callable[[int, S], R],
        respond: Callable[[list[tuple[ErrorCode, R | None]]], object],
    ) -> None:
        """read() for several keys; `operation` gets the key's place. `respond` gets all results, in the keys' order."""
        results: dict[int, tuple[ErrorCode, R | None]] = {}

        def one(place: int, error: ErrorCode, response: R | None) -> None:
            results[place] = (error, response)
            if len(results) == len(keys):
                respond([results[each] for each in range(len(keys))])

        def each() -> Iterator[None]:
            for place, key in enumerate(keys):
                try:
                    self.read(key, partial(operation, place), partial(one, place))
                except Exception as fault:  # noqa: BLE001 the other keys have their turn, and the request its response
                    self._on_fault(fault)
                    one(place, ErrorCode.UNKNOWN_SERVER_ERROR, None)
                yield

        if not keys:
            respond([])
        elif len(keys) > AT_ONCE_MAX:
            self.slices.add(each())
        else:
            for _ in each():
                pass
