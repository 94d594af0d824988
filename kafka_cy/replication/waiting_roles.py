"""Roles that wait for the settings of their topics, which cannot be used now. A controller tells each only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kafka_cy.replication.replica_states import NO_EPOCH
from kafka_cy.storage.log_dir import NO_TOPIC_ID

if TYPE_CHECKING:
    from kafka_cy.replication.replica_states import Key
    from kafka_cy.replication.role_changes import Role

ROLES_MAX = 10_000
AGAIN_S = 1.0
AFTER_FAULT_S = 10.0  # after which a role is taken again that could not be taken though its settings can be used


class UnknownSettings(Exception):
    """The settings of a topic cannot be used now. Without them no log is created: it might keep too little."""


class UnreadSettings(Exception):
    """Nobody knows whether the settings of a topic can be used: the attempt to read them has failed."""


class WaitingRoles:
    """Owner: the replica manager's thread; others may ask for the length. Lifetime: the manager's.

    Limit: ROLES_MAX, one for each partition.
    """

    def __init__(
        self,
        is_unknown: Callable[[str], bool],
        later: Callable[[float, Callable[[], object]], object],
        ready: Callable[[], object],
        now_s: Callable[[], float],
    ) -> None:
        """`is_unknown(topic)`: whether its settings still cannot be used.

        `ready()`: some roles can be taken. It is called again only after `begin`, which may come much later.
        """
        self._roles: dict[Key, Role] = {}
        self._due_s: dict[Key, float] = {}  # when those are taken again that were tried since their settings can be used
        self._is_unknown, self._later, self._ready, self._now_s = is_unknown, later, ready, now_s
        self._looks_later = False
        self._has_told = False  # `ready` was called, and `begin` not yet

    def __len__(self) -> int:
        return len(self._roles)

    def put(self, role: Role) -> bool:
        """Keep a role. False: too many wait."""
        if role.key not in self._roles and len(self._roles) >= ROLES_MAX:
            return False
        self._roles[role.key] = role
        self._look_later()
        return True

    def has_newer(self, role: Role) -> bool:
        """Whether a role of a later leader epoch waits: this one comes late. Of another topic id, nobody can tell."""
        known = self._roles.get(role.key)
        return known is not None and known.topic_id == role.topic_id and known.state.leader_epoch > role.state.leader_epoch

    def leader_epoch(self, key: Key) -> int:
        """That of the role that waits. NO_EPOCH: none does."""
        known = self._roles.get(key)
        return NO_EPOCH if known is None else known.state.leader_epoch

    def topic_id(self, key: Key) -> bytes:
        """That of the role that waits. NO_TOPIC_ID: it has none, or none waits."""
        known = self._roles.get(key)
        return NO_TOPIC_ID if known is None else known.topic_id

    def drop(self, key: Key) -> None:
        """The role is taken, or refused, or a controller has told something newer of this partition."""
        self._roles.pop(key, None)
        self._due_s.pop(key, None)

    def registered(self, broker_epoch: int) -> None:
        """The broker has registered again: a controller tells it everything, and what it told earlier does not count any more."""
        self._roles = {key: role for key, role in self._roles.items() if role.broker_epoch >= broker_epoch}
        self._due_s = {key: due_s for key, due_s in self._due_s.items() if key in self._roles}

    def begin(self) -> list[Role]:
        """Those that can be taken now. Each of them waits until it is dropped; else it is taken again some time later."""
        self._has_told = False
        ready = self._find_ready()
        for role in ready:
            self._due_s[role.key] = self._now_s() + AFTER_FAULT_S
        return ready

    def _find_ready(self) -> list[Role]:
        """Has them looked at again, unless none waits."""
        now_s = self._now_s()
        unknown = set(filter(self._is_unknown, {topic for topic, _ in self._roles}))
        ready = []
        for key, role in self._roles.items():
            if key[0] in unknown:
                self._due_s.pop(key, None)  # it is taken as soon as they can be used
            elif self._due_s.get(key, now_s) <= now_s:
                ready.append(role)
        if self._roles:
            self._look_later()
        return ready

    def _look_later(self) -> None:
        if not self._looks_later:
            self._looks_later = True
            self._later(AGAIN_S, self._look)

    def _look(self) -> None:
        self._looks_later = False
        if self._find_ready() and not self._has_told:
            self._has_told = True
            self._ready()
