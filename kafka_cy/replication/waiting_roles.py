"""Roles that wait for the settings of their topics, which are malformed or may not be read. A controller tells each only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kafka_cy.replication.replica_states import NO_EPOCH

if TYPE_CHECKING:
    from kafka_cy.replication.replica_states import Key
    from kafka_cy.replication.role_changes import Role

ROLES_MAX = 10_000
AGAIN_S = 1.0
AFTER_FAULT_S = 10.0  # after which roles are taken again that could not be taken though their settings can be understood


class UnknownSettings(Exception):
    """The settings of a topic cannot be understood now. Without them no log is created: it might keep too little."""


class UnreadSettings(Exception):
    """Nobody knows whether the settings of a topic can be understood: the attempt to read them has failed."""


class WaitingRoles:
    """Owner: the replica manager's thread; others may ask for the length. Lifetime: the manager's.

    Limit: ROLES_MAX, one for each partition.
    """

    def __init__(
        self,
        is_unknown: Callable[[str], bool],
        later: Callable[[float, Callable[[], object]], object],
        ready: Callable[[], object],
    ) -> None:
        """`is_unknown(topic)`: whether its settings still cannot be understood. `ready()`: have some roles taken, see `begin`."""
        self._roles: dict[Key, Role] = {}
        self._is_unknown, self._later, self._ready = is_unknown, later, ready
        self._looks_later = False

    def __len__(self) -> int:
        return len(self._roles)

    def put(self, role: Role) -> bool:
        """Keep a role. False: too many wait."""
        if role.key not in self._roles and len(self._roles) >= ROLES_MAX:
            return False
        self._roles[role.key] = role
        self._look_later(AGAIN_S)
        return True

    def has_newer(self, role: Role) -> bool:
        """Whether a role of a later leader epoch waits: this one comes late. Of another topic id, nobody can tell."""
        known = self._roles.get(role.key)
        return known is not None and known.topic_id == role.topic_id and known.state.leader_epoch > role.state.leader_epoch

    def leader_epoch(self, key: Key) -> int:
        """That of the role that waits. NO_EPOCH: none does."""
        known = self._roles.get(key)
        return NO_EPOCH if known is None else known.state.leader_epoch

    def drop(self, key: Key) -> None:
        """The role is taken, or refused, or a controller has told something newer of this partition."""
        self._roles.pop(key, None)

    def registered(self, broker_epoch: int) -> None:
        """The broker has registered again: a controller tells it everything, and what it told earlier does not count any more."""
        self._roles = {key: role for key, role in self._roles.items() if role.broker_epoch >= broker_epoch}

    def begin(self) -> list[Role]:
        """Those that can be taken now. Each of them waits until it is dropped; else it is taken again some time later."""
        unknown = set(filter(self._is_unknown, self._topics()))
        ready = [role for (topic, _), role in self._roles.items() if topic not in unknown]
        if self._roles:
            self._look_later(AGAIN_S if unknown else AFTER_FAULT_S)
        return ready

    def _topics(self) -> set[str]:
        return {topic for topic, _ in self._roles}

    def _look_later(self, delay_s: float) -> None:
        if not self._looks_later:
            self._looks_later = True
            self._later(delay_s, self._look)

    def _look(self) -> None:
        self._looks_later = False
        if all(map(self._is_unknown, self._topics())):
            if self._roles:
                self._look_later(AGAIN_S)
        else:
            self._ready()
