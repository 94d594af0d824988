"""The settings of share groups as the group coordinator needs them: those of the broker, and a group's own `share.*` keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka_cy.coordinator.modern.settings import OwnSettings


class ShareGroupSettings(OwnSettings):
    """Read at each use, because most are dynamic. Owner: the coordinator's thread."""

    def __init__(self, config: Mapping[str, Any], cluster: Any) -> None:
        super().__init__("share", "group.share.min.", "group.share.max.", config, cluster)
        self.members_max = int(config["group.share.max.size"])
        self.initialize_retry_interval_ms = int(config["group.share.initialize.retry.interval.ms"])
