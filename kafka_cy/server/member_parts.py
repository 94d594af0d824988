"""What handlers of a cluster's APIs use of a member: its replicas, the metadata that it is told, and its controller."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from kafka_cy.base.slices import in_work
from kafka_cy.controller.partition_counts import PartitionCounts, partition_counts
from kafka_cy.protocol.controller_messages import (
    allocate_producer_ids,
    alter_partition,
    leader_and_isr,
    stop_replica,
    update_metadata,
)
from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrRequest
from kafka_cy.protocol.controller_messages.stop_replica import StopReplicaRequest
from kafka_cy.protocol.controller_messages.update_metadata import UpdateMetadataRequest, UpdateMetadataResponse
from kafka_cy.protocol.decoder import MalformedRequest
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.telemetry.controller_counts import ControllerCounts

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.base.slices import Slices
    from kafka_cy.controller.controller import Controller
    from kafka_cy.server.client_requests import ClientRequests
    from kafka_cy.server.metadata_updates import MetadataUpdates
    from kafka_cy.server.topic_waits import TopicWaits

BROKER_REQUESTS_MAX = 1000  # that wait for the controller; for those of clients, see ClientRequests
LONG_BODY_BYTES = 16 << 10  # a longer request is decoded on another thread

R = TypeVar("R")


class Member:
    """Owner: the controller's thread, unless a method says otherwise."""

    def __init__(
        self,
        replicas: Any,
        updates: MetadataUpdates,
        controller: Controller,
        slices: Slices,
        elements_max: int,
        waits: TopicWaits,
        requests: ClientRequests,
    ) -> None:
        """`elements_max`: kafkacy.control.request.max.elements."""
        self.replicas = replicas
        self.updates = updates
        self.controller = controller
        self.waits = waits
        self.requests = requests
        self._slices = slices
        self._elements_max = elements_max

    def stop(self) -> None:
        """The loop has ended: let go of the requests that wait."""
        self._slices.stop()
        self.waits.stop()

    # -- what the controller tells this broker --

    def receive(self, api_key: int, version: int, body: bytes, done: Callable[[bytes | None], object]) -> None:
        """A request of the controller, in memory; `done` gets the body of the response, on any thread."""

        def answered(response: Any) -> None:
            done(None if response is None else response.encode(version))

        is_long = len(body) > LONG_BODY_BYTES
        taken = True
        if api_key == leader_and_isr.API_KEY:
            read = partial(LeaderAndIsrRequest.decode, version, body)
            taken = self.replicas.leader_and_isr(read, answered, is_long=is_long)
        elif api_key == stop_replica.API_KEY:
            stop = partial(StopReplicaRequest.decode, version, body)
            taken = self.replicas.stop_replica(stop, answered, is_long=is_long)
        else:
            assert api_key == update_metadata.API_KEY
            self.update_metadata(
                partial(UpdateMetadataRequest.decode, version, body),
                lambda error: answered(UpdateMetadataResponse(error)),
                lambda: done(None),
                is_long=is_long,
            )
        if not taken:
            done(None)

    def update_metadata(
        self,
        read: Callable[[], UpdateMetadataRequest],
        done: Callable[[ErrorCode], object],
        malformed: Callable[[], object],
        *,
        is_long: bool,
    ) -> None:
        """Take an UpdateMetadata; `read` decodes it, on another thread if it is long. `malformed`: it could not be decoded."""
        self._decoded(read, lambda request: self.updates.update(request, done), malformed, is_long=is_long)

    def _decoded(
        self, read: Callable[[], R], then: Callable[[R], object], malformed: Callable[[], object], *, is_long: bool
    ) -> None:
        if not is_long:
            try:
                request = read()
            except MalformedRequest:
                malformed()
            else:
                then(request)
            return

        def steps() -> Generator[object, None, None]:
            try:
                found = yield from in_work(read)
            except MalformedRequest:
                malformed()
            else:
                then(found)

        self._slices.add(steps())

    # -- metrics --

    def controller_counts(self) -> ControllerCounts:
        """What this broker does as the controller. Any thread: tables are copied in one step before they are iterated."""
        numbers, term = self.controller.numbers, self.controller.term
        if term is None:
            return ControllerCounts(0, 0, elections=numbers.leader_elections, unclean_elections=numbers.unclean_elections)
        context = term.parts.context
        deleting, ineligible = set(context.deleting), set(context.deletion_ineligible)

        def replicas(topics: set[str]) -> int:
            return sum(len(each.replicas) for topic in topics for each in list(context.topics.get(topic, {}).values()))

        return ControllerCounts(
            1, len(context.brokers), len(deleting), replicas(deleting), len(ineligible), replicas(ineligible),
            numbers.leader_elections, numbers.unclean_elections,
        )  # fmt: skip

    def partition_counts(self) -> PartitionCounts:
        """Of the whole cluster, 0 while this broker is not the controller. Any thread."""
        term = self.controller.term
        return partition_counts(term.parts.context) if term is not None else PartitionCounts()

    # -- what brokers ask the controller --

    def ask_controller(self, request: Request[bytes], read: Callable[[], R], ask: Callable[[R], object]) -> None:
        """A request of a broker: decode it, then `ask`, which answers it."""
        if self.controller.broker_requests >= BROKER_REQUESTS_MAX:
            request.close("too many requests of brokers wait for the controller")
            return
        is_long = len(request.body) > LONG_BODY_BYTES
        request.end_turn()
        self._decoded(read, ask, lambda: request.close("the request is malformed"), is_long=is_long)

    def ask(self, api: Any, request: Any, done: Callable[[Any], object]) -> None:
        """A request of this broker to its own controller, in memory."""
        if api is alter_partition:
            self.controller.alter_partition(request, request.newest_version, done)
        elif api is allocate_producer_ids:
            self.controller.allocate_producer_ids(request, done)
        else:
            self.controller.controlled_shutdown(request, done)


