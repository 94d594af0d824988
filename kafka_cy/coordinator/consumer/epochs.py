"""Whether a member may go on: the epoch that it sends, and static members."""

from __future__ import annotations

from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.member import ConsumerMember
from kafka_cy.coordinator.consumer.reconciliation import Owned
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.protocol.errors import ErrorCode


def check_epoch(member: ConsumerMember, received: int, owned: Owned | None) -> None:
    """Raises GroupError (FENCED_MEMBER_EPOCH).

    0 is a member that begins anew. The previous epoch may come because the last response was lost; then the member must
    not have partitions that it lost since.
    """
    if received in (0, member.member_epoch):
        return
    if received > member.member_epoch:
        raise _fenced("greater", received, member)
    if received != member.previous_member_epoch or not _has_only_assigned(member, owned):
        raise _fenced("smaller", received, member)


def _has_only_assigned(member: ConsumerMember, owned: Owned | None) -> bool:
    return owned is not None and all(
        partition in member.assigned.get(topic_id, ()) for topic_id, each in owned.items() for partition in each
    ) and all(topic_id in member.assigned for topic_id in owned)


def _fenced(how: str, received: int, member: ConsumerMember) -> GroupError:
    return GroupError(
        ErrorCode.FENCED_MEMBER_EPOCH,
        f"The consumer group member has a {how} member epoch ({received}) than the one known by the group coordinator "
        f"({member.member_epoch}). The member must abandon all its partitions and rejoin.",
    )


def find_member(group: ConsumerGroup, member_id: str) -> ConsumerMember:
    """Raises GroupError (UNKNOWN_MEMBER_ID)."""
    member = group.members.get(member_id)
    if member is None:
        raise GroupError(ErrorCode.UNKNOWN_MEMBER_ID, f"Member {member_id} is not a member of group {group.group_id}.")
    return member


def find_static_member(group: ConsumerGroup, member_id: str, instance_id: str) -> ConsumerMember:
    """The member of the instance. Raises GroupError: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID."""
    member = group.find_static(instance_id)
    if member is None:
        raise GroupError(ErrorCode.UNKNOWN_MEMBER_ID, f"Instance id {instance_id} is unknown.")
    if member.member_id != member_id:
        raise GroupError(
            ErrorCode.FENCED_INSTANCE_ID,
            f"Static member {member_id} with instance id {instance_id} was fenced by member {member.member_id}.",
        )
    return member


def check_released(member: ConsumerMember, member_id: str) -> None:
    """Whether another member may take over the instance id. Raises GroupError (UNRELEASED_INSTANCE_ID)."""
    if not member.has_left:
        raise GroupError(
            ErrorCode.UNRELEASED_INSTANCE_ID,
            f"Static member {member_id} with instance id {member.instance_id} cannot join the group because the "
            f"instance id is owned by {member.member_id} member.",
        )
