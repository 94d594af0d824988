"""The quota of controller mutations (KIP-599): how many partitions a client creates and deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.topic_creation import TopicRefused
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.network.client_quotas import ClientQuotas


class MutationQuota:
    """What one request may change. Newer clients are refused when their quota is used up; older ones are only throttled."""

    def __init__(self, request: Request[Any], quotas: ClientQuotas, *, strict_from: int) -> None:
        """`strict_from`: the first version whose clients understand THROTTLING_QUOTA_EXCEEDED."""
        self._request = request
        self._quotas = quotas
        self._strict = request.api_version >= strict_from

    def take(self, partitions: int) -> None:
        """Count created or deleted partitions. Raises TopicRefused if they are too many."""
        allowed, throttle_ms = self._quotas.take_mutations(self._request.user, self._request.client_id, partitions, self._strict)
        if throttle_ms:
            self._request.control.throttle(throttle_ms)
        if not allowed:
            raise TopicRefused(ErrorCode.THROTTLING_QUOTA_EXCEEDED, None)  # as Kafka, without a sentence
