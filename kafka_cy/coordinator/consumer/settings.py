"""The settings of consumer groups: those of the broker, and those of a group (its `consumer.*` keys)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka_cy.coordinator.consumer.assignors.range import RangeAssignor
from kafka_cy.coordinator.consumer.assignors.uniform import UniformAssignor
from kafka_cy.coordinator.modern.assignment import Assignor
from kafka_cy.coordinator.modern.settings import OwnSettings

ASSIGNORS: Mapping[str, type[Any]] = {each.name: each for each in (UniformAssignor, RangeAssignor)}


class ConsumerSettings(OwnSettings):
    """Read at each use, because most are dynamic. Owner: the coordinator's thread."""

    def __init__(self, config: Mapping[str, Any], cluster: Any) -> None:
        super().__init__("consumer", "group.consumer.min.", "group.consumer.max.", config, cluster)
        names = [name for name in config["group.consumer.assignors"] if name in ASSIGNORS]
        self.assignors: dict[str, Assignor] = {name: ASSIGNORS[name]() for name in names or ASSIGNORS}
        self.default_assignor = next(iter(self.assignors))
        self.members_max = int(config["group.consumer.max.size"])
        self.classic_members_max = int(config["group.max.size"])
        self.regex_refresh_interval_ms = int(config["group.consumer.regex.refresh.interval.ms"])
        policy = str(config["group.consumer.migration.policy"]).lower()
        self.allows_upgrade = policy in {"upgrade", "bidirectional"}
        self.allows_downgrade = policy in {"downgrade", "bidirectional"}
        self.allows_classic_members = policy != "disabled"

    def assignor(self, name: str) -> Assignor:
        """The assignor of that name; the default one if it was offered when a member asked for it, and no longer is."""
        return self.assignors.get(name) or self.assignors[self.default_assignor]
