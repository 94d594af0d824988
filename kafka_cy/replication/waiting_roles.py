"""Roles that wait for the settings of their topics, which are malformed or may not be read. A controller tells each only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kafka_cy.replication.replica_states import Key
    from kafka_cy.replication.role_changes import Role

ROLES_MAX = 10_000
AGAIN_S = 1.0


class UnknownSettings(Exception):
    """The settings of a topic cannot be understood now. Without them no log is created: it might keep too little."""


class WaitingRoles:
    """Owner: the replica manager's thread. Lifetime: the manager's. Limit: ROLES_MAX, one for each partition."""

    def __init__(
        self,
        is_unknown: Callable[[str], bool],
        later: Callable[[float, Callable[[], object]], object],
        ready: Callable[[], object],
    ) -> None:
        """`is_unknown(topic)`: whether its settings still cannot be understood. `ready()`: have some roles taken, see `take`."""
        self._roles: dict[Key, Role] = {}
        self._is_unknown, self._later, self._ready = is_unknown, later, ready
        self._looks_later = False

    def put(self, role: Role) -> bool:
        """Keep a role. False: too many wait."""
        if len(self._roles) >= ROLES_MAX:
            return False
        self._roles[role.key] = role
        self._look_later()
        return True

    def drop(self, key: Key) -> None:
        """A controller has told something newer of this partition."""
        self._roles.pop(key, None)

    def clear(self) -> None:
        """The broker has registered again: a controller tells it everything."""
        self._roles.clear()

    def take(self) -> list[Role]:
        """Those that can be taken now. They do not wait any more."""
        unknown = set(filter(self._is_unknown, self._topics()))
        ready = [role for (topic, _), role in self._roles.items() if topic not in unknown]
        for role in ready:
            del self._roles[role.key]
        if self._roles:
            self._look_later()
        return ready

    def _topics(self) -> set[str]:
        return {topic for topic, _ in self._roles}

    def _look_later(self) -> None:
        if not self._looks_later:
            self._looks_later = True
            self._later(AGAIN_S, self._look)

    def _look(self) -> None:
        self._looks_later = False
        if all(map(self._is_unknown, self._topics())):
            if self._roles:
                self._look_later()
        else:
            self._ready()
