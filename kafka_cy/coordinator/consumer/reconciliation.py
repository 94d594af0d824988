"""The next step of a member on its way to the target assignment: give up partitions first, then get those that are free.

Kafka: CurrentAssignmentBuilder.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping

from kafka_cy.coordinator.consumer.member import (
    NOTHING,
    STABLE,
    UNKNOWN,
    UNRELEASED,
    UNREVOKED,
    Assigned,
    ConsumerMember,
)
from kafka_cy.coordinator.modern.assignment import Partitions
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.protocol.errors import ErrorCode

Owned = Mapping[uuid.UUID, Collection[int]]  # the partitions that the member says it has
Owners = Mapping[uuid.UUID, Mapping[int, str]]  # topic id -> partition -> member id
NOBODY: Mapping[int, str] = {}


class Reconciliation:
    """What the step depends on besides the member. `owned` is None when the request does not say what the member has.

    `topic_ids` are the topics that the member reads: a target with others is out of date.
    """

    def __init__(
        self, epoch: int, target: Partitions, topic_ids: Collection[uuid.UUID], owners: Owners, owned: Owned | None,
        subscription_changed: bool,
    ) -> None:  # fmt: skip
        self.epoch = epoch
        self.target = target
        self.topic_ids = topic_ids
        self.owners = owners
        self.owned = owned
        self.subscription_changed = subscription_changed

    def step(self, member: ConsumerMember) -> ConsumerMember:
        """The member after the step; the same one if it has to wait. Raises GroupError (FENCED_MEMBER_EPOCH)."""
        if member.state == UNKNOWN:
            if self.owned is None or self.owned:
                raise GroupError(
                    ErrorCode.FENCED_MEMBER_EPOCH,
                    "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.",
                )
            return self._advance(member, self.epoch)
        if member.state == STABLE and member.member_epoch == self.epoch:
            return self._without_unsubscribed(member) if self.subscription_changed else member
        if member.state == UNREVOKED and self._owns_any(member.pending_revocation):
            return self._without_unsubscribed(member) if self.subscription_changed else member
        return self._advance(member, member.member_epoch)

    def _owns_any(self, partitions: Assigned) -> bool:
        """Whether the member has one of the partitions still, as far as it says."""
        if self.owned is None:
            return True
        return any(
            partition in partitions.get(topic_id, ()) for topic_id, each in self.owned.items() for partition in each
        )

    def _without_unsubscribed(self, member: ConsumerMember) -> ConsumerMember:
        """Take away the topics that the member no longer reads."""
        dropped = [topic_id for topic_id in member.assigned if topic_id not in self.topic_ids]
        if not dropped:
            return member
        assigned = {topic_id: each for topic_id, each in member.assigned.items() if topic_id in self.topic_ids}
        pending = dict(member.pending_revocation)
        for topic_id in dropped:
            pending[topic_id] = {**pending.get(topic_id, {}), **member.assigned[topic_id]}
        if self._owns_any(pending):
            return member.moved_to(member.member_epoch, UNREVOKED, assigned, pending)
        return member.moved_to(member.member_epoch, member.state, assigned, member.pending_revocation)

    def _advance(self, member: ConsumerMember, member_epoch: int) -> ConsumerMember:
        """Compare what the member has with its target."""
        kept: dict[uuid.UUID, dict[int, int]] = {}
        revoked: dict[uuid.UUID, Mapping[int, int]] = {}
        new: dict[uuid.UUID, list[int]] = {}
        waits = False
        for topic_id in self.target.keys() | member.assigned.keys():
            wanted = self.target.get(topic_id, frozenset()) if topic_id in self.topic_ids else frozenset()
            has = member.assigned.get(topic_id, {})
            kept_here = {partition: epoch for partition, epoch in has.items() if partition in wanted}
            if kept_here:
                kept[topic_id] = kept_here
            if len(kept_here) < len(has):
                revoked[topic_id] = {partition: epoch for partition, epoch in has.items() if partition not in wanted}
            if len(kept_here) < len(wanted):
                free = self._free(member, topic_id, wanted - kept_here.keys())
                waits = waits or len(free) + len(kept_here) < len(wanted)
                if free:
                    new[topic_id] = free
        if revoked and self._owns_any(revoked):
            return member.moved_to(member_epoch, UNREVOKED, kept, revoked)
        for topic_id, partitions in new.items():
            kept.setdefault(topic_id, {}).update(dict.fromkeys(partitions, self.epoch))
        return member.moved_to(self.epoch, UNRELEASED if waits else STABLE, kept, NOTHING)

    def _free(self, member: ConsumerMember, topic_id: uuid.UUID, wanted: Collection[int]) -> list[int]:
        """Those of the partitions that nobody has. What the member itself is giving up counts as free."""
        owners, giving_up = self.owners.get(topic_id, NOBODY), member.pending_revocation.get(topic_id, NOTHING)
        return [partition for partition in wanted if partition not in owners or partition in giving_up]
