"""A streams group (KIP-1071): what is stored of it. Only `replay` changes it; timers and running work are soft state.

Kafka: StreamsGroup.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

from kafka_cy.base.slices import at_once, in_work
from kafka_cy.coordinator.group import LagMember
from kafka_cy.coordinator.modern.committing_group import CommittingGroup
from kafka_cy.coordinator.modern.deadlines import Deadlines
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.streams import records as stored
from kafka_cy.coordinator.streams.configured import ConfiguredTopology, source_names
from kafka_cy.coordinator.streams.limits import member_bytes, names_count, topology_bytes
from kafka_cy.coordinator.streams.member import LEAVE_EPOCH, STABLE, UNKNOWN, UNRELEASED, StreamsMember
from kafka_cy.coordinator.streams.owners import TaskOwners
from kafka_cy.coordinator.streams.tasks import NO_TASKS, AssignedTasks, Tasks, epochs_of, tasks_of

FIRST_EPOCH: Final = 1  # of a new group; it is not stored
NO_ASSIGNMENT_EPOCH: Final = -1  # the target assignment was removed
NOT_VALIDATED: Final = -1  # the topics do not fit the topology yet
ASSIGNOR_NAME: Final = "sticky"

EMPTY, NOT_READY, ASSIGNING, RECONCILING, STABLE_STATE = "Empty", "NotReady", "Assigning", "Reconciling", "Stable"


Steps = Generator[object, None, None]  # of a replay


class TopologyFacts(NamedTuple):
    """What follows from a topology. `subtopology_of`: source topic -> subtopology id."""

    held_bytes: int  # of MEMBER_BYTES_MAX
    names_count: int
    subtopology_of: Mapping[str, str]

    @classmethod
    def of(cls, topology: stored.Topology | None) -> TopologyFacts:
        """Those of a topology, or of none."""
        subtopologies = topology.subtopologies if topology is not None else ()
        names = {name: each.subtopology_id for each in subtopologies for name in source_names(each)}
        return cls(topology_bytes(topology), 0 if topology is None else names_count(topology), names)


NO_FACTS: Final = TopologyFacts.of(None)


class StreamsGroup(CommittingGroup):
    """Limits: `group.streams.max.size` members, `MEMBER_BYTES_MAX` for all groups together, `TASKS_MAX` tasks."""

    __slots__ = (
        "assigning", "assignment_configs", "assignment_epoch", "assignment_timestamp_ms", "configured", "counted_bytes",
        "deadlines", "endpoint_epoch", "endpoint_rows", "epoch", "facts", "held_bytes", "metadata_hash", "owners",
        "recorded", "shutdown_member_id", "target", "topics_version", "topology", "validated_epoch",
    )  # fmt: skip

    kind: ClassVar[str] = "streams"
    HEARTBEAT_KEY: ClassVar[int] = 88

    def __init__(self, group_id: str) -> None:
        super().__init__(group_id)
        self.recorded = False
        self.epoch = FIRST_EPOCH
        self.metadata_hash = 0
        self.validated_epoch = NOT_VALIDATED  # of the topology that the topics fit
        self.assignment_configs: tuple[stored.KeyValue, ...] = ()  # with which the group epoch was bumped last
        self.assignment_epoch = FIRST_EPOCH
        self.assignment_timestamp_ms = 0
        self.members: dict[str, StreamsMember] = {}
        self.target: dict[str, Tasks] = {}
        self.topology: stored.Topology | None = None
        # Follow from the members and the topology.
        self.owners = TaskOwners()
        self.facts = NO_FACTS
        self.held_bytes = 0  # of MEMBER_BYTES_MAX
        # Soft state.
        self.counted_bytes = 0  # what of held_bytes the coordinator has counted
        self.deadlines: Deadlines | None = None
        self.topics_version = 0  # of Topics, when the metadata hash was compared last
        self.configured: ConfiguredTopology | None = None
        self.assigning = False  # a target assignment is being computed
        self.shutdown_member_id: str | None = None  # who asked that the application ends
        self.endpoint_epoch = 0  # grows when the tasks of a member with an endpoint change
        self.endpoint_rows: dict[str, tuple[AssignedTasks, ConfiguredTopology, dict[str, Any]]] = {}  # see endpoints

    # -- replay --

    def _replay(self, key: Any, value: Any) -> None:
        at_once(self.replay_steps(key, value))

    def replay_steps(self, key: Any, value: Any) -> Steps:
        self.steady = None
        yield from _REPLAY[type(key)](self, key, value)

    def _replay_group(self, key: stored.GroupKey, value: stored.Group | None) -> Steps:
        self.recorded = value is not None
        if value is not None:
            self.epoch, self.metadata_hash, self.validated_epoch, configs = value
            self.assignment_configs = configs or ()
            return
        for member in list(self.members.values()):
            yield from self._put(member, None)
        self.target.clear()

    def _replay_member(self, key: stored.MemberKey, value: stored.Member | None) -> Steps:
        old = self.members.get(key.member_id)
        if value is None:
            yield from self._put(old, None)
        else:
            yield from self._put(old, (old or StreamsMember(key.member_id))._replace(details=value))

    def _replay_current(self, key: stored.CurrentMemberKey, value: stored.CurrentMember | None) -> Steps:
        old = self.members.get(key.member_id)
        if value is not None:
            new = yield from in_work(partial(_moved, old or StreamsMember(key.member_id), value))
            yield from self._put(old, new)
        elif old is not None:
            yield from self._put(old, StreamsMember(old.member_id, old.details, LEAVE_EPOCH, LEAVE_EPOCH))

    def _replay_target_metadata(self, key: stored.TargetMetadataKey, value: stored.TargetMetadata | None) -> Steps:
        none = stored.TargetMetadata(NO_ASSIGNMENT_EPOCH)
        self.assignment_epoch, self.assignment_timestamp_ms = value or none
        yield from ()

    def _replay_target_member(self, key: stored.TargetMemberKey, value: stored.TargetMember | None) -> Steps:
        if value is None:
            self.target.pop(key.member_id, None)
        else:
            self.target[key.member_id] = yield from in_work(lambda: Tasks(*map(tasks_of, value)))

    def _replay_topology(self, key: stored.TopologyKey, value: stored.Topology | None) -> Steps:
        facts = yield from in_work(partial(TopologyFacts.of, value))
        self.held_bytes += facts.held_bytes - self.facts.held_bytes
        self.topology, self.facts = value, facts

    def _put(self, old: StreamsMember | None, new: StreamsMember | None) -> Steps:
        """Replace a member, and what follows from the members."""
        if old is not None:
            self._republish(old, new)
            yield from self.owners.remove(old.process_id, old.assigned)
            yield from self.owners.remove(old.process_id, old.pending_revocation)
            self.held_bytes -= member_bytes(self.group_id, old.member_id, old.details)
        if new is not None:
            self.members[new.member_id] = new
            yield from self.owners.add(new.process_id, new.assigned)
            yield from self.owners.add(new.process_id, new.pending_revocation)
            self.held_bytes += member_bytes(self.group_id, new.member_id, new.details)
        elif old is not None:
            del self.members[old.member_id]

    # -- questions --

    def target_of(self, member_id: str) -> Tasks:
        """The member's part of the target assignment."""
        return self.target.get(member_id, NO_TASKS)

    # -- what the coordinator asks of every kind of group --

    @property
    def is_recorded(self) -> bool:
        return self.recorded or self.topology is not None or bool(self.members or self.target)

    @property
    def state_name(self) -> str:
        members, topology = list(self.members.values()), self.topology  # other threads ask too
        if not members:
            return EMPTY
        if topology is None or topology.epoch != self.validated_epoch:
            return NOT_READY
        if self.epoch > self.assignment_epoch:
            return ASSIGNING
        settled = all(member.is_reconciled_to(self.assignment_epoch) for member in members)
        return STABLE_STATE if settled else RECONCILING

    @property
    def protocol_name(self) -> str:
        return ASSIGNOR_NAME if self.members else ""

    def lag_members(self) -> list[LagMember]:
        members, topology = list(self.members.values()), self.topology
        subtopologies = topology.subtopologies if topology is not None else ()
        sources = {each.subtopology_id: source_names(each) for each in subtopologies}
        found = []
        for each in members:
            tasks = each.assigned.active
            read = {name: tuple(tasks[part]) for part in tasks for name in sources.get(part, ())}
            found.append(LagMember(each.member_id, each.details.client_id, each.details.client_host, read))
        return found

    def is_subscribed(self, topic: str) -> bool:
        return bool(self.members) and topic in self.facts.subtopology_of

    def _assigned_at(self, member: StreamsMember, partition: Any) -> int | None:
        subtopology = self.facts.subtopology_of.get(partition.topic)
        return None if subtopology is None else member.assignment_epoch(subtopology, partition.partition)

    def tombstones(self) -> list[Record]:
        group_id, member_ids = self.group_id, list(self.members)
        keys: list[Any] = [stored.CurrentMemberKey(group_id, each) for each in member_ids]
        keys += [stored.TargetMemberKey(group_id, each) for each in member_ids]
        keys.append(stored.TargetMetadataKey(group_id))
        keys += [stored.MemberKey(group_id, each) for each in member_ids]
        keys += [stored.GroupKey(group_id), stored.TopologyKey(group_id)]
        return [(key, None) for key in keys]


def _moved(member: StreamsMember, value: stored.CurrentMember) -> StreamsMember:
    """The member as the record says."""
    epoch = value.member_epoch
    return member._replace(
        member_epoch=epoch, previous_member_epoch=value.previous_member_epoch,
        state=value.state if STABLE <= value.state <= UNRELEASED else UNKNOWN,
        assigned=AssignedTasks(
            epochs_of(value.active_tasks, epoch), tasks_of(value.standby_tasks), tasks_of(value.warmup_tasks)
        ),
        pending_revocation=AssignedTasks(
            epochs_of(value.active_tasks_pending_revocation, epoch),
            tasks_of(value.standby_tasks_pending_revocation),
            tasks_of(value.warmup_tasks_pending_revocation),
        ),
    )  # fmt: skip


_REPLAY: Final[dict[type[Any], Any]] = {
    stored.GroupKey: StreamsGroup._replay_group,
    stored.MemberKey: StreamsGroup._replay_member,
    stored.CurrentMemberKey: StreamsGroup._replay_current,
    stored.TargetMetadataKey: StreamsGroup._replay_target_metadata,
    stored.TargetMemberKey: StreamsGroup._replay_target_member,
    stored.TopologyKey: StreamsGroup._replay_topology,
}
