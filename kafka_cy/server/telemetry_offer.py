"""Which APIs ApiVersions lists: those of client telemetry (KIP-714) only if somebody wants the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.api import api_versions

if TYPE_CHECKING:
    from kafka_cy.api.registry import ApiRange
    from kafka_cy.cluster.metadata_cache import MetadataCache

GET_TELEMETRY_SUBSCRIPTIONS, PUSH_TELEMETRY = 71, 72
ENTITY_TYPE = "client-metrics"


class TelemetryOffer:
    """Created at the start; its listener runs on the controller thread, until the first subscription.

    Apache Kafka lists the two APIs if a metrics reporter with a receiver is configured. Here the receiver is built in, and a
    subscription is what turns it on. Until then clients would ask every five minutes for nothing, and librdkafka
    prints a line about it in every program. Once listed, the APIs stay listed until the next start.
    """

    def __init__(self, cluster: MetadataCache, apis: Sequence[ApiRange], *, always: bool) -> None:
        self._cluster = cluster
        self._apis = apis
        self._listed = always

    def start(self) -> None:
        """Publish the list, and extend it with the first subscription."""
        if not self._listed:
            self._cluster.add_listener(self._changed)
            self._listed = self._is_subscribed()
        self._publish()

    def _changed(self, change: Any) -> None:
        if not self._listed and getattr(change, "entity_type", "") == ENTITY_TYPE and self._is_subscribed():
            self._listed = True
            self._publish()

    def _is_subscribed(self) -> bool:
        return any(self._cluster.config(ENTITY_TYPE, name) for name in self._cluster.config_entities(ENTITY_TYPE))

    def _publish(self) -> None:
        hidden = () if self._listed else (GET_TELEMETRY_SUBSCRIPTIONS, PUSH_TELEMETRY)
        rows = [(api.api_key, api.version_min, api.version_max) for api in self._apis if api.api_key not in hidden]
        api_versions.set_table(rows)
