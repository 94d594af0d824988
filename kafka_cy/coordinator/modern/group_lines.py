"""What the broker's log says about groups: the same for every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

Info = Callable[..., object]  # (what happened, field=value, ...): writes a line
ID_CHARS_MAX: Final = 200  # of an id that clients choose


class ModernGroupLines:
    """Owner: the coordinator's thread. A heartbeat that changes nothing writes no line."""

    def __init__(self, info: Info, protocol: str) -> None:
        self._info = info
        self._protocol = protocol
        self.rebalances_count = 0  # for metrics; any thread reads it

    def joined(self, group_id: str, member: Any) -> None:
        """A new member, or one that begins anew."""
        protocol = self.protocol_of(member)
        self._info("member joins", group=group_id[:ID_CHARS_MAX], protocol=protocol, **described(member))

    def protocol_of(self, member: Any) -> str:
        """The protocol that the member uses."""
        return self._protocol

    def left(self, group_id: str, member: Any, reason: str) -> None:
        """A member left or was removed."""
        self._info("member was removed", group=group_id[:ID_CHARS_MAX], reason=reason, **described(member))

    def rebalances(self, group_id: str, epoch: int) -> None:
        """The group epoch was bumped: a new target assignment follows."""
        self.rebalances_count += 1
        self._info("group rebalances", group=group_id[:ID_CHARS_MAX], epoch=epoch)

    def assigned(self, group: Any, assignor: str) -> None:
        """A target assignment was stored."""
        self._info(
            "group has a target assignment",
            group=group.group_id[:ID_CHARS_MAX],
            epoch=group.assignment_epoch,
            members=len(group.members),
            assignor=assignor,
        )

    def converted(self, group_id: str, kind: str) -> None:
        """The group changed its protocol."""
        self._info("group was converted", group=group_id[:ID_CHARS_MAX], protocol=kind)


def described(member: Any) -> dict[str, str]:
    """Details that tell which client a member is."""
    details = member.details
    found = {"member": member.member_id[:ID_CHARS_MAX]}
    instance_id = getattr(details, "instance_id", None)  # members of share groups have none
    if instance_id is not None:
        found["instance"] = instance_id[:ID_CHARS_MAX]
    return {**found, "client_id": details.client_id[:ID_CHARS_MAX], "client": details.client_host.removeprefix("/")}
