"""What the replica manager has of native threads and connections: fetchers, what they and the leader's side tell, questions to
leaders. All that it decides is elsewhere; the simulator of the tests has another data plane, without threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import Any, Protocol

from kafka_cy.network.broker_connection import BrokerConnection
from kafka_cy.replication.event_pump import EventPump
from kafka_cy.replication.fetcher_events import FetcherEvents
from kafka_cy.replication.fetcher_stopper import FetcherStopper, Stopper
from kafka_cy.replication.fetchers import Endpoint, Fetcher
from kafka_cy.replication.follower_decisions import Answer, Question
from kafka_cy.replication.leader_channels import LeaderChannels
from kafka_cy.replication.replica_fetcher import ReplicaFetcher
from kafka_cy.replication.settings import FETCH_BY_NAME_MAX, ReplicationSettings
from kafka_cy.storage.isr_candidates import forget_candidates, take_candidates, wake_candidates
from kafka_cy.storage.live_brokers import set_live_brokers
from kafka_cy.storage.partition import set_replica_lag_time_max_ms

Post = Callable[..., None]
Told = Callable[[list[Any], Callable[[], object]], object]  # what, and what to call when it is taken


class Around(Protocol):
    """What is asked of a BrokerSide."""

    @property
    def log(self) -> Any: ...
    @property
    def transport(self) -> Any: ...


class DataPlane(Protocol):
    """What the replica manager asks of it, on its thread. `clock`, in seconds, measures slices of work."""

    clock: Callable[[], float]
    stopper: Stopper

    def start(self, on_events: Told, on_candidates: Told) -> None: ...
    def stop_telling(self) -> None: ...
    def stop_asking(self) -> None: ...
    def start_fetcher(self, leader: int, fetcher_id: int, number: int, endpoint: Endpoint, by_name: bool) -> Fetcher: ...
    def ask(self, leader: int, questions: list[Question], done: Callable[[list[Answer] | None], None]) -> None: ...
    def set_live_brokers(self, broker_ids: Iterable[int]) -> None: ...


class NativeDataPlane:
    """Lifetime: the replica manager's. See DataPlane."""

    clock = staticmethod(monotonic)

    def __init__(
        self, settings: ReplicationSettings, around: Around, endpoint_of: Callable[[int], Endpoint | None], post: Post
    ) -> None:
        """`post(function, *arguments)` calls on the replica manager's thread."""
        self.stopper: Stopper = FetcherStopper()
        self._settings, self._around, self._post = settings, around, post
        self._events = FetcherEvents()
        self._pumps: list[EventPump] = []
        self._channels = LeaderChannels(settings.broker_id, settings.versions, endpoint_of, self._connect, post)
        self.ask = self._channels.ask
        self.stop_asking = self._channels.stop

    def start(self, on_events: Told, on_candidates: Told) -> None:
        """Start the threads."""
        set_replica_lag_time_max_ms(self._settings.lag_time_max_ms)
        self._pumps = [
            EventPump("fetcher-events", self._events.take, self._events.close, partial(self._post, on_events)),
            EventPump("isr-candidates", take_candidates, wake_candidates, partial(self._post, on_candidates)),
        ]
        for pump in self._pumps:
            pump.start()

    def stop_telling(self) -> None:
        """End the threads that tell of events. The replica manager's thread is this one now."""
        if not self._pumps:
            self._events.close()
        for pump in self._pumps:
            pump.stop()
        forget_candidates()

    def set_live_brokers(self, broker_ids: Iterable[int]) -> None:
        """For the leader's side. Raises MemoryError."""
        set_live_brokers(broker_ids)

    def start_fetcher(self, leader: int, fetcher_id: int, number: int, endpoint: Endpoint, by_name: bool) -> Fetcher:
        """A running fetcher; `by_name`: of topics that have no ids. Raises OSError, MemoryError."""
        settings = self._settings
        fetcher = ReplicaFetcher(
            self._events, number, *endpoint,
            client_id=f"broker-{settings.broker_id}-fetcher-{fetcher_id}",
            broker_id=settings.broker_id,
            version=min(settings.versions.fetch, FETCH_BY_NAME_MAX) if by_name else settings.versions.fetch,
            transport=self._around.transport,
            wait_max_ms=settings.fetch_wait_max_ms,
            bytes_min=settings.fetch_min_bytes,
            response_bytes_max=settings.fetch_response_max_bytes,
            partition_bytes_max=settings.fetch_max_bytes,
            backoff_ms=settings.fetch_backoff_ms,
            timeout_ms=settings.socket_timeout_ms,
        )  # fmt: skip
        fetcher.start()
        self._around.log.info(
            "a fetcher starts", fetcher=number, leader=leader, address=f"{endpoint.host}:{endpoint.port}"
        )
        return fetcher

    def _connect(self, endpoint: Endpoint) -> BrokerConnection:
        return BrokerConnection(
            *endpoint, f"broker-{self._settings.broker_id}-fetcher", self._around.transport,
            timeout_ms=self._settings.socket_timeout_ms,
        )  # fmt: skip
