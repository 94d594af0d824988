"""What follows from a heartbeat of a member: a new topology, a new group epoch, a new target assignment, the member's next step.

Everything here looks at the group and collects records; nothing changes before they are stored. What takes long if the topology
is large, or the member has many tasks, only computes, and is a Work.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.streams.configured import ConfiguredTopology, configure, required_topics
from kafka_cy.coordinator.streams.context import StreamsContext
from kafka_cy.coordinator.streams.endpoints import endpoint_rows
from kafka_cy.coordinator.streams.group import NOT_VALIDATED, StreamsGroup
from kafka_cy.coordinator.streams.limits import member_bytes, topology_bytes
from kafka_cy.coordinator.streams.member import NO_DETAILS, StreamsMember, current_record, member_record
from kafka_cy.coordinator.streams.reconciliation import Reconciliation
from kafka_cy.coordinator.streams.records import Group as StoredGroup
from kafka_cy.coordinator.streams.records import GroupKey, KeyValue, Member, Topology, TopologyKey
from kafka_cy.coordinator.streams.requests import Endpoints, StreamsHeartbeat, member_response
from kafka_cy.coordinator.streams.statuses import (
    ASSIGNMENT_INTERVAL,
    INITIAL_DELAY,
    Status,
    not_authorized,
    shutdown_requested,
    stale_topology,
)
from kafka_cy.coordinator.streams.target import StreamsTarget
from kafka_cy.coordinator.streams.tasks import NO_TASKS, TaskMap, Tasks
from kafka_cy.protocol.errors import ErrorCode


class StreamsMemberChange:
    """`old` is the member before, `new` as it will be. The methods are called in their order."""

    def __init__(
        self, context: StreamsContext, group: StreamsGroup, old: StreamsMember, request: StreamsHeartbeat,
        records: list[Record],
    ) -> None:  # fmt: skip
        self.context = context
        self.group = group
        self.old = old
        self.new = old._replace(details=details_of(old, request))
        self.request = request
        self.records = records
        self.statuses: list[Status] = []
        self.topology: Topology  # of the group; store_member() finds it
        self.configured = group.configured
        self.metadata_hash = group.metadata_hash
        self.configs = context.settings.assignment_configs(group.group_id)
        self.epoch = group.epoch
        self.bumped = False
        self.delay_ms = 0  # before the first assignment, which this heartbeat begins
        self.target_epoch = group.assignment_epoch
        self.member_target: Tasks = NO_TASKS
        self.target: StreamsTarget | None = None  # to be computed later, in slices
        self.unplaced = 0  # standby tasks for which there are too few processes
        self.moved = False  # the member took a step
        self.not_created: list[str] = []  # internal topics that the sender may not create
        self._topics_version = 0  # with which the metadata hash was compared
        self._endpoint_epoch = group.endpoint_epoch

    def _topology(self) -> Topology:
        """The group's topology, or that of the request if the group has none. Raises GroupError (INVALID_REQUEST)."""
        known, said = self.group.topology, self.request.topology
        if known is None:
            if said is None:
                raise GroupError(ErrorCode.UNKNOWN_SERVER_ERROR, "The group has no topology.")
            return said
        if said is not None and said.epoch >= known.epoch and not _is_same(known, said):
            raise GroupError(ErrorCode.INVALID_REQUEST, "Topology updates are not supported yet.")
        return known

    # -- what is stored --

    def store_member(self) -> Generator[object, None, None]:
        """Store what the member says, and the topology of a new group. Raises GroupError: INVALID_REQUEST,
        GROUP_MAX_SIZE_REACHED."""
        self.topology = yield from in_work(self._topology)
        group, topology = self.group, self.topology
        old, before = self.old, 0
        if old.details is not NO_DETAILS:
            before = member_bytes(group.group_id, old.member_id, old.details)
        added = 0
        if self.new.details is not self.old.details:
            added = member_bytes(group.group_id, self.new.member_id, self.new.details) - before
            self.records.append(member_record(group.group_id, self.new))
            self.bumped = True
        if group.topology is None:
            added += yield from in_work(partial(topology_bytes, topology))
            self.records.append((TopologyKey(group.group_id), topology))
        if not self.context.has_room(self.group, added):
            raise GroupError(ErrorCode.GROUP_MAX_SIZE_REACHED, "The members of all streams groups take too much memory.")
        known, epoch = group.topology, self.new.details.topology_epoch
        if known is not None and epoch < known.epoch:
            self.statuses.append(stale_topology(epoch, known.epoch))

    def configure(self) -> Generator[object, None, None]:
        """Compare the topology with the topics, if one of them is new. Raises GroupError: INVALID_REQUEST,
        STREAMS_INVALID_TOPOLOGY."""
        group, topics = self.group, self.context.topics
        if self.configured is None or group.topics_version != topics.version:
            self._topics_version = topics.version
            names = yield from in_work(partial(required_topics, self.topology))
            self.metadata_hash = yield from topics.group_hash_steps(names)
            changed = self.metadata_hash != group.metadata_hash
            self.bumped = self.bumped or changed
            if changed or self.configured is None:
                self.configured = yield from in_work(partial(configure, self.topology, topics))
        if self._configured().is_ready and self.request.owned is not None:
            yield from in_work(self._check_owned)

    def _configured(self) -> ConfiguredTopology:
        assert self.configured is not None
        return self.configured

    def _check_owned(self) -> None:
        for tasks in self.request.owned or ():
            self._check_tasks(tasks)

    def _check_tasks(self, tasks: TaskMap) -> None:
        known = self._configured().subtopologies or {}
        for subtopology, partitions in tasks.items():
            found = known.get(subtopology)
            if found is None:
                text = f"Subtopology {subtopology} does not exist in the topology."
                raise GroupError(ErrorCode.INVALID_REQUEST, text)
            bad = next((each for each in partitions if not 0 <= each < found.tasks_count), None)
            if bad is not None:
                text = f"Task {bad} for subtopology {subtopology} is invalid."
                text += f" Number of tasks for this subtopology: {found.tasks_count}"
                raise GroupError(ErrorCode.INVALID_REQUEST, text)

    def bump(self) -> None:
        """Bump the group epoch if the member, the topics, the readiness or the settings of assignments have changed."""
        group = self.group
        validated = self.topology.epoch if self._configured().is_ready else NOT_VALIDATED
        if self.bumped or validated != group.validated_epoch or self.configs != group.assignment_configs:
            self.bumped = True
            self.epoch += 1
            value = StoredGroup(self.epoch, self.metadata_hash, validated, self.configs)
            self.records.append((GroupKey(group.group_id), value))

    # -- the target assignment --

    def assign(self) -> None:
        """Compute the target assignment when the group epoch is newer; a large one is computed later (`target`)."""
        group, context = self.group, self.context
        if group.is_empty:
            self.delay_ms = context.settings.initial_rebalance_delay_ms(group.group_id)
        if self.delay_ms > 0 or context.is_delayed(group):
            self.statuses.append(INITIAL_DELAY)
            return
        self.member_target = group.target_of(self.new.member_id)
        if group.assignment_epoch >= self.epoch:
            return
        if not context.interval_is_over(group):
            self.statuses.append(ASSIGNMENT_INTERVAL)
            return
        if group.assigning:
            return
        now_ms = context.loop.wall_clock_ms()
        target = StreamsTarget(group, self.epoch, self._configured(), self.configs, now_ms, self.new)
        if target.is_long():
            self.target = target
            return
        self.records += target.compute()
        self.unplaced = target.unplaced
        self.target_epoch = self.epoch
        self.member_target = target.tasks_of(self.new.member_id)

    # -- the member's next step --

    def reconcile(self) -> Generator[object, None, None]:
        """Take the member a step nearer to its target, if there is one to take. Raises GroupError (FENCED_MEMBER_EPOCH)."""
        if self.new.is_reconciled_to(self.target_epoch):
            return
        reconciliation = Reconciliation(self.target_epoch, self.member_target, self.group.owners, self.request.owned)
        step, record = yield from in_work(partial(self._step, reconciliation))
        if record is not None:
            self.moved = True
            self.new = step
            self.records.append(record)

    def _step(self, reconciliation: Reconciliation) -> tuple[StreamsMember, Record | None]:
        """The member after the step, and the record of it if it took one."""
        step = reconciliation.step(self.new)
        return step, current_record(self.group.group_id, step) if step != self.new else None

    # -- the response --

    def response(self) -> Generator[object, None, dict[str, Any]]:
        """The fields of the response."""
        group, request, configured = self.group, self.request, self._configured()
        tells = request.member_epoch == 0 or self.old.assigned != self.new.assigned
        has_endpoint = self.new.details.user_endpoint is not None
        if tells and has_endpoint and group.is_recorded:  # a new group begins with 0, as in Kafka
            self._endpoint_epoch += 1
        rows = None
        if self._endpoint_epoch != request.endpoint_epoch:
            rows = yield from in_work(partial(endpoint_rows, group, self.new, configured, self.context.topics))
        statuses = list(self.statuses)
        problem = self.context.internal_topics.problem_of(configured)
        if configured.missing and request.creates is not None:
            may_create, missing = request.creates, [each.name for each in configured.missing]
            self.not_created = yield from in_work(lambda: [name for name in missing if not may_create(name)])
            problem = not_authorized(problem, self.not_created)
        if problem is not None:
            statuses.append(problem)
        asked = group.shutdown_member_id or (request.member_id if request.shutdown_application else None)
        if asked is not None:
            statuses.append(shutdown_requested(asked))
        interval_ms = self.context.settings.heartbeat_interval_ms(group.group_id)
        endpoints = Endpoints(self._endpoint_epoch, rows)
        respond = partial(member_response, self.new, interval_ms, statuses, endpoints, tells_tasks=tells)
        return (yield from in_work(respond))

    def applied(self, group: StreamsGroup, *, is_new: bool) -> None:
        """The records are stored.

        A new group takes its topology from its second heartbeat on, as in Kafka: without one, the time of the first assignment
        passes, and the next heartbeat makes it.
        """
        problem = self._configured().problem
        if problem is not None and (group.configured is None or group.configured.problem != problem):
            self.context.lines.not_ready(group.group_id, problem)
        if not is_new:
            if group.configured is not self.configured or group.endpoint_epoch != self._endpoint_epoch:
                group.steady = None  # others have to hear of it, whether or not something was stored
            group.configured = self.configured
            if self._topics_version:
                group.topics_version = self._topics_version
            group.endpoint_epoch = self._endpoint_epoch
        if self.request.shutdown_application:
            self.context.request_shutdown(group, self.new.member_id)
        if self.delay_ms:
            self.context.delay_first_assignment(group, self.delay_ms)
        if self.bumped:
            self.context.lines.rebalances(group.group_id, group.epoch)
        self.context.lines.unplaced(group.group_id, self.unplaced)


def _is_same(known: Topology, said: Topology) -> bool:
    """Whether the topologies are equal; the order of subtopologies does not matter."""
    if known.epoch != said.epoch or len(known.subtopologies) != len(said.subtopologies):
        return False
    return {each.subtopology_id: each for each in known.subtopologies} == {
        each.subtopology_id: each for each in said.subtopologies
    }


def details_of(old: StreamsMember, request: StreamsHeartbeat) -> Member:
    """What the member says now; the same object if nothing has changed."""
    before = old.details
    tags = before.client_tags
    if request.client_tags is not None:
        found = {each.key: each.value for each in request.client_tags}
        tags = tuple(KeyValue(key, found[key]) for key in sorted(found))
    details = Member(
        None, before.rack_id if request.rack_id is None else request.rack_id, request.client_id, request.client_host,
        before.rebalance_timeout_ms if request.rebalance_timeout_ms == -1 else request.rebalance_timeout_ms,
        before.topology_epoch if request.topology is None else request.topology.epoch,
        before.process_id if request.process_id is None else request.process_id,
        before.user_endpoint if request.endpoint is None else request.endpoint, tags,
    )  # fmt: skip
    return before if details == before else details
