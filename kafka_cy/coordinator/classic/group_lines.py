"""What the broker's log says about classic groups: rebalances with their reason, generations, members that were lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kafka_cy.coordinator.classic.group import ClassicGroup
from kafka_cy.coordinator.classic.member import Member

Info = Callable[..., object]  # (what happened, field=value, ...): writes a line
MEMBERS_MAX: Final = 10  # that are named when many are lost at once
ID_CHARS_MAX: Final = 200  # of an id that clients choose


class GroupLines:
    """Owner: the coordinator's thread. One line for each step of a rebalance, however many members the group has."""

    def __init__(self, info: Info) -> None:
        self._info = info
        self.rebalances_count = 0  # that were completed; for metrics, any thread reads it

    def rebalance(self, group: ClassicGroup, reason: str, member: Member | None) -> None:
        """The join phase of the next generation begins."""
        self._info(
            "group rebalances",
            group=group.group_id[:ID_CHARS_MAX],
            generation=group.generation,
            members=len(group.members),
            reason=reason,
            **described(member),
        )

    def stable(self, group: ClassicGroup) -> None:
        """The members of the generation have their assignments."""
        self.rebalances_count += 1
        self._info(
            "group is stable",
            group=group.group_id[:ID_CHARS_MAX],
            generation=group.generation,
            members=len(group.members),
            protocol=(group.protocol or "")[:ID_CHARS_MAX],
            leader=(group.leader or "")[:ID_CHARS_MAX],
        )

    def empty(self, group: ClassicGroup) -> None:
        """The last member has gone."""
        self._info("group is empty", group=group.group_id[:ID_CHARS_MAX], generation=group.generation)

    def lost(self, group: ClassicGroup, reason: str, members: list[Member]) -> None:
        """Members were removed that had not left."""
        for member in members[:MEMBERS_MAX]:
            self._info("member was removed", group=group.group_id[:ID_CHARS_MAX], reason=reason, **described(member))
        if len(members) > MEMBERS_MAX:
            more = len(members) - MEMBERS_MAX
            self._info("more members were removed", group=group.group_id[:ID_CHARS_MAX], reason=reason, count=more)


def described(member: Member | None) -> dict[str, Any]:
    """Details that tell which client a member is."""
    if member is None:
        return {}
    details = {"member": member.member_id[:ID_CHARS_MAX]}
    if member.instance_id is not None:
        details["instance"] = member.instance_id[:ID_CHARS_MAX]
    return {**details, "client_id": member.client_id[:ID_CHARS_MAX], "client": member.client_host.removeprefix("/")}
