"""The members of one group that reactors know: whose commits, and perhaps whose heartbeats, need no decision."""

from __future__ import annotations

from typing import NamedTuple

from kafka_cy.coordinator import heartbeat_table

HEARD_OF, MAY_COMMIT, IS_STEADY = range(3)  # what reactors do for a member: nothing now, commits, commits and heartbeats


class Words(NamedTuple):
    """What a member said of itself, and may say again. None: it never did."""

    client_id: str
    client_host: str
    instance_id: str | None = None
    regex: str | None = None  # of topics that it subscribes to


class PublishedMembers:
    """Owner: the coordinator's thread. Limit: the members of the group."""

    __slots__ = ("_group", "_members")

    def __init__(self, group_id: str) -> None:
        self._group = group_id.encode()
        self._members: dict[str, int] = {}  # member id -> HEARD_OF, MAY_COMMIT or IS_STEADY

    def add(self, member_id: str, epoch: int) -> None:
        """Reactors may store the member's commits with this epoch."""
        if self._members.get(member_id, HEARD_OF) < MAY_COMMIT:
            heartbeat_table.set_modern_member(self._group, member_id.encode(), epoch)
            self._members[member_id] = MAY_COMMIT

    def add_steady(self, member_id: str, epoch: int, words: Words) -> None:
        """Reactors may respond to the member's heartbeats, too."""
        if self._members.get(member_id, HEARD_OF) < IS_STEADY:
            client, host = words.client_id.encode(), words.client_host.removeprefix("/").encode()
            instance, regex = (None if each is None else each.encode() for each in (words.instance_id, words.regex))
            heartbeat_table.set_modern_member(self._group, member_id.encode(), epoch, True, client, host, instance, regex)
            self._members[member_id] = IS_STEADY

    def changed(self, member_id: str) -> None:
        """The member changes: reactors do nothing for it until it is added again. When it was heard of last stays known."""
        if self._members.get(member_id, HEARD_OF) != HEARD_OF:
            self._members[member_id] = HEARD_OF
            heartbeat_table.set_modern_member(self._group, member_id.encode(), -1)

    def gone(self, member_id: str) -> None:
        """The member has left."""
        if self._members.pop(member_id, None) is not None:
            heartbeat_table.remove_member(self._group, member_id.encode())

    def clear(self) -> None:
        """The group is gone."""
        for member_id in list(self._members):
            self.gone(member_id)

    def heard_of_s(self, member_id: str) -> float:
        """When a reactor heard of the member last (monotonic); 0 if none did."""
        if member_id not in self._members:
            return 0.0
        return max(0, heartbeat_table.last_heartbeat_ns(self._group, member_id.encode())) / 1e9
