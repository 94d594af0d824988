"""DescribeClientQuotas (API 48, KIP-546): quotas of users, client ids and addresses that match a filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.client_quotas import QuotaRefused, checked_filter
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation

if TYPE_CHECKING:
    from kio.schema.describe_client_quotas.v1.request import DescribeClientQuotasRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsCluster
    from kafka_cy.cluster.quota_entities import QuotaEntity


@handler(api_key=48)
def handle(request: Request[DescribeClientQuotasRequest], context: ReadsCluster) -> dict[str, Any] | None:
    """The entries are in no order, as in Kafka."""
    if not may_cluster(request, Operation.DESCRIBE_CONFIGS):
        return denied(CLUSTER_DENIED) | {"entries": None}
    try:
        matches = checked_filter(request.body.components, strict=request.body.strict).matches
    except QuotaRefused as refused:
        return {"error_code": refused.code, "error_message": refused.message, "entries": None}

    def make() -> dict[str, Any]:
        quotas = list(context.cluster.quotas.items())  # their values are replaced, never changed
        entries = [_entry(entity, values) for entity, values in quotas if matches(entity)]
        return {"error_code": 0, "error_message": "", "entries": entries}

    request.respond_long(lambda ready: ready(make))
    return None


def _entry(entity: QuotaEntity, quotas: dict[str, float]) -> dict[str, Any]:
    return {
        "entity": [{"entity_type": kind, "entity_name": name} for kind, name in entity],
        "values": [{"key": key, "value": value} for key, value in sorted(quotas.items())],
    }
