"""ListConfigResources (API 74, KIP-714, KIP-1142).

Version 0 lists client metrics subscriptions. Version 1 lists the requested types, or all types for an empty list: every
topic, this broker, its loggers (as in Kafka), and the groups and subscriptions that have settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, may_cluster
from kafka_cy.api.config_alterations import BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.list_config_resources.v1.request import ListConfigResourcesRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import NamesResources

_SUPPORTED = (TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP)


@handler(api_key=74)
def handle(request: Request[ListConfigResourcesRequest], context: NamesResources) -> dict[str, Any]:
    """Respond with the resources of the requested types; UNSUPPORTED_VERSION for an unknown type."""
    if not may_cluster(request, Operation.DESCRIBE_CONFIGS):
        return {"throttle_time": 0, "error_code": int(CLUSTER_DENIED), "config_resources": []}
    asked = [CLIENT_METRICS] if request.api_version == 0 else list(request.body.resource_types)
    if any(kind not in _SUPPORTED for kind in asked):
        return {"throttle_time": 0, "error_code": int(ErrorCode.UNSUPPORTED_VERSION), "config_resources": []}
    resources = []
    for kind in dict.fromkeys(asked or _SUPPORTED):
        resources += [{"resource_name": name, "resource_type": kind} for name in _names(context, kind)]
    return {"throttle_time": 0, "error_code": 0, "config_resources": resources}


def _names(context: NamesResources, kind: int) -> list[str]:
    if kind == TOPIC:
        return sorted(context.cluster.topics)
    if kind in (BROKER, BROKER_LOGGER):
        return [str(context.broker_id)]
    entity_type = "groups" if kind == GROUP else "client-metrics"
    return [name for name in context.cluster.config_entities(entity_type) if context.cluster.config(entity_type, name)]
