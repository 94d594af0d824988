"""ShareGroupHeartbeat: a member joins, stays, or leaves (KIP-932; Kafka: GroupMetadataManager.shareGroupHeartbeat).

Everything here looks at the group and collects records; nothing changes before they are stored.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Generator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from kafka_cy.base.slices import in_work
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
from kafka_cy.coordinator.share.state_partitions import ShareStates, StartOffsets
from kafka_cy.coordinator.share.state_partitions import Topics as StateTopics
from kafka_cy.coordinator.share.target import ShareTarget
from kafka_cy.coordinator.share.uninitialized import is_assigned, uninitialized
from kafka_cy.protocol.errors import ErrorCode

NO_START_OFFSET: Final = -1
Result = CoordinatorResult[dict[str, Any]]
R = TypeVar("R")
Steps = Generator[object, None, R]


class Epochs(NamedTuple):
    """The group epoch after the heartbeat, and whether it was bumped."""

    group: int
    bumped: bool
    topics_version: int  # with which the metadata hash was compared; 0: it was not
    is_assigned: bool = False  # by the target assignment before the heartbeat; False: it is not, or was not looked at


class Initialization(NamedTuple):
    """Share partitions whose state is to be stored: where they begin, the names of the topics, and the record."""

    offsets: StartOffsets
    names: Mapping[uuid.UUID, str]
    record: Record


class Missing(NamedTuple):
    """Share partitions whose state is to be stored now, if there are any; and whether a heartbeat has to look again: it could
    not look, or there was no room for what it found."""

    to_initialize: Initialization | None
    later: bool


class Assigned(NamedTuple):
    """What a heartbeat does about the target assignment: its epoch afterwards, and the member's part."""

    epoch: int
    part: Partitions
    is_new: bool = False
    later: ShareTarget | None = None  # to be computed in slices


class Follows(NamedTuple):
    """What follows from a heartbeat and takes longer."""

    target: ShareTarget | None  # to be computed in slices
    missing: Missing
    epoch: int  # for the states
    topics_version: int  # with which the heartbeat began


NOTHING_MISSING: Final = Missing(None, later=False)
LATER: Final = Missing(None, later=True)
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

    def steps(self, groups: Mapping[str, Group], request: ShareHeartbeat) -> Steps[Result]:
        """The response has the error, if there is one. A task for slices, or for `at_once`."""
        try:
            group = self._find_group(groups.get(request.group_id), request)
            if request.member_epoch == LEAVE_EPOCH:
                member = _find_member(group, request.member_id)
                response = member_response(request.member_id, LEAVE_EPOCH, 0, None)
                return (yield from self.remove(group, [member], "it left", response))
            return (yield from self._heartbeat(groups, group, request))
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

    def _heartbeat(self, groups: Mapping[str, Group], group: ShareGroup, request: ShareHeartbeat) -> Steps[Result]:
        context, joins, version = self.context, request.member_epoch == 0, self.context.topics.version
        interval_ms = context.settings.heartbeat_interval_ms(group.group_id)
        old = self._old_member(group, request)
        if self.changes_nothing(group, old, request):
            response = member_response(old.member_id, old.member_epoch, interval_ms, None)
            return Result(response=response, apply=partial(context.stays, group, old, interval_ms))
        records: list[Record] = []
        new = old._replace(details=(yield from in_work(partial(_details, old, request))))
        yield from self._store_member(group, old, new, records)
        names: Collection[str] = group.by_name
        if new.details is not old.details:
            names = yield from group.names_after_steps(old, new)
        epochs = yield from self._epochs(group, old, new, names, records)
        target = yield from self._assign(group, new, epochs.group, records)
        new = yield from self._reconcile(group, new, target, epochs.bumped, records)
        missing = yield from self._missing(group, names, records)
        tells = joins or request.topic_names is not None or old.assigned is not new.assigned
        response = yield from in_work(
            partial(member_response, new.member_id, new.member_epoch, interval_ms, new.assigned if tells else None)
        )
        follows = Follows(target.later, missing, epochs.group, version)
        apply = partial(self._apply, groups, group.group_id, new, epochs, follows, joined=joins, has_target=target.is_new)
        return Result(records, response, apply)

    def _missing(
        self, group: ShareGroup, names: Collection[str], records: list[Record]
    ) -> Steps[Missing]:
        """The share partitions without state, of the topics that members name after the heartbeat."""
        if self.is_busy(group.group_id):
            return LATER
        now_s, topics = self.context.loop.now(), self.context.topics
        missing = yield from in_work(lambda: uninitialized(group, names, topics, now_s))
        if not missing:
            return NOTHING_MISSING
        count = yield from in_work(lambda: sum(len(each.partitions) for each in missing.values()))
        if not self.context.has_room(group, PARTITION_BYTES * count):
            return LATER
        found = yield from in_work(partial(_initialization, group.group_id, group.states, missing))
        records.append(found.record)
        return Missing(found, later=False)

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

    def changes_nothing(self, group: ShareGroup, member: ShareMember, request: ShareHeartbeat) -> bool:
        """Whether the member, its group and the topics are as they were: the heartbeat of quiet times, in short."""
        details = member.details
        return (
            group.settled == (self.context.topics.version, group.epoch)
            and request.member_epoch == member.member_epoch == group.assignment_epoch == group.epoch
            and request.topic_names is None and request.rack_id is None
            and (details.client_id, details.client_host) == (request.client_id, request.client_host)
        )  # fmt: skip

    def _store_member(
        self, group: ShareGroup, old: ShareMember, new: ShareMember, records: list[Record]
    ) -> Steps[None]:
        if new.details is old.details:
            return
        added = yield from in_work(partial(member_bytes, group.group_id, new.member_id, new.details))
        if old.details is not NO_DETAILS:
            added -= yield from in_work(partial(member_bytes, group.group_id, old.member_id, old.details))
        if not self.context.has_room(group, added):
            raise GroupError(ErrorCode.GROUP_MAX_SIZE_REACHED, "The members of all share groups take too much memory.")
        records.append(member_record(group.group_id, new))

    def _epochs(
        self, group: ShareGroup, old: ShareMember, new: ShareMember, names: Collection[str], records: list[Record]
    ) -> Steps[Epochs]:
        """Bump the group epoch if the member reads other topics, if topics have changed, or if there is more to assign."""
        topics, version, covers = self.context.topics, self.context.topics.version, False
        bumps = old.details.subscribed_topic_names is not new.details.subscribed_topic_names
        if not bumps and group.assignment_epoch >= group.epoch:
            covers = yield from in_work(partial(is_assigned, group, topics))
            bumps = not covers
        if not bumps and group.topics_version == version:
            return Epochs(group.epoch, False, 0, covers)
        metadata_hash = yield from topics.group_hash_steps(names)
        if not bumps and metadata_hash == group.metadata_hash:
            return Epochs(group.epoch, False, version, covers)
        epoch = group.epoch + 1
        records.append((GroupKey(group.group_id), StoredGroup(epoch, metadata_hash)))
        return Epochs(epoch, True, version)

    def _assign(
        self, group: ShareGroup, new: ShareMember, epoch: int, records: list[Record]
    ) -> Steps[Assigned]:
        """Compute the target assignment when the group epoch is newer; a large one is computed later."""
        last = Assigned(group.assignment_epoch, group.target_of(new.member_id))
        if group.assignment_epoch >= epoch or group.assigning or not self.context.interval_is_over(group):
            return last
        now_ms = self.context.loop.wall_clock_ms()
        target = yield from in_work(partial(ShareTarget, self.context.topics, group, epoch, new, now_ms))
        growth_bytes = yield from in_work(target.growth_bytes)
        if not self.context.has_room(group, growth_bytes):
            return last  # a later heartbeat tries again
        if target.is_long():
            return last._replace(later=target)
        records += yield from in_work(target.compute)
        return Assigned(epoch, target.partitions_of(new.member_id), is_new=True)

    def _reconcile(
        self, group: ShareGroup, member: ShareMember, target: Assigned, bumped: bool, records: list[Record]
    ) -> Steps[ShareMember]:
        """Give the member its part of the target assignment, of topics that it reads."""
        if member.member_epoch == target.epoch and not bumped:
            return member
        moved, record = yield from in_work(partial(self._moved, group, member, target))
        if record is not None:
            records.append(record)
        return moved

    def _moved(self, group: ShareGroup, member: ShareMember, target: Assigned) -> tuple[ShareMember, Record | None]:
        """The member with its part, and the record if it changes. Any thread: operations on the group wait meanwhile."""
        part = of_topics(target.part, self.context.topics.ids(member.details.subscribed_topic_names))
        if part == member.assigned:
            part = member.assigned
        if member.member_epoch != target.epoch:
            moved = member.moved_to(target.epoch, part)
        elif part is not member.assigned:
            moved = member._replace(assigned=part)
        else:
            return member, None
        return moved, current_record(group.group_id, moved)

    def _apply(
        self, groups: Mapping[str, Group], group_id: str, new: ShareMember, epochs: Epochs, follows: Follows, *, joined: bool,
        has_target: bool,
    ) -> None:  # fmt: skip
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
        is_settled = group.epoch == group.assignment_epoch and follows.missing == NOTHING_MISSING
        if is_settled and not group.initialize_failures and self._covers(group, epochs, has_target=has_target):
            group.settled = (group.topics_version, group.epoch)
        self.start_work(group, follows)

    def _covers(self, group: ShareGroup, epochs: Epochs, *, has_target: bool) -> bool:
        """is_assigned() after the heartbeat; a target assignment that is new is small."""
        return is_assigned(group, self.context.topics) if has_target else epochs.is_assigned

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
    """What the member says now; the same object if nothing has changed, with the same names if these have not."""
    before = old.details
    names = before.subscribed_topic_names
    if request.topic_names is not None:
        asked = tuple(sorted(set(request.topic_names)))
        names = names if asked == names else asked
    rack_id = before.rack_id if request.rack_id is None else request.rack_id
    details = Member(rack_id, request.client_id, request.client_host, names)
    return before if details == before else details


def _initialization(group_id: str, states: ShareStates, missing: StateTopics) -> Initialization:
    offsets = {topic_id: dict.fromkeys(sorted(each.partitions), NO_START_OFFSET) for topic_id, each in missing.items()}
    names = {topic_id: each.name for topic_id, each in missing.items()}
    return Initialization(offsets, names, states.initializing_also(missing).record(group_id))
