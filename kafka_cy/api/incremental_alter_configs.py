"""IncrementalAlterConfigs (API 44), versions 0 and 1 (KIP-339).

SET, DELETE, APPEND and SUBTRACT for topics, this broker (name = its id), all brokers (name empty), groups, client
metrics subscriptions and loggers. Each resource is changed wholly or not at all. A change takes effect before the
answer. Deviations: an unknown key of a broker is refused with INVALID_CONFIG (Kafka stores it); listeners and
`num.network.threads` are refused, as they are fixed at the start here.
"""

from __future__ import annotations

from typing import Any

from kafka_cy.api.config_alteration import alter_each, replace_settings
from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.config import alterations, loggers
from kafka_cy.config.alterations import Operation


@handler(api_key=44, versions=(0, 1))
def handle(request: Request, context: ApiContext) -> dict[str, Any]:
    """Answer with one result for each resource, in the order of the request."""
    validate_only = bool(request.body.validate_only)

    def alter(resource: Any) -> None:
        kind, name = resource.resource_type, resource.resource_name
        operations = [Operation(config.name, config.config_operation, config.value) for config in resource.configs]
        if kind == alterations.BROKER_LOGGER:
            loggers.check_node(context.config, name)
            loggers.alter(context.log, operations, validate_only=validate_only)
            return
        alterations.check_resource(context.config, context.cluster, kind, name)
        current = alterations.stored_settings(context.cluster, kind, name)
        settings = alterations.changed_settings(kind, current, operations)
        replace_settings(context, kind, name, current, settings, validate_only=validate_only)

    return alter_each(request, alter)
