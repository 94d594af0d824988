"""How often the state of the session in ZooKeeper changed, as Kafka's SessionExpireListener counts it."""

from __future__ import annotations

CONNECTING, CONNECTED = "CONNECTING", "CONNECTED"  # Kafka's SessionState


class SessionCounts:
    """Written by the store's owner, read by any thread. `state` None: the store has no session, and all counts stay 0."""

    def __init__(self, state: str | None = None) -> None:
        self.state = state
        self.disconnects = 0
        self.expires = 0
        self.sync_connects = 0
        self.auth_failures = 0

    def by_name(self) -> dict[str, int]:
        """The counts by the names of Kafka's metrics (ZooKeeper<name>PerSec)."""
        return {
            "disconnects": self.disconnects,
            "expires": self.expires,
            "syncconnects": self.sync_connects,
            "authfailures": self.auth_failures,
            "readonlyconnects": 0,  # this broker connects to servers of a quorum only
            "saslauthentications": 0,
        }
