"""The controller: it holds the office from its election until it is fenced, and answers requests meanwhile.

It is elected by writing /controller and /controller_epoch in one change; the version of the latter fences every write, so that a
controller that has lost the office changes nothing any more. All state is read anew at each election.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from kafka_cy.cluster.store import AsyncStore
from kafka_cy.controller.controller_numbers import ControllerNumbers
from kafka_cy.controller.events import EventQueue
from kafka_cy.controller.operator_events import Outcome, Outcomes
from kafka_cy.controller.partition_state import ReplicaAssignment, TopicPartition
from kafka_cy.controller.parts import Parts
from kafka_cy.controller.producer_id_blocks import allocate_producer_ids
from kafka_cy.controller.settings import ControllerSettings, Surroundings
from kafka_cy.controller.term import Term
from kafka_cy.controller.term_store import TermEnded
from kafka_cy.protocol.controller_messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)
from kafka_cy.protocol.controller_messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from kafka_cy.protocol.controller_messages.controlled_shutdown import (
    ControlledShutdownRequest,
    ControlledShutdownResponse,
)
from kafka_cy.protocol.errors import ErrorCode

R = TypeVar("R")
Lost = Callable[[bool], object]


class Controller:
    """Owner: the controller's thread; every method is called there, and every `done`.

    A request that arrives while this broker is not the controller, or that is not finished when its term ends, is answered with
    NOT_CONTROLLER.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        around: Surroundings,
        store: AsyncStore,
        lost: Lost,
        numbers: ControllerNumbers | None = None,
    ) -> None:
        """`lost(release)`: a write was fenced, or the term could not begin (`release`: /controller has to be deleted)."""
        self.numbers = numbers if numbers is not None else ControllerNumbers()
        self._settings = settings
        self._around = around
        self._store = store
        self._lost = lost
        self._queue = EventQueue(around.clock_ms, self._event_failed, self.numbers.event)
        self._term: Term | None = None
        self._unanswered: dict[object, Callable[[], object]] = {}
        self._of_brokers: set[object] = set()  # those that brokers have sent

    @property
    def is_active(self) -> bool:
        """Whether this broker is the controller, as far as it knows."""
        return self._term is not None

    @property
    def gives_topic_ids(self) -> bool:
        """Whether topics that it creates get ids (inter.broker.protocol.version)."""
        return self._settings.protocol.uses_topic_ids

    @property
    def is_idle(self) -> bool:
        """Whether no event waits or runs."""
        return self._queue.is_idle

    @property
    def term(self) -> Term | None:
        """What the controller knows; None: this broker is not the controller."""
        return self._term

    @property
    def broker_requests(self) -> int:
        """How many requests of brokers wait or are in work."""
        return len(self._of_brokers)

    def elected(self, epoch: int, epoch_version: int) -> None:
        """This broker was elected; `epoch_version` is the version of /controller_epoch after that."""
        self.resign()
        parts = Parts(self._settings, self._around, self._store, epoch, epoch_version, self._queue, self.numbers)
        self._term = term = Term(parts)
        self.numbers.active = True
        parts.put("ControllerChange", lambda: self._start(term))

    async def _start(self, term: Term) -> None:
        try:
            await term.start()
        except TermEnded:
            raise
        except Exception as error:  # noqa: BLE001 another broker shall try
            self._around.warning(f"the controller cannot start: {error!r}")
            self.resign()
            self._lost(True)

    def take_settings(self, settings: ControllerSettings) -> None:
        """The broker's settings have changed: those that may while it runs."""
        self._settings = settings
        if self._term is not None:
            self._term.parts.settings = settings

    def elect_missing(self) -> None:
        """Unclean elections were allowed: partitions without a leader may get one now."""
        term = self._term
        if term is not None:
            term.parts.put("UncleanLeaderElectionEnable", term.parts.partitions.elect_missing)

    def resign(self) -> None:
        """The office is lost: forget everything. Also called when the session ends."""
        term = self._term
        if term is None:
            return
        self._term = None
        self.numbers.active = False
        term.close()
        self._queue.abandon()
        self._around.info("this broker is not the controller any more")
        unanswered, self._unanswered = self._unanswered, {}
        self._of_brokers.clear()
        for refuse in unanswered.values():
            try:
                refuse()
            except Exception as error:  # noqa: BLE001 the others must be answered, too
                self._event_failed("Resignation", error)

    def _event_failed(self, name: str, error: BaseException) -> None:
        if isinstance(error, TermEnded):
            if self._term is not None:
                self._around.warning(f"the controller resigns: {error}")
                self.resign()
                self._lost(False)
            return
        self.numbers.failed_events += 1
        self._around.warning(f"controller event {name} failed: {error!r}")

    def _request(
        self,
        name: str,
        run: Callable[[Term], Coroutine[Any, Any, R]],
        done: Callable[[R], object],
        refusal: Callable[[ErrorCode], R],
        *,
        of_broker: bool = False,
    ) -> None:
        """Run a request as an event, and answer it whatever happens."""
        term = self._term
        if term is None:
            done(refusal(ErrorCode.NOT_CONTROLLER))
            return
        token = object()
        self._unanswered[token] = lambda: done(refusal(ErrorCode.NOT_CONTROLLER))
        if of_broker:
            self._of_brokers.add(token)

        async def handle() -> None:
            try:
                answer = await run(term)
            except TermEnded:
                raise  # resign() answers
            except Exception:
                if self._is_unanswered(token):
                    done(refusal(ErrorCode.UNKNOWN_SERVER_ERROR))
                raise
            if self._is_unanswered(token):
                done(answer)

        term.parts.put(name, handle)

    def _is_unanswered(self, token: object) -> bool:
        """Whether a request still waits for its answer, which it gets now."""
        self._of_brokers.discard(token)
        return self._unanswered.pop(token, None) is not None

    def alter_partition(
        self, request: AlterPartitionRequest, version: int, done: Callable[[AlterPartitionResponse], object]
    ) -> None:
        """A leader wants other ISRs."""

        async def run(term: Term) -> AlterPartitionResponse:
            response, heard, changed = await term.parts.alter_partitions.alter(request, version)
            if heard:
                term.parts.batch.add_update_metadata(term.parts.context.registered_ids(), heard)
                await term.parts.batch.send()
            if any(each in term.parts.context.being_reassigned for each in changed):
                complete = term.parts.reassignments.complete_if_possible
                term.parts.put("AlterPartition", lambda: complete(changed))
            return response

        self._request("AlterPartition", run, done, AlterPartitionResponse, of_broker=True)

    def controlled_shutdown(
        self, request: ControlledShutdownRequest, done: Callable[[ControlledShutdownResponse], object]
    ) -> None:
        """A broker shuts down."""

        async def run(term: Term) -> ControlledShutdownResponse:
            return await term.brokers.controlled_shutdown(request.broker_id, request.broker_epoch)

        self._request("ControlledShutdown", run, done, ControlledShutdownResponse, of_broker=True)

    def allocate_producer_ids(
        self, request: AllocateProducerIdsRequest, done: Callable[[AllocateProducerIdsResponse], object]
    ) -> None:
        """A broker needs producer ids."""

        async def run(term: Term) -> AllocateProducerIdsResponse:
            return await allocate_producer_ids(term.parts.context, term.parts.store, request)

        self._request("AllocateProducerIds", run, done, AllocateProducerIdsResponse, of_broker=True)

    def create_topic(
        self,
        name: str,
        assignment: Sequence[Sequence[int]],
        configs: Mapping[str, str],
        done: Callable[[Outcome], object],
        topic_id: UUID | None = None,
    ) -> None:
        """Store a new topic; answered when it is stored, before its partitions have leaders."""

        async def run(term: Term) -> Outcome:
            return await term.topic_requests.create(name, assignment, configs, topic_id)

        self._request("CreateTopics", run, done, Outcome)

    def assignments(self, topic: str) -> Mapping[int, ReplicaAssignment] | None:
        """The partitions of a topic, with those that have had no leader yet; None: there is no such topic."""
        return self._term.parts.context.topics.get(topic) if self._term is not None else None

    def is_deleting(self, topic: str) -> bool:
        """Whether a deletion of the topic is recorded and not complete."""
        return self._term is not None and topic in self._term.parts.context.deleting

    def create_partitions(
        self,
        name: str,
        count: int,
        added: Sequence[Sequence[int]],
        done: Callable[[Outcome], object],
        *,
        is_manual: bool,
    ) -> None:
        """Store further partitions of a topic: see TopicRequests."""

        async def run(term: Term) -> Outcome:
            return await term.topic_requests.create_partitions(name, count, added, is_manual=is_manual)

        self._request("CreatePartitions", run, done, Outcome)

    def delete_topic(self, name: str, done: Callable[[Outcome], object], topic_id: UUID | None = None) -> None:
        """Record the deletion of a topic; answered when it is recorded. `topic_id`: see TopicRequests."""

        async def run(term: Term) -> Outcome:
            return await term.topic_requests.delete(name, topic_id)

        self._request("DeleteTopics", run, done, Outcome)

    def elect_leaders(
        self,
        partitions: Iterable[TopicPartition] | None,
        unclean: bool,
        done: Callable[[tuple[ErrorCode, Outcomes]], object],
    ) -> None:
        """Elect the preferred leaders, or any live replica where there is no leader; None: of all partitions that need it."""

        async def run(term: Term) -> tuple[ErrorCode, Outcomes]:
            return ErrorCode.NONE, await term.operator.elect(partitions, unclean)

        self._request("ReplicaLeaderElection", run, done, lambda error: (error, {}))

    def alter_reassignments(
        self,
        wanted: Mapping[TopicPartition, Sequence[int] | None],
        done: Callable[[tuple[ErrorCode, Outcomes]], object],
    ) -> None:
        """Begin (target replicas) or cancel (None) reassignments; answered when they have begun."""
        term = self._term
        if term is None:
            done((ErrorCode.NOT_CONTROLLER, {}))
            return
        token = object()
        self._unanswered[token] = lambda: done((ErrorCode.NOT_CONTROLLER, {}))

        def begun(outcomes: Outcomes) -> None:
            if self._is_unanswered(token):
                done((ErrorCode.NONE, outcomes))

        term.operator.reassign(wanted, begun)

    def list_reassignments(
        self,
        partitions: Iterable[TopicPartition] | None,
        done: Callable[[tuple[ErrorCode, dict[TopicPartition, ReplicaAssignment]]], object],
    ) -> None:
        """The reassignments that run; None: all."""

        async def run(term: Term) -> tuple[ErrorCode, dict[TopicPartition, ReplicaAssignment]]:
            return ErrorCode.NONE, await term.operator.reassignments(partitions)

        self._request("ListPartitionReassignments", run, done, lambda error: (error, {}))
