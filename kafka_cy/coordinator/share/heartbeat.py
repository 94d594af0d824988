"""ShareGroupHeartbeat: a member joins, stays, or leaves (KIP-932; Kafka: GroupMetadataManager.shareGroupHeartbeat).

Everything here looks at the group and collects records; nothing changes before they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

from kafka_cy.base.slices import at_once
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.modern.assignment import Partitions
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.modern.heartbeat_responses import error_response, member_response
from kafka_cy.coordinator.modern.limits import PARTITION_BYTES
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.group_context import ShareGroupContext
from kafka_cy.coordinator.share.limits import member_bytes
from kafka_cy.coordinator.share.member import (
    LEAVE_EPOCH,
    NO_DETAILS,
    ShareMember,
    current_record,
    member_record,
    of_topics,
    removal_records,
)
from kafka_cy.coordinator.share.records import Group as StoredGroup
from kafka_cy.coordinator.share.records import GroupKey, Member
from kafka_cy.coordinator.share.requests import ShareHeartbeat
from kafka_cy.coordinator.share.state_partitions import Topics as StateTopics
from kafka_cy.coordinator.share.target import ShareTarget
from kafka_cy.coordinator.share.uninitialized import is_assigned, uninitialized
from kafka_cy.protocol.errors import ErrorCode

Result = CoordinatorResult[dict[str, Any]]
R = TypeVar("R")


class Epochs(NamedTuple):
    """The group epoch after the heartbeat, and whether it was bumped."""

    group: int
    bumped: bool
    topics_version: int  # with which the metadata hash was compared; 0: it was not


class Follows(NamedTuple):
    """What follows from a heartbeat and takes longer."""

    target: ShareTarget | None  # to be computed in slices
    to_initialize: StateTopics  # share partitions whose state is to be stored
    epoch: int  # for their state


StartWork = Callable[[ShareGroup, Follows], object]


class ShareGroupHeartbeat:
    """Owner: the coordinator's thread."""

    def __init__(
        self, context: ShareGroupContext, is_busy: Callable[[str], bool], start_work: StartWork
    ) -> None:
        """`is_busy`: whether states of the group's share partitions are being changed. `start_work` begins what follows from a
        change and takes longer."""
        self.context = context
        self.is_busy = is_busy
        self.start_work = start_work

    def heartbeat(self, groups: Mapping[str, Group], request: ShareHeartbeat) -> Result:
        """The response has the error, if there is one."""
        try:
            group = self._find_group(groups.get(request.group_id), request)
            if request.member_epoch == LEAVE_EPOCH:
                member = _find_member(group, request.member_id)
                response = member_response(request.member_id, LEAVE_EPOCH, 0, None)
                return at_once(self.remove(group, [member], "it left", response))
            return self._heartbeat(groups, group, request)
        except GroupError as error:
            return Result(response=error_response(error.code, error.message))

    def _find_group(self, group: Group | None, request: ShareHeartbeat) -> ShareGroup:
        """The group, or one to be made. Raises GroupError (GROUP_ID_NOT_FOUND)."""
        if isinstance(group, ShareGroup):
            return group
        if group is not None:
            raise GroupError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {request.group_id} is not a share group.")
        if request.member_epoch != 0:
            kind = "Group" if request.member_epoch == LEAVE_EPOCH else "Share group"
            raise GroupError(ErrorCode.GROUP_ID_NOT_FOUND, f"{kind} {request.group_id} not found.")
        return ShareGroup(request.group_id)

    # -- joining and staying --

    def _heartbeat(self, groups: Mapping[str, Group], group: ShareGroup, request: ShareHeartbeat) -> Result:
        context, joins = self.context, request.member_epoch == 0
        old = self._old_member(group, request)
        if self._changes_nothing(group, old, request):
            interval_ms = context.settings.heartbeat_interval_ms(group.group_id)
            return Result(response=self._response(group, old, None), apply=partial(context.stays, group, old, interval_ms))
        records: list[Record] = []
        new = old._replace(details=_details(old, request))
        self._store_member(group, old, new, records)
        epochs = self._epochs(group, old, new, records)
        target_epoch, part, target = self._assign(group, new, epochs.group, records)
        new = self._reconcile(group, new, target_epoch, part, epochs.bumped, records)
        missing = self._missing(group, old, new)
        if missing:
            records.append(group.states.initializing_also(missing).record(group.group_id))
        tells = joins or request.topic_names is not None or old.assigned != new.assigned
        response = self._response(group, new, new.assigned if tells else None)
        follows = Follows(target, missing, epochs.group)
        apply = partial(self._apply, groups, group.group_id, new, epochs, follows, joins)
        return Result(records, response, apply)

    def _missing(self, group: ShareGroup, old: ShareMember, new: ShareMember) -> StateTopics:
        """The share partitions whose state is to be stored now."""
        if self.is_busy(group.group_id):
            return {}
        names = group.names_after(old, new) if new.details is not old.details else group.by_name
        missing = uninitialized(group, names, self.context.topics, self.context.loop.now())
        added = PARTITION_BYTES * sum(len(each.partitions) for each in missing.values())
        return missing if self.context.has_room(group, added) else {}

    def _old_member(self, group: ShareGroup, request: ShareHeartbeat) -> ShareMember:
        """The member as it is. Raises GroupError."""
        size_max = self.context.settings.members_max
        if len(group.members) >= size_max and request.member_id not in group.members:
            raise GroupError(
                ErrorCode.GROUP_MAX_SIZE_REACHED,
                f"The share group has reached its maximum capacity of {size_max} members.",
            )
        if request.member_epoch == 0:
            return group.members.get(request.member_id, ShareMember(request.member_id))
        member = _find_member(group, request.member_id)
        _check_epoch(member, request.member_epoch)
        return member

    def _changes_nothing(self, group: ShareGroup, member: ShareMember, request: ShareHeartbeat) -> bool:
        """Whether the member, its group and the topics are as they were: the heartbeat of quiet times, in short."""
        details = member.details
        return (
            group.settled == (self.context.topics.version, group.epoch)
            and request.member_epoch == member.member_epoch == group.assignment_epoch == group.epoch
            and request.topic_names is None and request.rack_id is None
            and (details.client_id, details.client_host) == (request.client_id, request.client_host)
        )  # fmt: skip

    def _response(self, group: ShareGroup, member: ShareMember, assigned: Partitions | None) -> dict[str, Any]:
        interval_ms = self.context.settings.heartbeat_interval_ms(group.group_id)
        return member_response(member.member_id, member.member_epoch, interval_ms, assigned)

    def _store_member(self, group: ShareGroup, old: ShareMember, new: ShareMember, records: list[Record]) -> None:
        if new.details is old.details:
            return
        before = 0 if old.details is NO_DETAILS else member_bytes(old.member_id, old.details)
        if not self.context.has_room(group, member_bytes(new.member_id, new.details) - before):
            raise GroupError(ErrorCode.GROUP_MAX_SIZE_REACHED, "The members of all share groups take too much memory.")
        records.append(member_record(group.group_id, new))

    def _epochs(self, group: ShareGroup, old: ShareMember, new: ShareMember, records: list[Record]) -> Epochs:
        """Bump the group epoch if the member reads other topics, if topics have changed, or if there is more to assign."""
        topics = self.context.topics
        bumps = old.details.subscribed_topic_names != new.details.subscribed_topic_names
        is_assigning = group.assignment_epoch < group.epoch
        bumps = bumps or (not is_assigning and not is_assigned(group, topics))
        if not bumps and group.topics_version == topics.version:
            return Epochs(group.epoch, False, 0)
        metadata_hash = topics.group_hash(group.names_after(old, new))
        if not bumps and metadata_hash == group.metadata_hash:
            return Epochs(group.epoch, False, topics.version)
        epoch = group.epoch + 1
        records.append((GroupKey(group.group_id), StoredGroup(epoch, metadata_hash)))
        return Epochs(epoch, True, topics.version)

    def _assign(
        self, group: ShareGroup, new: ShareMember, epoch: int, records: list[Record]
    ) -> tuple[int, Partitions, ShareTarget | None]:
        """Compute the target assignment when the group epoch is newer. Returns its epoch, the member's part, and the
        computation if it has to be done later."""
        last = group.target_of(new.member_id)
        if group.assignment_epoch >= epoch or group.assigning or not self.context.interval_is_over(group):
            return group.assignment_epoch, last, None
        target = ShareTarget(self.context.topics, group, epoch, new, self.context.loop.wall_clock_ms())
        if not self.context.has_room(group, target.growth_bytes()):
            return group.assignment_epoch, last, None  # a later heartbeat tries again
        if target.is_long():
            return group.assignment_epoch, last, target
        records += target.compute()
        return epoch, target.partitions_of(new.member_id), None

    def _reconcile(
        self, group: ShareGroup, member: ShareMember, epoch: int, part: Partitions, bumped: bool, records: list[Record]
    ) -> ShareMember:
        """Give the member its part of the target assignment, of topics that it reads."""
        if member.member_epoch == epoch and not bumped:
            return member
        part = of_topics(part, self.context.topics.ids(member.details.subscribed_topic_names))
        if member.member_epoch != epoch:
            moved = member.moved_to(epoch, part)
        else:
            moved = member._replace(assigned=part)
        if moved != member:
            records.append(current_record(group.group_id, moved))
        return moved

    def _apply(
        self, groups: Mapping[str, Group], group_id: str, new: ShareMember, epochs: Epochs, follows: Follows, joined: bool
    ) -> None:
        """After the records are stored: the session, and work that takes longer."""
        context, group = self.context, groups.get(group_id)
        if not isinstance(group, ShareGroup):
            return  # nothing was stored: the group has no member
        if joined:
            context.lines.joined(group_id, new)
        if epochs.bumped:
            context.lines.rebalances(group_id, epochs.group)
        context.count(group)
        if epochs.topics_version:
            group.topics_version = epochs.topics_version
        context.await_heartbeat(group, new)
        is_settled = group.epoch == group.assignment_epoch and not follows.to_initialize and not self.is_busy(group_id)
        if is_settled and not group.initialize_failures and is_assigned(group, context.topics):
            group.settled = (group.topics_version, group.epoch)
        self.start_work(group, follows)

    # -- leaving --

    def remove(
        self, group: ShareGroup, members: list[ShareMember], reason: str, response: R
    ) -> Generator[object, None, CoordinatorResult[R]]:
        """Remove the members; the others get their partitions with the next group epoch. A task for slices."""
        if not members:
            return CoordinatorResult(response=response)
        records: list[Record] = []
        gone: list[ShareMember | None] = []
        for member in members:
            records += removal_records(group.group_id, member.member_id)
            gone += (member, None)
        names = yield from group.names_after_steps(*gone)
        value = StoredGroup(group.epoch + 1, (yield from self.context.topics.group_hash_steps(names)))
        records.append((GroupKey(group.group_id), value))
        return CoordinatorResult(records, response, partial(self._removed, group, members, reason))

    def _removed(self, group: ShareGroup, members: list[ShareMember], reason: str) -> None:
        for member in members:
            self.context.forget_member(group, member.member_id)
            self.context.lines.left(group.group_id, member, reason)
        self.context.count(group)
        self.context.lines.rebalances(group.group_id, group.epoch)


def _find_member(group: ShareGroup, member_id: str) -> ShareMember:
    """Raises GroupError (UNKNOWN_MEMBER_ID)."""
    member = group.members.get(member_id)
    if member is None:
        raise GroupError(ErrorCode.UNKNOWN_MEMBER_ID, f"Member {member_id} is not a member of group {group.group_id}.")
    return member


def _check_epoch(member: ShareMember, received: int) -> None:
    """The previous epoch may come because the last response was lost. Raises GroupError (FENCED_MEMBER_EPOCH)."""
    if received in (member.member_epoch, member.previous_member_epoch) and received <= member.member_epoch:
        return
    known = f"than the one known by the group coordinator ({member.member_epoch})"
    rejoin = "The member must abandon all its partitions and rejoin."
    if received > member.member_epoch:
        text = f"The share group member has a greater member epoch ({received}) {known}. {rejoin}"
    else:
        text = (
            f"The share group member has a smaller member epoch ({received}) {known}, and it does not match the previous "
            f"member epoch ({member.previous_member_epoch}). {rejoin}"
        )
    raise GroupError(ErrorCode.FENCED_MEMBER_EPOCH, text)


def _details(old: ShareMember, request: ShareHeartbeat) -> Member:
    """What the member says now; the same object if nothing has changed."""
    before = old.details
    names = before.subscribed_topic_names
    if request.topic_names is not None:
        names = tuple(sorted(set(request.topic_names)))
    rack_id = before.rack_id if request.rack_id is None else request.rack_id
    details = Member(rack_id, request.client_id, request.client_host, names)
    return before if details == before else details
