"""What the operations on share groups share."""

from __future__ import annotations

from typing import Any

from kafka_cy.coordinator.modern.context import ModernContext
from kafka_cy.coordinator.modern.group_lines import Info
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.runtime.runtime import CoordinatorRuntime
from kafka_cy.coordinator.share.group_lines import ShareGroupLines
from kafka_cy.coordinator.share.group_settings import ShareGroupSettings
from kafka_cy.coordinator.share.limits import MEMBER_BYTES_MAX


class ShareGroupContext(ModernContext):
    """Owner: the coordinator's thread."""

    def __init__(
        self, runtime: CoordinatorRuntime[Any], settings: ShareGroupSettings, topics: Topics, info: Info
    ) -> None:
        super().__init__(runtime, settings, topics, MEMBER_BYTES_MAX)
        self.settings = settings
        self.lines = ShareGroupLines(info)
