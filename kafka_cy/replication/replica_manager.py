"""One broker's side of replication: which partitions it leads and follows, and what has to be done for that.

Threads. The replica manager's loop (a ControlLoop with a thread of its own) owns all of it: roles, the ISR of led partitions,
fetchers, decisions of followers; creation, cutting and deletion of logs happen there. Requests are tasks in slices of a
millisecond, one after the other, and between two slices it handles events and timers. Fetchers are native threads. Two threads
wait for what native threads tell (`fetcher-events`, `isr-candidates`). One thread for each leader asks questions, while there
are some. Kafka: ReplicaManager.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from kafka_cy.base.slices import Slices, in_work
from kafka_cy.protocol.controller_messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrRequest, LeaderAndIsrResponse
from kafka_cy.protocol.controller_messages.stop_replica import StopReplicaRequest, StopReplicaResponse
from kafka_cy.protocol.decoder import MalformedRequest
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.replication.data_plane import DataPlane, NativeDataPlane, Post
from kafka_cy.replication.fetcher_events import FetcherEvent
from kafka_cy.replication.fetchers import Endpoint, Fetchers
from kafka_cy.replication.follower_decisions import Cut, FollowerDecisions
from kafka_cy.replication.isr_changes import IsrChanges
from kafka_cy.replication.replica_numbers import ReplicaNumbers, fetched_partitions, replica_numbers
from kafka_cy.replication.replica_states import Key, ReplicaStates
from kafka_cy.replication.role_changes import RoleChanges, Surroundings, refused
from kafka_cy.replication.settings import FETCH_BY_NAME_MAX, ReplicationSettings
from kafka_cy.replication.waiting_roles import WaitingRoles
from kafka_cy.storage.hosted_partition import HostedPartition

REQUESTS_WAITING_MAX = 100  # LeaderAndIsr and StopReplica of all connections; further ones are refused
REQUEST_BYTES_WAITING_MAX = 64 << 20
SHRINK_STEP_PARTITIONS = 100
EVENT_STEP = 200  # events of fetchers that are handled together
HELD = frozenset({"diverged", "out of range", "begin"})  # events after which a fetcher waits for a decision
CONNECTIONS = frozenset({"connected", "disconnected"})  # events of fetchers, not of partitions
Q = TypeVar("Q")
EndpointOf = Callable[[int], Endpoint | None]
AlterPartition = Callable[[AlterPartitionRequest, Callable[[AlterPartitionResponse | None], object]], object]


class Loop(Protocol):
    """What is asked of the ControlLoop that is the replica manager's."""

    now: Callable[[], float]  # seconds

    def call_later(self, delay_s: float, function: Callable[..., object], *arguments: Any) -> Any: ...
    def call_soon_threadsafe(self, function: Callable[..., object], *arguments: Any) -> None: ...
    def run_in_thread(self, work: Callable[[], object], done: Callable[[], object]) -> None: ...


class BrokerSide(NamedTuple):
    """What the broker does for the replica manager, on the replica manager's thread unless it posts.

    `alter_partition(request, done)`: sends to the controller and calls `done(response)`, None without one; on any thread.
    `topic_config(topic)`: the typed configuration of the topic's logs; on a thread of its own, so that it may wait. Raises
    UnknownSettings. `is_unknown(topic)`: whether it still would, for want of settings that can be understood.
    `hosted(topics)`: logs of these topics were created or deleted: their metadata has to be published again.
    `leadership(topic, partition, leader_epoch, leads)`: for coordinators; see role_changes.Surroundings.
    `log_dir_failed()`: tells the controller that a log directory has failed (/log_dir_event_notification).
    """

    alter_partition: AlterPartition
    topic_config: Callable[[str], dict[str, Any]]
    is_unknown: Callable[[str], bool]
    hosted: Callable[[set[str]], object]
    leadership: Callable[[str, int, int, bool], object]
    log_dir_failed: Callable[[], object]
    log: Any  # BrokerLog
    fault: Callable[[str, BaseException], object]  # KafkaServer.on_error
    transport: Any = None  # of connections to other brokers: a client transport's capsule; None is plaintext


class ReplicaManager:
    """Public methods may be called on any thread; they post to the replica manager's loop, in the order of the calls.

    Lifetime: start() after the logs have started; stop() when the loop has ended, before LogManager.shutdown().
    """

    def __init__(
        self,
        settings: ReplicationSettings,
        logs: Any,
        loop: Loop,
        broker: BrokerSide,
        data_plane: Callable[[ReplicationSettings, BrokerSide, EndpointOf, Post], DataPlane] = NativeDataPlane,
    ) -> None:
        self.settings = settings
        self.states = ReplicaStates(settings.broker_id, logs.partitions)
        self._logs = logs
        self._loop = loop
        self._broker = broker
        self._brokers: dict[int, Endpoint] = {}  # that are alive
        self._plane = data_plane(settings, broker, self._brokers.get, loop.call_soon_threadsafe)
        self._slices = Slices(loop, lambda error: broker.fault("replica manager", error), self._plane.clock)
        # LeaderAndIsr and StopReplica in their order, with their sizes; what waits is counted from the call on.
        self._requests: deque[tuple[Generator[object, None, None], int]] = deque()
        self._waiting_lock = threading.Lock()
        self._waiting = self._waiting_bytes = 0
        self._shrinking = False
        self.isr = IsrChanges(
            settings.broker_id, logs.partitions, self._alter_partition,
            lambda ms, call: loop.call_later(ms / 1000, call), broker.log.info,
        )  # fmt: skip
        self.fetchers = Fetchers(
            logs.partitions, settings.num_replica_fetchers, self._brokers.get, self._plane.start_fetcher, loop.call_later,
            broker.log.warning, self._plane.stopper, broker.log.repeated, by_id=settings.versions.fetch > FETCH_BY_NAME_MAX,
        )  # fmt: skip
        self._decisions = FollowerDecisions(
            logs.partitions, self.fetchers.following, self._plane.ask, self._cut, self.fetchers.resume,
            lambda call: loop.call_later(settings.fetch_backoff_ms / 1000, call), broker.log.warning, broker.log.info,
        )  # fmt: skip
        self._waiting_roles = WaitingRoles(broker.is_unknown, loop.call_later, self._take_waiting, loop.now)
        self._roles = RoleChanges(
            Surroundings(
                logs, self.states, self.isr, self.fetchers, self._brokers.__contains__, broker.topic_config, broker.hosted,
                broker.leadership, broker.log, loop.call_later, self._waiting_roles,
            )
        )  # fmt: skip

    def start(self) -> None:
        """Start the threads."""
        self._plane.start(self._on_events, self._on_candidates)
        self._loop.call_soon_threadsafe(self._shrink_later)

    def stop(self) -> None:
        """End all threads and connections. The loop has ended: this thread is its owner now."""
        self._plane.stop_telling()
        self._slices.stop()
        self.fetchers.close()
        self._plane.stop_asking()
        self.fetchers.join()

    # -- what the controller says --

    def leader_and_isr(
        self,
        read: Callable[[], LeaderAndIsrRequest],
        done: Callable[[LeaderAndIsrResponse | None], object],
        *,
        is_long: bool = False,
        size: int = 0,
    ) -> bool:
        """Take a LeaderAndIsr. `read` decodes it; on another thread if `is_long`. `done`: on the replica manager's thread.

        `done(None)`: it failed, and not every partition has its state; a controller repeats what was not answered. `size`: what
        `read` holds, in bytes. False: too many requests wait, or too many bytes.
        """
        return self._submit(self._leader_and_isr, read, done, is_long, size)

    def stop_replica(
        self,
        read: Callable[[], StopReplicaRequest],
        done: Callable[[StopReplicaResponse | None], object],
        *,
        is_long: bool = False,
        size: int = 0,
    ) -> bool:
        """Take a StopReplica; see leader_and_isr."""
        return self._submit(self._stop_replica, read, done, is_long, size)

    def brokers_changed(self, endpoints: Mapping[int, tuple[str, int]]) -> None:
        """UpdateMetadata: all brokers that are alive, with host and port for other brokers."""
        found = {broker_id: Endpoint(*each) for broker_id, each in endpoints.items()}
        self._loop.call_soon_threadsafe(self._on_brokers, found)

    def registered(self, broker_epoch: int) -> None:
        """This broker has registered, with this epoch."""
        self._loop.call_soon_threadsafe(self._on_registered, broker_epoch)

    def stop_fetching(self) -> None:
        """Controlled shutdown: other brokers lead now, and shall not propose this one for an ISR."""
        self._loop.call_soon_threadsafe(self.fetchers.close)

    def log_dir_failed(self, lost: Iterable[HostedPartition]) -> None:
        """A log directory went offline with these partitions."""
        self._loop.call_soon_threadsafe(self._on_log_dir_failed, [(each.topic, each.index) for each in lost])

    def set_fetcher_count(self, count: int) -> None:
        """num.replica.fetchers has changed."""
        self._loop.call_soon_threadsafe(self.fetchers.resize, count)

    def numbers(self) -> ReplicaNumbers:
        """For telemetry."""
        return replica_numbers(self.isr, self.fetchers, self.states, self._waiting_roles, self._logs.partitions)

    def fetched(self) -> list[tuple[bytes, list[HostedPartition]]]:
        """For telemetry: see fetched_partitions."""
        return fetched_partitions(self.fetchers)

    # -- requests, one after the other --

    def _submit(self, steps: Callable[..., Any], read: Any, done: Any, is_long: bool, size: int) -> bool:
        with self._waiting_lock:
            if self._waiting >= REQUESTS_WAITING_MAX or self._waiting_bytes + size > REQUEST_BYTES_WAITING_MAX:
                return False
            self._waiting += 1
            self._waiting_bytes += size
        request = self._answered_once(steps, read, done, is_long=is_long)
        self._loop.call_soon_threadsafe(self._add_request, request, size)
        return True

    def _add_request(self, request: Generator[object, None, None], size: int) -> None:
        self._requests.append((request, size))
        if len(self._requests) == 1:
            self._begin()

    def _take_waiting(self) -> None:
        """As a request: roles change in one at a time."""
        with self._waiting_lock:
            self._waiting += 1
        self._add_request(self._roles.take_waiting(), 0)

    def _begin(self) -> None:
        self._slices.add(self._requests[0][0], self._ended)

    def _ended(self) -> None:
        _, size = self._requests.popleft()
        with self._waiting_lock:
            self._waiting -= 1
            self._waiting_bytes -= size
        if self._requests:
            self._loop.call_later(0, self._begin)

    def _answered_once(self, steps: Any, read: Any, done: Any, *, is_long: bool) -> Generator[object, None, None]:
        """A request that fails half way is answered, too."""
        answered = False

        def answer(response: Any) -> None:
            nonlocal answered
            answered = True
            done(response)

        try:
            request = (yield from in_work(read)) if is_long else read()
            yield from steps(request, answer)
        except MalformedRequest as error:
            self._broker.log.warning("a request of a controller is malformed", error=str(error))
        finally:
            if not answered:
                done(None)

    def _is_of_earlier_registration(self, broker_epoch: int) -> bool:
        return -1 < broker_epoch < self.states.broker_epoch

    def _leader_and_isr(
        self, request: LeaderAndIsrRequest, done: Callable[[LeaderAndIsrResponse], object]
    ) -> Generator[object, None, None]:
        if self._is_of_earlier_registration(request.broker_epoch):
            self._tell_stale("LeaderAndIsr", request.broker_epoch)
            done(refused(request, ErrorCode.STALE_BROKER_EPOCH))
        else:
            yield from self._roles.leader_and_isr(request, done)

    def _stop_replica(
        self, request: StopReplicaRequest, done: Callable[[StopReplicaResponse], object]
    ) -> Generator[object, None, None]:
        if self._is_of_earlier_registration(request.broker_epoch):
            self._tell_stale("StopReplica", request.broker_epoch)
            done(StopReplicaResponse(int(ErrorCode.STALE_BROKER_EPOCH)))
        else:
            yield from self._roles.stop_replica(request, done)

    def _tell_stale(self, api: str, broker_epoch: int) -> None:
        self._broker.log.info(
            f"{api} for an earlier registration of this broker is refused", broker_epoch=broker_epoch,
            own=self.states.broker_epoch,
        )

    # -- brokers --

    def _on_brokers(self, endpoints: dict[int, Endpoint]) -> None:
        if endpoints == self._brokers:
            return
        self._plane.set_live_brokers(endpoints)
        if self._brokers.keys() - endpoints.keys():
            # A high watermark that has waited for one of them to join its ISR moves. (Kafka's waits for the next append or fetch.)
            self._slices.add(self._shrink_steps(list(self.isr.led)))
        self._brokers.clear()
        self._brokers.update(endpoints)
        self.fetchers.endpoints_changed()

    def _on_registered(self, broker_epoch: int) -> None:
        self.states.broker_epoch = self.isr.broker_epoch = broker_epoch
        self._waiting_roles.registered(broker_epoch)
        self.fetchers.set_broker_epoch(broker_epoch)

    def _on_log_dir_failed(self, lost: list[Key]) -> None:
        """As Kafka (handleLogDirFailure): the controller asks for the state of our partitions, and is told which are offline."""
        led = [key for key in lost if self.states.leads(key)]
        for key in lost:
            self.fetchers.leave(key)
            self.isr.resign(key)
            self.states.offline.add(key)
        self.fetchers.stop_idle()
        self._slices.add(self._roles.tell_offline(led))
        self._broker.log_dir_failed()

    # -- following --

    def _on_events(self, events: list[FetcherEvent], taken: Callable[[], object]) -> None:
        self._slices.add(self._event_steps(events), taken)

    def _event_steps(self, events: list[FetcherEvent]) -> Iterable[None]:
        """Some at a time: their logs are cut together, and other work goes on in between."""
        for first in range(0, len(events), EVENT_STEP):
            self._decide(events[first : first + EVENT_STEP])
            yield

    def _decide(self, events: list[FetcherEvent]) -> None:
        try:
            for event in events:
                if event.kind == "failed":
                    self.fetchers.mark_failed((event.topic, event.partition), event.leader_epoch)
                elif event.kind in CONNECTIONS:
                    self.fetchers.tell(event.fetcher, connected=event.kind == "connected")
            self._decisions.handle(events)
        except Exception as error:  # noqa: BLE001 nothing that a fetcher holds may be forgotten
            self._broker.fault("decisions of followers", error)
            self._loop.call_later(self.settings.fetch_backoff_ms / 1000, self._resume_held, events)

    def _resume_held(self, events: list[FetcherEvent]) -> None:
        """Fetched again from the end of the log: what has to be decided comes again."""
        for event in events:
            following = self.fetchers.following.get((event.topic, event.partition))
            if event.kind in HELD and following is not None and following.leader_epoch == event.leader_epoch:
                self.fetchers.resume((event.topic, event.partition))

    def _cut(self, cuts: list[Cut]) -> set[Key]:
        failed: set[Key] = self._logs.cut(cuts)
        self.fetchers.failed.update(failed)
        return failed

    # -- the ISR --

    def _alter_partition(
        self, request: AlterPartitionRequest, done: Callable[[AlterPartitionResponse | None], None]
    ) -> None:
        self._broker.alter_partition(request, partial(self._loop.call_soon_threadsafe, done))

    def _on_candidates(self, keys: list[Key], taken: Callable[[], object]) -> None:
        try:
            self.isr.expand(keys)
        finally:
            taken()

    def _shrink_later(self) -> None:
        self._loop.call_later(self.settings.lag_time_max_ms / 2000, self._shrink)

    def _shrink(self) -> None:
        self._slices.add(self._shrink_steps(list(self.isr.led)), self._shrink_later)

    def _shrink_steps(self, keys: list[Key]) -> Iterable[None]:
        for first in range(0, len(keys), SHRINK_STEP_PARTITIONS):
            self.isr.shrink(keys[first : first + SHRINK_STEP_PARTITIONS])
            yield
