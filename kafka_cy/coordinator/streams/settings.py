"""The settings of streams groups: those of the broker, and those of a group (its `streams.*` keys)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka_cy.coordinator.modern.settings import OwnSettings
from kafka_cy.coordinator.streams.records import KeyValue


class StreamsSettings(OwnSettings):
    """Read at each use, because most are dynamic. Owner: the coordinator's thread."""

    def __init__(self, config: Mapping[str, Any], cluster: Any) -> None:
        super().__init__("streams", "group.streams.min.", "group.streams.max.", config, cluster)
        self.members_max = int(config["group.streams.max.size"])
        self.standby_replicas_max = int(config["group.streams.max.standby.replicas"])

    def initial_rebalance_delay_ms(self, group_id: str) -> int:
        """`initial.rebalance.delay.ms` of the group, which has no limits; 0: none."""
        return self.unlimited(group_id, "initial.rebalance.delay.ms")

    def assignment_configs(self, group_id: str) -> tuple[KeyValue, ...]:
        """What of the settings an assignment depends on, as the record of the group has it."""
        count = min(self.unlimited(group_id, "num.standby.replicas"), self.standby_replicas_max)
        return (KeyValue("num.standby.replicas", str(count)),)


def standby_replicas(configs: tuple[KeyValue, ...]) -> int:
    """How many copies of each stateful task the settings of an assignment ask for."""
    return next((int(each.value) for each in configs if each.key == "num.standby.replicas"), 0)
