"""The settings that a group can have of its own (KIP-848, KIP-932, KIP-1071): `consumer.*`, `share.*`, `streams.*`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class OwnSettings:
    """The numbers of one kind of group: "consumer", "share" or "streams". Read at each use, because most are dynamic.

    `low` and `high` are what the names of the broker's limits begin with: "group.share.min.", "group.share.max.".
    """

    def __init__(self, kind: str, low: str, high: str, config: Mapping[str, Any], cluster: Any) -> None:
        self._kind = kind
        self._low = low
        self._high = high
        self._config = config
        self._cluster = cluster

    def number(self, group_id: str, name: str) -> int:
        """The group's own value within the limits of the broker, which may have changed since it was set; else the broker's."""
        own = self._cluster.find_config("groups", group_id)
        key = f"{self._kind}.{name}"
        if not own or key not in own:
            return int(self._config["group." + key])
        low, high = self._config[self._low + name], self._config[self._high + name]
        return int(max(low, min(int(own[key]), high)))

    def unlimited(self, group_id: str, name: str) -> int:
        """The group's own value, whatever it is; else the broker's."""
        own = self._cluster.find_config("groups", group_id) or {}
        key = f"{self._kind}.{name}"
        return int(own[key] if key in own else self._config["group." + key])

    def session_timeout_ms(self, group_id: str) -> int:
        """`session.timeout.ms` of the group."""
        return self.number(group_id, "session.timeout.ms")

    def heartbeat_interval_ms(self, group_id: str) -> int:
        """`heartbeat.interval.ms` of the group."""
        return self.number(group_id, "heartbeat.interval.ms")

    def assignment_interval_ms(self, group_id: str) -> int:
        """`assignment.interval.ms` of the group (KIP-1263); 0: none."""
        return self.number(group_id, "assignment.interval.ms")
