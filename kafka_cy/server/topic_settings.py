"""The typed settings of a topic's logs, or why there are none: a stored value may not be allowed here.

Anybody who may write to ZooKeeper may have stored it, or another version that allows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kafka_cy.config.types import ConfigError

if TYPE_CHECKING:
    from kafka_cy.cluster.line_log import LineLog
    from kafka_cy.config.broker_config import BrokerConfig


class NotAllowed(Exception):
    """A topic has a setting whose value is not allowed. All of its settings count as unknown then, as in Kafka."""

    def __init__(self, topic: str, error: ConfigError) -> None:
        super().__init__(f"topic {topic} has a stored setting that is not allowed: {error}")
        self.details = {"topic": topic, "key": error.key, "value": error.value, "allowed": error.allowed}


def topic_settings(config: BrokerConfig, topic: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The typed settings of a topic's logs. Raises NotAllowed."""
    try:
        return config.topic_config(values)
    except ConfigError as error:
        raise NotAllowed(topic, error) from error


def usable_settings(config: BrokerConfig, topic: str, values: Mapping[str, str], log: LineLog) -> dict[str, Any] | None:
    """The typed settings of a topic's logs. None: a line tells which one is not allowed, and the logs keep those of before."""
    try:
        return topic_settings(config, topic, values)
    except NotAllowed as error:
        log.repeated("error", "a stored setting of a topic is not allowed", error.details)
        return None
