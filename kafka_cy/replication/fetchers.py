"""The fetchers of a broker: one for each leader and fetcher id, made and ended on demand (Kafka: ReplicaFetcherManager)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from kafka_cy.replication.fetcher_of import fetcher_of
from kafka_cy.replication.fetcher_stopper import FetcherStopper, Stopper
from kafka_cy.replication.follower_decisions import Following
from kafka_cy.storage.log_dir import NO_TOPIC_ID

Key = tuple[str, int]
Name = tuple[int, int, bool]  # leader, fetcher id, whether it fetches by name what others fetch by id
RETRY_S = 1.0  # after a fetcher could not be started


class Endpoint(NamedTuple):
    """Where a broker listens for other brokers."""

    host: str
    port: int


class Fetcher(Protocol):
    """What is asked of a ReplicaFetcher."""

    def stop(self) -> None: ...
    def follow(self, partition: Any, leader_epoch: int) -> None: ...
    def leave(self, partition: Any) -> None: ...
    def set_broker_epoch(self, broker_epoch: int) -> None: ...
    def counts(self) -> tuple[int, int, int, int]: ...
    @property
    def failure(self) -> str: ...


class RunningFetcher:
    """A fetcher, where it fetches from, and the partitions that it was told to follow."""

    def __init__(self, fetcher: Fetcher, number: int, endpoint: Endpoint) -> None:
        self.fetcher = fetcher
        self.number = number  # of all that were started
        self.endpoint = endpoint
        self.partitions: dict[Key, Any] = {}


class Fetchers:
    """Owner: the replica manager's thread. `following` may be read by others, single keys or a copy.

    `repeated(level, text, details, leader)`: see BrokerLog.
    `make(leader, fetcher_id, number, endpoint, by_name)` starts a fetcher; it may raise OSError. `endpoint_of` knows the brokers
    that are alive. A partition whose leader is unknown, or whose fetcher cannot be started, waits: endpoints_changed() and a timer
    try again. `by_id`: fetches name topics by their ids. Those without one (while inter.broker.protocol.version rises from below
    2.8) have fetchers of their own, which fetch by name. Limits: as many threads as leaders times num.replica.fetchers; then twice.
    """

    def __init__(
        self,
        partitions: Mapping[Key, Any],
        count: int,
        endpoint_of: Callable[[int], Endpoint | None],
        make: Callable[[int, int, int, Endpoint, bool], Fetcher],
        later: Callable[[float, Callable[[], None]], object],
        warn: Callable[..., None] = lambda text, **details: None,
        stopper: Stopper | None = None,
        repeated: Callable[[str, str, dict[str, Any], str], None] = lambda level, text, details, leader: None,
        *,
        by_id: bool = False,
    ) -> None:
        self.following: dict[Key, Following] = {}
        self.failed: set[Key] = set()  # not fetched before the next LeaderAndIsr
        self.running: dict[Name, RunningFetcher] = {}
        self._partitions = partitions
        self._count = count
        self._endpoint_of = endpoint_of
        self._make = make
        self._later = later
        self._warn = warn
        self._repeated = repeated
        self._broker_epoch = -1
        self._numbers = 0
        self._waiting: set[Key] = set()
        self._retrying = False
        self._closed = False
        self._stopper = stopper or FetcherStopper()
        self._by_id = by_id

    # -- roles --

    def follow(self, key: Key, leader: int, leader_epoch: int) -> None:
        """Fetch it from this leader from now on, from the end of its log."""
        self.leave(key)
        if not self._closed:
            self.following[key] = Following(leader, leader_epoch)
            self._attach(key)

    def leave(self, key: Key) -> None:
        """Fetch it no more. What is on its way is refused by the partition, once its role has changed."""
        following = self.following.pop(key, None)
        self.failed.discard(key)
        self._waiting.discard(key)
        if following is not None:
            self._detach(key, following.leader)

    def resume(self, key: Key) -> None:
        """Go on with a partition that its fetcher holds, from the end of its log."""
        if key in self.following:
            self._attach(key)

    def mark_failed(self, key: Key, leader_epoch: int) -> None:
        """Its log refused what was fetched."""
        following = self.following.get(key)
        if following is not None and following.leader_epoch == leader_epoch:
            self.failed.add(key)

    def _detach(self, key: Key, leader: int) -> None:
        for by_name in (False, True):
            running = self.running.get((leader, fetcher_of(*key, self._count), by_name))
            partition = running.partitions.pop(key, None) if running is not None else None
            if running is not None and partition is not None:
                try:
                    running.fetcher.leave(partition)
                except MemoryError:
                    pass  # the partition refuses what it fetches for another epoch, and it holds the partition then

    def _attach(self, key: Key) -> None:
        leader, leader_epoch = self.following[key]
        partition = self._partitions.get(key)
        try:
            by_name = self._by_id and partition is not None and partition.topic_id == NO_TOPIC_ID
            running = self._fetcher((leader, fetcher_of(*key, self._count), by_name))
            if running is not None and partition is not None:
                running.fetcher.follow(partition, leader_epoch)
                running.partitions[key] = partition
                self._waiting.discard(key)
                return
        except (OSError, MemoryError) as error:
            self._warn("a fetcher cannot be started; it is tried again", leader=leader, error=str(error) or repr(error))
            if not self._retrying:
                self._retrying = True
                self._later(RETRY_S, self._retry)
        self._waiting.add(key)

    def _retry(self) -> None:
        self._retrying = False
        self._attach_waiting()

    def _attach_waiting(self) -> None:
        for key in list(self._waiting):
            if key in self.following:
                self._attach(key)

    # -- fetchers --

    def _fetcher(self, name: Name) -> RunningFetcher | None:
        """The running fetcher, or a new one; of a leader that has moved, a new one with the same partitions. Raises OSError."""
        leader, fetcher_id, by_name = name
        endpoint = self._endpoint_of(leader)
        running = self.running.get(name)
        if endpoint is None or (running is not None and running.endpoint == endpoint):
            return running
        fresh = RunningFetcher(self._make(leader, fetcher_id, self._numbers, endpoint, by_name), self._numbers, endpoint)
        self._numbers += 1
        fresh.fetcher.set_broker_epoch(self._broker_epoch)
        self.running[name] = fresh
        if running is not None:
            self._waiting.update(key for key in running.partitions if key in self.following)
            self._stopper.stop(running.fetcher)
            self._later(0, self._attach_waiting)
        return fresh

    def tell(self, number: int, *, connected: bool) -> None:
        """A fetcher has lost its connection to the leader, or has one again."""
        for (leader, _, _), running in self.running.items():
            if running.number == number:
                host, port = running.endpoint
                level, text = "info", "the leader is fetched from again"
                if not connected:
                    level, text = "warning", f"the leader cannot be fetched from; this is tried again: {running.fetcher.failure}"
                self._repeated(level, text, {"leader": leader, "address": f"{host}:{port}"}, str(leader))

    def endpoints_changed(self) -> None:
        """Brokers have come, gone or moved."""
        for name in list(self.running):
            try:
                self._fetcher(name)
            except (OSError, MemoryError) as error:
                self._warn("a fetcher cannot be started", leader=name[0], error=str(error) or repr(error))
        self._attach_waiting()

    def resize(self, count: int) -> None:
        """num.replica.fetchers has changed."""
        if count == self._count:
            return
        roles = dict(self.following)
        for key in roles:
            self.leave(key)
        self._count = count
        self.stop_idle()
        for key, (leader, leader_epoch) in roles.items():
            self.follow(key, leader, leader_epoch)

    def set_broker_epoch(self, broker_epoch: int) -> None:
        """After a new registration of this broker."""
        self._broker_epoch = broker_epoch
        for running in self.running.values():
            running.fetcher.set_broker_epoch(broker_epoch)

    def stop_idle(self) -> None:
        """End the fetchers that follow nothing."""
        for name, running in list(self.running.items()):
            if not running.partitions:
                del self.running[name]
                self._stopper.stop(running.fetcher)

    def close(self) -> None:
        """End all fetchers. None is started afterwards: this broker shuts down."""
        self._closed = True
        self.following.clear()
        self._waiting.clear()
        running, self.running = self.running, {}
        for each in running.values():
            self._stopper.stop(each.fetcher)

    def join(self) -> None:
        """After close(): wait until nothing is appended any more."""
        self._stopper.join()
