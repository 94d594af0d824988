"""Everything about share groups that runs on this broker, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kafka_cy.coordinator.share.state_coordinator import ShareCoordinator
from kafka_cy.share.sessions import ShareSessions
from kafka_cy.share.settings import ShareSettings
from kafka_cy.share.share_fetch import RESPONSE_BYTES_MAX, ShareFetches
from kafka_cy.share.share_partitions import SharePartitions
from kafka_cy.share.shared_records import outdate_terms


class ShareService:
    """Owner: the coordinator's thread."""

    def __init__(
        self, config: Mapping[str, Any], cluster: Any, loop: Any, log: Callable[..., object] = lambda *_, **__: None
    ) -> None:
        self.coordinator = ShareCoordinator(config, cluster, loop, log)
        self.settings = ShareSettings(config, cluster, loop)
        self.partitions = SharePartitions(cluster, self.coordinator, loop, self.settings.of_group, log)
        self.sessions = ShareSessions(
            int(config["group.share.max.share.sessions"]), int(config["kafkacy.fetch.session.max.partitions"])
        )
        bytes_max = min(int(config["fetch.max.bytes"]), RESPONSE_BYTES_MAX)
        self.fetches = ShareFetches(self.sessions, self.partitions, loop, bytes_max)

    def start(self) -> None:
        """Begin to load the stored state."""
        self.coordinator.start()

    def stop(self) -> None:
        """Respond to what waits and stop all timers."""
        self.fetches.stop()
        self.coordinator.stop()

    def look(self) -> None:
        """Send responses whose records have been stored, and wake fetches; called in every round of the loop."""
        self.partitions.write_collected()
        self.coordinator.look()
        self.partitions.look_at_locks()
        self.partitions.look()

    def on_change(self, change: Any) -> None:
        """Listener of the cluster's metadata."""
        outdate_terms()
        removed = {topic.id for topic in getattr(change, "removed", ())}
        if removed:
            self.partitions.topics_deleted(removed)
            self.coordinator.topics_deleted({topic.name: topic.id for topic in change.removed})
